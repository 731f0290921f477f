"""Compressed parameters of a network: quantised, and entropy-coded into one list of bytes.

Each feature of each grid is transformed by a three-dimensional cosine transform and divided by a
step; the decoder's matrices are divided by one step each. Only the whole numbers nearest to the
results are kept. How coarse the steps may be is for the caller to say: see
:mod:`amgsrn_core.training.compression`. Nothing here knows of files or of PyTorch.
"""

from __future__ import annotations

import functools
import lzma
import math
from collections.abc import Mapping, Sequence

import numpy as np

from amgsrn_core.config import NetworkConfig
from amgsrn_core.errors import ArchiveError, ConfigurationError

COMPRESSED = "compressed"
"""The only tensor of packed parameters, uint8 [n]."""

# Parameters that are kept as they are: few numbers, of which every bit moves a whole grid.
_EXACT = ("transforms",)

# The coder is LZMA of single bytes. Its contexts are the upper bits of the byte before.
_FILTERS = [
    {
        "id": lzma.FILTER_LZMA1,
        "lc": 4,
        "lp": 0,
        "pb": 0,
        "dict_size": 1 << 16,
        "mode": lzma.MODE_NORMAL,
        "nice_len": 273,
        "mf": lzma.MF_BT4,
    }
]
# A number that does not fit into a byte is this one, and follows in full at the end.
_ESCAPE = 255
_LARGEST = 1 << 30

Steps = Mapping[str, np.ndarray]


def refuse_incompressible(network: NetworkConfig) -> None:
    """Raise :class:`ConfigurationError` for a network that has no grids to compress."""
    if network.encoder == "hash":
        raise ConfigurationError(
            "Networks with a hash grid cannot be compressed; use the encoder adaptive or dense."
        )


def pack(parameters: Mapping[str, np.ndarray], steps: Steps) -> dict[str, np.ndarray]:
    """Compress the parameters of a network.

    Parameters
    ----------
    parameters : dict of ndarray
        Named and shaped as by :func:`~amgsrn_core.archive.parameter_shapes`.
    steps : dict of ndarray
        For `feature_grids` [G, F], for each of the decoder's matrices [1]; see :func:`rounded`.

    Returns
    -------
    dict
        :data:`COMPRESSED`, for :func:`unpack`.
    """
    names = _names(parameters)
    head = b"".join(
        _little(parameters[name] if name in _EXACT else steps[name]).tobytes() for name in names
    )
    numbers = np.concatenate(
        [_ordered(_quantise(parameters[name], steps[name])) for name in names if name not in _EXACT]
    )
    return {COMPRESSED: np.frombuffer(head + _encode(numbers), dtype=np.uint8)}


def unpack(
    tensors: Mapping[str, np.ndarray], shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, np.ndarray]:
    """Return the parameters float32 that :func:`pack` compressed, as :func:`rounded` has them.

    Parameters
    ----------
    tensors : dict of ndarray
        With :data:`COMPRESSED`.
    shapes : dict of tuple
        Of all parameters, see :func:`~amgsrn_core.archive.parameter_shapes`.

    Raises
    ------
    ArchiveError
        When the bytes do not hold parameters of these shapes.
    """
    data = tensors[COMPRESSED].tobytes()
    found: dict[str, np.ndarray] = {}
    position = 0
    names = _names(shapes)
    for name in names:
        shape = shapes[name] if name in _EXACT else _steps_shape(name, shapes[name])
        size = 4 * math.prod(shape)
        if len(data) < position + size:
            raise ArchiveError("its compressed parameters are cut short")
        part = np.frombuffer(data[position : position + size], dtype="<f4")
        found[name] = part.reshape(shape).astype(np.float32)
        position += size
    coded = [name for name in names if name not in _EXACT]
    counts = [math.prod(shapes[name]) for name in coded]
    numbers = _decode(data[position:], sum(counts))
    for name, part in zip(coded, np.split(numbers, np.cumsum(counts)[:-1])):
        steps = found[name]
        found[name] = _restore(_unordered(part, shapes[name]), steps)
    return found


def rounded(parameters: Mapping[str, np.ndarray], steps: Steps) -> dict[str, np.ndarray]:
    """Return the parameters float32 as they come back from :func:`unpack`, without coding them.

    Parameters
    ----------
    parameters : dict of ndarray
    steps : dict of ndarray
        Of the feature grids [G, F]: what one step of the lowest frequency is worth, at every node
        alike. Of a matrix [1]: the step of its numbers.
    """
    return {
        name: np.asarray(value, dtype=np.float32)
        if name in _EXACT
        else _restore(_quantise(value, steps[name]), steps[name])
        for name, value in parameters.items()
    }


def cosine_matrix(size: int) -> np.ndarray:
    """Return the orthonormal cosine transform (DCT-II) of `size` numbers, float64 [size, size]."""
    frequency, place = np.ogrid[:size, :size]
    matrix = np.sqrt(2.0 / size) * np.cos(np.pi * (place + 0.5) * frequency / size)
    matrix[0] /= np.sqrt(2.0)
    return matrix


@functools.lru_cache(maxsize=8)
def coarseness(shape: tuple[int, int, int]) -> np.ndarray:
    """Return by how much the steps of the frequencies [D, H, W] may exceed the lowest one's.

    Between its nodes a grid is interpolated linearly, which damps a wave of frequency w to
    (2 + cos w) / 3 of its energy along each axis: errors there weigh so much less.
    """
    energy = [(2.0 + np.cos(np.pi * np.arange(n) / n)) / 3.0 for n in shape]
    return 1.0 / np.sqrt(energy[0][:, None, None] * energy[1][:, None] * energy[2])


# --- Helpers -------------------------------------------------------------------------------------


def _names(parameters: Mapping[str, object]) -> list[str]:
    """Return the names in the order of the file."""
    return sorted(parameters, key=lambda name: (name not in _EXACT, name))


def _steps_shape(name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    return shape[:2] if name == "feature_grids" else (1,)


def _little(values: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(values, dtype="<f4")


def _widths(steps: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return the step of each number of a parameter, float64, to be broadcast."""
    steps = _little(steps).astype(np.float64)
    if len(shape) != 5:
        return steps
    d, h, w = shape[2:]
    return steps[:, :, None, None, None] * coarseness((d, h, w))


def _transformed(values: np.ndarray, inverse: bool) -> np.ndarray:
    """Return the cosine transform of grids [G, F, D, H, W], or what it was made of."""
    for axis in (2, 3, 4):
        matrix = cosine_matrix(values.shape[axis])
        values = np.moveaxis(
            np.tensordot(values, matrix if inverse else matrix.T, (axis, 0)), -1, axis
        )
    return values


def _quantise(values: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """Return whole numbers int64 in the shape of the parameter."""
    values = np.asarray(values, dtype=np.float64)
    if values.ndim == 5:
        values = _transformed(values, inverse=False)
    numbers = np.rint(values / _widths(steps, values.shape))
    return np.clip(numbers, -_LARGEST, _LARGEST).astype(np.int64)


def _restore(numbers: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """Return parameters float32 of whole numbers and their steps."""
    with np.errstate(over="ignore", invalid="ignore"):
        values = numbers * _widths(steps, numbers.shape)
        if numbers.ndim == 5:
            values = _transformed(values, inverse=True)
        return np.ascontiguousarray(values, dtype=np.float32)


def _order(shape: Sequence[int]) -> np.ndarray:
    """Return the flat positions [D * H * W] of frequencies, low ones first."""
    d, h, w = (np.arange(n) / n for n in shape)
    return np.argsort((d[:, None, None] + h[:, None] + w).ravel(), kind="stable")


def _ordered(numbers: np.ndarray) -> np.ndarray:
    """Return numbers in the order of coding, neighbours of about the same size."""
    if numbers.ndim != 5:
        return numbers.ravel()
    rows = numbers.reshape(-1, math.prod(numbers.shape[2:]))
    return rows[:, _order(numbers.shape[2:])].T.ravel()


def _unordered(numbers: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    if len(shape) != 5:
        return numbers.reshape(shape)
    rows = numbers.reshape(math.prod(shape[2:]), -1).T
    restored = np.empty_like(rows)
    restored[:, _order(shape[2:])] = rows
    return restored.reshape(shape)


def _encode(numbers: np.ndarray) -> bytes:
    folded = np.where(numbers >= 0, 2 * numbers, -2 * numbers - 1)
    large = folded >= _ESCAPE
    plain = np.where(large, _ESCAPE, folded).astype(np.uint8).tobytes()
    rest = folded[large].astype("<u4").tobytes()
    return lzma.compress(plain + rest, format=lzma.FORMAT_RAW, filters=_FILTERS)


def _decode(data: bytes, count: int) -> np.ndarray:
    """Return `count` numbers int64."""
    coder = lzma.LZMADecompressor(format=lzma.FORMAT_RAW, filters=_FILTERS)
    try:
        plain = coder.decompress(data, count)
        folded = np.frombuffer(plain, dtype=np.uint8).astype(np.int64)
        large = folded == _ESCAPE
        # One byte of room beyond the end shows an excess without unpacking all of it.
        rest = b"" if coder.eof else coder.decompress(b"", 4 * int(large.sum()) + 1)
    except (lzma.LZMAError, EOFError) as error:
        raise ArchiveError(f"its compressed parameters cannot be unpacked ({error})") from error
    if len(folded) != count or len(rest) != 4 * large.sum() or not coder.eof:
        raise ArchiveError("its compressed parameters do not have the network's size")
    folded[large] = np.frombuffer(rest, dtype="<u4")
    return np.where(folded % 2 == 0, folded // 2, -(folded + 1) // 2)
