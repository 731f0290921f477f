"""A program on a virtual display: signals, status, terminal, and nothing that is left behind."""

from __future__ import annotations

import os
import pty
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.processes import end_all, left, left_at_last, marked

from amgsrn_core.cli.paraview_launcher import PROGRAMS

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or shutil.which("Xvfb") is None, reason="Xvfb is missing"
)
# As `amgsrn pvserver` does, perhaps with other times to wait.
LAUNCH = """
import signal, sys
from amgsrn_core.cli import main, virtual_display
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job ignores it
for name in sys.argv[2].split():  # and what nohup starts ignores this
    signal.signal(getattr(signal, name), signal.SIG_DFL)
virtual_display._GRACE_SECONDS = float(sys.argv[1])
sys.exit(main(["pvserver", *sys.argv[3:]]))
"""
SLEEP = "while True: time.sleep(0.1)"
DEAF = "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"


class Launched:
    """The launcher with a program that is a script of one's own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        bare = {k: v for k, v in os.environ.items() if k not in ("DISPLAY", "WAYLAND_DISPLAY")}
        self.environment, self.mark = marked({**bare, "PARAVIEW_HOME": str(folder)})
        self.process: subprocess.Popen[str] | None = None

    def command(self, script: str, grace: float, heeded: str = "SIGHUP SIGQUIT") -> list[str]:
        (self._folder / "bin").mkdir(exist_ok=True)
        for name in PROGRAMS:
            program = self._folder / "bin" / name
            program.write_text(f"#!{sys.executable}\nimport os, signal, sys, time\n{script}\n")
            program.chmod(0o755)
        return [sys.executable, "-c", LAUNCH, str(grace), heeded]

    def start(self, script: str, grace: float = 60.0, first: str = "up") -> Launched:
        """Start a script, which says "up" when it is there; see what it says."""
        self.process = subprocess.Popen(
            self.command(script, grace),
            env=self.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        if first:
            assert self.process.stdout is not None
            assert self.process.stdout.readline().strip() == first
        return self

    def send(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def end(self, seconds: float = 30.0) -> int:
        """Return the status of the launcher, which has left nothing behind."""
        assert self.process is not None
        status = self.process.wait(seconds)
        assert left_at_last(self.mark) == []
        return status

    def heard(self) -> str:
        assert self.process is not None and self.process.stderr is not None
        return self.process.stderr.read()


@pytest.fixture
def launched(tmp_path):
    found = Launched(tmp_path)
    yield found
    end_all(found.mark)


UP = "print('up', flush=True)\n"


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT", "SIGKILL"])
def test_a_signal_ends_program_and_display(launched, name):
    number = getattr(signal, name)
    launched.start("signal.signal(signal.SIGINT, signal.SIG_DFL)\n" + UP + SLEEP)
    assert len(left(launched.mark)) == 3  # the launcher, the program, the display
    launched.send(number)
    assert launched.end() == -number


def test_what_a_program_makes_of_a_signal_is_its_own(launched):
    launched.start("signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))\n" + UP + SLEEP)
    launched.send(signal.SIGTERM)
    assert launched.end() == 7


def test_an_interrupt_does_not_end_what_goes_on_after_it(launched):
    launched.start(
        "heard = []\nsignal.signal(signal.SIGINT, lambda *_: heard.append(print('once', flush=1)))"
        f"\n{UP}\nwhile len(heard) < 3: time.sleep(0.05)\nsys.exit(4)",
        grace=0.2,
    )
    for _ in range(3):
        launched.send(signal.SIGINT)
        assert launched.process.stdout.readline() == "once\n"
    assert launched.end() == 4


def test_a_program_that_will_not_end_is_killed(launched):
    launched.start(DEAF + UP + SLEEP, grace=0.3)
    launched.send(signal.SIGTERM)
    assert launched.end() == -signal.SIGTERM


def test_a_second_signal_kills_at_once(launched):
    launched.start(DEAF + UP + SLEEP)
    launched.send(signal.SIGTERM)
    time.sleep(1.2)
    assert launched.process.poll() is None
    launched.send(signal.SIGTERM)
    assert launched.end() == -signal.SIGTERM


def test_the_status_of_a_program_that_dies_by_itself_is_the_launcher_s(launched):
    launched.start(f"{UP}os.kill(os.getpid(), signal.SIGSEGV)")
    assert launched.end() == -signal.SIGSEGV


def test_input_output_and_status_are_the_program_s(launched):
    launched.start(f"{UP}print(sys.stdin.read()[::-1])\nprint('no', file=sys.stderr)\nsys.exit(3)")
    out, err = launched.process.communicate("abc", timeout=60)
    assert (out, launched.end()) == ("cba\n", 3)
    assert err.splitlines() == ["No display: pvserver renders on a virtual one (Xvfb).", "no"]


def test_displays_that_start_together_are_different(tmp_path):
    script = "print(os.environ['DISPLAY'], flush=True)\nsys.stdin.read()"
    several = [Launched(tmp_path).start(script, first="") for _ in range(4)]
    try:
        assert len({one.process.stdout.readline() for one in several}) == len(several)
    finally:
        for one in several:
            one.process.stdin.close()
    assert [one.end() for one in several] == [0] * len(several)


def test_an_ignored_hang_up_stays_ignored(launched):
    command = launched.command(
        UP + "sys.exit(signal.getsignal(signal.SIGHUP) != signal.SIG_IGN)", 9, heeded=""
    )
    result = subprocess.run(["nohup", *command], env=launched.environment, capture_output=True)
    assert result.returncode == 0, result.stderr


def test_a_display_that_does_not_start_is_said(launched, tmp_path):
    fake(tmp_path / "path", "echo '(EE) error: no fonts' >&2; exit 1", launched)
    launched.start("", first="")
    assert launched.end() == 1
    assert "does not start ((EE) error: no fonts); run" in launched.heard()


def test_a_signal_while_the_display_starts_ends_both(launched, tmp_path):
    fake(tmp_path / "path", "touch $AMGSRN_TEST_SEEN; exec sleep 1000", launched)
    launched.environment["AMGSRN_TEST_SEEN"] = str(tmp_path / "seen")
    launched.start("", first="")
    while not (tmp_path / "seen").exists():
        time.sleep(0.05)
    launched.send(signal.SIGTERM)
    assert launched.end() == -signal.SIGTERM


def fake(folder: Path, script: str, launched: Launched) -> None:
    """Put another X server before the one that is there."""
    folder.mkdir()
    (folder / "Xvfb").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "Xvfb").chmod(0o755)
    launched.environment["PATH"] = f"{folder}:{os.environ['PATH']}"


def test_a_terminal_reaches_the_program_once(launched):
    """Keys, Ctrl-C and Ctrl-Z, with a shell as the terminal's owner as ever."""
    script = (
        "signal.signal(signal.SIGINT, lambda *_: print('interrupted', flush=True))\n"
        f"{UP}\nfor line in sys.stdin: print(line.strip()[::-1], flush=True)"
    )
    command = launched.command(script, 60)
    child, terminal = pty.fork()
    if child == 0:
        for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)  # a shell cannot heed what it was told to ignore
        shell = shutil.which("bash") or "/bin/sh"
        os.execve(shell, [shell, "--norc", "-i"], {**launched.environment, "PS1": "$ "})
    said = Terminal(terminal)
    try:
        said.type("exec 2>&1; " + " ".join(map(quoted, command)) + "\n").until("\nup")
        said.type("abc\n").until("cba")
        said.type("\x03").until("interrupted")
        said.type("\x1a").until("Stopped")  # Ctrl-Z
        said.until("$ ")  # keys before the shell's prompt may be lost
        said.type("fg\n").type("xyz\n").until("zyx")
        said.type("\x04").until("$ ")  # the end of its input
        said.type("echo status $?\n").until("status 0")
        assert said.text.count("interrupted") == 1
        said.type("exit\n")
    finally:
        os.close(terminal)
        os.waitpid(child, 0)
    assert left_at_last(launched.mark) == []


def quoted(word: str) -> str:
    return "'" + word.replace("'", "'\\''") + "'"


class Terminal:
    """The other side of a pseudo-terminal."""

    def __init__(self, handle: int) -> None:
        self._handle, self.text, self._read = handle, "", 0

    def type(self, keys: str) -> Terminal:
        os.write(self._handle, keys.encode())
        return self

    def until(self, wanted: str) -> None:
        """Read on until something is there that was not read before."""
        end = time.monotonic() + 60
        while (found := self.text.find(wanted, self._read)) < 0:
            assert time.monotonic() < end, self.text
            if select.select([self._handle], [], [], 0.2)[0]:
                read = os.read(self._handle, 4096).decode(errors="replace")
                self.text += read.replace("\r", "")
        self._read = found + len(wanted)
