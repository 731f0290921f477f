"""Runs programs inside ParaView's executables, on a virtual display of their own."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from support.paths import ROOT
from support.pictures import content
from vtkmodules.util.numpy_support import vtk_to_numpy
from vtkmodules.vtkIOImage import vtkPNGReader

from amgsrn_core.cli.paraview_launcher import find_program, paraview_environment
from amgsrn_core.cli.x_server import find_server, virtual_display
from amgsrn_core.errors import AmgsrnError

PROGRAMS = Path(__file__).parent / "programs"
ARTEFACTS = ROOT / "artefacts"


def pytest_collection_modifyitems(items):
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.paraview)


def missing(what: str) -> None:
    """Skip where somebody lacks a program; where the checks of record run, that is a failure."""
    if os.environ.get("CI"):
        pytest.fail(f"{what} is missing, and these tests must run here")
    pytest.skip(f"{what} is missing")


def executable(name: str) -> str:
    try:
        path = str(find_program(name)) if name != "mpiexec" else shutil.which(name)
    except AmgsrnError as error:
        path = missing(str(error))
    return path or missing(name)


@dataclass
class Run:
    """What a program left behind."""

    returncode: int
    stdout: str
    stderr: str
    results: dict[str, Any] = field(default_factory=dict)

    @property
    def messages(self) -> list[str]:
        """Lines that ParaView or Python printed as errors."""
        marks = ("ERR|", "ERROR", "Traceback", "Error:")
        lines = (self.stdout + self.stderr).splitlines()
        return [line for line in lines if any(mark in line for mark in marks)]


class ParaView:
    """Starts ParaView's programs with the suite on their paths."""

    def __init__(self, display: dict[str, str], folder: Path) -> None:
        self.folder = folder
        self.environment = paraview_environment()
        # The programs load the plugin themselves; one test is about this variable.
        self.plugin_path = self.environment.pop("PV_PLUGIN_PATH")
        self.environment.update(
            **display,
            XDG_CONFIG_HOME=str(folder / "config"),
            XDG_RUNTIME_DIR=str(folder),
            OMP_NUM_THREADS="1",
            OMPI_ALLOW_RUN_AS_ROOT="1",
            OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1",
            # Ranks that wait must not keep others from the cores.
            OMPI_MCA_mpi_yield_when_idle="1",
            TMPDIR=str(folder),
        )

    def run(
        self,
        program: str,
        script: str,
        *arguments: object,
        ranks: int = 0,
        timeout: float = 150,
        check: bool = True,
        environment: dict[str, str | None] | None = None,
    ) -> Run:
        """Run ``programs/SCRIPT RESULTS ARGUMENTS...`` and read the JSON file it leaves."""
        results = self.folder / f"{Path(script).stem}-{time.monotonic_ns()}.json"
        command = [*on_ranks(program, ranks), str(PROGRAMS / script), str(results)]
        command += [str(argument) for argument in arguments]
        run = finish(self.start(command, environment), timeout)
        if results.exists():
            run.results = json.loads(results.read_text())
        if check:
            assert run.returncode == 0, run.stdout + run.stderr
            assert run.results, run.stdout + run.stderr
        return run

    @contextlib.contextmanager
    def served(self, port: int, ranks: int = 0) -> Iterator[Run]:
        """Have a server for one client, and yield what it leaves behind when that has gone."""
        server = self.start([*on_ranks("pvserver", ranks), f"--server-port={port}"])
        left = Run(-1, "", "")
        try:
            for line in server.stdout:
                if "Accepting connection" in line:
                    break
            yield left
            vars(left).update(vars(finish(server, 30)))
        finally:
            end(server)
        assert left.returncode == 0, left.stderr

    def start(self, command: list[str], environment: dict[str, str | None] | None = None) -> Any:
        """Start a command in a process group of its own."""
        return subprocess.Popen(
            command,
            env={
                k: v
                for k, v in {**self.environment, **(environment or {})}.items()
                if v is not None
            },
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,
        )


def on_ranks(program: str, ranks: int) -> list[str]:
    """Return how one of ParaView's programs is started, by MPI where there are to be ranks."""
    if not ranks:
        return [executable(program)]
    options = ["--oversubscribe", "--bind-to", "none", "-n", str(ranks)]
    return [executable("mpiexec"), *options, executable(program)]


def covered(path):
    """Return the share of a picture that differs from its corner, and how many colours it has."""
    reader = vtkPNGReader()
    reader.SetFileName(str(path))
    reader.Update()
    pixels = vtk_to_numpy(reader.GetOutput().GetPointData().GetScalars())
    return content(pixels[None, ::-1])


def finish(process: Any, timeout: float) -> Run:
    """Wait for a process; one that takes too long is ended with everything it started."""
    try:
        stdout, stderr = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        end(process)
        stdout, stderr = process.communicate()
        pytest.fail(f"{process.args} took more than {timeout} s\n{stdout}\n{stderr}")
    return Run(process.returncode, stdout, stderr)


def end(process: Any) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


@pytest.fixture(scope="session")
def screen(tmp_path_factory):
    """A virtual display: its variables, and the file with its picture (an X window dump)."""
    if find_server() is None:
        missing("Xvfb")
    folder = tmp_path_factory.mktemp("screen")
    with virtual_display(
        folder, screen="1500x950x24", options=["-fbdir", str(folder)]
    ) as variables:
        yield variables, folder / "Xvfb_screen0"


@pytest.fixture
def paraview(screen, tmp_path):
    executable("pvpython")
    return ParaView(screen[0], tmp_path)


@pytest.fixture
def free_port():
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return probe.getsockname()[1]
