"""Metrics agree with plain whole-array formulas, whatever the tiles and the mask."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amgsrn_core.errors import VolumeError
from amgsrn_core.evaluation.metrics import compare
from amgsrn_core.evaluation.ssim import ssim
from amgsrn_core.volume import Block, GridGeometry, volume_from_array
from amgsrn_core.volume.psnr import psnr_of


def field(shape=(14, 17, 19), seed=0, noise=0.1):
    """Return a smooth field and a disturbed copy."""
    random = np.random.default_rng(seed)
    z, y, x = np.meshgrid(*[np.linspace(0, 3, n) for n in shape], indexing="ij")
    data = (np.sin(2 * x + y) * np.cos(z) + 5).astype("f4")
    return data, (data + noise * random.normal(size=shape)).astype("f4")


def model(values, valid=None):
    """Return a decoder of an array [C, z, y, x]."""
    return lambda extent: Block(
        np.ascontiguousarray(values[(slice(None), *extent)]),
        None if valid is None else valid[extent],
    )


def naive_ssim(a, b, valid=None, taps=(11, 11, 11)):
    """Wang et al. 2004, window by window, in double precision."""
    weights = np.ones(())
    for count in taps:
        offsets = np.arange(count) - count // 2
        line = np.exp(-(offsets**2) / (2 * 1.5**2))
        weights = np.multiply.outer(weights, line / line.sum())
    a, b = a.astype("f8"), b.astype("f8")
    known = a if valid is None else a[valid]
    span = known.max() - known.min()
    c1, c2 = (0.01 * span) ** 2, (0.03 * span) ** 2
    results = []
    for corner in np.ndindex(*[n - t + 1 for n, t in zip(a.shape, taps)]):
        window = tuple(slice(c, c + t) for c, t in zip(corner, taps))
        if valid is not None and not valid[window].all():
            continue
        p, q = a[window], b[window]
        mean_p, mean_q = (weights * p).sum(), (weights * q).sum()
        var_p = (weights * (p - mean_p) ** 2).sum()
        var_q = (weights * (q - mean_q) ** 2).sum()
        cov = (weights * (p - mean_p) * (q - mean_q)).sum()
        results.append(
            (2 * mean_p * mean_q + c1)
            * (2 * cov + c2)
            / ((mean_p**2 + mean_q**2 + c1) * (var_p + var_q + c2))
        )
    return np.mean(results) if results else math.nan


def test_ssim_is_that_of_the_paper():
    a, b = field()
    assert ssim(a, b) == pytest.approx(naive_ssim(a, b), abs=1e-6)
    assert 0.1 < ssim(a, b) < 0.99  # the comparison above would be empty at the ends


def test_ssim_leaves_out_windows_with_a_missing_voxel():
    a, b = field()
    valid = np.ones(a.shape, bool)
    valid[:3, :5, :2] = False
    valid[13, 16, 18] = False
    b[~valid] = 1e6
    assert ssim(a, b, valid) == pytest.approx(naive_ssim(a, b, valid), abs=1e-6)
    assert ssim(a, b, valid) != pytest.approx(ssim(*field()), abs=1e-6)


def test_the_window_shrinks_on_a_short_axis():
    a, b = field((6, 17, 12))
    assert ssim(a, b) == pytest.approx(naive_ssim(a, b, taps=(5, 11, 11)), abs=1e-6)


def test_ssim_of_equal_fields_is_one_and_of_masked_fields_unknown():
    a, _ = field()
    assert ssim(a, a) == pytest.approx(1.0, abs=1e-12)
    assert math.isnan(ssim(a, a, np.indices(a.shape).sum(0) % 5 > 0))


def test_ssim_is_accurate_on_a_large_offset():
    a, b = field(noise=0.01)
    a, b = a + np.float64(1e5), b + np.float64(1e5)
    assert ssim(a, b) == pytest.approx(naive_ssim(a, b), abs=1e-5)


@given(
    seed=st.integers(0, 99),
    tile_voxels=st.integers(1, 8000),
    mask=st.booleans(),
    shape=st.tuples(st.integers(2, 16), st.integers(2, 16), st.integers(2, 16)),
)
@settings(max_examples=40, deadline=None)
def test_the_result_does_not_depend_on_the_tiles(seed, tile_voxels, mask, shape):
    a, b = field(shape, seed)
    valid = np.random.default_rng(seed).random(shape) > 0.002 if mask else None
    volume = volume_from_array(a, valid=valid)
    whole = compare(volume, model(b[None]))
    tiled = compare(volume, model(b[None]), tile_voxels=max(tile_voxels, 1500))
    assert tiled.voxels == whole.voxels
    for key in ("psnr", "ssim", "rmse", "max_error", "nrmse", "value_range"):
        assert getattr(tiled, key) == pytest.approx(
            getattr(whole, key), rel=1e-6 if key == "ssim" else 1e-9, nan_ok=True
        )


def test_compare_is_the_textbook():
    a, b = field()
    result = compare(volume_from_array(a), model(b[None]), tile_voxels=5000)
    error = a.astype("f8") - b.astype("f8")
    span = float(a.max()) - float(a.min())
    rmse = math.sqrt((error**2).mean())
    assert result.rmse == pytest.approx(rmse)
    assert result.max_error == pytest.approx(np.abs(error).max())
    assert result.value_range == pytest.approx(span)
    assert result.nrmse == pytest.approx(rmse / span)
    assert result.psnr == pytest.approx(10 * math.log10(span**2 / rmse**2))
    assert result.ssim == pytest.approx(naive_ssim(a, b), abs=1e-6)
    assert result.voxels == a.size
    assert result.missing_voxels == 0


def test_missing_voxels_take_no_part():
    a, b = field()
    valid = np.random.default_rng(1).random(a.shape) > 0.4
    a[~valid], b[~valid] = 1e9, -1e9
    result = compare(volume_from_array(a, valid=valid), model(b[None]), tile_voxels=5000)
    assert result.voxels == valid.sum()
    error = (a.astype("f8") - b)[valid]
    assert result.psnr == pytest.approx(psnr_of(np.mean(error**2), np.ptp(a[valid])), rel=1e-6)
    assert result.max_error < 1


def test_voxels_that_only_the_model_lacks_are_counted():
    a, b = field()
    known = np.ones(a.shape, bool)
    known[2:4, 5:9, 1:3] = False
    valid = np.ones(a.shape, bool)
    valid[2, 5, 1] = False
    result = compare(volume_from_array(a, valid=valid), model(b[None], known), tile_voxels=5000)
    assert result.missing_voxels == 15
    assert result.voxels == a.size - 16


def test_components_count_by_their_own_range():
    a, b = field()
    scaled = volume_from_array(np.stack([a, 1000 * a]), components=("u", "v"), units=("K", "Pa"))
    result = compare(scaled, model(np.stack([b, 1000 * b])))
    alone = compare(volume_from_array(a), model(b[None]))
    assert result.psnr == pytest.approx(alone.psnr, abs=1e-4)
    assert result.ssim == pytest.approx(alone.ssim, abs=1e-4)
    u, v = result.per_component
    assert (u.name, u.units, v.name, v.units) == ("u", "K", "v", "Pa")
    assert v.rmse == pytest.approx(1000 * u.rmse, rel=1e-4)
    assert result.max_error == v.max_error


def test_a_constant_component_has_no_psnr_and_spoils_nothing():
    a, b = field()
    flat = np.ones_like(a)
    result = compare(volume_from_array(np.stack([a, flat])), model(np.stack([b, flat])))
    alone = compare(volume_from_array(a), model(b[None]))
    assert result.psnr == pytest.approx(alone.psnr)
    assert result.ssim == pytest.approx(alone.ssim)
    assert math.isnan(result.per_component[1].psnr)
    assert result.to_json()["per_component"][1]["psnr"] is None


def test_bricks_are_judged_apart_by_the_volumes_range():
    a, b = field()
    b[:, :, :9] = a[:, :, :9] + 0.5
    b[:, :, 9:] = a[:, :, 9:]
    y, z = slice(0, 17), slice(0, 14)
    bricks = [(z, y, slice(0, 9)), (z, y, slice(9, 19))]
    result = compare(volume_from_array(a), model(b[None]), bricks=bricks, tile_voxels=5000)
    bad, good = result.per_brick
    assert bad.psnr == pytest.approx(20 * math.log10(result.value_range / 0.5), abs=1e-4)
    assert good.psnr == math.inf
    assert bad.voxels + good.voxels == result.voxels


def test_a_perfect_model_gives_valid_json():
    a, _ = field()
    result = compare(volume_from_array(a), model(a[None]))
    assert result.psnr == math.inf
    assert json.loads(json.dumps(result.to_json(), allow_nan=False))["psnr"] is None


def test_watchers_see_every_voxel_once():
    a, b = field()
    seen = np.zeros(a.shape, int)

    def watch(extent, data, values, valid):
        seen[extent] += 1
        np.testing.assert_array_equal(data[0], a[extent])
        np.testing.assert_array_equal(values[0], b[extent])

    compare(volume_from_array(a), model(b[None]), watch=watch, tile_voxels=3000)
    assert (seen == 1).all()


def test_ssim_can_be_left_out():
    a, b = field()
    result = compare(volume_from_array(a), model(b[None]), with_ssim=False)
    assert math.isnan(result.ssim)
    assert result.to_json()["ssim"] is None


def test_nothing_in_common_is_an_error():
    a, b = field()
    with pytest.raises(VolumeError, match="no voxel"):
        compare(volume_from_array(a), model(b[None], np.zeros(a.shape, bool)), anyway=True)


def test_a_volume_that_hardly_is_the_models_is_refused():
    a, b = field((10, 12, 14))
    known = np.zeros(a.shape, bool)
    known[:4] = True
    with pytest.raises(VolumeError, match=r"672 of the 1,680 voxels .* 'data'.*--anyway") as caught:
        compare(volume_from_array(a), model(b[None], known))
    assert str(caught.value).endswith(".")
    result = compare(volume_from_array(a), model(b[None], known), anyway=True)
    assert (result.voxels, result.missing_voxels) == (672, 1008)
    assert result.rmse == pytest.approx(np.sqrt(np.mean((a[:4] - b[:4]) ** 2, dtype="f8")))
    known[:5] = True  # half of them
    assert compare(volume_from_array(a), model(b[None], known)).voxels == 840


def test_only_voxels_with_a_value_count_for_what_is_in_common():
    a, b = field((10, 12, 14))
    known = np.zeros(a.shape, bool)
    known[:2] = True
    result = compare(volume_from_array(a, valid=known), model(b[None], known))
    assert (result.voxels, result.missing_voxels) == (336, 0)
    with pytest.raises(VolumeError, match=r"none of the 1,344 voxels.*other voxels are missing"):
        compare(
            volume_from_array(a, valid=~known),
            model(b[None], known),
            geometry=GridGeometry.uniform(a.shape),
        )


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        ({"origin": (100.0, 0.0, 0.0)}, r"spans x 0 to 13, .*, and the volume x 100 to 113, "),
        ({"spacing": (1000.0, 1.0, 1.0)}, r"the volume x 0 to 13000, y 0 to 11, z 0 to 9;"),
        ({"spacing": (1e3,) * 3, "units": "m"}, r"x is in km there and in m here, .*x 0 to 13 km"),
    ],
    ids=["elsewhere", "larger", "other units"],
)
def test_a_volume_in_another_place_is_refused_before_anything_is_decoded(place, reason):
    a, _ = field((10, 12, 14))
    own = GridGeometry.uniform(a.shape, units="km" if "units" in place else "")

    def decode(extent):
        raise AssertionError("decoded")

    with pytest.raises(VolumeError, match=reason):
        volume = volume_from_array(a, geometry=GridGeometry.uniform(a.shape, **place))
        compare(volume, decode, geometry=own)


def test_other_directions_are_told():
    a, b = field((10, 12, 14))
    turned = GridGeometry.uniform(a.shape, direction=np.array([[0, 1, 0], [-1, 0, 0], [0, 0, 1]]))
    with pytest.raises(VolumeError, match="other directions"):
        compare(volume_from_array(a), model(b[None], np.zeros(a.shape, bool)), geometry=turned)


@pytest.mark.parametrize("shape", [(5, 6, 7), (20, 24, 28)], ids=["coarser", "finer"])
def test_another_grid_in_the_same_box_is_measured(shape):
    a, b = field(shape)
    geometry = GridGeometry.uniform((10, 12, 14)).resampled(shape)
    volume = volume_from_array(a, geometry=geometry)
    result = compare(volume, model(b[None]), geometry=GridGeometry.uniform((10, 12, 14)))
    assert result.voxels == a.size


def test_only_tiles_are_ever_decoded():
    a, b = field((40, 40, 40))
    sizes = []

    def decode(extent):
        sizes.append(math.prod(s.stop - s.start for s in extent))
        return model(b[None])(extent)

    compare(volume_from_array(a), decode, tile_voxels=20_000)
    assert max(sizes) <= 20_000


def test_a_model_without_a_value_is_compared_like_one_that_is_masked():
    a, b = field()
    valid = np.ones(a.shape, bool)
    valid[5:8, 3, 4:] = False
    volume = volume_from_array(a)
    masked = compare(volume, lambda e: Block(b[e][None], valid[e]), tile_voxels=5000)
    holed = np.where(valid, b, np.float32(np.nan))[None]
    found = compare(volume, lambda e: Block.of_field(holed[(slice(None), *e)]), tile_voxels=5000)
    assert found == masked and math.isfinite(found.ssim)
    assert found.missing_voxels == np.count_nonzero(~valid)
