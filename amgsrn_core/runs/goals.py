"""What a goal means for the bricks of a volume: sizes of networks, and aims of their trainings.

Sizes that follow from bytes are found here, by arithmetic and before anything is trained. Those
that take trying are found brick by brick, see :mod:`amgsrn_core.training.pilots`.
"""

from __future__ import annotations

import dataclasses
import math
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, NoReturn

import numpy as np

from amgsrn_core.config import GoalConfig, NetworkConfig, StorageConfig
from amgsrn_core.errors import ConfigurationError
from amgsrn_core.evaluation.error_cells import LEAST_BYTES, without_errors
from amgsrn_core.field.macro_cells import voxel_cells
from amgsrn_core.model import BrickRecord, parameter_shapes, write_archive
from amgsrn_core.model.cell_codes import cell_shape, coarser_cells
from amgsrn_core.model.codec import COMPRESSED
from amgsrn_core.model.mask import pack_mask
from amgsrn_core.runs.outcome import model_index, training_record
from amgsrn_core.runs.settings import Settings
from amgsrn_core.runs.sizing import complexities, measure_brick
from amgsrn_core.system.output import size
from amgsrn_core.training.aim import Aim
from amgsrn_core.training.history import COLUMNS
from amgsrn_core.training.stored_size import (
    PLANNED_ROWS,
    bytes_each,
    network_nbytes,
    number_count,
    stored_bytes,
)
from amgsrn_core.volume.block import Block
from amgsrn_core.volume.partition import Brick
from amgsrn_core.volume.volume import Volume

_TOLERANCE, _SPARE = 0.05, 0.1  # dB

_SHARE_OF_DATA = 10
"""Without any target the networks have the data's bytes divided by this."""

_SMALLEST, _FIRST, _LARGEST = 4, 12, 32  # nodes along an axis; 32 is the default size
_FEWEST_NODES = 8
# The share of what compressed numbers are expected to take that they may be forced into, and
# by how many bytes a brick the files' text may vary.
_FEWEST, _TEXT = 0.35, 32
# Grids of some number of nodes have sides whose ratio is as small as possible, up to this.
_MOST_UNEVEN, _FULL = 2.0, 0.99

# Numbers of a dummy of a model, as long as they get in JSON.
_LONG = -1.2345678901234567e-10


class Look(NamedTuple):
    """What a pass over a brick's values has found, see :func:`look_at`."""

    low: np.ndarray
    high: np.ndarray
    values: int  # voxels of its own that have one
    mask: int  # bytes in a file
    cells: np.ndarray  # codes of its macro-cells, about
    changes: np.ndarray

    @property
    def needs_network(self) -> bool:
        """Whether the brick is neither empty nor constant."""
        return self.values > 0 and bool((self.low < self.high).any())


class Sized(NamedTuple):
    """What a goal comes to: the model's network, those of the bricks, and their aims."""

    network: NetworkConfig
    networks: tuple[NetworkConfig, ...]
    aims: tuple[Aim, ...]


def look_at(volume: Volume, brick: Brick) -> Look:
    """Look at the values of a brick."""
    changes = measure_brick(volume, brick)
    block = volume.scanned(brick.ghosted)
    low, high = block.summary().learned_range()
    own = tuple(
        slice(inner.start - outer.start, inner.stop - outer.start)
        for inner, outer in zip(brick.extent, brick.ghosted)
    )
    values = math.prod(part.stop - part.start for part in own)
    mask = 0
    if block.valid is not None:
        values = int(np.count_nonzero(block.valid[own]))
        mask = 0 if block.valid.all() else pack_mask(block.valid).nbytes
    return Look(low, high, values, mask, _cells(block, low, high), changes)


def sized(settings: Settings, volume: Volume, bricks: Sequence[Brick], looks: list[Look]) -> Sized:
    """Return what a goal comes to; `looks` are needed where :func:`needs_looks` says so.

    Raises
    ------
    ConfigurationError
        The goal cannot be reached with any network, or not with the one that is given.
    """
    goal, network, count = settings.goal, settings.network, len(bricks)
    raw = volume.source_nbytes
    aim = Aim(
        psnr=goal.target_psnr,
        spare=_SPARE if settings.storage.compress else 0.0,
        seconds=goal.max_seconds,
        pays=goal.chooses and not goal.is_target and not settings.training.iterations,
        span=_whole_span(looks) if count > 1 else (),
    )
    if goal.sizes_file:
        if settings.storage.is_bounded:
            raise ConfigurationError(
                "The bytes of a model whose errors are bounded depend on the bound; leave out "
                "target-size and target-ratio, or max-error and max-relative-error."
            )
        target = goal.target_bytes or int(raw / goal.target_ratio)
        return _of_bytes(settings, volume, bricks, looks, target=target, aim=aim)
    if not goal.chooses:
        return Sized(network, (), (aim,) * count)
    half = settings.storage.dtype == "float16" and not settings.storage.compress
    smallest = settings.storage.is_bounded and not goal.is_target
    smallest = smallest and not settings.training.match_aspect
    tried = smallest or goal.target_psnr > 0.0 or goal.max_seconds > 0.0
    share = raw if goal.target_psnr or smallest else raw / _SHARE_OF_DATA
    numbers = share / (2 if half else 4) / count - _others(network, volume.n_components)
    nodes = max(_SMALLEST**3, numbers / (network.grids * network.features))
    side = _side_of(nodes)
    if tried:
        if settings.training.match_aspect:
            raise ConfigurationError(
                "Where the size of grids is found by trying they are cubes; leave out "
                "match-aspect, or give a size (target-size or grid-shape)."
            )
        aim = dataclasses.replace(aim, most_nodes=side**3, smallest=smallest)
        return Sized(_cubic(network, min(side, _FIRST)), (), (aim,) * count)
    return Sized(_cubic(network, min(side, _LARGEST)), (), (aim,) * count)


def needs_looks(goal: GoalConfig, bricks: int) -> bool:
    """Return whether a goal takes a pass over the data."""
    return goal.sizes_file or (bricks > 1 and goal.target_psnr > 0.0)


def about_bytes(
    settings: Settings, volume: Volume, bricks: Sequence[Brick], networks: Sequence[NetworkConfig]
) -> int:
    """Return about how many bytes a model file with these networks is going to have."""
    goal, components, storage = settings.goal, volume.n_components, settings.storage
    if goal.sizes_file:
        return goal.target_bytes or int(volume.source_nbytes / goal.target_ratio)
    numbers = sum(network_nbytes(network, components, storage) for network in networks)
    looks = [look_at(volume, brick) for brick in bricks]
    rest = _fixed_bytes(settings, volume, bricks, looks)
    return int(numbers) + rest + sum(_beside(look, storage, PLANNED_ROWS) for look in looks)


def shortfall(settings: Settings, psnr: float, has_most: bool) -> str:
    """Return in a sentence how far a model is from its PSNR and what to change; "" if it has it.

    `has_most` says whether the network is as large as the data allow.
    """
    goal = settings.goal
    if not psnr < goal.target_psnr - _TOLERANCE:
        return ""
    if goal.max_seconds:
        change = "give more seconds (max-seconds)"
    elif settings.training.iterations:
        change = "give more iterations"
    elif goal.sizes_file:
        change = "give a larger target-size or a smaller target-ratio"
    elif not goal.chooses:
        change = "give a larger network (grid-shape), or none so that its size is chosen"
    elif has_most:
        change = "ask for less: a larger network would be larger than its data"
    else:
        change = "ask for less, or give a larger network (grid-shape) and more iterations"
    return (
        f"The target of {goal.target_psnr:g} dB is not met: the model has {psnr:.2f} dB and is "
        f"kept; to get nearer, {change}."
    )


def _of_bytes(
    settings: Settings,
    volume: Volume,
    bricks: Sequence[Brick],
    looks: list[Look],
    *,
    target: int,
    aim: Aim,
) -> Sized:
    """Return the sizes of networks with which a model file has so many bytes."""
    network, storage, components = settings.network, settings.storage, volume.n_components
    # What bricks take beside their networks.
    several = len(bricks) > 1
    beside = [_beside(look, storage, 0 if several else PLANNED_ROWS) for look in looks]
    total = target - _fixed_bytes(settings, volume, bricks, looks) - sum(beside)
    if several:  # which keep one history
        aim = dataclasses.replace(aim, rows=PLANNED_ROWS)
        total -= _history_bytes(PLANNED_ROWS, storage)
    active = np.array([look.needs_network for look in looks])
    count = max(1, int(active.sum()))
    room = without_errors(total, count)
    networks = [network] * len(bricks)
    if settings.goal.chooses:
        smallest = dataclasses.replace(network, grid_shape=(2, 2, 2))
        free = room - network_nbytes(smallest, components, storage) * active.sum()
        each = bytes_each(storage) * network.grids * network.features
        nodes = max(0.0, free / each) * _shares(looks)
        networks = [_shaped(network, _FEWEST_NODES + more) for more in nodes]
    needed = [
        network_nbytes(own, components, storage) * bool(on) for own, on in zip(networks, active)
    ]
    whole = max(1.0, sum(needed))
    least = whole * (_FEWEST if storage.compress else 1.0)
    if least > room:
        _refuse(settings, target, int(target - room + least))
    # What is left over belongs to histories, or to numbers that are compressed less.
    errors = 0 if count == 1 else LEAST_BYTES
    aims = tuple(
        dataclasses.replace(
            aim, size=int(rest + errors + (total - errors * count) * own / whole) if on else 0
        )
        for rest, own, on in zip(beside, needed, active)
    )
    common = networks[int(np.argmax(needed))]
    return Sized(common, tuple(networks) if several else (), aims)


def _shares(looks: list[Look]) -> np.ndarray:
    """Return how the nodes are shared out among bricks, by how much happens in each."""
    weights = complexities([look.changes for look in looks])
    active = np.array([look.needs_network for look in looks])
    floor = 1e-3 * weights.max(initial=0.0) + 1e-30  # a sample may have missed what changes
    weights = np.where(active, np.maximum(weights, floor), 0.0)
    return weights / max(float(weights.sum()), 1e-300)


def _refuse(settings: Settings, target: int, least: int) -> NoReturn:
    is_given = not settings.goal.chooses
    what = "a model with the network that is asked for" if is_given else "the smallest model"
    raise ConfigurationError(
        f"The target of {size(target)} is too small: {what} takes about {size(least)}; give a "
        f"larger target-size or a smaller target-ratio{', or no network' if is_given else ''}."
    )


def _fixed_bytes(
    settings: Settings, volume: Volume, bricks: Sequence[Brick], looks: list[Look]
) -> int:
    """Return the bytes of a model file beside its tensors, by writing one with other numbers."""
    components, storage = volume.n_components, settings.storage
    network = dataclasses.replace(settings.network, grid_shape=(2, 2, 2))
    parameters = {n: np.zeros(s, "f4") for n, s in parameter_shapes(network, components).items()}
    if storage.compress:
        parameters = {COMPRESSED: np.zeros(8, np.uint8)}
    records: list[BrickRecord] = []
    states: list[dict[str, np.ndarray]] = []
    for brick, look in zip(bricks, looks):
        long = (_LONG,) * components
        record = BrickRecord(brick.extent, brick.ghosted, psnr=_LONG, max_error=-_LONG)
        cells = np.zeros((2, components, *cell_shape(record, volume.dims)), np.uint8)
        state: dict[str, np.ndarray] = {
            "macro_cells": cells,
            "history": np.zeros((0, len(COLUMNS))),
            **parameters,
        }
        if look.mask:
            state["mask"] = np.zeros(record.ghosted_dims, bool)
        if len(bricks) > 1:
            record = dataclasses.replace(
                record,
                network=network if records else None,  # the largest is the model's own
                value_minimum=long,
                value_maximum=long,
            )
        if not look.needs_network:
            record = dataclasses.replace(record, state="constant")
            state = {name: tensor for name, tensor in state.items() if name == "mask"}
        records.append(record)
        states.append(state)
    low = np.full(components, _LONG)
    index = model_index(volume, low, -low, network, storage).replace(
        bricks=tuple(records),
        training=training_record(settings.training, 64 * "0", -_LONG, 10**8),
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.amgsrn"
        write_archive(path, index, states)
        tensors = sum(stored_bytes(state, storage) for state in states)
        return path.stat().st_size - tensors + _TEXT * (1 + len(bricks))


def _whole_span(looks: Sequence[Look]) -> tuple[float, ...]:
    """Return the range of each component over all bricks with values; () where none has any."""
    known = [look for look in looks if look.values]
    if not known:
        return ()
    low = np.min([look.low for look in known], axis=0)
    high = np.max([look.high for look in known], axis=0)
    return tuple((high - low).tolist())


def _cells(block: Block, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Return codes of macro-cells like those of a network that has learned a brick."""
    shape = block.values.shape[1:]
    whole = (slice(0, shape[0]), slice(0, shape[1]), slice(0, shape[2]))
    span = np.where(high > low, high - low, 1.0)[:, None, None, None]
    values = (block.values - low[:, None, None, None]) / span
    return voxel_cells(values.astype(np.float32), BrickRecord(whole, whole), block.valid)


def _history_bytes(rows: int, storage: StorageConfig) -> int:
    return stored_bytes({"history": np.zeros((rows, len(COLUMNS)))}, storage)


def _beside(look: Look, storage: StorageConfig, rows: int) -> int:
    """Return the bytes of what a brick has beside its network."""
    if not look.needs_network:
        return look.mask
    cells = coarser_cells(look.cells) if storage.compress else look.cells
    return look.mask + stored_bytes({"macro_cells": cells}, storage) + _history_bytes(rows, storage)


def _others(network: NetworkConfig, components: int) -> int:
    """Return the numbers of a network beside its feature grids'."""
    features = network.grids * network.features * math.prod(network.grid_shape)
    return number_count(network, components) - features


def _cubic(network: NetworkConfig, side: int) -> NetworkConfig:
    return dataclasses.replace(network, grid_shape=(side, side, side))


def _shaped(network: NetworkConfig, nodes: float) -> NetworkConfig:
    """Return a network whose grids have so many nodes, nearly, in a shape that is nearly cubic."""
    side = max(2.0, nodes ** (1.0 / 3.0))
    low, high = max(2, math.floor(side / _MOST_UNEVEN)), math.ceil(side * _MOST_UNEVEN)
    best, found = (0.0, 0.0), (2, 2, 2)
    for z in range(low, math.floor(side + 1e-9) + 1):
        for y in range(z, high + 1):
            x = min(high, math.floor(nodes / (z * y) + 1e-9), 1024)
            if x < y:
                break
            # What is full enough is as good as full, and then the more even the better.
            full = min(_FULL, z * y * x / nodes)
            if (full, z / x) > best:
                best, found = (full, z / x), (z, y, x)
    return dataclasses.replace(network, grid_shape=found)


def _side_of(nodes: float) -> int:
    return max(_SMALLEST, math.floor(nodes ** (1.0 / 3.0) + 1e-9))
