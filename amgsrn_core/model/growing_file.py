"""A series that gets one time step after another, without writing those before anew each time."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from amgsrn_core.model.index import ModelIndex
from amgsrn_core.model.step_files import StepFile, steps_folder
from amgsrn_core.model.store import Archive
from amgsrn_core.model.writing import OnDemand, write_archive, write_index
from amgsrn_core.system.output import failure, replacing


def add_step(path: Path, index: ModelIndex, bricks: Sequence[Mapping[str, np.ndarray]]) -> int:
    """Put a time step behind those of a series, or begin one; return the bytes of its model.

    The first step is written as the series' file. With the second that becomes one of the files in
    ``NAME.amgsrn.steps``, each later step another, and the series' file has their index. It is
    replaced last: whoever reads it, and whenever this is killed, finds all steps up to then.

    Parameters
    ----------
    path : Path
        The series.
    index : ModelIndex
        Of the whole series; of the last step checksums and `masked` are filled in here.
    bricks : sequence of dict
        Those of the last step, as :func:`~amgsrn_core.model.write_archive` takes them.

    Raises
    ------
    OutputError
        When something cannot be written; the series is as it was.
    """
    before = index.steps - 1
    if not before:
        write_archive(path, index, bricks)
        return path.stat().st_size
    with Archive(path) as archive:
        files = archive.step_files or (_put_beside(path, before),)
    folder = steps_folder(path)
    step = StepFile(f"{folder.name}/step-{before:06d}.amgsrn", 1)
    written = write_archive(path.parent / step.name, index.at(before), bricks)
    known = index.bricks[: -len(written.bricks)]
    write_index(path, index.replace(bricks=(*known, *written.bricks)), (*files, step))
    return (path.parent / step.name).stat().st_size


def make_whole(path: str | os.PathLike[str]) -> None:
    """Make a series that has grown one file, and remove those beside it.

    Raises
    ------
    OutputError
        When it cannot be written; the series is as it was.
    """
    path = Path(path)
    if path.exists():
        with Archive(path) as archive:
            if archive.step_files:
                count = len(archive.index.bricks)
                load = OnDemand(count, lambda number: archive.load_brick(number, decode=False))
                write_archive(path, archive.index, load)
        shutil.rmtree(steps_folder(path), ignore_errors=True)


def _put_beside(path: Path, steps: int) -> StepFile:
    """Give a whole file a second name beside the series, or copy it where the disk knows none."""
    folder = steps_folder(path)
    target = folder / f"steps-{steps:06d}.amgsrn"
    try:
        folder.mkdir(exist_ok=True)
        target.unlink(missing_ok=True)  # of a run that was killed before it was named
        with contextlib.suppress(OSError):
            os.link(path, target)
    except OSError as error:
        raise failure(target, error) from error
    if not target.exists():
        with replacing(target) as temporary:
            shutil.copyfile(path, temporary)
    return StepFile(f"{folder.name}/{target.name}", steps)
