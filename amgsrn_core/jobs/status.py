"""What a job and its worker tell each other: small files in a folder of the run."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import os
import time
from dataclasses import dataclass
from pathlib import Path

from amgsrn_core.system.files import read_json, replace_text
from amgsrn_core.system.run_folder import JobFolder, lease_file
from amgsrn_core.training.progress import Command, Progress

LEASE_SECONDS = 20.0
STATES = ("starting", "training", "paused", "finishing", "done", "stopped", "failed")
ENDED = ("done", "stopped", "failed")
_PHASES = {
    "reading": "starting",
    "training": "training",
    "paused": "paused",
    "measuring": "finishing",
    "compressing": "finishing",
    "saving": "finishing",
}


@dataclass(frozen=True)
class JobStatus:
    """State of a training job.

    Attributes
    ----------
    state : str
        One of :data:`STATES`.
    iteration, iterations : int
        Done and planned; of a series, in the present time step.
    loss, psnr, learning_rate, seconds, eta_seconds : float
        As in :class:`amgsrn_core.training.Progress`; NaN while unknown.
    message : str
        For people: what a failed job stumbled over.
    pid : int
        Process of the worker, 0 before it has started.
    step, steps : int
        Of a series: the present time step, from 0, and how many there are.
    stopped_by : str
        The stop file that ended the run, or empty.
    """

    state: str = "starting"
    iteration: int = 0
    iterations: int = 0
    loss: float = math.nan
    psnr: float = math.nan
    learning_rate: float = 0.0
    seconds: float = 0.0
    eta_seconds: float = math.nan
    message: str = ""
    pid: int = 0
    step: int = 0
    steps: int = 1
    stopped_by: str = ""

    @classmethod
    def of_progress(cls, progress: Progress) -> JobStatus:
        """Return what this process's observer is told, as a status."""
        eta = progress.eta_seconds
        return cls(
            _PHASES[progress.phase],
            progress.iteration,
            progress.iterations,
            loss=progress.loss,
            psnr=progress.psnr,
            learning_rate=progress.learning_rate,
            seconds=progress.seconds,
            eta_seconds=math.nan if eta is None else eta,
            pid=os.getpid(),
            step=progress.step,
            steps=progress.steps,
        )

    @property
    def has_ended(self) -> bool:
        """Whether the worker will change nothing any more."""
        return self.state in ENDED

    @property
    def fraction(self) -> float:
        """Share of the iterations that are done, 0 to 1; every step of a series counts alike."""
        done = min(1.0, self.iteration / self.iterations) if self.iterations else 0.0
        return min(1.0, (self.step + done) / self.steps)


def write_status(folder: Path, status: JobStatus) -> None:
    """Replace the status file; a reader sees the old or the new one, never a part."""
    values = dataclasses.asdict(status)
    # JSON knows no NaN.
    plain = {k: None if isinstance(v, float) and v != v else v for k, v in values.items()}
    replace_text(JobFolder(folder).status_file, json.dumps(plain))


def read_status(folder: Path) -> JobStatus | None:
    """Return the status; None before the first one is written or when it is unreadable."""
    values = read_json(JobFolder(folder).status_file)
    if values is None:
        return None
    known = {field.name: field for field in dataclasses.fields(JobStatus)}
    kept = {k: v for k, v in values.items() if k in known and v is not None}
    status = JobStatus(**kept)
    return status if status.state in STATES else None


def write_control(folder: Path, command: Command) -> None:
    """Tell the worker what to do."""
    replace_text(JobFolder(folder).control_file, command.value)


def read_control(folder: Path) -> Command:
    """Return what the worker is told."""
    try:
        return Command.of(JobFolder(folder).control_file.read_text().strip().lower())
    except OSError:
        return Command.CONTINUE


def renew_lease(live_folder: Path) -> None:
    """Note that somebody still watches the run."""
    with contextlib.suppress(OSError):
        lease_file(live_folder).touch()


def is_leased(live_folder: Path) -> bool:
    """Tell whether somebody has watched the run."""
    return lease_file(live_folder).exists()


def has_lapsed(live_folder: Path) -> bool:
    """Tell whether whoever watched a run has gone: no renewal for long, or no folder any more.

    A run that was never watched never lapses.
    """
    try:
        renewed = lease_file(live_folder).stat().st_mtime
    except OSError:
        return not live_folder.is_dir()
    return time.time() - renewed > LEASE_SECONDS
