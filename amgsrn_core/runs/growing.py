"""A series that grows by a time step at a time, while its data are still being computed."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from amgsrn_core.errors import ConfigurationError
from amgsrn_core.model import BrickRecord, ModelIndex, OnDemand, add_step, read_index
from amgsrn_core.runs.finished_bricks import FinishedBricks
from amgsrn_core.runs.outcome import model_index, training_record
from amgsrn_core.runs.series import bricks_of_step, has_network
from amgsrn_core.runs.settings import Settings
from amgsrn_core.volume.psnr import psnr_of
from amgsrn_core.volume.volume import TimeAxis, Volume

FINGERPRINT = "extraction"


def last_time(output: Path) -> float:
    """Return the time of the last step of a series; -infinity where there is no file.

    Raises
    ------
    ArchiveError
        The file is none of a model.
    """
    if not output.exists():
        return -math.inf
    return max(read_index(output).times, default=-math.inf)


def psnr_of_step(output: Path, number: int) -> float:
    """Return the PSNR in dB of the step that a simulation gave a number; NaN if unknown."""
    for entry in read_index(output).training.config.get("steps", ()):
        if entry.get("step") == number and entry.get("psnr") is not None:
            return float(entry["psnr"])
    return math.nan


def refuse_other_series(
    output: Path, volume: Volume, records: Sequence[BrickRecord | None]
) -> None:
    """Raise unless a series that is there, if any, can grow by steps of a volume.

    Parameters
    ----------
    output : Path
    volume : Volume
        Whose field and grid the steps have.
    records : sequence of BrickRecord or None
        Of each brick its extents, where they are known.

    Raises
    ------
    ConfigurationError
        It is of another field, grid or partition, or has no times.
    ArchiveError
        The file is none of a model.
    """
    if not output.exists():
        return
    whole = read_index(output)
    last = whole.at(whole.steps - 1)
    known = zip(last.bricks, records)
    why = ""
    if not whole.times:
        why = "has no time steps"
    elif (whole.name, whole.components) != (volume.name, volume.components):
        why = f"is of '{whole.name}' ({', '.join(whole.components)})"
    elif whole.geometry != volume.geometry:
        why = "is on another grid"
    elif len(last.bricks) != len(records):
        why = f"has {len(last.bricks)} brick(s) in each step instead of {len(records)}"
    elif any(b and (a.extent, a.ghosted) != (b.extent, b.ghosted) for a, b in known):
        why = "is cut into other bricks"
    if why:
        raise ConfigurationError(
            f"The series {output} {why}, so that '{volume.name}' cannot go on with it; name "
            "another output, or run with the ranks and the grid that it was begun with."
        )


def append_step(
    output: Path,
    volume: Volume,
    finished: FinishedBricks,
    settings: Settings,
    about: dict[str, Any],
) -> tuple[float, int]:
    """Put a time step behind those of a series, or begin one; return its PSNR in dB, and its bytes.

    A reader always finds a series of whole steps, see :func:`amgsrn_core.model.add_step`.

    Parameters
    ----------
    output : Path
    volume : Volume
        The step's field, grid and time.
    finished : FinishedBricks
        Its bricks; those that are not there become holes.
    settings : Settings
        As the step was trained.
    about : dict
        What else the file says of the step, in plain JSON types.
    """
    assert volume.time is not None
    step = model_index(volume, *finished.range(), settings.network, settings.storage)
    step = step.replace(bricks=finished.records())
    psnr = psnr_of(finished.error())
    parts = [part.training for part in finished.done.values()]
    entry = {
        **about,
        "psnr": psnr if math.isfinite(psnr) else None,
        "seconds": max((part.seconds for part in parts), default=0.0),
        "iterations_done": sum(part.iterations_done for part in parts),
    }
    if output.exists():
        index = _longer(read_index(output), step, entry)
    else:
        index = _begun(step, entry, settings)

    def load(number: int) -> dict[str, np.ndarray]:
        return finished.load(number, decode=False)

    return psnr, add_step(output, index, OnDemand(len(step.bricks), load))


def _begun(step: ModelIndex, entry: dict[str, Any], settings: Settings) -> ModelIndex:
    """Return the index of a series of one step."""
    assert step.time is not None
    training = training_record(
        settings.training, FINGERPRINT, entry["seconds"], entry["iterations_done"]
    )
    training.config.update(psnr=entry["psnr"], steps=[entry])
    return step.replace(
        bricks=tuple(bricks_of_step(step, step.network)),
        time=dataclasses.replace(step.time, index=0, steps=(0,)),
        training=training,
    )


def _longer(index: ModelIndex, step: ModelIndex, entry: dict[str, Any]) -> ModelIndex:
    """Return the index of a series with one step more."""
    assert index.time is not None and step.time is not None
    steps = [*index.training.config.get("steps", ()), entry]
    known = [each["psnr"] for each in steps if each["psnr"] is not None]
    psnr = float(np.mean(known)) if known else None
    training = dataclasses.replace(
        index.training,
        config={**index.training.config, "psnr": psnr, "steps": steps},
        seconds=index.training.seconds + entry["seconds"],
        iterations_done=index.training.iterations_done + entry["iterations_done"],
    )
    network = index.network if has_network(index) else step.network
    bricks = (
        *bricks_of_step(index, network),
        *bricks_of_step(step, network),
    )
    source = dataclasses.replace(index.source, bytes=index.source.bytes + step.source.bytes)
    values = (*index.times, step.time.value)
    axis = TimeAxis(values, name=index.time.name, steps=tuple(range(len(values))))
    index = index.replace(
        network=network, bricks=bricks, time=axis, training=training, source=source, looks=()
    )
    if not _has_values(index):
        return index
    low, high = index.own_range
    return index.replace(value_minimum=low, value_maximum=high)


def _has_values(index: ModelIndex) -> bool:
    return any(brick.state in ("network", "constant") for brick in index.bricks)
