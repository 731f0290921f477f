"""Errors voxel by voxel, their tables and histogram; parts of a volume add up to the whole."""

from __future__ import annotations

import math
import pickle

import numpy as np
import pytest

from amgsrn_core.errors import VolumeError
from amgsrn_core.evaluation import comparison
from amgsrn_core.evaluation.comparison import ErrorHistogram, differences, rows
from amgsrn_core.evaluation.metrics import Tally, compare
from amgsrn_core.volume import Block, volume_from_array

SHAPE = (20, 15, 17)


@pytest.fixture(autouse=True)
def thin_slabs(monkeypatch):
    monkeypatch.setattr(comparison, "_SLAB_VOXELS", 600)


def field(seed=0):
    """Return two components, which voxels have a value, and a disturbed copy."""
    random = np.random.default_rng(seed)
    data = (
        random.random((2, *SHAPE)).astype("f4") * np.array([1.0, 50.0], "f4")[:, None, None, None]
    )
    valid = random.random(SHAPE) > 0.01
    noise = random.normal(0, 0.02, data.shape).astype("f4")
    return data, valid, data * (1 + noise)


def decoder(values, missing=None):
    def decode(extent):
        part = values[(slice(None), *extent)].copy()
        if missing is not None:
            part[:, missing[extent]] = np.nan
        return Block.of_field(part)

    return decode


def test_errors_are_model_minus_data_and_nan_where_one_has_none():
    data, valid, model = field()
    volume = volume_from_array(data, valid=valid, components=("u", "v"))
    missing = np.zeros(SHAPE, bool)
    missing[3:5, 2, 1:9] = True
    done = []
    errors, found = differences(
        volume, decoder(model, missing), volume.survey(), progress=done.append
    )
    assert errors.dtype == np.float32
    expected = np.where(valid & ~missing, model - data, np.nan)
    np.testing.assert_allclose(errors, expected, atol=1e-5)
    assert done == sorted(done) and done[-1] == 1.0 and len(done) > 3
    metrics = found.metrics(volume, volume.survey())
    direct = compare(volume, decoder(model, missing), with_ssim=False)
    assert metrics.to_json() == direct.to_json()
    assert metrics.missing_voxels == (valid & missing).sum() > 0


def test_parts_of_a_volume_add_up_to_the_whole():
    """As ranks have them, each with a layer of its neighbours' voxels for the windows of SSIM."""
    data, _, model = field()
    volume = volume_from_array(data, components=("u", "v"))
    y, x = slice(0, SHAPE[1]), slice(0, SHAPE[2])
    bricks = [(slice(0, 8), y, x), (slice(8, 20), y, x)]
    summary, tallies = volume.survey(), []
    for first, last in ((0, 9), (9, 20)):
        own = (slice(first, last), y, x)
        held = (slice(max(0, first - 5), min(20, last + 5)), y, x)
        errors, found = differences(
            volume, decoder(model), summary, own=own, held=held, bricks=bricks, with_ssim=True
        )
        np.testing.assert_allclose(errors, (model - data)[:, held[0]], atol=1e-5)
        tallies.append(pickle.loads(pickle.dumps(found)))
    together = Tally.sum(tallies).metrics(volume, summary)
    whole = compare(volume, decoder(model), bricks=bricks)
    for key, value in whole.to_json().items():
        if not key.startswith("per_"):
            assert together.to_json()[key] == pytest.approx(value, rel=1e-9), key
    assert together.per_brick[1].voxels == 12 * 15 * 17
    assert together.per_component[1].ssim == pytest.approx(whole.per_component[1].ssim)


def test_rows_are_the_whole_its_components_and_its_bricks():
    data, _, model = field()
    y, x = slice(0, SHAPE[1]), slice(0, SHAPE[2])
    bricks = [(slice(0, 8), y, x), (slice(8, 20), y, x)]
    volume = volume_from_array(data, components=("u", "v"))
    metrics = compare(volume, decoder(model), bricks=bricks)
    table = list(rows(metrics))
    assert [(r.component, r.brick) for r in table] == [
        ("all", -1),
        ("u", -1),
        ("v", -1),
        ("all", 0),
        ("all", 1),
    ]
    assert table[0].psnr == metrics.psnr and table[4].psnr == metrics.per_brick[1].psnr
    assert table[2].largest_error == metrics.per_component[1].max_error
    assert math.isnan(table[3].ssim)
    alone = compare(volume_from_array(data[0]), decoder(model[:1]))
    assert [(r.component, r.brick) for r in rows(alone)] == [("data", -1)]


def test_a_histogram_counts_each_error_once():
    random = np.random.default_rng(0)
    errors = random.normal(0, 1, (4, 5, 600)).astype("f4")
    errors[0, 0, :7] = np.nan
    histogram = ErrorHistogram(np.array([np.nanmax(np.abs(errors)), 0.0]), 20)
    histogram.add(0, errors)
    edges = histogram.edges[0].copy()
    edges[-1] += 1e-3
    known = errors[~np.isnan(errors)].astype("f8")
    assert histogram.counts[0].tolist() == np.histogram(known, edges)[0].tolist()
    assert histogram.counts[0].sum() == errors.size - 7
    histogram.add(1, np.zeros(5))  # no error at all
    assert histogram.counts[1].tolist() == [0] * 10 + [5] + [0] * 9


def test_nothing_in_common_is_said():
    data, _, model = field()
    volume = volume_from_array(data, components=("u", "v"))
    decode = decoder(model, np.ones(SHAPE, bool))
    errors, found = differences(volume, decode, volume.survey())
    assert np.isnan(errors).all()
    with pytest.raises(VolumeError, match="no voxel with a value in common"):
        found.metrics(volume, volume.survey(), volume.geometry)
