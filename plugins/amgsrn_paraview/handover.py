"""Data on their way to the worker: written for it in one pass that also looks at them."""

from __future__ import annotations

import contextlib
import os
import shutil
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from amgsrn_core.config import DataConfig
from amgsrn_core.errors import OutputError
from amgsrn_core.model import LookRecord
from amgsrn_core.rendering.looks import suggested
from amgsrn_core.runs.series import refuse_other_field
from amgsrn_core.system.output import reason
from amgsrn_core.system.run_folder import RunFolder
from amgsrn_core.volume import Block, FieldSummary, Volume, export_volume
from amgsrn_core.volume.masking import resolved
from amgsrn_paraview.datasets import Looks

FILL_VALUES = "Fill Values = {}"

_OTHER_READER = (
    "(If they are of a NetCDF file: NetCDF volume (AMGSRN) knows its fill values, ParaView's own "
    "reader with Replace Fill Value With Nan.)"
)

# Voxels of each block of values that tell how to show the model.
_SAMPLE = 32768


class Overview:
    """What a pass over a volume, or over the time steps of one, finds.

    Attributes
    ----------
    first : Volume
        The volume, or its first step.
    summary : FieldSummary
        Of the values of all steps.
    digest : int
        Checksum of values and places.
    fill_values : tuple of float
        Of the values, those that stand for none, once it is settled.
    notes : list of str
        What there is to say about numbers that look like fill values.
    """

    first: Volume
    summary: FieldSummary

    def __init__(self) -> None:
        self.digest = self._steps = 0
        self._sample: list[np.ndarray] = []
        self.fill_values: tuple[float, ...] = ()
        self.notes: list[str] = []

    def begin(self, volume: Volume) -> None:
        """Turn to a volume, or to the next step of one.

        Raises
        ------
        VolumeError
            The step is of another field or on another grid than the first.
        """
        if not self._steps:
            self.first = volume
            self.summary = FieldSummary.of_nothing(volume.n_components)
        refuse_other_field(self._steps, volume, self.first)
        self._steps += 1
        about = (volume.name, volume.components, volume.geometry.to_json())
        self.digest = zlib.crc32(repr(about).encode(), self.digest)
        if volume.coordinates is not None:
            self.digest = volume.coordinates.checksum(self.digest)

    def see(self, block: Block) -> None:
        """Take note of the next block of values."""
        self.digest = block.checksum(self.digest)
        self.summary = self.summary.merged(block.summary())
        self._sample.append(_thinned(block))

    def settle(self, data: DataConfig) -> None:
        """Decide, when everything was seen, which values stand for none."""
        self.fill_values, self.notes = resolved(
            self.summary, self.first.components, data, FILL_VALUES
        )
        if self.notes:
            self.notes.append(_OTHER_READER)
        self.summary = self.summary.without(self.fill_values)

    def shown(self) -> Looks:
        """Return how to show the model to come."""
        low, high = self.summary.minimum.tolist(), self.summary.maximum.tolist()
        return Looks(self._looks(), self.first.units, tuple(zip(low, high)))

    def _looks(self) -> tuple[LookRecord, ...]:
        """Return how to show each component and, where there are several, the magnitude."""
        values = np.concatenate(self._sample, axis=1)
        low, high = self.summary.minimum, self.summary.maximum
        with np.errstate(invalid="ignore"):  # what stands for no value is outside the range
            known = ((values >= low[:, None]) & (values <= high[:, None])).all(axis=0)
        values = values[:, known]
        limits = list(zip(low.tolist(), high.tolist()))
        if len(values) > 1:
            values = np.concatenate([values, np.linalg.norm(values, axis=0)[None]])
            limits.append((0.0, float(np.linalg.norm(np.maximum(np.abs(low), np.abs(high))))))
        return tuple(suggested(row, *limit) for row, limit in zip(values, limits))


def _thinned(block: Block) -> np.ndarray:
    """Return some of a block's values, float64 [C, n], NaN where one is missing."""
    every = max(1, round((block.values[0].size / _SAMPLE) ** (1 / 3)))
    thin = (slice(None, None, every),) * 3
    values = block.values[(slice(None), *thin)].astype(np.float64)
    if block.valid is not None:
        values[:, ~block.valid[thin]] = np.nan
    return values.reshape(len(values), -1)


def overview(volumes: Iterable[Volume]) -> Overview:
    """Look at a volume, or at the time steps of one, without writing them anywhere."""
    found = Overview()
    for volume in volumes:
        found.begin(volume)
        for extent in volume.slabs():
            found.see(volume.scanned(extent, checksum=True))
    return found


class Handover:
    """Volumes in a folder, for another process.

    Parameters
    ----------
    parent : path
        Where the folder is made; it is made itself if its own parent exists.

    Attributes
    ----------
    folder : Path
    found : Overview
        What was seen while writing.

    Raises
    ------
    OutputError
        The folder cannot be made.
    """

    def __init__(self, parent: Path) -> None:
        self.found = Overview()
        self.folder = RunFolder(parent).new_volume()
        self._steps: list[str] = []
        try:
            parent.mkdir(exist_ok=True)
            self.folder.mkdir()
        except OSError as error:
            raise OutputError(f"Cannot write {parent}: {reason(error)}.") from error

    def write(self, volumes: Iterable[Volume], data: DataConfig | None = None) -> None:
        """Write a volume, or each of its time steps, and settle which values stand for none.

        Raises
        ------
        VolumeError
            There is nothing to learn from it, or it cannot be read.
        OutputError
            The disk is full.
        """
        for number, volume in enumerate(volumes):
            self.found.begin(volume)
            name = f"step-{number:04d}"
            export_volume(volume, self.folder / name, self.found.see)
            self._steps.append(name)
        self.found.settle(data or DataConfig())
        self.found.first.refuse_unfit(self.found.summary)

    def move(self, parent: Path) -> None:
        """Take the folder elsewhere on the same disk."""
        moved = parent / self.folder.name
        try:
            parent.mkdir(exist_ok=True)
            os.replace(self.folder, moved)
        except OSError as error:
            raise OutputError(f"Cannot write {parent}: {reason(error)}.") from error
        self.folder = moved

    def source(self, is_series: bool) -> dict[str, Any]:
        """Return what a job names it by; see :class:`~amgsrn_core.jobs.job.JobDescription`."""
        fills = self.found.fill_values
        more = {"fill_values": list(fills)} if fills else {}
        steps = [
            {"kind": "exported", "path": str(self.folder / name), **more} for name in self._steps
        ]
        return {"kind": "series", "steps": steps} if is_series else steps[0]

    def remove(self) -> None:
        """Remove the folder, and the one that it is in if that is empty."""
        # A worker that still reads the volume has mapped it and keeps it.
        shutil.rmtree(self.folder, ignore_errors=True)
        with contextlib.suppress(OSError):
            self.folder.parent.rmdir()
