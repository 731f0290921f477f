"""A program on a virtual X display of its own: both end together, whatever ends one of them.

``python -m amgsrn_core.cli.virtual_display WIDTHxHEIGHTxDEPTH COMMAND...`` runs any program so.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from amgsrn_core.cli.x_server import SCREEN, virtual_display
from amgsrn_core.errors import AmgsrnError

# What a program may take to end when it was asked to.
_GRACE_SECONDS = 8.0
# `timeout` and MPI signal a process and then its group: one wish that arrives twice.
_SAME_WISH_SECONDS = 1.0
_PASSED_ON = ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2")
_ENDING = ("SIGTERM", "SIGHUP")
_SI_KERNEL = 0x80  # si_code of <asm-generic/siginfo.h>: of the terminal, not of another process
_PR_SET_PDEATHSIG = 1  # <linux/prctl.h>


def run_on_virtual_display(
    command: Sequence[str], environment: Mapping[str, str], screen: str = SCREEN
) -> int:
    """Run a program on a virtual display, and return its exit status.

    The program is a child in this process's own group, so that a terminal's keys and job control
    reach it as ever. A signal that is sent to this process alone is passed on. After SIGTERM or
    SIGHUP the program has some seconds to end; then, or at the second such signal, it is killed.
    If this process is killed, the kernel ends the program and the display.

    Where a signal ended the program, this process ends by that signal as well, and does not return.

    Parameters
    ----------
    command : sequence of str
        The program with its arguments.
    environment : mapping
        DISPLAY and XAUTHORITY are replaced.
    screen : str
        Width, height and depth.

    Raises
    ------
    AmgsrnError
        The display or the program does not start.
    """
    assert sys.platform == "linux"
    with _held_signals() as (held, mask), tempfile.TemporaryDirectory(prefix="amgsrn-") as folder:
        ended_by, status = 0, 0
        pending = held - {signal.SIGCHLD}
        with virtual_display(
            Path(folder),
            screen=screen,
            prepare=ends_with_parent(signal.SIGTERM, mask),
            is_stopped=lambda: bool(signal.sigpending() & pending),
        ) as variables:
            if variables is None:  # told to end before it began
                ended_by = signal.sigwait(pending)
            else:
                asked, status = _supervised(command, {**environment, **variables}, mask, held)
                ended_by = (asked if status == -signal.SIGKILL else 0) or max(0, -status)
    return _end_by(ended_by) if ended_by else status


def ends_with_parent(number: int, mask: set[int] | None = None) -> Callable[[], None] | None:
    """Return what a child is to call before it becomes a program (`preexec_fn`).

    The kernel then sends it a signal when the thread that starts it ends, however that ends.
    `mask` are the signals that the program holds back, if they are not this process's.
    None where the kernel cannot do that (it takes Linux).
    """
    if sys.platform != "linux":
        return None
    prctl, parent = ctypes.CDLL(None).prctl, os.getpid()

    def prepare() -> None:
        prctl(_PR_SET_PDEATHSIG, int(number), 0, 0, 0)
        if mask is not None:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        if os.getppid() != parent:  # it has ended just now
            os.kill(os.getpid(), number)

    return prepare


@contextlib.contextmanager
def _held_signals() -> Iterator[tuple[set[int], set[int]]]:
    """Hold back the signals to be passed on, and a child's end; yield them, and the mask before.

    A signal that is ignored (`nohup`, a shell's background job) stays ignored, also by children.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # an ignored end of a child has no status
    wanted = {getattr(signal, name) for name in _PASSED_ON}
    held = {n for n in wanted if signal.getsignal(n) is not signal.SIG_IGN} | {signal.SIGCHLD}
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, held)
    try:
        yield held, mask
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _supervised(
    command: Sequence[str], environment: Mapping[str, str], mask: set[int], held: set[int]
) -> tuple[int, int]:
    """Run a program; return the signal that asked it to end, 0 if none did, and its status."""
    assert sys.platform == "linux"
    try:
        program = subprocess.Popen(
            command,
            env=dict(environment),
            close_fds=False,  # whatever this process was given is for the program
            preexec_fn=ends_with_parent(signal.SIGKILL, mask),
        )
    except OSError as error:
        raise AmgsrnError(f"Cannot start {command[0]}: {error.strerror}.") from error
    asked, first, deadline = 0, 0.0, float("inf")
    while program.poll() is None:
        left = min(deadline - time.monotonic(), 3600.0)
        caught = signal.sigtimedwait(held, max(0.0, left))
        if caught is None or caught.si_signo == signal.SIGCHLD:
            if time.monotonic() >= deadline:
                program.kill()
                deadline = float("inf")
            continue
        number = caught.si_signo
        if caught.si_code != _SI_KERNEL:  # the terminal's reach the whole group
            program.send_signal(number)
        if number in {getattr(signal, name) for name in _ENDING}:
            now = time.monotonic()
            if not asked:
                asked, first, deadline = number, now, now + _GRACE_SECONDS
            elif now - first >= _SAME_WISH_SECONDS:
                deadline = now
    return asked, program.returncode


def _end_by(number: int) -> int:
    """End this process by a signal, so that whoever started it sees which.

    Returns the status that a shell would make of it where the signal has no effect, as for the
    first process of a container.
    """
    import resource  # there is none on Windows

    # A crash of the program has left its own core.
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    sys.stdout.flush()
    sys.stderr.flush()
    with contextlib.suppress(OSError):  # of SIGKILL nobody can change it
        signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    return 128 + number


if __name__ == "__main__":
    from amgsrn_core.cli.failures import reported

    with reported(debug=False) as result:
        result.status = run_on_virtual_display(sys.argv[2:], os.environ, screen=sys.argv[1])
    sys.exit(result.status)
