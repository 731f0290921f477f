"""Compressed parameters of a network: quantised, and entropy-coded into one list of bytes.

Each feature of each grid is transformed by a three-dimensional cosine transform and divided by a
step; the decoder's matrices are divided by one step each. Only the whole numbers nearest to the
results are kept. How coarse the steps may be is for the caller to say: see
:mod:`amgsrn_core.training.compressing.compression`. Nothing here knows of files or of PyTorch.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from amgsrn_core.config import NetworkConfig
from amgsrn_core.errors import ArchiveError, ConfigurationError
from amgsrn_core.model.entropy import LARGEST, bits, coder_package, decode, encode

COMPRESSED = "compressed"
"""The only tensor of packed parameters, uint8 [n]."""

DIFFERENCES = "compressed_differences"
"""In its place where a network is packed as differences from another one, uint8 [n]."""

# Parameters that are kept as they are: few numbers, of which every bit moves a whole grid.
_EXACT = ("transforms",)

# Frequencies whose numbers share a distribution.
BANDS = 16

Steps = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Quantised:
    """What packed parameters consist of.

    Attributes
    ----------
    exact : dict of ndarray
        Parameters float32 that are kept as they are.
    steps : dict of ndarray
        float32, see :func:`rounded`.
    coefficients : dict of ndarray
        Whole numbers int64 in the shapes of the parameters that have steps.
    """

    exact: dict[str, np.ndarray]
    steps: dict[str, np.ndarray]
    coefficients: dict[str, np.ndarray]

    def restored(self) -> dict[str, np.ndarray]:
        """Return the parameters float32."""
        return {
            **self.exact,
            **{k: _restore(n, self.steps[k]) for k, n in self.coefficients.items()},
        }

    def requantised(self, steps: Steps) -> dict[str, np.ndarray]:
        """Return the whole numbers int64 next to these where steps are other ones.

        They are the same on every machine: there is no sum in them whose order could matter.
        """
        return {
            name: _with_steps(n, self.steps[name], steps[name])
            for name, n in self.coefficients.items()
        }


def refuse_incompressible(network: NetworkConfig) -> None:
    """Raise :class:`ConfigurationError` for a network that has no grids to compress.

    Also where nothing can be compressed, for want of a package.
    """
    coder_package()
    if network.encoder == "hash":
        raise ConfigurationError(
            "Networks with a hash grid cannot be compressed; use the encoder adaptive or dense."
        )


def pack(parameters: Mapping[str, np.ndarray], steps: Steps) -> dict[str, np.ndarray]:
    """Compress the parameters of a network.

    Parameters
    ----------
    parameters : dict of ndarray
        Named and shaped as by :func:`~amgsrn_core.model.parameter_shapes`.
    steps : dict of ndarray
        For `feature_grids` [G, F], for each of the decoder's matrices [1]; see :func:`rounded`.

    Returns
    -------
    dict
        :data:`COMPRESSED`, for :func:`unpack_quantised`.
    """
    numbers = {n: _quantise(parameters[n], steps[n]) for n in parameters if n not in _EXACT}
    data = _head(parameters, steps) + encode(_grouped_all(numbers))
    return {COMPRESSED: np.frombuffer(data, dtype=np.uint8)}


def pack_differences(quantised: Quantised, before: Quantised) -> dict[str, np.ndarray]:
    """Compress a network's numbers as differences from another one's of the same shapes.

    Groups of numbers that are smaller than their differences are kept as they are.

    Returns
    -------
    dict
        :data:`DIFFERENCES`, for :func:`unpack_differences`.
    """
    own = _grouped_all(quantised.coefficients)
    expected = _grouped_all(before.requantised(quantised.steps))
    groups = [number - guess for number, guess in zip(own, expected)]
    flags = np.array([bits(d) < bits(n) for d, n in zip(groups, own)], dtype=bool)
    groups = [d if flag else n for d, n, flag in zip(groups, own, flags)]
    data = _head(quantised.exact, quantised.steps) + np.packbits(flags).tobytes() + encode(groups)
    return {DIFFERENCES: np.frombuffer(data, dtype=np.uint8)}


def unpack_quantised(
    tensors: Mapping[str, np.ndarray], shapes: Mapping[str, tuple[int, ...]]
) -> Quantised:
    """Return the numbers that :func:`pack` compressed; they restore what :func:`rounded` returns.

    Parameters
    ----------
    tensors : dict of ndarray
        With :data:`COMPRESSED`.
    shapes : dict of tuple
        Of all parameters, see :func:`~amgsrn_core.model.parameter_shapes`.

    Raises
    ------
    ArchiveError
        When the bytes do not hold parameters of these shapes.
    """
    data = tensors[COMPRESSED].tobytes()
    exact, steps, position = _read_head(data, shapes)
    groups = decode(data[position:], _all_counts(shapes))
    return Quantised(exact, steps, _ungrouped_all(groups, shapes))


def unpack_differences(
    tensors: Mapping[str, np.ndarray], before: Quantised, shapes: Mapping[str, tuple[int, ...]]
) -> Quantised:
    """Return the numbers that :func:`pack_differences` compressed.

    Raises
    ------
    ArchiveError
        When the bytes do not hold numbers of these shapes.
    """
    data = tensors[DIFFERENCES].tobytes()
    exact, steps, position = _read_head(data, shapes)
    counts = _all_counts(shapes)
    stop = position + math.ceil(len(counts) / 8)
    flags = np.unpackbits(np.frombuffer(data[position:stop], dtype=np.uint8))
    groups = decode(data[stop:], counts)
    expected = _grouped_all(before.requantised(steps))
    groups = [g + guess if flag else g for g, guess, flag in zip(groups, expected, flags)]
    return Quantised(exact, steps, _ungrouped_all(groups, shapes))


def rounded(parameters: Mapping[str, np.ndarray], steps: Steps) -> dict[str, np.ndarray]:
    """Return the parameters float32 as they come back from :func:`pack`, without coding them.

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


@functools.lru_cache(maxsize=8)
def frequency_bands(shape: tuple[int, int, int]) -> np.ndarray:
    """Return which band, 0 to BANDS - 1, the frequencies [D, H, W] belong to, low ones first."""
    d, h, w = (np.arange(n) / n for n in shape)
    return ((d[:, None, None] + h[:, None] + w) * (BANDS / 3.0)).astype(np.int64)


# --- Helpers -------------------------------------------------------------------------------------


def _names(parameters: Mapping[str, object]) -> list[str]:
    """Return the names in the order of the file."""
    return sorted(parameters, key=lambda name: (name not in _EXACT, name))


def _head(exact: Mapping[str, np.ndarray], steps: Steps) -> bytes:
    """Return what comes before the coded numbers."""
    names = _names({**{name: exact[name] for name in _EXACT if name in exact}, **steps})
    return b"".join(_little((exact if n in _EXACT else steps)[n]).tobytes() for n in names)


def _read_head(
    data: bytes, shapes: Mapping[str, tuple[int, ...]]
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], int]:
    """Return the exact parameters and the steps, both float32, and where the rest begins."""
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
    exact = {name: found.pop(name) for name in names if name in _EXACT}
    return exact, found, position


def _steps_shape(name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    return shape[:2] if name == "feature_grids" else (1,)


def _little(values: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(values, dtype="<f4")


def _widths(steps: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return the step of each number of a parameter, float64, to be broadcast."""
    widths = _of_numbers(steps, shape)
    if len(shape) != 5:
        return widths
    d, h, w = shape[2:]
    return widths * coarseness((d, h, w))


def _of_numbers(steps: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Return steps float64 as they are broadcast to a parameter's numbers."""
    steps = _little(steps).astype(np.float64)
    return steps[:, :, None, None, None] if len(shape) == 5 else steps


def _with_steps(numbers: np.ndarray, old: np.ndarray, new: np.ndarray) -> np.ndarray:
    """Return the whole numbers int64 that stand, with new steps, for what these did."""
    old, new = (_of_numbers(steps, numbers.shape) for steps in (old, new))
    with np.errstate(all="ignore"):
        values = np.rint(numbers * (old / new))  # no steps of a damaged file stop this
    return np.nan_to_num(np.clip(values, -LARGEST, LARGEST)).astype(np.int64)


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
    return np.clip(numbers, -LARGEST, LARGEST).astype(np.int64)


def _restore(numbers: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """Return parameters float32 of whole numbers and their steps."""
    with np.errstate(over="ignore", invalid="ignore"):
        values = numbers * _widths(steps, numbers.shape)
        if numbers.ndim == 5:
            values = _transformed(values, inverse=True)
        return np.ascontiguousarray(values, dtype=np.float32)


def _members(shape: Sequence[int]) -> list[np.ndarray]:
    """Return the flat positions [n] of the frequencies [D, H, W] in each band."""
    bands = frequency_bands(tuple(shape)).ravel()
    return np.split(np.argsort(bands, kind="stable"), np.cumsum(np.bincount(bands))[:-1])


def _counts(shape: Sequence[int]) -> list[int]:
    """Return how many numbers each group of a parameter has."""
    if len(shape) != 5:
        return [math.prod(shape)]
    return [len(members) for members in _members(shape[2:])] * (shape[0] * shape[1])


def _all_counts(shapes: Mapping[str, tuple[int, ...]]) -> list[int]:
    return [n for name in _names(shapes) if name not in _EXACT for n in _counts(shapes[name])]


def _grouped_all(numbers: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    return [group for name in _names(numbers) for group in _grouped(numbers[name])]


def _ungrouped_all(
    groups: Sequence[np.ndarray], shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, np.ndarray]:
    rest = iter(groups)
    return {n: _ungrouped(rest, shapes[n]) for n in _names(shapes) if n not in _EXACT}


def _grouped(numbers: np.ndarray) -> list[np.ndarray]:
    """Return the numbers of a parameter in groups of about the same size."""
    if numbers.ndim != 5:
        return [numbers.ravel()]
    members = _members(numbers.shape[2:])
    rows = numbers.reshape(-1, math.prod(numbers.shape[2:]))
    return [row[places] for row in rows for places in members]


def _ungrouped(groups: Iterator[np.ndarray], shape: tuple[int, ...]) -> np.ndarray:
    """Return a parameter's numbers int64 from the next groups."""
    if len(shape) != 5:
        return next(groups).reshape(shape)
    members = _members(shape[2:])
    numbers = np.empty(shape, dtype=np.int64)
    for row in numbers.reshape(-1, math.prod(shape[2:])):
        for places in members:
            row[places] = next(groups)
    return numbers
