"""`amgsrn pvpython` and its siblings end with everything that they started."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time

import pytest
from conftest import PROGRAMS, executable
from support.processes import end_all, left, left_at_last, marked
from test_paraview_ranks import training_worker

from amgsrn_core.jobs.status import LEASE_SECONDS

pytestmark = pytest.mark.skipif(shutil.which("Xvfb") is None, reason="Xvfb is missing")
AMGSRN = [sys.executable, "-m", "amgsrn_core.cli"]


@pytest.fixture
def bare(tmp_path):
    """An environment without a display, and its mark."""
    executable("pvpython")
    kept = {k: v for k, v in os.environ.items() if k not in ("DISPLAY", "WAYLAND_DISPLAY")}
    # A shell that looks for Open MPI's own programs needs to be told that root may.
    root = dict.fromkeys(("OMPI_ALLOW_RUN_AS_ROOT", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM"), "1")
    rest = {"OMP_NUM_THREADS": "1", "TMPDIR": str(tmp_path), "OMPI_MCA_mpi_yield_when_idle": "1"}
    environment, mark = marked({**kept, **root, **rest})
    yield environment, mark
    end_all(mark)


def start(command, environment, until=""):
    """Start a command, and wait for a line of its output."""
    process = subprocess.Popen(
        command,
        env=environment,
        cwd=environment["TMPDIR"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    if not until:
        return process
    for line in process.stdout:
        if until in line:
            return process
    raise AssertionError(f"{command} ended with {process.wait()}")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_signal_ends_a_server_with_its_display(bare, free_port, number):
    environment, mark = bare
    command = [*AMGSRN, "pvserver", f"--server-port={free_port}"]
    process = start(command, environment, "Accepting connection")
    # The launcher, the server, its display, and perhaps Open MPI's daemon.
    assert len(left(mark)) >= 3
    process.send_signal(number)
    process.communicate(timeout=20)
    assert process.returncode == -number
    assert left_at_last(mark) == []


def test_a_signal_ends_a_training_that_goes_on_later(bare, tmp_path):
    environment, mark = bare
    script = str(PROGRAMS / "endless_training.py")
    process = start([*AMGSRN, "pvpython", script, "-", str(tmp_path)], environment)
    training_worker(tmp_path / "endless.amgsrn.parts")
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=20)
    assert process.returncode == -signal.SIGTERM
    # Long before the worker would have found out that nobody watches it any more.
    assert left_at_last(mark, LEASE_SECONDS / 2) == []
    assert (tmp_path / "endless.amgsrn.parts/brick-0000/checkpoint.safetensors").exists()


def test_displays_of_others_are_left_alone(bare):
    """One that ended just when hwloc tried it took pvpython with it."""
    environment, mark = bare
    ours, heard = set(), set()
    with contextlib.ExitStack() as stack:
        waiting = []
        for number in range(10):
            server = stack.enter_context(socket.socket(socket.AF_UNIX))
            with contextlib.suppress(OSError):  # somebody's display
                server.bind(f"\0/tmp/.X11-unix/X{number}")
                server.listen()
                server.settimeout(0)
                waiting.append(server)
        assert waiting
        program = "from paraview.simple import *; Show(Sphere()); Render()"
        process = subprocess.Popen([*AMGSRN, "pvpython", "-c", program], env=environment)
        while process.poll() is None:
            ours |= {int(line.split()[0]) for line in left(mark)}
            for server in waiting:
                with contextlib.suppress(BlockingIOError):
                    heard.add(caller(server))
            time.sleep(0.05)
    assert process.returncode == 0
    assert not heard & ours  # other programs of this computer may still do it


def caller(server):
    """Accept a client, and return the number of its process."""
    with server.accept()[0] as client:
        credentials = client.getsockopt(
            socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")
        )
    return struct.unpack("3i", credentials)[0]


@pytest.mark.mpi
def test_ranks_end_with_their_displays(bare, tmp_path):
    environment, mark = bare
    script = tmp_path / "render.py"
    script.write_text(
        "import time\nfrom paraview.simple import *\nSphere()\nShow()\nRender()\n"
        "print('rendered', flush=True)\nwhile True:\n    time.sleep(0.1)\n"
    )
    options = ["--oversubscribe", "--bind-to", "none", "-n", "2"]
    command = [executable("mpiexec"), *options, *AMGSRN, "pvbatch", str(script)]
    process = start(command, environment, "rendered")
    assert sum("Xvfb" in line for line in left(mark)) == 2
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    assert left_at_last(mark) == []
