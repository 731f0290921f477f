"""Entropy coding of whole numbers in groups."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amgsrn_core.errors import ArchiveError, ConfigurationError
from amgsrn_core.model.entropy import LARGEST, decode, encode

NUMBERS = st.one_of(
    st.integers(-2, 2), st.integers(-300, 300), st.sampled_from([256, -256, LARGEST, -LARGEST])
)


def laplace(scales: np.ndarray, count: int) -> list[np.ndarray]:
    random = np.random.default_rng(0)
    return [np.rint(random.laplace(0.0, scale, count)).astype(np.int64) for scale in scales]


@settings(deadline=None, max_examples=60)
@given(st.lists(st.lists(NUMBERS, max_size=40), max_size=8))
def test_any_numbers_come_back(lists):
    groups = [np.array(group, dtype=np.int64) for group in lists]
    found = decode(encode(groups), [len(group) for group in groups])
    assert len(found) == len(groups)
    for group, again in zip(groups, found):
        assert again.dtype == np.int64
        np.testing.assert_array_equal(again, group)


def test_the_size_is_close_to_the_entropy():
    groups = laplace(np.geomspace(0.05, 40.0, 64), 2000)
    bits = 0.0
    for group in groups:
        _, counts = np.unique(group, return_counts=True)
        bits -= (counts * np.log2(counts / counts.sum())).sum()
    assert len(encode(groups)) * 8 < 1.02 * bits


def test_groups_of_zeros_cost_nearly_nothing():
    assert len(encode([np.zeros(10_000, dtype=np.int64)] * 4)) < 150


def test_damage_is_told_or_gives_other_numbers_but_no_crash():
    groups = laplace(np.array([0.2, 3.0, 90.0]), 500)
    counts = [500, 500, 500]
    intact = encode(groups)
    for length in (0, 4, 9, 30, len(intact) // 2, len(intact) - 1, len(intact) - 4):
        with pytest.raises(ArchiveError, match="compressed parameters"):
            decode(intact[:length], counts)
    with pytest.raises(ArchiveError):
        decode(intact, counts[:2])
    with pytest.raises(ArchiveError):
        decode(intact + bytes(4096), counts)
    random = np.random.default_rng(1)
    for position in random.integers(0, len(intact), 200):
        damaged = bytearray(intact)
        damaged[position] ^= 1 << random.integers(0, 8)
        try:
            found = decode(bytes(damaged), counts)
        except ArchiveError:
            continue
        assert [len(group) for group in found] == counts


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "constriction", None)
    with pytest.raises(ConfigurationError, match="install constriction"):
        encode([np.zeros(3, dtype=np.int64)])
