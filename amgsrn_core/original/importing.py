"""Models of the original, single or ensemble, as an index and bricks of ours."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from amgsrn_core.config import ImportConfig, NetworkConfig
from amgsrn_core.errors import ArchiveError, ArchiveNotFoundError, ConfigurationError
from amgsrn_core.model import BrickRecord, ModelIndex, SourceRecord, TrainingRecord
from amgsrn_core.original.checkpoint import read_checkpoint
from amgsrn_core.original.networks import network_from_tensors
from amgsrn_core.original.options import Options
from amgsrn_core.volume.geometry import GridGeometry
from amgsrn_core.volume.volume import Volume

_Same = TypeVar("_Same")

_CHECKPOINTS = ("model.ckpt.tar", "model.ckpt")


def import_model(
    folder: str | os.PathLike[str],
    volume: Volume | None = None,
    config: ImportConfig | None = None,
) -> tuple[ModelIndex, list[dict[str, np.ndarray]]]:
    """Read a model that the original code has trained.

    Parameters
    ----------
    folder : path
        A folder of `SavedModels`: `options.json` and `model.ckpt.tar` or `model.ckpt`; for an
        ensemble, `options.json` and such a folder for each brick.
    volume : Volume, optional
        What the model was trained on. The original ignores names, units and where samples lie;
        they are taken from here, or are voxels.
    config : ImportConfig, optional

    Returns
    -------
    index : ModelIndex
    bricks : list of dict
        To be given to :func:`amgsrn_core.model.write_archive`.

    Raises
    ------
    ArchiveNotFoundError
        A file is missing.
    ArchiveError
        A file is damaged, or the model is of a kind that has no counterpart.
    ConfigurationError
        The volume does not fit the model.
    """
    options = Options.read(folder)
    parts = _read_bricks(options) if options.is_ensemble else [_read_part(options)]
    with _complaints(options.folder):
        outputs = _same([part.outputs for part in parts], "n_outputs")
        network = _same([part.network for part in parts], "the size of the networks")
        dims = options.shape("full_shape")
        blend = config is not None and config.blend
        bricks = _bricks(parts, dims, blend) if options.is_ensemble else _whole(dims)
        about = _about(options, volume, dims, outputs)
    low, high = (
        tuple(choose([getattr(part, end) for part in parts], axis=0).tolist())
        for choose, end in ((np.min, "minimum"), (np.max, "maximum"))
    )
    index = ModelIndex(
        **about,
        value_minimum=low,
        value_maximum=high,
        network=network,
        bricks=tuple(
            dataclasses.replace(brick, value_minimum=part.minimum, value_maximum=part.maximum)
            if options.is_ensemble
            else brick
            for brick, part in zip(bricks, parts)
        ),
        training=TrainingRecord(
            config={"original": options.values},
            iterations_done=int(options.values.get("iterations") or 0),
        ),
    )
    return index, [part.state for part in parts]


@dataclass(frozen=True)
class _Part:
    """One network, and the range that its outputs are scaled by."""

    options: Options
    network: NetworkConfig
    state: dict[str, np.ndarray]
    outputs: int
    minimum: tuple[float, ...]
    maximum: tuple[float, ...]


def _read_part(options: Options) -> _Part:
    tensors = read_checkpoint(_checkpoint(options.folder))
    with _complaints(options.folder):
        network, state = network_from_tensors(options, tensors)
        outputs = options.fields.integer("n_outputs")
        low, high = options.value_range(outputs)
        return _Part(options, network, state, outputs, low, high)


def _checkpoint(folder: Path) -> Path:
    for name in _CHECKPOINTS:
        if (folder / name).exists():
            return folder / name
    raise ArchiveNotFoundError(
        f"There is no {' or '.join(_CHECKPOINTS)} in {folder}; copy the whole folder of the model."
    )


def _read_bricks(options: Options) -> list[_Part]:
    """Read an ensemble's networks, in the order of their places in the volume."""
    parts = []
    for folder in sorted(options.folder.iterdir()):
        if folder.is_dir() and (folder / "options.json").exists():
            part = _read_part(Options.read(folder))
            with _complaints(folder):
                _extents(part)
            parts.append(part)
    if not parts:
        raise ArchiveNotFoundError(
            f"{options.folder} is an ensemble, but has no folder of a brick with an options.json; "
            "copy the whole folder."
        )
    return sorted(parts, key=_extents)


def _extents(part: _Part) -> tuple[int, ...]:
    """Return the voxels z0, z1, y0, y1, x0, x1 (half-open) that a brick was trained on."""
    extents = part.options.extents()
    if extents is None:
        raise ArchiveError("'extents' is missing, which says where the brick lies")
    return extents


def _whole(dims: tuple[int, int, int]) -> list[BrickRecord]:
    whole = (slice(0, dims[0]), slice(0, dims[1]), slice(0, dims[2]))
    return [BrickRecord(whole, whole)]


def _bricks(parts: list[_Part], dims: tuple[int, int, int], blend: bool) -> list[BrickRecord]:
    """Return which voxels each brick was trained on and answers for; they must be a full grid.

    The original writes down the former only.
    """
    extents = [_extents(part) for part in parts]
    found = set(extents)
    if len(found) < len(extents):
        raise ArchiveError("two of its bricks have the same extents")
    ranges = [_ranges(extents, axis, dims[axis], blend) for axis in range(3)]
    expected = {(*z, *y, *x) for z, y, x in itertools.product(*ranges)}
    if missing := sorted(expected - found):
        raise ArchiveError(
            f"its bricks are not a complete grid: there is none for the extents "
            f"{','.join(map(str, missing[0]))}"
        )
    records = []
    for part, bounds in zip(parts, extents):
        pairs = list(zip(bounds[::2], bounds[1::2]))
        (z, dz), (y, dy), (x, dx) = (ranges[axis][pair] for axis, pair in enumerate(pairs))
        gz, gy, gx = (slice(*pair) for pair in pairs)
        domain = None if blend else (dz, dy, dx)
        record = BrickRecord((z, y, x), (gz, gy, gx), domain=domain)
        if part.options.shape("full_shape") != record.ghosted_dims:
            raise ArchiveError(
                f"the brick {','.join(map(str, bounds))} claims the shape "
                f"{list(part.options.shape('full_shape'))} in 'full_shape'"
            )
        records.append(record)
    return records


def _ranges(
    extents: list[tuple[int, ...]], axis: int, size: int, blend: bool
) -> dict[tuple[int, int], tuple[slice, tuple[float, float]]]:
    """Return, for each trained range along an axis, its own voxels and its domain.

    At the share u of the volume's length the original asks brick floor(u * bricks), so it switches
    at u = k / bricks, which need not be on a voxel. (It also bounds u by 0.99, and so never gets to
    the last of more than 100 bricks; here they answer.) When blending, each of two neighbours
    answers for its half of their overlap.
    """
    trained = sorted({(bounds[2 * axis], bounds[2 * axis + 1]) for bounds in extents})
    cuts = [0]
    switches = [(size - 1) * k / len(trained) for k in range(len(trained) + 1)]
    for (start, stop), (next_start, next_stop), switch in zip(trained, trained[1:], switches[1:]):
        if not (start < next_start <= stop < next_stop):
            raise ArchiveError(
                f"along {'zyx'[axis]} its bricks {start},{stop} and {next_start},{next_stop} "
                "leave a gap or contain each other"
            )
        half = (next_start + stop) // 2
        cuts.append(half if blend else min(max(math.ceil(switch), next_start), stop))
    cuts.append(size)
    if trained[0][0] != 0 or trained[-1][1] != size:
        raise ArchiveError(
            f"along {'zyx'[axis]} its bricks reach from {trained[0][0]} to {trained[-1][1]}, but "
            f"'full_shape' has {size} voxels"
        )
    own = (slice(*pair) for pair in zip(cuts, cuts[1:]))
    return dict(zip(trained, zip(own, zip(switches, switches[1:]))))


def _about(
    options: Options, volume: Volume | None, dims: tuple[int, int, int], outputs: int
) -> dict[str, Any]:
    """Return what the index says about the data."""
    if volume is not None:
        _check_volume(volume, dims, outputs, options.folder)
        like = ModelIndex.of_volume(volume, [0.0] * outputs, [1.0] * outputs, NetworkConfig())
        kept = ("name", "components", "units", "geometry", "source", "missing", "time")
        return {name: getattr(like, name) for name in kept}
    data = str(options.values.get("data") or options.folder.name).replace("\\", "/")
    name = Path(data).stem
    return {
        "name": name,
        "components": (name,) if outputs == 1 else tuple(f"{name}_{i}" for i in range(outputs)),
        "units": ("",) * outputs,
        "geometry": GridGeometry.uniform(dims),
        "source": SourceRecord(Path(data).name, "float32", 4 * outputs * math.prod(dims)),
    }


def _same(values: list[_Same], what: str) -> _Same:
    if any(value != values[0] for value in values):
        raise ArchiveError(f"{what} differs between its bricks")
    return values[0]


def _check_volume(volume: Volume, dims: tuple[int, int, int], outputs: int, folder: Path) -> None:
    if tuple(volume.dims) != dims or volume.n_components != outputs:
        raise ConfigurationError(
            f"{volume.source} has {' x '.join(map(str, volume.dims))} voxels and "
            f"{volume.n_components} component(s), but {folder} was trained on "
            f"{' x '.join(map(str, dims))} and {outputs}; name the volume that it was trained on."
        )


@contextlib.contextmanager
def _complaints(folder: Path) -> Iterator[None]:
    """Name the folder in a complaint about its content."""
    try:
        yield
    except ArchiveError as error:
        text = str(error).rstrip(".")
        raise type(error)(f"The model in {folder} cannot be imported: {text}.") from error
