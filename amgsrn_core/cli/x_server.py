"""Virtual X servers: a number that nobody else has, a cookie, and a client that got through."""

from __future__ import annotations

import contextlib
import ctypes
import os
import secrets
import shutil
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from amgsrn_core.errors import AmgsrnError

SCREEN = "1280x1024x24"
_START_SECONDS = 60.0
_END_SECONDS = 5.0
_ATTEMPTS = 5
_POLL_SECONDS = 0.05
# Others count upwards from 0 or 99. A number by chance is not taken again just when the server that
# had it removes its sockets, which would then be the new one's. 59535 is the last one.
_FIRST, _LAST = 1000, 59000
_COOKIE_NAME = b"MIT-MAGIC-COOKIE-1"


class ServerFailed(AmgsrnError):
    """A server ended before it let anybody in."""


def find_server() -> str | None:
    """Return the X server that a virtual display needs; None where there is none, or no Linux."""
    return shutil.which("Xvfb") if sys.platform == "linux" else None


def is_reachable(display: str) -> bool:
    """Return whether a program of this user could open windows on a display, such as ":0".

    True as well where that cannot be found out, because the library of X clients is missing.
    """
    try:
        library = ctypes.CDLL("libxcb.so.1")
    except OSError:
        return True
    library.xcb_connect.restype = ctypes.c_void_p
    library.xcb_connect.argtypes = [ctypes.c_char_p, ctypes.c_void_p]
    library.xcb_connection_has_error.argtypes = [ctypes.c_void_p]
    library.xcb_disconnect.argtypes = [ctypes.c_void_p]
    connection = library.xcb_connect(os.fsencode(display), None)
    try:
        return int(library.xcb_connection_has_error(connection)) == 0
    finally:
        library.xcb_disconnect(connection)


@contextlib.contextmanager
def virtual_display(
    folder: Path,
    *,
    screen: str = SCREEN,
    options: Sequence[str] = (),
    prepare: Callable[[], None] | None = None,
    is_stopped: Callable[[], bool] = bool,
) -> Iterator[dict[str, str] | None]:
    """Run an X server within the block.

    A server whose number is taken, or that ends or lets nobody in, is replaced by one with another
    number, up to five times.

    Parameters
    ----------
    folder : path
        For the server's cookie and messages.
    screen : str
        Width, height and depth.
    options : sequence of str
        More options of Xvfb.
    prepare : callable, optional
        What the server's process is to call before it becomes the server.
    is_stopped : callable
        Whether to give up before the server is there.

    Yields
    ------
    dict of str to str, or None
        The variables by which programs find the display; None where it was stopped.

    Raises
    ------
    AmgsrnError
        No server starts.
    """
    cookie, authority = secrets.token_bytes(16), folder / "authority"
    _write_authority(authority, cookie)
    process: subprocess.Popen[bytes] | None = None
    try:
        for attempt in range(1, _ATTEMPTS + 1):
            number = _free_number()
            process = _start(number, folder, screen, options, prepare)
            try:
                ready = _is_ready(process, number, cookie, folder, is_stopped)
                break
            except ServerFailed:
                _end(process)
                if attempt == _ATTEMPTS:
                    raise
        yield {"DISPLAY": f":{number}", "XAUTHORITY": str(authority)} if ready else None
    finally:
        if process is not None:
            _end(process)


def _free_number() -> int:
    """Return a number at random that no server has locked; the server itself takes the lock."""
    while True:
        number = _FIRST + secrets.randbelow(_LAST - _FIRST)
        if not os.path.lexists(f"/tmp/.X{number}-lock"):
            return number


def _start(
    number: int,
    folder: Path,
    screen: str,
    options: Sequence[str],
    prepare: Callable[[], None] | None,
) -> subprocess.Popen[bytes]:
    # Without -displayfd, with which servers take no lock. Without -noreset a server refuses
    # clients for a moment whenever the last one has gone.
    command = [find_server() or "Xvfb", f":{number}", "-auth", str(folder / "authority")]
    command += ["-screen", "0", screen, "-nolisten", "tcp", "-noreset", *options]
    with open(folder / "log", "wb") as messages:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=messages,
            start_new_session=True,  # Ctrl-C is for the program; the display goes after it
            preexec_fn=prepare,
        )


def _is_ready(
    process: subprocess.Popen[bytes],
    number: int,
    cookie: bytes,
    folder: Path,
    is_stopped: Callable[[], bool],
) -> bool:
    """Wait until the server lets a client in; return False if it was stopped before.

    Raises
    ------
    ServerFailed
        It ended, or let nobody in for a long time.
    """
    end = time.monotonic() + _START_SECONDS
    # One that lets in anybody is another's that has this number without a lock.
    while not _lets_in(number, cookie) or _lets_in(number, bytes(len(cookie))):
        if is_stopped():
            return False
        if process.poll() is not None:
            lines = (folder / "log").read_text(errors="replace").split("\n")
            why = next((line.strip() for line in lines if "rror" in line), "it says nothing")
            raise ServerFailed(
                f"The virtual display does not start ({why}); run `{find_server()} :99` to see "
                "more, or set DISPLAY to another display."
            )
        if time.monotonic() > end:
            raise ServerFailed(
                f"The virtual display did not start within {_START_SECONDS:.0f} s; set DISPLAY to "
                "another display."
            )
        time.sleep(_POLL_SECONDS)
    return True


def _lets_in(number: int, cookie: bytes) -> bool:
    """Return whether the server of this number accepts a client that has the cookie."""
    path = f"/tmp/.X11-unix/X{number}"
    # The request that begins a connection: order of bytes, version 11.0, name and data of the
    # authorisation, padded to multiples of four bytes.
    sizes = struct.pack("=HHHHxx", 11, 0, len(_COOKIE_NAME), len(cookie))
    order = b"l\0" if sys.byteorder == "little" else b"B\0"
    request = order + sizes + _COOKIE_NAME.ljust(-(-len(_COOKIE_NAME) // 4) * 4, b"\0") + cookie
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(_END_SECONDS)
        try:
            # What has no file is in Linux' own name space for sockets alone.
            client.connect(path if os.path.exists(path) else f"\0{path}")
            client.sendall(request)
            return client.recv(1) == b"\1"
        except OSError:
            return False


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _write_authority(path: Path, cookie: bytes) -> None:
    """Write an X authority file with a cookie for any display: others shall not look on."""
    family = 0xFFFF  # FamilyWild of <X11/Xauth.h>, with an empty address and number
    fields = (b"", b"", _COOKIE_NAME, cookie)
    entry = struct.pack(">H", family) + b"".join(struct.pack(">H", len(f)) + f for f in fields)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(entry)
