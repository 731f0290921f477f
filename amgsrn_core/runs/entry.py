"""From a volume to a model file: as one brick in this process, or as many bricks in others."""

from __future__ import annotations

import os
from pathlib import Path

from amgsrn_core.config import (
    BrickConfig,
    DispatchConfig,
    GoalConfig,
    NetworkConfig,
    SeriesConfig,
    StorageConfig,
    TrainingConfig,
)
from amgsrn_core.runs.outcome import TrainingOutcome
from amgsrn_core.runs.plan import Cutter, plan
from amgsrn_core.runs.resuming import refuse_output
from amgsrn_core.runs.settings import Settings
from amgsrn_core.runs.space import warn_of_size
from amgsrn_core.system.extras import expect
from amgsrn_core.system.output import ensure_writable
from amgsrn_core.training.progress import Observer, unobserved
from amgsrn_core.training.shown import shown_to
from amgsrn_core.training.warm_start import WarmStart
from amgsrn_core.volume.volume import Volume


def train(
    volume: Volume,
    output: str | os.PathLike[str],
    network: NetworkConfig | None = None,
    training: TrainingConfig | None = None,
    storage: StorageConfig | None = None,
    bricks: BrickConfig | None = None,
    dispatch: DispatchConfig | None = None,
    series: SeriesConfig | None = None,
    goal: GoalConfig | None = None,
    *,
    start: str | os.PathLike[str] | None = None,
    restart: bool = False,
    force: bool = False,
    parts: str | os.PathLike[str] | None = None,
    observer: Observer = unobserved,
    progress: bool | None = None,
) -> TrainingOutcome:
    """Train a network, or one for each brick, on a volume and write a model file.

    A single brick is trained in this process, several in processes of their own, which read their
    part of the volume from its file; one that is in memory is written to a file for them.

    An interrupted run continues where it was when the same call is made again (without `restart`,
    even if it was interrupted with it); a finished one returns at once.

    Parameters
    ----------
    volume : Volume
    output : path
        The model file to write, ``NAME.amgsrn``.
    network, training, storage : configurations, optional
    bricks : BrickConfig, optional
        How the volume is cut; the default is one brick. Each gets a network of the given size.
    dispatch : DispatchConfig, optional
        Where several bricks are trained.
    series : SeriesConfig, optional
        How the training goes on from `start`.
    goal : GoalConfig, optional
        What is to be reached. Without a `network` its size follows from it: from the targets, or,
        where there are none, from the data's bytes.
    start : path, optional
        A model of the same kind and size of networks, whose networks this training starts from:
        of other data that are alike.
    restart : bool, default: False
        Begin anew: discard interrupted work, and replace a model that is there when the new one
        is complete.
    force : bool, default: False
        Replace a model at `output` whichever made it, when the new one is complete: also one of
        other data, which a restart keeps.
    parts : path, optional
        The folder of unfinished work, ``NAME.amgsrn.parts``: default is that beside `output`. A
        run whose disk is full is finished elsewhere by naming its folder and another output.
    observer : callable, optional
        Receives a :class:`Progress` a few times per second and may pause or stop the run.
    progress : bool, optional
        Whether progress is shown. Default: in a terminal and in a notebook, unless there is an
        observer.

    Raises
    ------
    ConfigurationError
        PyTorch is not installed, options contradict each other, or a network that cannot be is to
        be compressed.
    VolumeError
        The data cannot be trained on (constant, nothing valid, infinite values).
    ResumeError
        `output` holds other work and `restart` is False, or another process is at it.
    OutputError
        A file cannot be written.
    TrainingError
        The training diverged or ran out of memory. Where that happens to some of several bricks,
        the outcome's `missing` tells instead.

    Examples
    --------
    >>> from amgsrn_core import open_volume, train
    >>> train(open_volume("ocean.nc", "temperature"), "ocean.amgsrn")  # doctest: +SKIP
    """
    expect("torch", "Training")
    output = Path(output)
    ensure_writable(output)
    refuse_output(output, volume.source, start, force)
    settings = Settings.of(*(network, training, storage, bricks, dispatch, series, goal))
    planned = plan(settings, Cutter(volume))
    if restart or not output.exists():
        warn_of_size(volume, planned.settings.network, len(planned.bricks), settings.storage)
    warm = WarmStart.of(start, settings.series.warm_iterations)
    with shown_to(observer, progress) as observing:
        if len(planned.bricks) == 1:
            from amgsrn_core.runs.single import train_single  # PyTorch: a matter of seconds

            return train_single(
                volume,
                output,
                planned,
                start=warm,
                restart=restart,
                force=force,
                parts_at=parts,
                observer=observing,
            )
        from amgsrn_core.runs.brick_run import train_bricks

        return train_bricks(
            volume,
            output,
            planned,
            start=warm,
            restart=restart,
            force=force,
            parts_at=parts,
            observer=observing,
        )
