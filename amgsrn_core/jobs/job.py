"""A training in another process, seen from the one that started it. Imports no torch."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from amgsrn_core.errors import OutputError, ResumeError, TrainingError
from amgsrn_core.jobs import status as files
from amgsrn_core.jobs.live import LiveResult, read_live
from amgsrn_core.jobs.status import JobStatus
from amgsrn_core.runs.settings import Settings
from amgsrn_core.system.files import how_it_ended, replace_text
from amgsrn_core.system.interpreter import worker_environment, worker_python
from amgsrn_core.system.output import ensure_writable, reason
from amgsrn_core.system.run_folder import JobFolder, RunFolder, live_file, parts_folder, workspace
from amgsrn_core.training.progress import Command

_STOP_SECONDS = 30.0


@dataclass(frozen=True)
class JobDescription:
    """Everything that a worker needs to know; the content of ``job.json``.

    `source` is ``{"kind": "file", "path", "variables", "time"}`` or ``{"kind": "exported",
    "path"}`` for a folder made by :func:`amgsrn_core.volume.export_volume`, both perhaps with
    ``"fill_values"``, see :mod:`amgsrn_core.volume.source`; ``{"kind": "series",
    "steps": [source, ...]}`` trains several time steps into one model. `live_folder` is where live
    results go, or empty for the run's own folder.
    """

    output: str
    source: dict[str, Any]
    settings: Settings
    restart: bool
    threads: int
    live_folder: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON types."""
        return {
            "output": self.output,
            "source": self.source,
            **self.settings.to_json(),
            "restart": self.restart,
            "threads": self.threads,
            "live_folder": self.live_folder,
        }

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> JobDescription:
        """Make an instance from :meth:`to_json`'s result."""
        return cls(
            output=values["output"],
            source=values["source"],
            settings=Settings.from_json(values),
            restart=values["restart"],
            threads=values["threads"],
            live_folder=values["live_folder"],
        )


class TrainingJob:
    """A worker process that trains one model, and the means to watch and steer it.

    Use :meth:`start`. The worker lives on when this object goes; call :meth:`stop` to end it with
    its state kept, so that the same job started again continues.
    """

    def __init__(
        self, output: Path, folder: Path, live_folder: Path, process: subprocess.Popen[bytes]
    ) -> None:
        self.output, self._folder, self._process = output, folder, process
        self._live_folder = live_folder
        self._last = JobStatus()

    @classmethod
    def start(
        cls,
        output: str | os.PathLike[str],
        source: dict[str, Any],
        settings: Settings | None = None,
        *,
        restart: bool = False,
        threads: int = 0,
        live_folder: str | os.PathLike[str] | None = None,
    ) -> TrainingJob:
        """Start a worker and return at once.

        Parameters
        ----------
        output : path
            The model file to write.
        source : dict
            See :class:`JobDescription`.
        settings : Settings, optional
        restart : bool, default: False
            Discard interrupted or finished work of another configuration at `output`.
        threads : int, default: 0
            Threads of the worker; 0 leaves it to torch.
        live_folder : path, optional
            An existing folder for :meth:`live`. The run's own folder, the default, goes when the
            model is complete; here the last result, made of the finished model, stays.

        Raises
        ------
        OutputError
            `output` cannot be written.
        ConfigurationError
            No Python interpreter was found for the worker.
        """
        output = Path(os.path.abspath(os.fspath(output)))
        ensure_writable(output)
        description = JobDescription(
            output=str(output),
            source=source,
            settings=settings or Settings(),
            restart=restart,
            threads=threads,
            live_folder="" if live_folder is None else os.path.abspath(os.fspath(live_folder)),
        )
        parts = parts_folder(output)
        # Every run has a folder of its own: a second job on the same output must not disturb the
        # first, and finds out by itself that it came second.
        job = RunFolder(parts).new_job()
        folder = job.path
        try:
            parts.mkdir(exist_ok=True)
            _remove_ended_runs(parts)
            folder.mkdir()
            replace_text(job.job_file, json.dumps(description.to_json()))
            with open(job.log_file, "ab") as log:
                process = subprocess.Popen(
                    [worker_python(), "-m", "amgsrn_core.jobs.worker", str(folder)],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env=worker_environment(),
                    start_new_session=True,  # Ctrl-C in a script's terminal is the script's
                )
        except OSError as error:
            raise OutputError(f"Cannot start training in {parts}: {reason(error)}.") from error
        return cls(output, folder, Path(description.live_folder or folder), process)

    @property
    def is_alive(self) -> bool:
        """Whether the worker's process runs."""
        return self._process.poll() is None

    def status(self) -> JobStatus:
        """Return the state of the run as last published; a dead worker's is "failed"."""
        alive = self.is_alive  # asked first: a worker publishes its end before it ends
        self._last = files.read_status(self._folder) or self._last
        if not alive and not self._last.has_ended:
            if self._process.returncode == 0 and self.output.exists():
                # The last steps may have come after the last word of the worker.
                done, last = self._last.iterations, self._last.steps - 1
                self._last = dataclasses.replace(
                    self._last, state="done", iteration=done, step=last
                )
            else:
                self._last = dataclasses.replace(
                    self._last, state="failed", message=self._epitaph()
                )
        return self._last

    def live(self, newer_than: int = -1, step: int = 0) -> LiveResult | None:
        """Return the network in the making; None when nothing newer is published.

        Parameters
        ----------
        newer_than : int, default: -1
            Iteration of the result that the caller has already.
        step : int, default: 0
            Of a series: the time step, whose result stays when others are in training.
        """
        return read_live(live_file(self._live_folder, step), newer_than)

    def live_time(self, step: int = 0) -> int:
        """Return when a step's last live result was published, in ns; 0 before the first."""
        try:
            return live_file(self._live_folder, step).stat().st_mtime_ns
        except OSError:
            return 0

    def renew_lease(self) -> None:
        """Tell the worker that somebody still watches it.

        After the first call it must come again within 20 s, or the worker stops, state kept: a
        window that was closed or a program that was killed leaves nothing behind.
        """
        files.renew_lease(self._live_folder)

    def pause(self) -> None:
        """Let the worker rest after its current iteration."""
        self._tell(Command.PAUSE)

    def resume(self) -> None:
        """Let a paused worker go on."""
        self._tell(Command.CONTINUE)

    def stop(self, wait: bool = True) -> None:
        """End the worker with a checkpoint; after half a minute without an answer, by force."""
        if not self.is_alive:
            return
        self._tell(Command.STOP)
        if wait:
            try:
                self._process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.kill()

    def kill(self) -> None:
        """End the worker at once; what it did since its last checkpoint is lost."""
        self._process.kill()
        self._process.wait()

    def wait(
        self, on_status: Callable[[JobStatus], bool] | None = None, poll: float = 0.2
    ) -> JobStatus:
        """Return the final status when the worker has ended.

        Parameters
        ----------
        on_status : callable, optional
            Called with the status every `poll` seconds; False stops the run.
        """
        while not (status := self.status()).has_ended:
            if on_status is not None and not on_status(status):
                self.stop()
            time.sleep(poll)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_STOP_SECONDS)
        return status

    def clean(self) -> None:
        """Remove what the run itself left beside the model, once its worker has ended.

        Interrupted work stays. The status is lost with the rest.
        """
        if not self.is_alive:
            shutil.rmtree(self._folder, ignore_errors=True)
            with contextlib.suppress(ResumeError, OutputError), workspace(self.output):
                pass  # leaving the workspace removes it if nothing is in it

    def check(self) -> None:
        """Raise :class:`TrainingError` with the worker's own words if it failed."""
        status = self.status()
        if status.state == "failed":
            raise TrainingError(status.message)

    def _tell(self, command: Command) -> None:
        with contextlib.suppress(OSError):  # the folder goes when the model is complete
            files.write_control(self._folder, command)

    def _epitaph(self) -> str:
        """Say how the worker died, with the end of its log."""
        how = how_it_ended(self._process.returncode, JobFolder(self._folder).log_file)
        return f"The training process {how}; start it again to continue from the last checkpoint."


def _remove_ended_runs(parts: Path) -> None:
    for job in RunFolder(parts).jobs():
        status = files.read_status(job.path)
        if status is not None and status.has_ended:
            shutil.rmtree(job.path, ignore_errors=True)
