"""Time steps of a running simulation: each rank's brick trained, and all of them put into a series.

A rank hands over its values by files in ``NAME.amgsrn.parts``. Beside each rank one process trains
them, step by step, each from the step before. Whichever has the last brick of a step puts the step
into the series, so that the ranks' processes never wait for each other.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import math
import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from amgsrn_core.config import ExtractionConfig, from_json, to_json
from amgsrn_core.errors import AmgsrnError, ConfigurationError, ResumeError
from amgsrn_core.model import BrickRecord, make_whole, read_index
from amgsrn_core.runs.brick_task import BrickTask, train_brick
from amgsrn_core.runs.extraction_report import StepReport, add_to_report, read_report
from amgsrn_core.runs.finished_bricks import FinishedBricks
from amgsrn_core.runs.growing import append_step, last_time, psnr_of_step
from amgsrn_core.runs.parts import Part, PartsFolder
from amgsrn_core.runs.plan import Cutter, plan
from amgsrn_core.runs.settings import Settings
from amgsrn_core.system.files import read_json, replace_text
from amgsrn_core.system.json_fields import Fields
from amgsrn_core.system.output import replacing
from amgsrn_core.system.run_folder import (
    ExtractionFolder,
    HandedFolder,
    clear,
    discard,
    waiting_lock,
)
from amgsrn_core.training.aim import Aim
from amgsrn_core.training.bound import Bound
from amgsrn_core.training.progress import Command
from amgsrn_core.training.warm_start import WarmStart
from amgsrn_core.volume.geometry import Extent, GridGeometry
from amgsrn_core.volume.open import open_step
from amgsrn_core.volume.partition import is_partition
from amgsrn_core.volume.pieces import PieceVolume
from amgsrn_core.volume.volume import TimeAxis, Volume

_log = logging.getLogger(__name__)

_RUN = "extraction"
# Of the seconds of a step: what is expected to go by beside the training, before it is known, and
# the least that is left for the training.
_BESIDE, _LEAST = 0.25, 0.05


@dataclass(frozen=True)
class Extraction:
    """What a rank hands over, and what is to become of it.

    Attributes
    ----------
    output : str
        The series, by its absolute path.
    rank, ranks : int
    name, components, units
        Of the field, as :class:`~amgsrn_core.volume.volume.Volume` has them.
    dtype : str
        Type of the values as they are handed over.
    geometry : GridGeometry
        Of the whole grid.
    record : BrickRecord
        The rank's extents.
    settings : Settings
    config : ExtractionConfig
    threads : int
        That train.
    parent : int
        The process that hands over.
    """

    output: str
    rank: int
    ranks: int
    name: str
    components: tuple[str, ...]
    units: tuple[str, ...]
    dtype: str
    geometry: GridGeometry
    record: BrickRecord
    settings: Settings
    config: ExtractionConfig
    threads: int
    parent: int

    @property
    def folder(self) -> ExtractionFolder:
        """Where the ranks hand over."""
        return ExtractionFolder(Path(f"{self.output}.parts"))

    def write(self) -> None:
        """Tell the process that trains."""
        values = {
            **{field.name: getattr(self, field.name) for field in dataclasses.fields(self)},
            "geometry": self.geometry.to_json(),
            "record": self.record.to_json(),
            "settings": self.settings.to_json(),
            "config": to_json(self.config),
        }
        replace_text(self.folder.job(self.rank), json.dumps(values))

    @classmethod
    def read(cls, folder: Path, rank: int) -> Extraction:
        """Return what :meth:`write` wrote.

        Raises
        ------
        ConfigurationError
            There is nothing.
        """
        values = read_json(ExtractionFolder(folder).job(rank))
        if values is None:
            raise ConfigurationError(f"There is no readable job of rank {rank} in {folder}.")
        return cls(
            **{
                **values,
                "components": tuple(values["components"]),
                "units": tuple(values["units"]),
                "geometry": (geometry := GridGeometry.from_json(values["geometry"])),
                "record": _record(values["record"], geometry),
                "settings": Settings.from_json(values["settings"]),
                "config": from_json(ExtractionConfig, values["config"]),
            }
        )

    @property
    def has_ended(self) -> bool:
        """Whether the rank hands over no more: it has said so, or its process is gone."""
        return self.folder.closed(self.rank).exists() or os.getppid() != self.parent

    @property
    def is_replaced(self) -> bool:
        """Whether the simulation was started again, so that another process does what is left."""
        values = read_json(self.folder.job(self.rank))
        return values is None or values["parent"] != self.parent

    def waiting(self) -> list[int]:
        """Return the steps that the rank has handed over and whose training has not begun."""
        found = []
        for number in self.folder.numbers():
            step = self.folder.handed(number)
            rank = self.rank
            begun = (step.dropped, step.result(rank), step.done(rank), step.status_file(rank))
            if step.receipt(self.rank).exists() and not any(path.exists() for path in begun):
                found.append(number)
        return found

    def volume(self, time: float, piece: Volume | None = None, place: Extent | None = None) -> Any:
        """Return a time step of the whole volume, of which a piece may be here."""
        nothing = slice(0, 0)
        unknown = np.zeros(len(self.components))
        return PieceVolume(
            piece,
            place or (nothing, nothing, nothing),
            [],
            (unknown, unknown),
            geometry=self.geometry,
            name=self.name,
            components=self.components,
            units=self.units,
            source_dtype=np.dtype(self.dtype),
            time=TimeAxis((time,)),
        )


@dataclass(frozen=True)
class Receipt:
    """What a rank says of a step that it has handed over.

    Attributes
    ----------
    time : float
    added_seconds, waited_seconds : float
        See :class:`~amgsrn_core.runs.extraction_report.StepReport`.
    raw_bytes : int
    missing : int
        Voxels without a value.
    """

    time: float
    added_seconds: float = 0.0
    waited_seconds: float = 0.0
    raw_bytes: int = 0
    missing: int = 0

    def write(self, step: HandedFolder, rank: int) -> None:
        """Leave it for those who train."""
        replace_text(step.receipt(rank), json.dumps(dataclasses.asdict(self)))

    @classmethod
    def read(cls, step: HandedFolder, rank: int) -> Receipt | None:
        """Return what a rank says; None before it does."""
        values = read_json(step.receipt(rank))
        return None if values is None else cls(**values)


def begin(extraction: Extraction) -> None:
    """Make the folder where a rank hands over, or go on in that of a run of before.

    Raises
    ------
    ResumeError
        The folder has unfinished work of another run.
    """
    folder, rank = extraction.folder, extraction.rank
    about = [extraction.ranks, extraction.name, *extraction.components]
    mark = f"{_RUN} {json.dumps([about, extraction.geometry.to_json()])}"
    with waiting_lock(folder.series_lock):
        owner = PartsFolder(folder.path).owner()
        has_moved = False
        if owner == mark and folder.job(rank).exists():
            has_moved = Extraction.read(folder.path, rank).record != extraction.record
        if (owner != mark or has_moved) and folder.has_work():
            raise ResumeError(
                f"{folder.path} has unfinished work of another run; run with the ranks and the "
                "grid that it was begun with, or remove it."
            )
        for path in (folder.closed(rank), folder.left(rank), folder.refusal):
            path.unlink(missing_ok=True)
        replace_text(folder.run_file, json.dumps({"fingerprint": mark}))
        extraction.write()


class PartTrainer:
    """Trains the bricks of a rank, one after another."""

    def __init__(self, extraction: Extraction) -> None:
        self._extraction = extraction
        self._beside = _BESIDE * extraction.config.seconds_per_step

    def next(self) -> int | None:
        """Return the first step that waits; None where there is none."""
        folder, rank = self._extraction.folder, self._extraction.rank
        for number in folder.numbers():
            step = folder.handed(number)
            if not step.receipt(rank).exists() or step.result(rank).exists():
                continue
            if step.dropped.exists():
                clear(step.volume(rank))
                continue
            return number
        return None

    def train(self, number: int) -> None:
        """Train the rank's brick of a step, and put the step into the series if it is the last."""
        extraction = self._extraction
        began = time.monotonic()
        rank, step = extraction.rank, extraction.folder.handed(number)
        receipt = Receipt.read(step, rank)
        assert receipt is not None
        parts, why, trained = PartsFolder(step.path), "", 0.0
        try:
            self._train(step, receipt)
            part = parts.finished(rank, _fingerprint(number))
            assert part is not None
            trained = part.training.seconds
            if part.record.state == "network" and not part.training.iterations_done:
                why = "No iteration fitted into its seconds."
            self._keep_latest(parts, part)
            is_kept = 0.0 < extraction.config.keep_error < (part.record.max_error or 0.0)
        except AmgsrnError as error:
            why, is_kept = str(error), True
            _log.warning("Step %d of rank %d is kept as it is. %s", number, rank, why)
        kept = self._put_away(step, number) if is_kept else ""
        clear(step.volume(rank))
        seconds = time.monotonic() - began
        result = {"seconds": seconds, "failed": why, "kept": kept}
        replace_text(step.result(rank), json.dumps(result))
        assemble(extraction)
        # What went by beside the training is left for that of the next step, too.
        beside = time.monotonic() - began - trained
        self._beside = max(beside, 0.5 * (self._beside + beside))

    def _train(self, step: HandedFolder, receipt: Receipt) -> None:
        extraction = self._extraction
        rank, record = extraction.rank, extraction.record
        local = open_step(str(step.volume(rank)))
        start = self._start()
        settings = self._settings(local, start)
        parts = PartsFolder(step.path)
        parts.command(_RUN, Command.CONTINUE)
        volume = extraction.volume(receipt.time, local, record.ghosted)
        bounded = settings.storage.is_bounded
        number = int(step.path.name.partition("-")[2])
        train_brick(
            BrickTask(
                number=rank,
                record=record,
                source={"kind": "piece", "dims": list(volume.dims)},
                folder=str(step.path),
                run=_RUN,
                fingerprint=_fingerprint(number),
                settings=settings,
                start=start,
                aim=self._aim(settings, start),
                bound=Bound.of(local, settings.storage, local.survey()) if bounded else None,
            ),
            volume,
        )

    def _start(self) -> WarmStart | None:
        """Return the rank's last network: of this run, or in the series that it goes on with."""
        extraction = self._extraction
        iterations = extraction.settings.series.warm_iterations
        latest = extraction.folder.latest(extraction.rank)
        if latest.exists():
            return WarmStart(str(latest), iterations, brick=0)
        if not os.path.exists(extraction.output):
            return None
        return WarmStart(extraction.output, iterations)

    def _settings(self, local: Volume, start: WarmStart | None) -> Settings:
        """Return the settings with the size of the rank's network."""
        settings, rank = self._extraction.settings, self._extraction.rank
        if start is None:
            settings = plan(settings, Cutter(local)).settings
        else:
            index = read_index(start.path)
            last = index.at(index.steps - 1)
            network = last.network_of(last.bricks[rank if start.brick is None else start.brick])
            settings = dataclasses.replace(settings, network=network)
        if self._extraction.config.seconds_per_step and settings.storage.compress:
            # Fine-tuning knows no seconds.
            storage = dataclasses.replace(settings.storage, compress_finetune=0)
            settings = dataclasses.replace(settings, storage=storage)
        return settings

    def _aim(self, settings: Settings, start: WarmStart | None) -> Aim:
        limit = self._extraction.config.seconds_per_step
        if not limit:
            return Aim()
        most = settings.training.iterations
        if most and start is not None:
            most = start.training(settings.training).iterations
        return Aim(seconds=max(_LEAST * limit, limit - self._beside), most=most, hasty=True)

    def _keep_latest(self, parts: PartsFolder, part: Part) -> None:
        """Keep a network for the next step, since the step's folder goes."""
        rank = self._extraction.rank
        if part.record.state == "network":
            with replacing(self._extraction.folder.latest(rank)) as temporary:
                shutil.copyfile(parts.stored(rank), temporary)

    def _put_away(self, step: HandedFolder, number: int) -> str:
        """Keep the rank's values beside the series, as a volume; return its folder."""
        output, rank = Path(self._extraction.output), self._extraction.rank
        folder = output.with_suffix(".raw")
        folder.mkdir(exist_ok=True)
        target = folder / f"step-{number:04d}.rank-{rank:04d}"
        if step.volume(rank).is_dir():  # else a run of before has done this
            clear(target)
            os.replace(step.volume(rank), target)
        return str(target.relative_to(output.parent))


def assemble(extraction: Extraction) -> None:
    """Put the steps into the series of which every rank's brick is done, in their order.

    Raises
    ------
    ConfigurationError
        The ranks' parts do not make one grid.
    """
    with waiting_lock(extraction.folder.series_lock):
        _assemble(extraction)


def _assemble(extraction: Extraction) -> None:
    folder = extraction.folder
    for number in folder.numbers():
        step = folder.handed(number)
        receipts = _receipts(extraction, step)
        if step.dropped.exists():
            if len(receipts) == extraction.ranks:  # else others have still to find this
                _drop(extraction, number, receipts, step.dropped.read_text())
            continue
        results = [read_json(step.result(rank)) for rank in range(extraction.ranks)]
        done = [result for result in results if result is not None]
        if len(done) == extraction.ranks:
            _refuse_parts(extraction)
            _append(extraction, number, receipts, done)
        elif why := _never_whole(extraction, number, receipts):
            _drop(extraction, number, receipts, why)
        else:
            return  # those behind it have to wait


def _refuse_parts(extraction: Extraction) -> None:
    """Raise, and leave the reason for all ranks, unless their parts make one grid."""
    folder, each, why = extraction.folder, _jobs(extraction), ""
    if any(other.geometry != extraction.geometry for other in each):
        why = "have different ideas of the whole grid"
    elif any((o.name, o.components) != (extraction.name, extraction.components) for o in each):
        why = "hand over different fields"
    elif not is_partition([other.record.extent for other in each], extraction.geometry.dims):
        why = "hand over parts that overlap or leave gaps"
    if why:
        text = f"The {extraction.ranks} ranks {why}; nothing of it can be put into a series."
        replace_text(folder.refusal, text)
        raise ConfigurationError(text)


def leave(extraction: Extraction) -> None:
    """Note that no more comes from a rank; the last one clears up.

    Steps that not all ranks have handed over come to nothing then, and the series becomes one file.
    """
    folder, ranks = extraction.folder, range(extraction.ranks)
    with waiting_lock(folder.series_lock):
        if extraction.is_replaced:
            return
        folder.left(extraction.rank).touch()
        if not all(folder.left(rank).exists() for rank in ranks):
            return
        _assemble(extraction)  # what a process had trained that was killed before it did this
        for number in folder.numbers():
            receipts = _receipts(extraction, folder.handed(number))
            _drop(extraction, number, receipts, _lacking(ranks, receipts))
        make_whole(Path(extraction.output))
        clear(folder.path)


def _never_whole(extraction: Extraction, number: int, receipts: dict[int, Receipt]) -> str:
    """Return why a step will not be handed over by all ranks; "" if it may be."""
    folder = extraction.folder
    later = [folder.handed(other) for other in folder.numbers() if other > number]
    gone = [
        rank
        for rank in range(extraction.ranks)
        if rank not in receipts
        and (folder.left(rank).exists() or any(step.receipt(rank).exists() for step in later))
    ]
    return _lacking(range(extraction.ranks), receipts) if gone else ""


def _lacking(ranks: range, receipts: dict[int, Receipt]) -> str:
    lacking = ", ".join(str(rank) for rank in ranks if rank not in receipts)
    return f"no data came from rank(s) {lacking}"


def _jobs(extraction: Extraction) -> list[Extraction]:
    """Return what each rank hands over."""
    path = extraction.folder.path
    return [Extraction.read(path, rank) for rank in range(extraction.ranks)]


def _receipts(extraction: Extraction, step: HandedFolder) -> dict[int, Receipt]:
    ranks = range(extraction.ranks)
    found = {rank: Receipt.read(step, rank) for rank in ranks}
    return {rank: receipt for rank, receipt in found.items() if receipt is not None}


def _drop(extraction: Extraction, number: int, receipts: dict[int, Receipt], why: str) -> None:
    """Report a step that comes to nothing."""
    if receipts:
        row = dataclasses.replace(_row(number, receipts), state="dropped", note=f"{why}.")
        add_to_report(Path(extraction.output), row)
    _log.warning("Step %d is dropped: %s.", number, why)
    discard(extraction.folder.handed(number).path)


def _append(
    extraction: Extraction,
    number: int,
    receipts: dict[int, Receipt],
    results: list[dict[str, Any]],
) -> None:
    """Put one step into the series, and report it."""
    output, step = Path(extraction.output), extraction.folder.handed(number)
    row = _row(number, receipts)
    parts = PartsFolder(step.path)
    found = [parts.finished(rank, _fingerprint(number)) for rank in range(extraction.ranks)]
    done = {rank: part for rank, part in enumerate(found) if part is not None}
    notes = [f"rank {i}: {r['failed']}" for i, r in enumerate(results) if r["failed"]]
    row = dataclasses.replace(
        row,
        training_seconds=max(result["seconds"] for result in results),
        kept=" ".join(result["kept"] for result in results if result["kept"]),
        note=" ".join([*notes, row.note]).strip(),
        state="partly" if len(done) < extraction.ranks else "trained",
        max_error=max((p.record.max_error or 0.0 for p in done.values()), default=math.nan),
    )
    if row.time <= last_time(output):  # another process ended just before it had reported this
        if all(known.step != number for known in read_report(output)):
            psnr = psnr_of_step(output, number)
            add_to_report(output, dataclasses.replace(row, psnr=psnr))
        discard(step.path)
        return
    if done:
        psnr, count = _grow(extraction, parts, done, row)
        row = dataclasses.replace(row, psnr=psnr, bytes=count)
    else:
        row = dataclasses.replace(row, state="dropped")
    add_to_report(output, row)
    discard(step.path)


def _grow(
    extraction: Extraction, parts: PartsFolder, done: dict[int, Part], row: StepReport
) -> tuple[float, int]:
    """Put the bricks of a step that are done into the series; return their PSNR, and its bytes."""
    network = next(iter(done.values())).network
    bricks = [job.record for job in _jobs(extraction)]
    finished = FinishedBricks(parts, bricks, network, len(extraction.components))
    for rank, part in done.items():
        finished.add(rank, part)
    settings = dataclasses.replace(extraction.settings, network=network)
    volume = extraction.volume(row.time)
    return append_step(Path(extraction.output), volume, finished, settings, {"step": row.step})


def _row(number: int, receipts: dict[int, Receipt]) -> StepReport:
    each = list(receipts.values())
    missing = sum(receipt.missing for receipt in each)
    return StepReport(
        number,
        each[0].time,
        "trained",
        added_seconds=max(receipt.added_seconds for receipt in each),
        waited_seconds=max(receipt.waited_seconds for receipt in each),
        raw_bytes=sum(receipt.raw_bytes for receipt in each),
        note=f"{missing} voxel(s) handed over have no value." if missing else "",
    )


def _record(values: dict[str, Any], geometry: GridGeometry) -> BrickRecord:
    return BrickRecord.from_json(Fields(values), geometry.dims)


def _fingerprint(number: int) -> str:
    return f"{_RUN} {number}"
