"""The folder ``NAME.amgsrn.parts`` beside a model in the making: its file names, and one owner.

No other module knows a file of it by name. What the files hold is told where they are written.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

from amgsrn_core.errors import ConfigurationError, ResumeError
from amgsrn_core.system.output import failure

PARTS_SUFFIX = ".parts"
_LOCK_SECONDS = 0.02
_RECEIPT = "handed.json"


class RunFolder:
    """The files of one run.

    Attributes
    ----------
    path : Path
        ``NAME.amgsrn.parts``; of a time step its folder in that of the series.
    lock_file, run_file, command_file, stop_file, log_file : Path
        The owner's lock, what is computed, what the bricks' workers are to do, what ends the run,
        and what those workers print.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lock_file, self.run_file = path / "lock", path / "run.json"
        self.command_file, self.stop_file = path / "command", path / "stop"
        self.log_file = path / "workers.log"

    def brick(self, number: int) -> Path:
        """Return the folder of a brick."""
        return self.path / f"brick-{number:04d}"

    def checkpoints(self, brick: Path) -> tuple[Path, ...]:
        """Return the files of a brick's checkpoints: of its training, its fine-tuning, its size."""
        file = brick / "checkpoint.safetensors"
        return file, *(beside_checkpoint(file, kind) for kind in ("finetuning", "choice", "pilot"))

    def checkpoint(self, number: int) -> Path:
        """Return the file of a brick's checkpoint."""
        return self.checkpoints(self.brick(number))[0]

    def status_file(self, number: int) -> Path:
        """Return the file that says how far a brick is."""
        return self.brick(number) / "status.json"

    def done(self, number: int) -> Path:
        """Return the file of a finished brick."""
        return self.brick(number) / "brick.amgsrn"

    def step(self, number: int) -> Path:
        """Return the model file of a time step of a series."""
        return self.path / f"step-{number:04d}" / "step.amgsrn"

    def parts(self) -> Iterator[Path]:
        """Yield the folders of bricks and of steps that are there."""
        for kind in ("brick-*", "step-*"):
            yield from self.path.glob(kind)

    def saved(self) -> Iterator[Path]:
        """Yield the files of trained numbers, of bricks and of the steps of a series."""
        for brick in self.path.rglob("brick-*"):
            yield from (brick / self.done(0).name, *self.checkpoints(brick))

    def has_work(self) -> bool:
        """Tell whether the folder holds interrupted work, of any kind of run."""
        kept = (self.checkpoint(0).name, "*.amgsrn", _RECEIPT)
        return any(any(self.path.rglob(pattern)) for pattern in kept)

    def new_volume(self) -> Path:
        """Return a new folder for a volume that workers read."""
        return self.path / f"volume-{uuid.uuid4().hex[:12]}"

    def new_job(self) -> JobFolder:
        """Return a new folder for a training that another process does."""
        return JobFolder(self.path / f"run-{uuid.uuid4().hex[:12]}")

    def jobs(self) -> list[JobFolder]:
        """Return those that are there."""
        return [JobFolder(path) for path in self.path.glob("run-*")]


class JobFolder:
    """The files by which a training in another process and whoever began it talk.

    Attributes
    ----------
    path : Path
    job_file, status_file, control_file, log_file : Path
        What is trained, how far it is, what it is to do, and what its process prints.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.job_file, self.status_file = path / "job.json", path / "status.json"
        self.control_file, self.log_file = path / "control", path / "worker.log"


class ExtractionFolder(RunFolder):
    """The files by which a simulation's ranks hand their time steps over, and what comes of them.

    Attributes
    ----------
    series_lock : Path
        Who has its lock may change the series.
    refusal : Path
        There if what the ranks hand over makes no series; holds why.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.series_lock, self.refusal = path / "series.lock", path / "refusal"

    def rank_lock(self, rank: int) -> Path:
        """Return what whoever trains a rank's bricks locks; with the first rank's, the model."""
        return self._of_rank(rank, "lock") if rank else self.lock_file

    def job(self, rank: int) -> Path:
        """Return the file that says what a rank hands over and how it is trained."""
        return self._of_rank(rank, "json")

    def log(self, rank: int) -> Path:
        """Return what the process prints that trains a rank's bricks."""
        return self._of_rank(rank, "log")

    def closed(self, rank: int) -> Path:
        """Return the file that is there when a rank hands over no more."""
        return self._of_rank(rank, "closed")

    def left(self, rank: int) -> Path:
        """Return the file that is there when all of that is done."""
        return self._of_rank(rank, "left")

    def latest(self, rank: int) -> Path:
        """Return a model of one brick: the last network that a rank has trained."""
        return self._of_rank(rank, "amgsrn")

    def numbers(self) -> list[int]:
        """Return the numbers of the time steps that are there, in their order."""
        return sorted(int(path.name.partition("-")[2]) for path in self.path.glob("step-*"))

    def handed(self, number: int) -> HandedFolder:
        """Return the folder of a time step."""
        return HandedFolder(self.step(number).parent)

    def _of_rank(self, rank: int, suffix: str) -> Path:
        return self.path / f"rank-{rank:04d}.{suffix}"


class HandedFolder(RunFolder):
    """The files of one time step, of which each rank hands over a brick.

    Attributes
    ----------
    dropped : Path
        There if the step is to come to nothing; holds a rank's reason.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.dropped = path / "dropped"

    def volume(self, rank: int) -> Path:
        """Return the folder of a rank's values, there until they are trained."""
        return self.brick(rank) / "volume"

    def receipt(self, rank: int) -> Path:
        """Return the file that is written when all of a rank's values are there."""
        return self.brick(rank) / _RECEIPT

    def result(self, rank: int) -> Path:
        """Return the file that is written when nothing more is done about a rank's brick."""
        return self.brick(rank) / "result.json"


def beside_checkpoint(checkpoint: Path, kind: str) -> Path:
    """Return the file of another checkpoint beside that of a training."""
    return checkpoint.with_name(f"{checkpoint.name}.{kind}")


def lease_file(live: Path) -> Path:
    """Return the file in a folder of live results that is touched while somebody looks."""
    return live / "watched"


def live_file(live: Path, step: int = 0) -> Path:
    """Return the live result of a time step; data without time have step 0."""
    return live / f"live-{step:04d}.npz"


def parts_folder(output: str | os.PathLike[str]) -> Path:
    """Return the folder that holds the unfinished work of a model file."""
    return Path(os.fspath(output) + PARTS_SUFFIX)


def is_parts_folder(folder: Path) -> bool:
    """Tell whether a folder holds, or held, the unfinished work of a training."""
    run = RunFolder(folder)
    return run.lock_file.is_file() or run.run_file.is_file()


def model_of(folder: Path) -> Path:
    """Return the model file whose unfinished work a folder of parts holds."""
    return Path(os.fspath(folder).removesuffix(PARTS_SUFFIX))


def records_base(output: str | os.PathLike[str]) -> Path:
    """Return how the names of a training's records begin: like its model's, without suffix.

    A time step of a series is trained within the series' folder of parts, which goes in the end;
    its records are ``NAME.step-0003`` and so on, beside the model.
    """
    output = Path(output)
    step = output.parent
    if step.parent.suffix == PARTS_SUFFIX:
        model = model_of(step.parent)
        return model.with_name(f"{model.stem}.{step.name}")
    return output.with_suffix("")


def usable_parts(output: str | os.PathLike[str], parts: str | os.PathLike[str] | None) -> Path:
    """Return the folder of a training's unfinished work: `parts`, or the one beside the model.

    Raises
    ------
    ConfigurationError
        `parts` is no such folder. It goes when the model is complete, so it must hold nothing else.
    """
    if parts is None:
        return parts_folder(output)
    folder = Path(parts)
    is_new = not folder.exists() or (folder.is_dir() and not any(folder.iterdir()))
    if folder.suffix != PARTS_SUFFIX or not (is_new or is_parts_folder(folder)):
        raise ConfigurationError(
            f"{folder} is no folder of unfinished work; name one that ends with {PARTS_SUFFIX} and "
            "holds nothing else, or is not there yet."
        )
    return folder


@contextlib.contextmanager
def workspace(
    output: str | os.PathLike[str], parts: str | os.PathLike[str] | None = None
) -> Iterator[Path]:
    """Yield the model's folder of parts while nobody else can work in it.

    Parameters
    ----------
    output : path
        The model file to write.
    parts : path, optional
        The folder, where it is not the one beside the model.

    Raises
    ------
    ResumeError
        Another process is training the same model.
    OutputError
        The folder cannot be made.
    """
    folder = usable_parts(output, parts)
    handle = _open_lock(folder)
    try:
        # Whoever held the lock may have removed the folder just before we opened its file.
        if not try_lock(handle) or not _is_current(handle, RunFolder(folder).lock_file):
            raise ResumeError(
                f"Another process is training {output} right now; wait for it, stop it, or name "
                "another output."
            )
        try:
            yield folder
        finally:
            _remove_if_bare(folder)
    finally:
        os.close(handle)


def _open_lock(folder: Path) -> int:
    try:
        folder.mkdir(exist_ok=True)
        return os.open(RunFolder(folder).lock_file, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        if error.errno == errno.EROFS and (RunFolder(folder).lock_file).exists():
            # What is complete in it can still be finished elsewhere.
            return os.open(RunFolder(folder).lock_file, os.O_RDONLY)
        raise failure(folder, error) from error


def _is_current(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), os.stat(path))
    except OSError:
        return False


def _remove_if_bare(folder: Path) -> None:
    """Leave nothing behind that holds no work."""
    try:
        lock = RunFolder(folder).lock_file
        if list(folder.iterdir()) == [lock]:
            lock.unlink()
            folder.rmdir()
    except OSError:
        pass  # gone with the finished run


def clear(folder: Path) -> None:
    """Remove a folder of parts; its model is complete, or is to be trained again."""
    shutil.rmtree(folder, ignore_errors=True)


def discard(folder: Path) -> None:
    """Remove the folder of a step at once for all who look, even if this is killed meanwhile."""
    gone = folder.with_name(f"gone-{uuid.uuid4().hex[:12]}")
    with contextlib.suppress(OSError):
        os.replace(folder, gone)
        folder = gone
    clear(folder)


@contextlib.contextmanager
def waiting_lock(path: Path) -> Iterator[None]:
    """Hold the lock of a file, whose folder is made, as soon as nobody else does.

    Raises
    ------
    OutputError
        The file cannot be made.
    """
    while True:
        try:
            path.parent.mkdir(exist_ok=True)
            handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            if isinstance(error, FileNotFoundError) and path.parent.parent.is_dir():
                continue  # the folder was just removed
            raise failure(path, error) from error
        try:
            if try_lock(handle) and _is_current(handle, path):
                yield
                return
        finally:
            os.close(handle)
        time.sleep(_LOCK_SECONDS)


def try_lock(handle: int) -> bool:
    """Take the lock of an open file without waiting; the system frees it when a process dies."""
    try:
        import fcntl
    except ImportError:  # Windows
        import msvcrt

        try:
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
        except OSError:
            return False
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
