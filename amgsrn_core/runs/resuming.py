"""How a run begins: what is at its output already, whose it is, and whether the run may go on."""

from __future__ import annotations

import dataclasses
import logging
import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from amgsrn_core.config import GoalConfig, NetworkConfig, to_json
from amgsrn_core.errors import ArchiveError, ConfigurationError, ResumeError
from amgsrn_core.model import ModelIndex, read_index
from amgsrn_core.model.replacement import guard
from amgsrn_core.runs.outcome import TrainingOutcome
from amgsrn_core.runs.parts import PartsFolder, finish
from amgsrn_core.runs.settings import Settings
from amgsrn_core.training.automatic import formerly
from amgsrn_core.training.history import COLUMNS
from amgsrn_core.training.records.grid_series import forget_series
from amgsrn_core.volume.replacement import MODEL

_log = logging.getLogger(__name__)


def refuse_output(
    output: Path, source: str, start: str | os.PathLike[str] | None, force: bool
) -> None:
    """Raise :class:`OutputError` if a training would replace what cannot be made again.

    Parameters
    ----------
    output : path
        The model file to write.
    source : str
        The file of the data; an existing model of other data is kept.
    start : path, optional
        The model that the training starts from.
    force : bool
        Replace a model whichever made it.
    """
    inputs = [source] if start is None else [source, start]
    guard(output, MODEL, by="train", inputs=inputs, source=source, force=force)


def as_begun(
    settings: Settings,
    output: Path,
    parts: PartsFolder,
    identified: Callable[[Settings], str],
    *,
    restart: bool,
) -> tuple[Settings, str]:
    """Return what the options meant when a run that is there was begun, and its fingerprint.

    Parameters
    ----------
    settings : Settings
    output, parts
        As for :func:`resume_or_begin`.
    identified : callable
        Identifies what a run with such options computes.
    restart : bool
        Whether what is there does not matter.
    """
    fingerprint = identified(settings)
    known = {parts.owner(), _maker(output)} - {""}
    if restart or not known or fingerprint in known:
        return settings, fingerprint
    for former in _formerly(settings):
        if (fingerprint_then := identified(former)) in known:
            _log.info("Of an earlier version: goes on as it was begun.")
            return former, fingerprint_then
    return settings, fingerprint


def _formerly(settings: Settings) -> Iterator[Settings]:
    """Yield what the same options meant to earlier versions, where that was anything else."""
    goal, network = settings.goal, settings.network
    if goal.is_target:
        return
    if goal.chooses:
        network = dataclasses.replace(network, grid_shape=NetworkConfig().grid_shape)
        goal = GoalConfig(network_size="given")
    for training in (settings.training, formerly(settings.training)):
        former = dataclasses.replace(settings, training=training, goal=goal, network=network)
        if former != settings:
            yield former


def _maker(output: Path) -> str:
    """Return the fingerprint of the run that made a model; "" where there is none."""
    try:
        return str(read_index(output).training.config.get("fingerprint", ""))
    except (ArchiveError, OSError):
        return ""


def resume_or_begin(
    output: Path,
    parts: PartsFolder,
    fingerprint: str,
    settings: Settings,
    *,
    restart: bool,
    force: bool = False,
) -> TrainingOutcome | None:
    """Make the folder of parts a run's own, with nothing in it but work that is the run's.

    The run's own work goes on, also over an older model that a restart was told to replace. A
    model with holes that the run left goes on as well.

    Parameters
    ----------
    output : path
        The model file to write.
    parts : PartsFolder
        The folder beside it, while nobody else can work in it (see
        :func:`amgsrn_core.system.run_folder.workspace`).
    fingerprint : str
        Identifies what the run computes.
    settings : Settings
        What the fingerprint was made of, beside the data.
    restart : bool
        Whether to discard whatever there is.
    force : bool, default: False
        Whether to replace a model that is there, but not to discard unfinished work.

    Returns
    -------
    TrainingOutcome or None
        What the run made earlier, where `output` is complete; nothing is left to do then.

    Raises
    ------
    ResumeError
        There is a model, or unfinished work, of another run.
    """
    is_ours = parts.owner() == fingerprint
    if not restart:
        try:
            done = finished(output, fingerprint, settings)
        except ResumeError:
            if not is_ours and not force:
                raise
            done = None
        if done is not None:
            if is_ours:
                finish(parts.path)
            return done
        if not is_ours and parts.has_work():
            raise ResumeError(
                f"{parts.path} holds an interrupted run with {_others(settings, parts.options())}; "
                f"restart to discard it, repeat its options to continue it, or name another output "
                f"than {output}."
            )
    if settings.training.log_grids and (restart or not is_ours):
        forget_series(output)
    parts.assign(fingerprint, restart, settings.to_json())
    return None


def _others(settings: Settings, before: dict[str, Any] | None) -> str:
    """Say in what a run that is there differs, as far as its options tell."""
    try:
        changed = settings.differences(Settings.from_json(before or {}))
    except (ConfigurationError, KeyError, TypeError):  # of another version
        return "other data or options"
    if changed:
        return f"other options ({'; '.join(changed)})"
    return "the same options but other data, or from another start"


def _options(index: ModelIndex, settings: Settings) -> dict[str, Any]:
    """Return the options that a model was trained with; of those that it does not tell, ours."""
    training = {k: v for k, v in index.training.config.items() if k in to_json(settings.training)}
    network, storage = to_json(index.network), to_json(index.storage)
    return {**settings.to_json(), "network": network, "training": training, "storage": storage}


def finished(output: Path, fingerprint: str, settings: Settings) -> TrainingOutcome | None:
    """Return the outcome of an earlier run that made `output`; None when there is no file.

    A model of the same run with holes counts as none: it is completed.

    Raises
    ------
    ResumeError
        Another run made it, or it is no model: neither is replaced unasked.
    """
    if not output.exists():
        return None
    try:
        index = read_index(output)
    except ArchiveError as error:
        raise ResumeError(
            f"{output} exists and is not a complete model; restart to replace it, or name another "
            "output."
        ) from error
    if index.training.config.get("fingerprint") != fingerprint:
        raise ResumeError(
            f"{output} exists and was trained with {_others(settings, _options(index, settings))}; "
            "restart to replace it, or name another output."
        )
    if index.holes:
        return None
    empty = np.zeros((0, len(COLUMNS)))
    psnr = math.nan if index.psnr is None else index.psnr
    return TrainingOutcome(output, True, psnr, index.training.seconds, empty, was_complete=True)
