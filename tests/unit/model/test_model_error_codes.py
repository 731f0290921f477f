"""Errors are stored as codes that are never below them, and come back as they were stored."""

from __future__ import annotations

import numpy as np
import pytest

from amgsrn_core.errors import ArchiveError
from amgsrn_core.model.error_codes import FINENESS, decoded, encoded, pack_errors, unpack_errors

EXTENT = (slice(3, 30), slice(0, 17), slice(8, 41))  # 4 x 3 x 5 cells of 8


@pytest.mark.parametrize("coarse", [coarse for _, coarse in FINENESS])
def test_codes_are_never_below_the_errors(coarse):
    random = np.random.default_rng(0)
    errors = 10.0 ** random.uniform(-12, 2, 100_000)
    errors[:3] = 0.0, np.nan, 1e30
    scale = np.array(2.5)
    found = decoded(encoded(errors, scale, coarse), scale)
    assert np.isnan(found[1]) and found[2] == np.inf
    known = ~np.isnan(errors)
    assert (found[known] >= errors[known]).all()
    usual = known & (errors > 1e-6) & (errors < 10)
    assert (found[usual] <= errors[usual] * 2.0 ** ((coarse + 0.01) / 8)).all()


def test_exact_powers_of_two_are_not_rounded_down():
    errors = 2.0 ** (np.arange(-200, 20) / 8)
    assert (decoded(encoded(errors, np.array(1.0), 1), np.array(1.0)) >= errors).all()


def test_maps_come_back_and_are_looked_up_by_voxel():
    random = np.random.default_rng(0)
    rms = random.integers(0, 100, (2, 4, 3, 5)).astype(np.uint8)
    codes = np.stack([rms + random.integers(0, 100, rms.shape).astype(np.uint8), rms])
    scale = np.array([1.0, 3.0])
    found = unpack_errors(pack_errors(codes, 8, scale), EXTENT, 2)
    np.testing.assert_array_equal(found.codes, codes)
    voxels = np.array([[40, 16, 29], [8, 0, 3], [16, 7, 8]])  # x, y, z
    cells = np.array([[3, 2, 4], [0, 0, 0], [1, 0, 1]])  # z, y, x
    for kind in (0, 1):
        expected = [decoded(codes[kind, :, z, y, x], scale) for z, y, x in cells]
        np.testing.assert_array_equal(found.at(voxels, rms=bool(kind)), expected)


def test_damaged_bytes_are_refused():
    good = pack_errors(np.full((2, 1, 4, 3, 5), 9, np.uint8), 8, np.ones(1))
    for cut in (3, 13, 14):
        with pytest.raises(ArchiveError):
            unpack_errors(good[:cut], EXTENT, 1)
    with pytest.raises(ArchiveError, match="number of errors"):
        unpack_errors(good, (slice(0, 80), *EXTENT[1:]), 1)
    other = good.copy()
    other[0] = 2
    with pytest.raises(ArchiveError, match="newer"):
        unpack_errors(other, EXTENT, 1)
