"""Whole numbers of many small groups, coded close to their entropy.

Each group has a distribution of its own, of two parameters: how many of its numbers are zero, and
how fast the others become rarer as they grow. These are stored first, then comes one stream of the
range coder of `constriction` (Bamler, arXiv:2201.01741).
"""

from __future__ import annotations

import lzma
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np

from amgsrn_core.errors import ArchiveError
from amgsrn_core.system.extras import require

# Numbers from here on, and their negatives, share one symbol; how much larger they are follows
# in full.
_ESCAPE = 256
LARGEST = (1 << 31) - 1
# Probabilities are multiples of 1 / _UNITS, which float32 adds up exactly: both ends of the coder
# agree on every machine.
_UNITS = 1 << 20
# Shares of zeros are stored in 32 steps. None is so sure that an exception would be dear.
_ZERO_STEPS, _SUREST = 32, 127.0 / 128.0
# By how much numbers other than zero exceed 1 on average is stored in thirds of powers of two.
_CUBE_ROOTS = (1.0, 1.2599210498948732, 1.5874010519681994)
_MEAN_LEVELS, _FIRST_LEVEL, _MEAN_OFFSET = 64, 9, 0.125
_FILTERS = [{"id": lzma.FILTER_LZMA1, "lc": 0, "lp": 0, "pb": 0, "dict_size": 1 << 16}]
_HEAD = struct.Struct("<II")


def encode(groups: Sequence[np.ndarray]) -> bytes:
    """Code groups of numbers int64, each number between -LARGEST and LARGEST."""
    coder = coder_package().stream.queue.RangeEncoder()
    levels = np.array([_levels(group) for group in groups], dtype=np.uint8).reshape(-1, 2)
    excess = []
    for group, (zeros, mean) in zip(groups, levels):
        size = np.abs(group)
        excess.append(size[size >= _ESCAPE] - _ESCAPE)
        symbols = np.clip(group, -_ESCAPE, _ESCAPE) + _ESCAPE
        coder.encode(symbols.astype(np.int32), _model(int(zeros), int(mean)))
    differences = np.diff(levels, axis=0, prepend=np.uint8(0)).T
    side = lzma.compress(differences.tobytes(), format=lzma.FORMAT_RAW, filters=_FILTERS)
    large = np.concatenate(excess).astype("<u4") if excess else np.zeros(0, "<u4")
    words = coder.get_compressed().astype("<u4")
    return _HEAD.pack(len(side), len(large)) + side + large.tobytes() + words.tobytes()


def decode(data: bytes, counts: Sequence[int]) -> list[np.ndarray]:
    """Return the groups int64 that :func:`encode` coded.

    Parameters
    ----------
    data : bytes
    counts : sequence of int
        How many numbers each group has.

    Raises
    ------
    ArchiveError
        When the bytes do not hold such groups.
    """
    if len(data) < _HEAD.size:
        raise ArchiveError("its compressed parameters are cut short")
    length, large = _HEAD.unpack_from(data)
    start = _HEAD.size + length
    stop = start + 4 * large
    if stop > len(data) or (len(data) - stop) % 4:
        raise ArchiveError("its compressed parameters do not have the network's size")
    levels = _read_levels(data[_HEAD.size : start], len(counts))
    coder = coder_package().stream.queue.RangeDecoder(
        np.frombuffer(data, dtype="<u4", offset=stop).astype(np.uint32)
    )
    groups = []
    try:
        for count, (zeros, mean) in zip(counts, levels):
            symbols = coder.decode(_model(int(zeros), int(mean)), count)
            groups.append(symbols.astype(np.int64) - _ESCAPE)
    except (AssertionError, RuntimeError, ValueError) as error:
        raise ArchiveError(f"its compressed parameters cannot be unpacked ({error})") from error
    if not coder.maybe_exhausted() or large != sum(_escaped(g).sum() for g in groups):
        raise ArchiveError("its compressed parameters do not have the network's size")
    excess = np.frombuffer(data[start:stop], dtype="<u4").astype(np.int64)
    for group in groups:
        where = _escaped(group)
        here, excess = np.split(excess, [int(where.sum())])
        group[where] += np.sign(group[where]) * here
    return groups


def bits(group: np.ndarray) -> float:
    """Return how many bits :func:`encode` needs for a group of numbers int64, very nearly."""
    probabilities = _probabilities(*_levels(group))
    symbols = np.clip(group, -_ESCAPE, _ESCAPE) + _ESCAPE
    return 32.0 * int(_escaped(symbols - _ESCAPE).sum()) - float(
        np.log2(probabilities[symbols], dtype=np.float64).sum()
    )


# --- Helpers -------------------------------------------------------------------------------------


def coder_package() -> Any:
    """Return the package constriction, or raise :class:`ConfigurationError`."""
    return require("constriction", "A compressed model")


def _escaped(group: np.ndarray) -> np.ndarray:
    return np.abs(group) == _ESCAPE


def _levels(group: np.ndarray) -> tuple[int, int]:
    """Return the two stored parameters of a group's distribution."""
    size = np.abs(group)
    others = int(np.count_nonzero(size))
    zeros = round(_ZERO_STEPS * (1.0 - others / max(len(group), 1)))
    mean = (float(size.sum()) - others) / max(others, 1)
    level = round(3.0 * np.log2(mean + _MEAN_OFFSET)) + _FIRST_LEVEL
    return zeros, int(np.clip(level, 0, _MEAN_LEVELS - 1))


def _read_levels(side: bytes, groups: int) -> np.ndarray:
    coder = lzma.LZMADecompressor(format=lzma.FORMAT_RAW, filters=_FILTERS)
    try:
        # One byte of room beyond the end shows an excess without unpacking all of it.
        text = coder.decompress(side, 2 * groups + 1)
    except (lzma.LZMAError, EOFError) as error:
        raise ArchiveError(f"its compressed parameters cannot be unpacked ({error})") from error
    if len(text) != 2 * groups:
        raise ArchiveError("its compressed parameters do not have the network's size")
    differences = np.frombuffer(text, dtype=np.uint8).reshape(2, groups).T
    levels = np.cumsum(differences, axis=0, dtype=np.uint8)
    if groups and (levels.max(axis=0) > (_ZERO_STEPS, _MEAN_LEVELS - 1)).any():
        raise ArchiveError("its compressed parameters have distributions out of range")
    return levels


def _model(zeros: int, mean: int) -> Any:
    """Return the coder's model of two stored parameters."""
    return coder_package().stream.model.Categorical(_probabilities(zeros, mean), perfect=False)


def _probabilities(zeros: int, mean: int) -> np.ndarray:
    """Return the probabilities float32 of symbols from -_ESCAPE to _ESCAPE.

    Zero has a probability of its own, and of the others n + 1 is rarer than n by the same factor.
    """
    zero = min(max(zeros / _ZERO_STEPS, 1.0 - _SUREST), _SUREST)
    power, third = divmod(mean - _FIRST_LEVEL, 3)
    excess = max(_CUBE_ROOTS[third] * 2.0**power - _MEAN_OFFSET, 0.015625)
    ratio = excess / (1.0 + excess)
    sizes = np.full(_ESCAPE, ratio)
    sizes[0] = (1.0 - zero) * (1.0 - ratio) / 2.0
    sizes = np.multiply.accumulate(sizes)
    # What no symbol has goes to the last one, which stands for all larger ones. The sum is taken
    # one by one, since its order would decide over the last digit.
    known = np.add.accumulate(sizes[:-1])[-1]
    sizes[-1] = max((1.0 - zero) / 2.0 - known, 0.0)
    units = np.floor(sizes * (_UNITS - 2 * _ESCAPE - 1)).astype(np.int64) + 1
    all_units = np.concatenate([units[::-1], [_UNITS - 2 * units.sum()], units])
    return (all_units / _UNITS).astype(np.float32)
