"""The worker process of a training job: ``python -m amgsrn_core.jobs.worker RUN_FOLDER``."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from amgsrn_core.errors import AmgsrnError, ConfigurationError
from amgsrn_core.jobs import status as files
from amgsrn_core.jobs.job import JobDescription
from amgsrn_core.jobs.live import write_live
from amgsrn_core.jobs.status import JobStatus
from amgsrn_core.runs import TrainingOutcome, train, train_series
from amgsrn_core.runs.outcome import stopped_text
from amgsrn_core.runs.stop_file import stopped_since
from amgsrn_core.system.extras import require
from amgsrn_core.system.files import read_json
from amgsrn_core.system.run_folder import JobFolder, RunFolder, live_file, parts_folder
from amgsrn_core.training import Command, Progress
from amgsrn_core.volume.source import open_source
from amgsrn_core.volume.volume import Volume

_STATUS_SECONDS = 0.4
# A preview costs about as much as an iteration; previews may take this share of the time.
_LIVE_SECONDS, _LIVE_SHARE = 1.0, 0.2


def main(folder: Path) -> int:
    """Do the job that is described in a run's folder; return the exit code."""
    reporter = _Reporter(folder)
    try:
        values = read_json(JobFolder(folder).job_file)
        if values is None:
            raise ConfigurationError(f"There is no readable job in {folder}.")
        job = JobDescription.from_json(values)
        if job.threads:
            require("torch", "Training").set_num_threads(job.threads)
        # The package is loaded for seconds before the run can see to its stop file itself.
        begun = JobFolder(folder).job_file.stat().st_mtime_ns
        if stopped_by := stopped_since(Path(job.output), begun):
            reporter.end_stopped(stopped_by)
            return 0
        outcome = _train(job, reporter)
        outcome.refuse_missing()
    except AmgsrnError as error:
        reporter.end("failed", str(error))
        return 1
    except Exception as error:
        logging.exception("The training failed")
        reporter.end("failed", f"The training failed unexpectedly: {error!r}.")
        return 1
    if outcome.completed:
        reporter.publish_model(outcome.path)
    else:
        reporter.end_stopped(outcome.stopped_by)
    return 0


def _train(job: JobDescription, reporter: _Reporter) -> TrainingOutcome:
    """Train what the job names: a volume, or the time steps of a series."""
    is_series = job.source["kind"] == "series"
    volumes = [
        open_source(source) for source in (job.source["steps"] if is_series else [job.source])
    ]
    reporter.prepare(volumes, job)
    settings = job.settings
    options = [getattr(settings, each.name) for each in dataclasses.fields(settings)]
    if is_series:
        return train_series(volumes, job.output, *options, restart=job.restart, observer=reporter)
    return train(volumes[0], job.output, *options, restart=job.restart, observer=reporter)


class _Reporter:
    """Observes a training: publishes status and previews, and passes on what it is told."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._status = JobStatus(pid=os.getpid())
        self._status_time = self._live_time = -1e9
        self._live_wait = _LIVE_SECONDS
        self._live_done = -1
        self._live_folder = folder
        self._volumes: Sequence[Volume] = ()
        self._complete = 0  # steps whose last live result is published
        self._job: JobDescription | None = None
        self._signalled = False
        self._parent = os.getppid()
        files.write_status(folder, self._status)
        for name in ("SIGTERM", "SIGINT", "SIGHUP"):
            if hasattr(signal, name):  # Windows has no SIGHUP
                signal.signal(getattr(signal, name), self._on_signal)

    def prepare(self, volumes: Sequence[Volume], job: JobDescription) -> None:
        """Note what is being trained."""
        self._volumes, self._job = volumes, job
        self._live_folder = Path(job.live_folder or self._folder)

    def __call__(self, progress: Progress) -> Command:
        status = JobStatus.of_progress(progress)
        is_new = status.state != self._status.state
        if is_new or time.monotonic() - self._status_time > _STATUS_SECONDS:
            self._publish_status(status)
        if progress.step > self._complete:
            self._publish_steps(progress.step)
        bricks = progress.bricks
        if progress.phase != "paused" and (progress.network is not None or bricks is not None):
            done = progress.iteration if bricks is None else bricks.done or -1
            self._publish_live_if_due(progress, done)
        stopped = self._signalled or self._is_alone()
        return Command.STOP if stopped else files.read_control(self._folder)

    def publish_model(self, path: Path) -> None:
        """Publish the last live results, made of the finished model."""
        if self._live_folder == self._folder:
            return  # they went with the run
        for step in range(self._complete, len(self._volumes)):
            self._publish_file(path, step, step)

    def end_stopped(self, by: str) -> None:
        """Publish the last status of a run that was stopped, perhaps by a stop file."""
        how = stopped_text(by)
        self.end("stopped", f"{how}; start it again with the same options to continue.", by)

    def end(self, state: str, message: str, stopped_by: str = "") -> None:
        """Publish the last status."""
        last = dataclasses.replace(
            self._status, state=state, message=message, stopped_by=stopped_by
        )
        with contextlib.suppress(OSError):  # a full disk must not hide the message in the log
            files.write_status(self._folder, last)
        print(message, file=sys.stderr)  # noqa: T201 -- the log of this process

    def _publish_status(self, status: JobStatus) -> None:
        self._status = status
        with contextlib.suppress(OSError):
            files.write_status(self._folder, status)
        self._status_time = time.monotonic()

    def _publish_steps(self, end: int) -> None:
        """Publish the last live results of the time steps before `end`."""
        assert self._job is not None
        for step in range(self._complete, end):
            self._publish_file(RunFolder(parts_folder(self._job.output)).step(step), 0, step)
        self._complete, self._live_done = end, -1

    def _publish_file(self, path: Path, number: int, step: int) -> None:
        """Publish what a time step of a finished model shows, as that of a step of this run."""
        from amgsrn_core.jobs import previews

        with contextlib.suppress(OSError):
            write_live(live_file(self._live_folder, step), previews.of_file(path, number))

    def _publish_live_if_due(self, progress: Progress, done: int) -> None:
        """Publish a preview if there is something new, as `done` iterations or bricks tell."""
        now = time.monotonic()
        if done <= self._live_done or now - self._live_time < self._live_wait:
            return
        with contextlib.suppress(OSError):
            self._publish_live(progress)
        self._live_time, self._live_done = time.monotonic(), done
        self._live_wait = max(_LIVE_SECONDS, (self._live_time - now) / _LIVE_SHARE)

    def _publish_live(self, progress: Progress) -> None:
        # They load PyTorch, which a run over bricks does without until its first one is done.
        from amgsrn_core.jobs import previews

        job, bricks = self._job, progress.bricks
        assert job is not None
        if bricks is None:
            live = previews.of_network(self._volumes[progress.step], progress, job.settings.storage)
        else:
            assert bricks.partial is not None
            live = previews.of_partial(bricks.partial(), progress.iteration)
        write_live(live_file(self._live_folder, progress.step), live)

    def _is_alone(self) -> bool:
        """Tell whether who watched the run has gone, also without a word, as when killed."""
        if files.has_lapsed(self._live_folder):
            return True
        return os.getppid() != self._parent and files.is_leased(self._live_folder)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._signalled = True


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    sys.exit(main(Path(sys.argv[1])))
