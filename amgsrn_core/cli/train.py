"""``amgsrn train``: fit a model to a volume, with progress, and keep what is done when stopped."""

from __future__ import annotations

import argparse
import math
import os
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from amgsrn_core.cli.failures import Interrupted
from amgsrn_core.cli.options import configuration, gives_size, variables
from amgsrn_core.cli.progress import Display, display
from amgsrn_core.cli.report import decibels, duration, figure, print_rows, size
from amgsrn_core.cli.signals import Stop, stoppable
from amgsrn_core.config import (
    BrickConfig,
    DataConfig,
    DispatchConfig,
    GoalConfig,
    MeshConfig,
    NetworkConfig,
    SeriesConfig,
    StorageConfig,
    TrainingConfig,
)
from amgsrn_core.errors import ConfigurationError, TrainingError
from amgsrn_core.model import read_index
from amgsrn_core.system.extras import expect
from amgsrn_core.system.output import ensure_writable
from amgsrn_core.system.run_folder import usable_parts
from amgsrn_core.volume import open_series, open_volume
from amgsrn_core.volume.masking import masked
from amgsrn_core.volume.times import names_several
from amgsrn_core.volume.vtk.known import is_sampled

if TYPE_CHECKING:
    from amgsrn_core.runs import TrainingOutcome
    from amgsrn_core.training import Command, Progress
    from amgsrn_core.volume.volume import Volume


_NAMED_BRICKS = 5
# What is shown of a run all of whose iterations are done, and not all of whose bricks.
_ALMOST = 0.99


def run(arguments: argparse.Namespace) -> int:
    """Train, then say what came of it."""
    expect("torch", "Training")
    options = _options(arguments)
    output = arguments.output
    ensure_writable(output)
    usable_parts(output, arguments.parts)
    data, mesh = configuration(DataConfig, arguments), configuration(MeshConfig, arguments)
    chosen, time = variables(arguments.variable, arguments.volume), arguments.time
    several = names_several(time)
    volumes = (
        open_series(arguments.volume, chosen, time)
        if several
        else [open_volume(arguments.volume, chosen, time, mesh=mesh)]
    )
    if data.fill_values not in ("auto", "none") and any(map(is_sampled, volumes)):
        raise ConfigurationError(
            "A mesh is sampled before its fill values could be masked; have NaN in its file "
            "instead, or train in ParaView, where the trainer masks them first."
        )
    volumes = masked(volumes, data)
    if arguments.dry_run:
        return _foretell(volumes, options)
    fit = _fit(several)
    with stoppable() as stop, display("training") as shown:
        outcome = fit(
            volumes if several else volumes[0],
            output,
            **options,
            start=arguments.start,
            restart=arguments.restart,
            force=arguments.force,
            parts=arguments.parts,
            observer=_Observer(shown, stop),
        )
    if outcome.missing:
        raise TrainingError(_missing(outcome))
    if not outcome.completed:
        from amgsrn_core.runs.outcome import stopped_text

        parts = usable_parts(output, arguments.parts)
        kept = f"the work so far is kept in {parts}" if parts.exists() else "nothing was done yet"
        raise Interrupted(
            f"{stopped_text(outcome.stopped_by)}; {kept}. Run the same command again "
            f"{'without --restart ' if arguments.restart else ''}to continue.",
            stop.number or 2,
        )
    if outcome.was_complete:
        print(f"{output} is complete already; --restart trains anew.")
    print_rows(_rows(outcome))
    return 0


def _options(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the configurations of a training by the names that the library gives them."""
    kinds = {
        "network": NetworkConfig,
        "training": TrainingConfig,
        "storage": StorageConfig,
        "bricks": BrickConfig,
        "dispatch": DispatchConfig,
        "series": SeriesConfig,
    }
    options: dict[str, Any] = {name: configuration(kind, arguments) for name, kind in kinds.items()}
    goal = configuration(GoalConfig, arguments)
    options["goal"] = goal.for_network(options["network"], gives_size(arguments))
    return options


def _foretell(volumes: Sequence[Volume], options: dict[str, Any]) -> int:
    """Print what would be trained."""
    from amgsrn_core.runs.forecast import forecast
    from amgsrn_core.runs.settings import Settings

    found = forecast(volumes, Settings(**options))
    network, training, raw = found.network, found.training, volumes[0].source_nbytes * found.steps
    shape = " x ".join(map(str, network.grid_shape))
    ratio = f"{figure(raw / found.bytes, digits=3)} : 1"
    if options["storage"].is_bounded:
        ratio += ", without corrections"
    rows = [
        ("network", f"{network.grids} grids of {shape} x {network.features}"),
        *([("bricks", str(found.bricks))] if found.bricks > 1 else []),
        *([("steps", str(found.steps))] if found.steps > 1 else []),
        ("iterations", f"about {training.iterations} of {training.batch} points"),
        ("size", f"about {size(int(found.bytes))}, {ratio}"),
        ("time", f"about {duration(found.seconds)}"),
        ("memory", f"about {size(int(found.memory))} beside PyTorch's own"),
        ("PSNR", f"about {decibels(found.psnr)}"),
    ]
    print_rows(rows)
    return 0


def _fit(several: bool) -> Callable[..., TrainingOutcome]:
    """Import, which takes seconds, what trains a volume or several time steps."""
    if several:
        from amgsrn_core.runs import train_series

        return train_series
    from amgsrn_core.runs import train

    return train


class _Observer:
    """Shows the training's progress and passes on the wish to stop."""

    def __init__(self, shown: Display, stop: Stop) -> None:
        self._display, self._stop = shown, stop
        self._announced = False
        self._step = 0
        self._first: tuple[int, float] | None = None

    def __call__(self, progress: Progress) -> Command:
        from amgsrn_core.training import Command

        share, bricks = progress.iteration / progress.iterations, progress.bricks
        if bricks is not None and bricks.done + bricks.failed < bricks.total:
            share = min(share, _ALMOST)  # a trained brick is still measured and written
        done = (progress.step + share) / progress.steps
        self._display.update(done, self._details(progress), _brick_rows(progress))
        if not self._stop:
            return Command.CONTINUE
        if not self._announced:
            self._display.message("Stopping; once more ends at once and keeps the last checkpoint.")
            self._announced = True
        return Command.STOP

    def _details(self, progress: Progress) -> list[str]:
        """Return how far it is, loss, speed, PSNR and the time left; the last matter most."""
        place = f"step {progress.step + 1}/{progress.steps}  " if progress.steps > 1 else ""
        if progress.bricks is None:
            done = f"{progress.iteration}/{progress.iterations}"
        else:
            done = f"{progress.bricks.done}/{progress.bricks.total} bricks"
            if progress.bricks.failed:
                done += f"  {progress.bricks.failed} FAILED"
        if progress.phase != "training":
            counted = progress.phase == "compressing" and progress.bricks is None
            return [(place + done if counted else place).strip(), progress.phase]
        loss = psnr = ""
        if not math.isnan(progress.loss):
            loss = f"loss {figure(progress.loss, digits=3)}"
        if not math.isnan(progress.psnr):
            psnr = f"PSNR {decibels(progress.psnr)}"
        left = progress.eta_seconds
        end = "" if left is None else f"{duration(left)} left"
        return [place + done, loss, self._speed(progress), psnr, end]

    def _speed(self, progress: Progress) -> str:
        # Counted from the first call, because a resumed run did not do the earlier iterations.
        if self._first is None or self._step != progress.step:
            self._first = progress.iteration, progress.seconds
            self._step = progress.step
        iterations = progress.iteration - self._first[0]
        seconds = progress.seconds - self._first[1]
        return f"{iterations / seconds:.3g} it/s" if iterations > 0 and seconds > 0 else ""


def _brick_rows(progress: Progress) -> list[tuple[str, ...]]:
    """Return a row for each brick that is being trained: what, how far, loss, time left."""
    if progress.bricks is None:
        return []
    each = progress.iterations // progress.bricks.total
    return [
        (
            f"brick {brick.number}",
            brick.phase,
            f"{brick.iteration}/{each}",
            "" if math.isnan(brick.loss) else f"loss {figure(brick.loss, digits=3)}",
            "" if brick.eta_seconds is None else f"{duration(brick.eta_seconds)} left",
        )
        for brick in progress.bricks.running
    ]


def _missing(outcome: TrainingOutcome) -> str:
    """Say which bricks are missing, and why."""
    shown = [f"{number} ({why.rstrip('.')})" for number, why in sorted(outcome.missing.items())]
    more = len(shown) - _NAMED_BRICKS
    listed = ", ".join(shown[:_NAMED_BRICKS]) + (f", and {more} more" if more > 0 else "")
    return (
        f"{len(shown)} brick(s) are missing: {listed}. {outcome.path} has holes there; run the "
        "same command again to train them."
    )


def _rows(outcome: TrainingOutcome) -> Iterator[tuple[str, str]]:
    index = read_index(outcome.path)
    compressed = os.path.getsize(outcome.path)
    yield "model", os.fspath(outcome.path)
    yield (
        "PSNR" if index.steps == 1 else f"mean PSNR of {index.steps} steps",
        decibels(outcome.psnr),
    )
    yield "size", f"{size(compressed)}, {figure(index.source.bytes / compressed, digits=3)} : 1"
    yield "time", duration(outcome.seconds)
