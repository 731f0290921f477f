"""A time step of a model as bytes: what comes back is the same field, or one clear sentence."""

from __future__ import annotations

import numpy as np
import pytest
from support.sample_models import small_brick, small_index, write_two_bricks

from amgsrn_core import NeuralVolume
from amgsrn_core.errors import AmgsrnError, ConfigurationError
from amgsrn_core.field import carried as module
from amgsrn_core.field.carried import carried, unpacked
from amgsrn_core.model import Archive, write_archive
from amgsrn_core.volume.times import TimeAxis


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "model.amgsrn"
    write_two_bricks(path, seed=4, mask=True)
    return path


def test_bricks_masks_and_steps_come_back(path, tmp_path):
    with Archive(path) as archive:
        model = unpacked(carried(archive, 0))
    expected = NeuralVolume.open(path, device="cpu").reconstruct_block()
    found = model.reconstruct_block()
    assert np.array_equal(found.values, expected.values, equal_nan=True)
    assert np.array_equal(found.valid, expected.valid)

    index = small_index()
    series = tmp_path / "series.amgsrn"
    index = index.replace(bricks=index.bricks * 3, time=TimeAxis((0.0, 1.0, 2.0), steps=(0, 1, 2)))
    write_archive(series, index, [small_brick(index, seed) for seed in range(3)])
    with Archive(series) as archive:
        model = unpacked(carried(archive, 2))
    expected = NeuralVolume.open(series, device="cpu").at(2).reconstruct_block()
    assert np.array_equal(model.reconstruct_block().values, expected.values)


def test_bad_bytes_are_one_sentence(path):
    with Archive(path) as archive:
        good = carried(archive, 0)
    changed = bytearray(good)
    changed[-20] ^= 1
    for bad in (b"", good[:-10], good[:100], bytes(changed), b"pickle" * 100):
        with pytest.raises(AmgsrnError, match="is damaged; update the source of the data"):
            unpacked(bad)


def test_what_is_too_large_is_said(path, monkeypatch):
    monkeypatch.setattr(module, "MOST_BYTES", 100)
    with Archive(path) as archive, pytest.raises(ConfigurationError, match="up to 100 B"):
        carried(archive, 0)
