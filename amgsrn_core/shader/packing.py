"""A model's networks as the shader takes them: textures, and what its text depends on.

Everything but features stands in one table of numbers, four to a texel: of each brick its place,
its ranges, the maps of its grids and its decoder; then, one by one, which bricks reach where and
the coordinates of uneven axes.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field

import numpy as np

from amgsrn_core.config import NetworkConfig
from amgsrn_core.errors import ConfigurationError
from amgsrn_core.field.brick import FieldBrick
from amgsrn_core.field.evaluators import CONSTANT
from amgsrn_core.field.neural_volume import NeuralVolume
from amgsrn_core.model.shapes import levels_of

LONGEST = 2048
"""Texels along an edge of a 3-D texture that the graphics processors of the last ten years have."""

MOST_HALF = float(np.finfo(np.float16).max)
"""Features beyond it need more than 16 bits."""

_ROW, _HASH_ROW = 1024, 2048  # texels in a row of the tables, as in march.glsl
_MOST_BYTES = 2 << 30  # of features
_FAR = 1e30  # in place of infinity, which shaders need not know
_EVEN = 1e-9  # as in kernels.march


@dataclass(frozen=True)
class PackedModel:
    """Textures and definitions of a model; the attributes are those of PackedLook."""

    textures: dict[str, np.ndarray] = field(repr=False)
    defines: dict[str, int]

    @classmethod
    def of(cls, volume: NeuralVolume) -> PackedModel:
        """Pack a time step of a model, always the same one.

        Raises
        ------
        ConfigurationError
            It has no values, or does not fit into a graphics processor's textures.
        """
        return volume.derived(cls, lambda: _packed(volume))

    @property
    def nbytes(self) -> int:
        """Bytes of the textures."""
        return sum(array.nbytes for array in self.textures.values())


def _packed(volume: NeuralVolume) -> PackedModel:
    bricks = list(volume.bricks())
    if not bricks:
        raise ConfigurationError("A graphics processor has nothing to draw: no brick has values.")
    network = _largest_network(volume, bricks)
    outputs = len(volume.components)
    sizes = _Sizes.of(network, outputs)
    if network.encoder == "hash":
        features, corners = _hash_features(bricks, sizes)
    else:
        features, corners = _atlas(bricks, sizes)
    rows = [
        sizes.row(brick, volume, number, corners[number]) for number, brick in enumerate(bricks)
    ]
    numbers, tables = _tables(volume, bricks)
    stride = sizes.defines["BRICK_TEXELS"]
    table = np.concatenate([np.concatenate(rows), _padded(numbers, 4).reshape(-1, 4)])
    defines = {**sizes.defines, **tables, "TABLES": stride * len(bricks)}
    textures = {
        "features": features,
        "numbers": _padded(table.ravel(), 4 * _ROW).reshape(-1, _ROW, 4),
    }
    mask = _mask(volume, bricks)
    if mask is not None:
        textures["mask"] = mask[..., None]
        defines["MASK"] = 1
    return PackedModel(textures, defines)


def _largest_network(volume: NeuralVolume, bricks: list[FieldBrick]) -> NetworkConfig:
    """Return the configuration of all networks, with grids that those of each have room in."""
    trained = [brick.record for brick in bricks if brick.record.state == "network"]
    found = {volume.index.network_of(record) for record in trained} or {CONSTANT}
    z, y, x = (max(sizes) for sizes in zip(*(network.grid_shape for network in found)))
    return dataclasses.replace(found.pop(), grid_shape=(z, y, x))


@dataclass(frozen=True)
class _Sizes:
    """Where a brick's numbers stand, in texels from its first one."""

    network: NetworkConfig
    outputs: int
    planes: int  # into how many texels a grid's features are parted
    features: int  # in each of them
    width: int  # of hidden layers, padded to a multiple of 4
    defines: dict[str, int]

    @classmethod
    def of(cls, network: NetworkConfig, outputs: int) -> _Sizes:
        planes = -(-network.features // 4)
        features = 4 if planes > 1 else {1: 1, 2: 2, 3: 4, 4: 4}[network.features]
        lookups = planes * (1 if network.encoder == "dense" else network.grids)
        terms = network.positional_terms if network.encoder == "dense" else 0
        width = -(-network.width // 4) * 4
        defines = {
            "GRIDS": lookups,
            "FEATURES": features,
            "WIDTH4": width // 4,
            "LAYERS": network.layers,
            "TERMS": terms,
        }
        counts = {
            "HEADER": 7,
            "RANGES_AT": outputs,
            "GRIDS_AT": lookups * (2 if network.encoder == "hash" else 4),
            "LAYER0_AT": (6 * terms + lookups * features) * width // 4,
            **{f"LAYER{i}_AT": width * width // 4 for i in range(1, network.layers)},
            "LAST_AT": outputs * width // 4,
        }
        if network.biases:
            counts["BIASES_AT"] = network.layers * width // 4
            defines["BIASES"] = 1
        place = 0
        for name, count in counts.items():
            defines[name] = place
            place += count
        defines["BRICK_TEXELS"] = place
        if network.encoder == "hash":
            defines["HASH"] = 1
            if network.hash_scheme == "original":
                defines["HASH_BOUNDED"] = 1
        return cls(network, outputs, planes, features, width, defines)

    def row(
        self, brick: FieldBrick, volume: NeuralVolume, number: int, corners: np.ndarray
    ) -> np.ndarray:
        """Return the numbers of a brick, float32 [texels, 4]."""
        blend = volume.blend
        shape = np.array(volume.index.network_of(brick.record).grid_shape)
        header = np.zeros((7, 4))
        header[0, :3], header[1, :3] = brick.first, 2.0 / (brick.last - brick.first)
        header[2:4, :3] = np.clip(blend.ends[number], -_FAR, _FAR)
        header[4:6, :3] = blend.slopes[number]
        header[6, :3] = shape[::-1]
        ranges = np.zeros((self.outputs, 4))
        ranges[:, 0], ranges[:, 1] = brick.minimum, brick.maximum - brick.minimum
        if brick.record.state != "network":
            row = np.zeros((self.defines["BRICK_TEXELS"], 4), dtype=np.float32)
            row[:7], row[7 : 7 + self.outputs] = header, ranges
            return row
        state = brick.evaluator.parameters
        layers = [state[f"decoder.{i}.weight"] for i in range(self.network.layers + 1)]
        parts = [header, ranges, self._grids(state, corners, shape), self._inputs(layers[0])]
        parts += [self._hidden(i, layers[i]) for i in range(1, self.network.layers)]
        parts += [_wide(layers[-1], self.outputs, self.width)]
        if self.network.biases:
            biases = [state[f"decoder.{i}.bias"] for i in range(self.network.layers + 1)]
            parts += [_wide(bias[None], 1, self.width) for bias in biases[:-1]]
            ranges[:, 2] = biases[-1]
        return np.concatenate([part.reshape(-1, 4) for part in parts]).astype(np.float32)

    def _grids(
        self, state: dict[str, np.ndarray], corners: np.ndarray, shape: np.ndarray
    ) -> np.ndarray:
        """Return the maps from the brick to texels, or the levels of a hash grid."""
        if self.network.encoder == "hash":
            return corners
        half = (shape[::-1] - 1) / 2
        maps = np.array(state["transforms"], dtype=np.float64)
        maps[:, :, 3] += 1.0
        maps *= half[:, None]
        maps[:, :, 3] += 1.0  # the margin
        maps = np.repeat(maps, self.planes, axis=0)
        return np.concatenate([maps, np.pad(corners, ((0, 0), (0, 1)))[:, None]], axis=1)

    def _inputs(self, first: np.ndarray) -> np.ndarray:
        """Return the first layer input by input, features padded to whole texels."""
        terms = 6 * self.defines["TERMS"]
        columns = first.T[terms:].reshape(-1, self.network.features, len(first))
        missing = self.planes * self.features - self.network.features
        columns = np.pad(columns, ((0, 0), (0, missing), (0, 0)))
        inputs = np.concatenate([first.T[:terms], columns.reshape(-1, len(first))])
        return _wide(inputs, len(inputs), self.width)

    def _hidden(self, number: int, layer: np.ndarray) -> np.ndarray:
        """Return a layer output by output, four at a time, or input by input."""
        square = _wide(layer if number % 2 else layer.T, self.width, self.width)
        if number % 2 == 0:
            return square
        return square.reshape(self.width // 4, 4, self.width).transpose(0, 2, 1)


def _wide(matrix: np.ndarray, rows: int, columns: int) -> np.ndarray:
    padded = np.zeros((rows, columns))
    padded[: matrix.shape[0], : matrix.shape[1]] = matrix
    return padded


def _padded(values: np.ndarray, multiple: int) -> np.ndarray:
    """Return a flat float32 array of a multiple of a length."""
    whole = np.zeros(max(-(-len(values) // multiple), 1) * multiple, dtype=np.float32)
    whole[: len(values)] = values
    return whole


def _atlas(bricks: list[FieldBrick], sizes: _Sizes) -> tuple[np.ndarray, np.ndarray]:
    """Return all grids in one texture, and where their margins begin there, [B, G, 3] (x, y, z)."""
    shape = np.array(sizes.network.grid_shape)
    each = sizes.defines["GRIDS"]
    blocks = atlas_blocks(tuple(shape + 2), each * len(bricks))
    size = math.prod(blocks) * math.prod(shape + 2) * sizes.features * 4
    if max(blocks * (shape + 2)) > LONGEST or size > _MOST_BYTES:
        raise ConfigurationError(
            f"The feature grids take {size / 2**30:.1f} GiB in a texture of "
            f"{' x '.join(map(str, (blocks * (shape + 2))[::-1]))}; a graphics processor takes up "
            f"to {LONGEST} along an edge and {_MOST_BYTES >> 30} GiB: use backend native."
        )
    atlas = np.zeros((*(blocks * (shape + 2)), sizes.features), dtype=np.float32)
    numbers = np.arange(each * len(bricks))
    z, y, x = np.unravel_index(numbers, blocks)
    corners = np.stack([z, y, x], axis=1) * (shape + 2)
    for number, brick in enumerate(bricks):
        if brick.record.state != "network":
            continue
        grids = brick.evaluator.parameters["feature_grids"]
        missing = sizes.planes * sizes.features - grids.shape[1]
        grids = np.pad(grids, ((0, 0), (0, missing), (0, 0), (0, 0), (0, 0)))
        grids = grids.reshape(each, sizes.features, *grids.shape[2:])
        for grid, corner in zip(grids, corners[number * each :]):
            place = tuple(slice(c + 1, c + 1 + n) for c, n in zip(corner, grid.shape[1:]))
            atlas[place] = grid.transpose(1, 2, 3, 0)
    return atlas, corners[:, ::-1].reshape(len(bricks), each, 3).astype(np.float64)


def atlas_blocks(block: tuple[int, ...], count: int) -> np.ndarray:
    """Return how many blocks lie along z, y, x: as few in vain as possible, edges not too long."""
    along_z = min(count, max(1, LONGEST // block[0]))
    columns = -(-count // along_z)
    along_z = -(-count // columns)
    along_y = min(columns, max(1, LONGEST // block[1]))
    along_x = -(-columns // along_y)
    return np.array([along_z, -(-columns // along_x), along_x])


def _hash_features(bricks: list[FieldBrick], sizes: _Sizes) -> tuple[np.ndarray, np.ndarray]:
    """Return the tables of all bricks, and two texels for each of their levels."""
    levels, planes = levels_of(sizes.network), sizes.planes
    entries = sum(level.entries for level in levels)
    total = entries * planes * len(bricks)
    if -(-total // _HASH_ROW) > 8 * LONGEST:
        raise ConfigurationError(
            f"The hash tables have {total} entries, more than a graphics processor's texture "
            "takes; use backend torch."
        )
    table = np.zeros((-(-total // _HASH_ROW), _HASH_ROW, sizes.features), dtype=np.float32)
    flat = table.reshape(-1, sizes.features)
    rows = np.zeros((len(bricks), len(levels), planes, 2, 4))
    for number, brick in enumerate(bricks):
        begin = number * entries * planes
        if brick.record.state == "network":
            found = brick.evaluator.parameters["feature_grids"]
            missing = planes * sizes.features - found.shape[1]
            found = np.pad(found, ((0, 0), (0, missing))).reshape(entries, planes, sizes.features)
            flat[begin : begin + entries * planes] = found.swapaxes(0, 1).reshape(
                -1, sizes.features
            )
        for at, level in enumerate(levels):
            for plane in range(planes):
                first = begin + plane * entries + level.first
                rows[number, at, plane, 0] = level.scale, level.offset, first, level.entries
                rows[number, at, plane, 1] = (*level.strides, 1) if level.strides else (0, 0, 0, 0)
    return table, rows.reshape(len(bricks), -1, 4)


def _tables(volume: NeuralVolume, bricks: list[FieldBrick]) -> tuple[np.ndarray, dict[str, int]]:
    """Return which bricks reach where and the axes' coordinates, and where each table begins."""
    parts: dict[str, np.ndarray] = {}
    defines: dict[str, int] = {}
    whole = np.array(volume.geometry.dims[::-1]) - 1
    fills = len(bricks) == 1 and not bricks[0].first.any() and (bricks[0].last == whole).all()
    if not fills:
        cells = volume.blend.cells
        for name, table in zip("XYZ", cells.tables):
            parts[f"BLOCKS_{name}"] = table
        parts |= {"STARTS": cells.starts, "MEMBERS": cells.bricks}
        defines |= {"BRICKS": 1, "BLOCK_COLUMNS": cells.sizes[0], "BLOCK_ROWS": cells.sizes[1]}
    for name, axis in zip("XYZ", reversed(volume.geometry.axes)):
        coordinates = np.asarray(axis.coordinates, dtype=np.float64)
        even = (coordinates - coordinates[0]) / axis.spacing
        if np.abs(even - np.arange(len(even))).max() < _EVEN:
            defines[f"AXIS_{name}"] = -1
        else:
            parts[f"AXIS_{name}"] = even
            defines["BENT"] = 1
    place = 0
    for name, values in parts.items():
        defines[name] = place
        place += len(values)
    if place > 1 << 24:
        raise ConfigurationError(
            "The bricks are too many for a graphics processor's tables; use backend native."
        )
    return np.concatenate([np.zeros(0), *parts.values()]), defines


def _mask(volume: NeuralVolume, bricks: list[FieldBrick]) -> np.ndarray | None:
    """Return which voxels have a value, uint8 [z, y, x]; None if all have."""
    if all(brick.valid is None for brick in bricks):
        return None
    dims = volume.geometry.dims
    if max(dims) > LONGEST:
        raise ConfigurationError(
            f"Data are missing among {' x '.join(map(str, dims[::-1]))} voxels, and a graphics "
            f"processor's textures tell of {LONGEST} along an axis; use backend native."
        )
    mask = np.ones(dims, dtype=np.uint8)
    for brick in bricks:
        if brick.valid is not None:
            mask[brick.record.ghosted] &= brick.valid
    return mask
