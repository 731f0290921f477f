"""Corrections come back exactly, block by block, and damaged ones are refused."""

from __future__ import annotations

import numpy as np
import pytest

from amgsrn_core.errors import ArchiveError
from amgsrn_core.model.correction_codes import blocks_of, pack_corrections, read_corrections

SHAPE = (66, 20, 49)
REGION = (slice(1, 67), slice(0, 20), slice(2, 51))
DIMS = (68, 20, 52)


def numbers(kind: str) -> np.ndarray:
    random = np.random.default_rng(0)
    if kind == "sparse":
        found = np.zeros((2, *SHAPE), dtype=np.int32)
        found[0, 3, 4, 5], found[1, 60, 19, 48] = 1, -70_000
        return found
    if kind == "smooth":
        z, y, x = np.indices(SHAPE)
        return np.stack([z * 40 + y * x, -(z * x) // 3]).astype(np.int32)
    return random.normal(0, 3, (2, *SHAPE)).astype(np.int32)


def packed(kind: str) -> np.ndarray:
    figures = np.array([0.5, 2.0])
    return pack_corrections(numbers(kind), REGION, figures, figures, figures / 8)


@pytest.mark.parametrize("kind", ["sparse", "smooth", "noise"])
def test_numbers_come_back(kind):
    read = read_corrections(packed(kind), DIMS, 2)
    parts = blocks_of(SHAPE)
    assert read.region == REGION and read.shape == SHAPE
    np.testing.assert_array_equal(read.steps, [0.5, 2.0])
    np.testing.assert_array_equal(read.margins, [0.0625, 0.25])
    for component in range(2):
        for number, part in enumerate(parts):
            block = read.block(component * len(parts) + number)
            np.testing.assert_array_equal(block, numbers(kind)[component][part])
    assert np.abs(numbers(kind)).max() <= np.iinfo(read.dtype).max


def test_what_is_smooth_or_rare_is_small():
    assert len(packed("sparse")) < 300
    assert len(packed("smooth")) < 0.1 * numbers("smooth").size
    # Noise of that width has an entropy of some 3.4 bits (rounded towards zero, less).
    assert len(packed("noise")) < 3.6 / 8 * numbers("noise").size


@pytest.mark.parametrize("kind", ["sparse", "noise"])
def test_damaged_bytes_are_refused(kind):
    good = packed(kind)
    random = np.random.default_rng(1)
    for cut in (0, 20, 60, len(good) - 1):
        with pytest.raises(ArchiveError):
            read_corrections(good[:cut], DIMS, 2)
    with pytest.raises(ArchiveError, match="not of its voxels"):
        read_corrections(good, (60, 20, 52), 2)
    count = 2 * len(blocks_of(SHAPE))
    for place in random.integers(0, len(good), 100):
        bad = good.copy()
        bad[place] ^= 1 << random.integers(0, 8)
        try:
            read = read_corrections(bad, DIMS, 2)
            for number in range(count):
                read.block(number)
        except ArchiveError:
            continue  # or it is another number, which the checksum tells
