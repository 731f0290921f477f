"""A time series as one model: every step starts from the networks of the step before."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from pathlib import Path

import numpy as np

from amgsrn_core.config import (
    BrickConfig,
    DispatchConfig,
    GoalConfig,
    NetworkConfig,
    SeriesConfig,
    StorageConfig,
    TrainingConfig,
)
from amgsrn_core.errors import ConfigurationError, TrainingError, VolumeError
from amgsrn_core.model import Archive, BrickRecord, ModelIndex, OnDemand, read_index, write_archive
from amgsrn_core.model.codec import COMPRESSED, DIFFERENCES, pack_differences
from amgsrn_core.runs.outcome import (
    TrainingOutcome,
    model_index,
    training_record,
    with_looks,
)
from amgsrn_core.runs.parts import PartsFolder, finish, saving
from amgsrn_core.runs.plan import Cutter, Plan, plan, with_sizes_of
from amgsrn_core.runs.resuming import as_begun, refuse_output, resume_or_begin
from amgsrn_core.runs.settings import Settings
from amgsrn_core.runs.space import Room, checkpoint_bytes, model_bytes, warn_of_size
from amgsrn_core.runs.stop_file import stop_file
from amgsrn_core.system.extras import expect
from amgsrn_core.system.output import ensure_writable, failure
from amgsrn_core.system.run_folder import RunFolder, workspace
from amgsrn_core.training.progress import (
    Asking,
    Command,
    Observer,
    Progress,
    Stopped,
    ask,
    unobserved,
)
from amgsrn_core.training.shown import shown_to
from amgsrn_core.training.warm_start import WarmStart
from amgsrn_core.volume.masking import ReportedFills
from amgsrn_core.volume.source import identity_of
from amgsrn_core.volume.volume import TimeAxis, Volume

# Of as many steps one is stored without another, so that opening any takes no more than these.
_WHOLE_EVERY = 8

TrainStep = Callable[[Volume, Path, "WarmStart | None", Observer], TrainingOutcome]


def train_series(
    volumes: Sequence[Volume],
    output: str | Path,
    network: NetworkConfig | None = None,
    training: TrainingConfig | None = None,
    storage: StorageConfig | None = None,
    bricks: BrickConfig | None = None,
    dispatch: DispatchConfig | None = None,
    series: SeriesConfig | None = None,
    goal: GoalConfig | None = None,
    *,
    start: str | Path | None = None,
    restart: bool = False,
    force: bool = False,
    parts: str | os.PathLike[str] | None = None,
    observer: Observer = unobserved,
    progress: bool | None = None,
) -> TrainingOutcome:
    """Train a model of several time steps; see :func:`amgsrn_core.runs.train`.

    Each step is trained like a volume of its own, from the networks of the step before, and kept
    beside the output until all of them become one model file.

    Parameters
    ----------
    volumes : sequence of Volume
        The steps in their order: the same field on the same grid. Where they have no time, their
        numbers stand for it.
    series : SeriesConfig, optional
    goal : GoalConfig, optional
        Of each time step.
    start : path, optional
        A model whose networks the first step starts from.

    Returns
    -------
    TrainingOutcome
        `psnr` is the mean over the steps, `seconds` their sum, and the history that of the last.

    Raises
    ------
    ConfigurationError
        Differences of steps are to be stored of networks that are not compressed.
    VolumeError
        The steps do not fit together.

    Examples
    --------
    >>> from amgsrn_core import open_volume
    >>> steps = [open_volume("ocean.nc", "temperature", time=i) for i in range(6)]  # doctest: +SKIP
    >>> train_series(steps, "ocean.amgsrn")  # doctest: +SKIP
    """
    expect("torch", "Training")
    settings = Settings.of(*(network, training, storage, bricks, dispatch, series, goal))
    _refuse_plain_differences(settings)
    output = Path(output)
    ensure_writable(output)
    axis = time_axis(volumes)
    refuse_output(output, volumes[0].source, start, force)
    first = WarmStart.of(start, settings.series.warm_iterations)
    planned = _planned(settings, volumes[0], first, is_new=restart or not output.exists())
    with workspace(output, parts) as folder, contextlib.ExitStack() as stack:
        begun = PartsFolder(folder)
        planned, fingerprint = _as_begun(planned, output, begun, volumes, first, restart=restart)
        done = resume_or_begin(
            output, begun, fingerprint, planned.settings, restart=restart, force=force
        )
        if done is not None:
            return done
        stop = stack.enter_context(stop_file(folder))
        room = _room(volumes, output, folder, planned)
        room.require(is_new=not begun.has_work())
        observer = stack.enter_context(shown_to(observer, progress))
        run = _Run(volumes, folder, first, settings.series, stop.observing(observer))
        outcomes = run.go(_trainer(planned, folder, stack))
        if not all(outcome.completed or outcome.missing for outcome in outcomes):
            return dataclasses.replace(outcomes[-1], path=output, stopped_by=stop.reason)
        try:
            run.ask_before_saving()
            with saving(folder), run.bricks(len(planned.bricks)) as load:
                outcome = _assemble(
                    *(volumes[0], axis, run.paths, outcomes, output),
                    planned=planned,
                    fingerprint=fingerprint,
                    bricks=load,
                )
        except Stopped:
            outcome = dataclasses.replace(outcomes[-1], path=output, completed=False)
            return dataclasses.replace(outcome, stopped_by=stop.reason)
        if outcome.completed:
            finish(folder)
        return outcome


def _as_begun(
    planned: Plan,
    output: Path,
    parts: PartsFolder,
    volumes: Sequence[Volume],
    start: WarmStart | None,
    *,
    restart: bool,
) -> tuple[Plan, str]:
    """Return the plan that a run which is there was begun with, and its fingerprint."""

    def planned_as(settings: Settings) -> Plan:
        aims = planned.aims if settings.goal == planned.settings.goal else ()
        return dataclasses.replace(planned, settings=settings, aims=aims)

    settings, fingerprint = as_begun(
        *(planned.settings, output, parts),
        lambda settings: _fingerprint(volumes, planned_as(settings), start),
        restart=restart,
    )
    return planned_as(settings), fingerprint


def _planned(settings: Settings, volume: Volume, start: WarmStart | None, *, is_new: bool) -> Plan:
    """Return the plan of every step, and warn of a new model that is larger than its data."""
    planned = with_sizes_of(plan(settings, Cutter(volume)), start)
    if is_new:
        warn_of_size(volume, planned.settings.network, len(planned.bricks), settings.storage)
    return planned


def _refuse_plain_differences(settings: Settings) -> None:
    if settings.series.series_differences and not settings.storage.compress:
        raise ConfigurationError(
            "Only compressed networks are stored as differences; give compress (--compress) with "
            "series-differences."
        )


def time_axis(volumes: Sequence[Volume]) -> TimeAxis:
    """Return the time axis of a series.

    Raises
    ------
    VolumeError
        There is no step, their times do not ascend, or they differ in more than their values.
    """
    if not volumes:
        raise VolumeError("A series needs at least one time step.")
    for number, volume in enumerate(volumes):
        refuse_other_field(number, volume, volumes[0])
    times = [volume.time for volume in volumes]
    if any(time is None for time in times):
        count = len(volumes)
        return TimeAxis(tuple(map(float, range(count))), name="step", steps=tuple(range(count)))
    axes = [dataclasses.replace(time, index=0) for time in times if time is not None]
    if all(axis == axes[0] for axis in axes):
        steps = tuple(time.index for time in times if time is not None)
        axis = dataclasses.replace(axes[0], index=steps[0], steps=steps)
    else:  # a file for each step
        values = tuple(time.value for time in times if time is not None)
        axis = dataclasses.replace(axes[0], values=values, steps=tuple(range(len(values))))
    at = [axis.values[step] for step in axis.steps]
    for number, (before, value) in enumerate(zip(at, at[1:]), 1):
        if not before < value:
            raise VolumeError(
                "The steps of a series must be in the order of their times, each once, but "
                f"{value:.10g} (step {number}) comes after {before:.10g}."
            )
    return axis


def refuse_other_field(number: int, volume: Volume, first: Volume) -> None:
    """Raise :class:`VolumeError` if a step differs from the first in more than its values."""
    same = (volume.name, volume.components) == (first.name, first.components)
    places = volume.coordinates, first.coordinates
    if not same or volume.geometry != first.geometry or places[0] != places[1]:
        raise VolumeError(
            f"Step {number} of the series is another field or on another grid than its first; "
            "train them one by one."
        )


class _Run:
    """The steps of a series, one after another."""

    def __init__(
        self,
        volumes: Sequence[Volume],
        folder: Path,
        start: WarmStart | None,
        series: SeriesConfig,
        observer: Observer,
    ) -> None:
        self._volumes, self._folder, self._observer = volumes, folder, observer
        self._start, self._series = start, series
        self.paths = [RunFolder(folder).step(i) for i in range(len(volumes))]

    def go(self, train_step: TrainStep) -> list[TrainingOutcome]:
        """Train the steps that are not done; the last outcome may be of one that was stopped."""
        outcomes = []
        start = self._start
        for number, (volume, path) in enumerate(zip(self._volumes, self.paths)):
            if start is not None:
                before = number and start.path == str(self.paths[number - 1].absolute())
                differences = bool(before) and self._may_differ(number)
                start = dataclasses.replace(start, differences=differences)
            try:
                path.parent.mkdir(exist_ok=True)
            except OSError as error:
                raise failure(path.parent, error) from error
            outcomes.append(train_step(volume, path, start, self._step_observer(number)))
            if not outcomes[-1].completed and not outcomes[-1].missing:
                break
            # What follows a step without networks starts from the last one that had some.
            if has_network(read_index(path)):
                start = WarmStart(str(path.absolute()), self._series.warm_iterations)
        return outcomes

    def ask_before_saving(self) -> None:
        """Tell that all steps are done; raise :class:`Stopped` if that is to be it for now."""
        count = len(self._volumes)
        ask(self._observer, Progress("saving", 0, 1, step=count - 1, steps=count))

    def _may_differ(self, number: int) -> bool:
        """Return whether a step may be stored as differences from the one before."""
        return self._series.series_differences and number % _WHOLE_EVERY > 0

    @contextlib.contextmanager
    def bricks(self, count: int) -> Iterator[OnDemand]:
        """Give the bricks of all steps as they are stored together, `count` of each step."""
        asking = Asking(self.ask_before_saving)
        steps = _OpenSteps(self.paths)

        def load(number: int) -> dict[str, np.ndarray]:
            asking()
            step, brick = divmod(number, count)
            archive = steps[step]
            stored = archive.load_brick(brick, decode=False)
            if COMPRESSED in stored and self._may_differ(step):
                differences = _differences(archive, steps[step - 1], brick)
                if differences is not None and len(differences) < len(stored[COMPRESSED]):
                    del stored[COMPRESSED]
                    stored[DIFFERENCES] = differences
            return stored

        with contextlib.closing(steps):
            yield OnDemand(len(self.paths) * count, load)

    def _step_observer(self, number: int) -> Observer:
        def observe(progress: Progress) -> Command:
            progress = dataclasses.replace(progress, step=number, steps=len(self._volumes))
            return self._observer(progress)

        return observe


class _OpenSteps:
    """The models of a series' steps, one after another: two at most are open at a time.

    A step's bricks are asked for one by one, and opening its file takes as long as they are many.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = paths
        self._open: dict[int, Archive] = {}

    def __getitem__(self, step: int) -> Archive:
        if step not in self._open:
            for other in [number for number in self._open if abs(number - step) > 1]:
                self._open.pop(other).close()
            self._open[step] = Archive(self._paths[step])
        return self._open[step]

    def close(self) -> None:
        """Let go of all files."""
        while self._open:
            self._open.popitem()[1].close()


def _trainer(planned: Plan, folder: Path, stack: contextlib.ExitStack) -> TrainStep:
    """Return what trains one step: here, or in other processes, which all steps share."""
    settings = planned.settings
    reported: ReportedFills = set()
    if len(planned.bricks) == 1:
        from amgsrn_core.runs.single import train_single  # PyTorch: a matter of seconds

        def train_here(
            volume: Volume, path: Path, start: WarmStart | None, observer: Observer
        ) -> TrainingOutcome:
            return train_single(
                volume,
                path,
                planned,
                start=start,
                any_values=True,
                restart=False,
                observer=observer,
                reported=reported,
            )

        return train_here
    from amgsrn_core.execution.worker_slots import executor_for
    from amgsrn_core.runs.brick_run import train_bricks

    executor: Executor = stack.enter_context(
        executor_for(settings.dispatch, settings.training, len(planned.bricks), folder)
    )

    def train_there(
        volume: Volume, path: Path, start: WarmStart | None, observer: Observer
    ) -> TrainingOutcome:
        return train_bricks(
            volume,
            path,
            planned,
            start=start,
            restart=False,
            observer=observer,
            executor=executor,
            reported=reported,
        )

    return train_there


def _assemble(
    volume: Volume,
    axis: TimeAxis,
    paths: Sequence[Path],
    outcomes: Sequence[TrainingOutcome],
    output: Path,
    planned: Plan,
    fingerprint: str,
    bricks: OnDemand,
) -> TrainingOutcome:
    """Write the models of all steps as one."""
    steps = [read_index(path) for path in paths]
    lows, highs = zip(*(_range(step) for step in steps))
    low, high = np.min(lows, axis=0), np.max(highs, axis=0)
    if not np.isfinite(low).all():
        if any(outcome.missing for outcome in outcomes):
            raise TrainingError(
                f"No brick with values could be trained in any of the {len(steps)} time steps."
            )
        raise VolumeError(
            f"'{volume.name}' has no valid value in any of the {len(steps)} time steps: every "
            f"voxel is missing ({volume.missing.meaning})."
        )
    each = [
        {
            "psnr": outcome.psnr if math.isfinite(outcome.psnr) else None,
            "seconds": step.training.seconds,
            "iterations_done": step.training.iterations_done,
        }
        for step, outcome in zip(steps, outcomes)
    ]
    known = [float(about["psnr"]) for about in each if about["psnr"] is not None]
    psnr = float(np.mean(known)) if known else math.nan
    seconds = sum(step.training.seconds for step in steps)
    iterations = sum(step.training.iterations_done for step in steps)
    about = training_record(planned.settings.training, fingerprint, seconds, iterations)
    about.config.update(psnr=psnr if known else None, steps=each)
    network = next((step.network for step in steps if has_network(step)), planned.settings.network)
    index = model_index(volume, low, high, network, planned.settings.storage)
    index = index.replace(
        bricks=tuple(brick for step in steps for brick in bricks_of_step(step, network)),
        time=axis,
        training=about,
        source=dataclasses.replace(index.source, bytes=index.source.bytes * len(steps)),
    )
    count = len(steps[0].bricks)

    write_archive(output, with_looks(index, bricks, planned.settings.goal), bricks)
    missing = {
        number + step * count: why
        for step, outcome in enumerate(outcomes)
        for number, why in outcome.missing.items()
    }
    history = outcomes[-1].history
    return TrainingOutcome(output, not missing, psnr, seconds, history, missing=missing)


def _differences(step: Archive, before: Archive, brick: int) -> np.ndarray | None:
    """Return a brick packed as differences from the one of another step; None without one."""
    numbers, known = step.load_quantised(brick), before.load_quantised(brick)
    a, b = (file.index.network_of(file.index.bricks[brick]) for file in (step, before))
    if numbers is None or known is None or a != b:
        return None
    return pack_differences(numbers, known)[DIFFERENCES]


def _range(step: ModelIndex) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the range of a step's values; without any it takes no part in the series'."""
    if all(brick.state in ("empty", "missing") for brick in step.bricks):
        count = len(step.components)
        return (math.inf,) * count, (-math.inf,) * count
    return step.value_minimum, step.value_maximum


def has_network(step: ModelIndex) -> bool:
    """Return whether any brick of a model needed a network."""
    return any(brick.state == "network" for brick in step.bricks)


def bricks_of_step(step: ModelIndex, network: NetworkConfig) -> list[BrickRecord]:
    """Return a step's bricks with the ranges that they are scaled by, the step's included.

    A network of another size than the series' is the brick's own.
    """
    records = []
    for brick in step.bricks:
        own = step.network_of(brick)
        brick = dataclasses.replace(brick, network=None if own == network else own)
        if brick.state in ("network", "constant"):
            low, high = step.value_range(brick)
            brick = dataclasses.replace(brick, value_minimum=low, value_maximum=high)
        records.append(brick)
    return records


def _room(volumes: Sequence[Volume], output: Path, folder: Path, planned: Plan) -> Room:
    """Return the room that a series needs: every step twice, apart and together."""
    networks = planned.networks or (planned.settings.network,) * len(planned.bricks)
    bricks = [
        (BrickRecord(brick.extent, brick.ghosted), network)
        for brick, network in zip(planned.bricks, networks)
    ]
    options = planned.settings.training, planned.settings.storage
    one = model_bytes(volumes[0], bricks, *options)
    checkpoint = max(checkpoint_bytes(volumes[0], network, *options) for network in networks)
    steps = one.times(len(volumes))
    return Room(output, folder, steps, steps.plus(checkpoint))


def _fingerprint(volumes: Sequence[Volume], planned: Plan, start: WarmStart | None) -> str:
    data = [
        [identity_of(volume) for volume in volumes],
        volumes[0].geometry.to_json(),
        [BrickRecord(brick.extent, brick.ghosted).to_json() for brick in planned.bricks],
    ]
    return planned.settings.series_fingerprint(
        data, planned.networks, None if start is None else start.identity()
    )
