"""A running simulation hands over time steps, and other processes make a series of models of them.

Imports no torch.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import math
import os
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import numpy as np

from amgsrn_core.config import (
    ExtractionConfig,
    NetworkConfig,
    StorageConfig,
    TrainingConfig,
)
from amgsrn_core.errors import AmgsrnError, ConfigurationError, OutputError, TrainingError
from amgsrn_core.model import BrickRecord
from amgsrn_core.runs.extraction import Extraction, Receipt, begin
from amgsrn_core.runs.growing import last_time, refuse_other_series
from amgsrn_core.runs.settings import Settings
from amgsrn_core.system.cores import available_cores
from amgsrn_core.system.files import how_it_ended, replace_text
from amgsrn_core.system.interpreter import worker_environment, worker_python
from amgsrn_core.system.local_rank import local_size
from amgsrn_core.system.output import ensure_writable, failure, reason
from amgsrn_core.system.run_folder import HandedFolder
from amgsrn_core.volume.block import Block
from amgsrn_core.volume.exported import export_volume
from amgsrn_core.volume.geometry import Extent, GridGeometry
from amgsrn_core.volume.in_memory import component_names, volume_from_array

_log = logging.getLogger(__name__)

_POLL_SECONDS = 0.01
_MOST_STARTS = 4

NOT_RECORDED = ("log_grids", "tensorboard")
"""Options of a training that would write a record for each step and rank, and are refused."""


class SeriesExtractor:
    """Makes one growing series of models of what a running simulation computes.

    Each rank of the simulation has an extractor, and hands over its part of the grid with
    :meth:`put`. Beside each rank a process trains a brick of every step from that of the step
    before, while the simulation goes on; when all ranks' bricks of a step are done, the series
    has the step. All ranks must see the output's folder.

    A simulation that is started again goes on with the series that is there: steps up to the time
    of its last one are passed over. What was handed over when a simulation ended, or was killed, is
    trained all the same.

    Parameters
    ----------
    output : path
        The series to write, ``NAME.amgsrn``. Beside it are ``NAME.steps.csv``, the report, and
        ``NAME.raw``, where data are kept.
    geometry : GridGeometry or tuple of int
        The whole grid; or its samples along z, y, x, one apart.
    name : str, default: "data"
        Of the field.
    components : sequence of str, optional
        Name of each component; default: as :func:`~amgsrn_core.volume.volume_from_array` names
        them.
    units : str, default: ""
    rank, ranks : int, default: 0 and 1
        Of this process, and how many there are.
    network, training, storage : configurations, optional
        As for :func:`amgsrn_core.train`. Without a `network` its size follows from the data.
    extraction : ExtractionConfig, optional
        Within seconds for each step compression does not fine-tune.

    Raises
    ------
    OutputError
        The series cannot be written.
    ConfigurationError
        There is no Python to train with, or options contradict each other.

    Examples
    --------
    >>> with SeriesExtractor("run.amgsrn", (64, 64, 64)) as extractor:  # doctest: +SKIP
    ...     for step in range(100):
    ...         field = solver.advance()
    ...         extractor.put(step, solver.time, field)
    """

    def __init__(
        self,
        output: str | os.PathLike[str],
        geometry: GridGeometry | tuple[int, int, int],
        *,
        name: str = "data",
        components: Sequence[str] | None = None,
        units: str = "",
        rank: int = 0,
        ranks: int = 1,
        network: NetworkConfig | None = None,
        training: TrainingConfig | None = None,
        storage: StorageConfig | None = None,
        extraction: ExtractionConfig | None = None,
    ) -> None:
        if not 0 <= rank < ranks:
            raise ConfigurationError(f"There is no rank {rank} among {ranks}.")
        self.output = Path(os.path.abspath(os.fspath(output)))
        ensure_writable(self.output)
        worker_python()
        self._geometry = (
            geometry if isinstance(geometry, GridGeometry) else GridGeometry.uniform(geometry)
        )
        self._name, self._units = name, units
        self._components = None if components is None else tuple(components)
        self._settings = Settings.of(network, training, storage)
        if self._settings.storage.max_relative_error and ranks > 1:
            raise ConfigurationError(
                "A rank does not know the range of the whole: give max-error instead of "
                "max-relative-error."
            )
        for name in NOT_RECORDED:
            if getattr(self._settings.training, name):
                raise ConfigurationError(
                    f"Steps of a simulation are trained without records; leave out {name}."
                )
        self._config = extraction or ExtractionConfig()
        self._rank, self._ranks = rank, ranks
        self._last, self._number = -math.inf, -1  # time and number of what was handed over last
        self._there = (
            -math.inf
        )  # time of the last step that a run of before has put into the series
        self._record: BrickRecord | None = None
        self._extraction: Extraction | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._starts = 0
        self._is_closed = False

    def __enter__(self) -> SeriesExtractor:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close(wait=kind is None)

    def put(
        self,
        step: int,
        time: float,
        values: np.ndarray,
        extent: Extent | None = None,
        ghosted: Extent | None = None,
    ) -> float:
        """Hand over this rank's part of a time step; return the seconds that it took.

        The values are written beside the series before this returns, so that the caller may change
        them. Where the window is full it waits for the training, or drops the oldest step that
        waits, as the configuration says.

        Parameters
        ----------
        step : int
            The simulation's number of the step.
        time : float
            Greater than that of the step before.
        values : ndarray [z, y, x] or [C, z, y, x]
            Of the voxels in `ghosted`; NaN stands for no value.
        extent : tuple of three slices (z, y, x), optional
            Voxels of the whole that this rank answers for; default: all. Those of all ranks
            fill the grid and do not overlap, and are the same in all steps.
        ghosted : tuple of three slices, optional
            `extent` with the layers of the neighbours that the rank has, over which bricks are
            blended; default: `extent`, and then the field jumps between ranks.

        Raises
        ------
        ConfigurationError
            Times do not ascend, the series that is there is of other data, or the ranks' parts do
            not make one grid.
        VolumeError
            The values do not fit into the grid, or are infinite.
        OutputError
            They cannot be written.
        TrainingError
            The process that trains has ended again and again.
        """
        began = _now()
        if self._is_closed:
            raise ConfigurationError("The extractor is closed and takes no more steps.")
        if not self._last < time < math.inf or step <= self._number:
            raise ConfigurationError(
                "Time steps must be handed over in the order of their numbers and times, but step "
                f"{step} (time {time:.10g}) comes after step {self._number} ({self._last:.10g})."
            )
        record = self._record_of(extent, ghosted)
        values = np.asarray(values)
        try:
            extraction = self._begun(values, record)
            self._hand_over(extraction, step, time, values, record, began)
        except OSError as error:
            if isinstance(error, AmgsrnError):
                raise
            raise failure(self.output, error) from error
        self._last, self._number = time, step  # not before: what failed may come again
        return _now() - began

    def close(self, wait: bool = True) -> None:
        """Hand over no more; with `wait` return when all of this rank's steps are trained.

        Raises
        ------
        TrainingError
            The process that trains has ended again and again.
        """
        if self._is_closed or self._extraction is None:
            self._is_closed = True
            return
        self._is_closed = True
        self._extraction.folder.closed(self._rank).touch()
        while wait and self._watch():
            time.sleep(_POLL_SECONDS)

    # --- Helpers ---------------------------------------------------------------------------------

    def _record_of(self, extent: Extent | None, ghosted: Extent | None) -> BrickRecord:
        own = self._geometry.resolve(extent)
        outer = own if ghosted is None else self._geometry.resolve(ghosted)
        if any(a.start > b.start or a.stop < b.stop for a, b in zip(outer, own)):
            raise ConfigurationError("The ghosted extent of a rank must hold its own extent.")
        if any(part.stop - part.start < 2 for part in outer):
            raise ConfigurationError(
                "A rank must have two samples along each axis at least, ghost layers included."
            )
        record = BrickRecord(own, outer)
        if self._record not in (None, record):
            raise ConfigurationError("The extent of a rank must be the same in all time steps.")
        return record

    def _begun(self, values: np.ndarray, record: BrickRecord) -> Extraction:
        """Return what is handed over; with the first step begin, or go on with a run of before."""
        if self._extraction is not None:
            return self._extraction
        names = self._components
        if names is None:
            names = component_names(self._name, len(values) if values.ndim == 4 else 1)
        share = (os.cpu_count() or 1) // (local_size() or self._ranks)
        extraction = Extraction(
            output=str(self.output),
            rank=self._rank,
            ranks=self._ranks,
            name=self._name,
            components=names,
            units=(self._units,) * len(names),
            dtype=values.dtype.str,
            geometry=self._geometry,
            record=record,
            settings=self._settings,
            config=self._config,
            threads=self._config.threads or max(1, min(available_cores(), share)),
            parent=os.getpid(),
        )
        records: list[BrickRecord | None] = [None] * self._ranks
        records[self._rank] = record
        refuse_other_series(self.output, extraction.volume(0.0), records)
        begin(extraction)
        self._there = last_time(self.output)
        self._extraction, self._record = extraction, record
        self._start()
        return extraction

    def _hand_over(
        self,
        extraction: Extraction,
        step: int,
        time: float,
        values: np.ndarray,
        record: BrickRecord,
        began: float,
    ) -> None:
        """Write a step's values and receipt, unless that has been done before."""
        if time <= self._there:
            _log.warning("Step %d (time %.10g) is in %s already.", step, time, self.output)
            return
        folder = extraction.folder.handed(step)
        if folder.receipt(self._rank).exists():  # a run of before has handed it over
            return
        waited = self._make_room(extraction)
        receipt = Receipt(time, waited_seconds=waited, raw_bytes=values.nbytes)
        if folder.dropped.exists():
            folder.brick(self._rank).mkdir(parents=True, exist_ok=True)
        else:
            missing = self._export(folder, values, record)
            receipt = dataclasses.replace(receipt, missing=missing)
        dataclasses.replace(receipt, added_seconds=_now() - began).write(folder, self._rank)
        self._watch()

    def _export(self, folder: HandedFolder, values: np.ndarray, record: BrickRecord) -> int:
        """Write the values where the process that trains finds them; return how many lack one."""
        z, y, x = (
            axis.window(part.start, part.stop)
            for axis, part in zip(self._geometry.axes, record.ghosted)
        )
        assert self._extraction is not None
        volume = volume_from_array(
            values,
            name=self._name,
            components=self._extraction.components,
            units=self._units,
            geometry=GridGeometry((z, y, x), self._geometry.direction),
        )
        target = folder.volume(self._rank)
        target.parent.mkdir(parents=True, exist_ok=True)
        missing = 0

        def count(block: Block) -> None:
            nonlocal missing
            missing += 0 if block.valid is None else int(np.count_nonzero(~block.valid))

        export_volume(volume, target, count)
        return missing

    def _make_room(self, extraction: Extraction) -> float:
        """Wait until a step may wait, or drop the oldest that does; return the seconds waited."""
        began = _now()
        while len(waiting := extraction.waiting()) >= self._config.window:
            if self._config.when_full == "drop":
                why = f"{self._config.window} step(s) of rank {self._rank} were waiting already"
                with contextlib.suppress(FileNotFoundError):  # trained meanwhile
                    replace_text(extraction.folder.handed(waiting[0]).dropped, why)
                _log.warning("Step %d is dropped: %s.", waiting[0], why)
            elif not self._watch():
                break
            else:
                time.sleep(_POLL_SECONDS)
        return _now() - began

    def _start(self) -> None:
        assert self._extraction is not None
        folder = self._extraction.folder
        self._starts += 1
        command = [worker_python(), "-m", "amgsrn_core.jobs.extraction_worker"]
        try:
            with open(folder.log(self._rank), "ab") as log:
                self._process = subprocess.Popen(
                    [*command, str(folder.path), str(self._rank)],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env=worker_environment(),
                    start_new_session=True,  # what ends the simulation must not end this
                )
        except OSError as error:
            raise OutputError(
                f"Cannot start training in {folder.path}: {reason(error)}."
            ) from error

    def _watch(self) -> bool:
        """Return whether the process that trains goes on; start it again where it was killed."""
        assert self._process is not None and self._extraction is not None
        with contextlib.suppress(FileNotFoundError):
            raise ConfigurationError(self._extraction.folder.refusal.read_text())
        code = self._process.poll()
        if code is None:
            return True
        if code == 0 and self._is_closed:
            return False
        how = how_it_ended(code, self._extraction.folder.log(self._rank))
        if self._starts >= _MOST_STARTS:
            raise TrainingError(
                f"The process that trains the time steps of rank {self._rank} {how}, for the "
                f"{self._starts}th time; steps that are done are in {self.output}, the others in "
                f"{self._extraction.folder.path}."
            )
        _log.warning("The process that trains rank %d %s; it is started again.", self._rank, how)
        self._start()
        return True


def _now() -> float:
    return time.monotonic()
