"""PSNR of an error and back."""

from __future__ import annotations

import math

import pytest

from amgsrn_core.volume.psnr import mean_square_of, psnr_of


def test_a_tenth_of_the_range_is_20_db_whatever_the_range():
    assert psnr_of(0.01) == pytest.approx(20.0)
    assert psnr_of(0.01 * 3e140**2, 3e140) == pytest.approx(20.0)


def test_the_error_follows_from_the_psnr():
    assert mean_square_of(psnr_of(3e-7)) == pytest.approx(3e-7)
    assert mean_square_of(math.inf) == 0.0


@pytest.mark.parametrize(
    ("error", "value_range", "expected"),
    [(0.0, 1.0, math.inf), (math.nan, 1.0, math.nan), (0.1, 0.0, math.nan), (0.0, 0.0, math.nan)],
)
def test_no_error_is_infinite_and_what_is_unknown_nan(error, value_range, expected):
    assert psnr_of(error, value_range) == pytest.approx(expected, nan_ok=True)
