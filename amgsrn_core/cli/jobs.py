"""``amgsrn jobs``: the original's job files, each job on a free device."""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from amgsrn_core.cli.failures import Interrupted, UsageError
from amgsrn_core.cli.report import duration, print_rows
from amgsrn_core.cli.signals import Stop, stoppable
from amgsrn_core.cli.virtual_display import ends_with_parent
from amgsrn_core.errors import AmgsrnError, ConfigurationError, OutputError
from amgsrn_core.model.replacement import guard
from amgsrn_core.original.jobs import Folders, Job, job_schema, read_jobs
from amgsrn_core.system.devices import can_have_gpu
from amgsrn_core.system.extras import expect
from amgsrn_core.system.output import json_text, reason
from amgsrn_core.volume.replacement import TEXT

_POLL_SECONDS = 0.2


class JobsFailed(AmgsrnError):
    """Not all jobs succeeded."""


def run(arguments: argparse.Namespace) -> int:
    """Carry out the jobs, or print the plan."""
    if arguments.schema:
        print(json_text(job_schema(), indent=2))
        return 0
    if arguments.settings is None:
        raise UsageError("Name a job file; `amgsrn example jobs` writes one.")
    folders = Folders(Path(arguments.data), Path(arguments.models), Path(arguments.output_dir))
    data_device = "cpu" if arguments.data_devices == "cpu" else "auto"
    jobs = read_jobs(arguments.settings, folders, data_device)
    devices = _devices(arguments.devices)
    if arguments.retries < 0:
        raise ConfigurationError(f"retries must be at least 0, not {arguments.retries}.")
    if not arguments.dry_run and any(c[0] == "train" for job in jobs for c in job.commands):
        expect("torch", "Training")
    if arguments.dry_run:
        _print_plan(jobs, devices)
        return 0
    for job in jobs:
        if job.ignored:
            print(f"{job.name}: no meaning here: {', '.join(job.ignored)}")
    with stoppable() as stop:
        runner = _Runner(jobs, devices, arguments.retries, stop)
        runner.run()
    print_rows(runner.summary())
    if stop:
        raise Interrupted(
            "Stopped; trainings keep their work. Run the same command again to continue.",
            stop.number or 2,
        )
    if failed := [job.name for job in jobs if runner.state(job) != "done"]:
        raise JobsFailed(
            f"{len(failed)} of {len(jobs)} jobs did not succeed: {', '.join(failed)}; their logs "
            "say why."
        )
    return 0


def _devices(text: str) -> list[str]:
    """Return the devices of the original's option: numbers are CUDA's, "all" are all of them."""
    if text == "all":
        if not can_have_gpu():
            return ["cpu"]
        import torch

        return [f"cuda:{i}" for i in range(torch.cuda.device_count())] or ["cpu"]
    names = [name.strip() for name in text.split(",")]
    names = [f"cuda:{name}" if name.isdigit() else name for name in names]
    if len(set(names)) < len(names) or not all(names):
        raise ConfigurationError(f"--devices {text!r} is not a list of different devices.")
    if any(name != "cpu" for name in names):
        from amgsrn_core.networks.devices import select_device

        for name in names:
            select_device(name)
    return names


def _print_plan(jobs: list[Job], devices: list[str]) -> None:
    print(f"{len(jobs)} job(s) on {', '.join(devices)}")
    for number, job in enumerate(jobs, 1):
        print(f"\n{number}. {job.name}" + (f", after {job.needs.name}" if job.needs else ""))
        for command in job.commands:
            print(f"   amgsrn {shlex.join(command)}")
        print(f"   log: {job.log}")
        if job.ignored:
            print(f"   no meaning here: {', '.join(job.ignored)}")


@dataclass
class _Progress:
    """How far a job is: waiting, running, done, failed or skipped."""

    state: str = "waiting"
    attempts: int = 0
    command: int = 0
    devices: tuple[str, ...] = ()
    process: subprocess.Popen[bytes] | None = None
    log: IO[bytes] | None = None
    started: float = 0.0
    seconds: float = 0.0


class _Runner:
    """Starts each job when a device is free and what it needs has succeeded."""

    def __init__(self, jobs: list[Job], devices: list[str], retries: int, stop: Stop) -> None:
        self._jobs, self._devices, self._retries, self._stop = jobs, devices, retries, stop
        self._free = list(devices)
        self._all = {id(job): _Progress() for job in jobs}

    def state(self, job: Job) -> str:
        return self._all[id(job)].state

    def run(self) -> None:
        try:
            while any(self.state(job) in ("waiting", "running") for job in self._jobs):
                if self._stop:
                    self._end()
                    return
                for job in self._jobs:
                    self._advance(job)
                time.sleep(_POLL_SECONDS)
        except BaseException:
            self._end()
            raise

    def summary(self) -> Iterator[tuple[str, str]]:
        for job in self._jobs:
            progress = self._all[id(job)]
            words = progress.state
            if progress.seconds:
                words += f" after {duration(progress.seconds)}"
            if progress.state == "failed":
                words += f", see {job.log}"
            yield job.name, words

    def _advance(self, job: Job) -> None:
        progress = self._all[id(job)]
        if progress.state == "waiting":
            if job.needs is not None and self.state(job.needs) in ("failed", "skipped"):
                progress.state = "skipped"
                print(f"{job.name}: skipped, because {job.needs.name} failed", flush=True)
            elif job.needs is None or self.state(job.needs) == "done":
                self._start_if_free(job, progress)
        elif progress.process is not None and progress.process.poll() is not None:
            self._next(job, progress, progress.process.returncode)

    def _start_if_free(self, job: Job, progress: _Progress) -> None:
        count = len(self._devices) if job.spread else 1
        if len(self._free) < count:
            return
        progress.devices = tuple(self._free[:count])
        self._free = self._free[count:]
        progress.state, progress.started = "running", time.monotonic()
        print(f"{job.name}: on {', '.join(progress.devices)}, log {job.log}", flush=True)
        try:
            for folder in {job.log.parent, *map(Path, _folders(job))}:
                folder.mkdir(parents=True, exist_ok=True)
            guard(job.log, TEXT)
            progress.log = open(job.log, "wb")  # noqa: SIM115 -- for as long as the job runs
        except OSError as error:
            if isinstance(error, OutputError):
                raise
            raise OutputError(f"Cannot write {job.log}: {reason(error)}.") from error
        self._launch(job, progress)

    def _launch(self, job: Job, progress: _Progress) -> None:
        command = list(job.commands[progress.command])
        if command[0] != "import":
            command += ["--device", ",".join(progress.devices)]
        assert progress.log is not None  # it is opened before
        progress.log.write(f"$ amgsrn {shlex.join(command)}\n".encode())
        progress.log.flush()
        progress.process = subprocess.Popen(
            [sys.executable, "-m", "amgsrn_core.cli", *command],
            stdin=subprocess.DEVNULL,
            stdout=progress.log,
            stderr=subprocess.STDOUT,
            # An interrupt of the terminal reaches us alone; we pass it on.
            start_new_session=True,
            # Also if we are killed: a job that nobody waits for would hold the device.
            preexec_fn=ends_with_parent(signal.SIGTERM),
        )

    def _next(self, job: Job, progress: _Progress, status: int) -> None:
        """Go on after a command ended: to the next one, to another attempt, or to the end."""
        if status == 0 and progress.command + 1 < len(job.commands):
            progress.command += 1
            self._launch(job, progress)
            return
        if status != 0 and progress.attempts < self._retries:
            progress.attempts += 1
            print(f"{job.name}: failed with status {status}, once more", flush=True)
            self._launch(job, progress)
            return
        self._finish(progress, "done" if status == 0 else "failed")
        words = "done" if status == 0 else f"FAILED with status {status}, see {job.log}"
        print(f"{job.name}: {words} after {duration(progress.seconds)}", flush=True)

    def _finish(self, progress: _Progress, state: str) -> None:
        progress.state, progress.process = state, None
        progress.seconds = time.monotonic() - progress.started
        self._free = [d for d in self._devices if d in {*self._free, *progress.devices}]
        if progress.log is not None:
            progress.log.close()

    def _end(self) -> None:
        """Ask all running jobs to stop, and wait for them."""
        running = [p for p in self._all.values() if p.process is not None]
        for progress in running:
            assert progress.process is not None
            progress.process.terminate()
        for progress in running:
            assert progress.process is not None
            progress.process.wait()
            self._finish(progress, "stopped")


def _folders(job: Job) -> Iterator[str]:
    """Yield the folders that a job's commands write into."""
    for command in job.commands:
        for word, value in zip(command, command[1:]):
            if word in ("-o", "--json"):
                yield os.path.dirname(value) or "."
