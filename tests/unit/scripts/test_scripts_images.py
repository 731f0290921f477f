"""The quick start's picture: an even grid, a pleasant box, missing values stay missing."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from support.paths import ROOT

from amgsrn_core.volume import Axis, GridGeometry, open_volume, volume_from_array

SCRIPTS = ROOT / "scripts"
sys.path.insert(0, str(SCRIPTS))

import comparison_images  # noqa: E402


def geometry(z, y, x):
    return GridGeometry((Axis("z", *z), Axis("y", *y), Axis("x", *x)))


def saved(volume, tmp_path, look=None):
    look = comparison_images.save_image(volume, tmp_path / "image.npz", "Original", look)
    with np.load(tmp_path / "image.npz") as stored:
        return look, dict(stored)


def test_axes_in_one_unit_keep_their_proportions():
    box = comparison_images.box(
        geometry(
            (np.arange(0.0, 100.0), "mm"), (np.arange(0.0, 51), "mm"), (np.arange(0.0, 199), "mm")
        )
    )
    assert box == pytest.approx((1.0, 50 / 198, 99 / 198), abs=0.11)
    assert box[0] == 1.0


def test_metres_against_degrees_make_neither_a_needle_nor_a_sheet():
    ocean = geometry(
        (np.array([-5000.0, -100.0, 0.0]), "m"),
        (np.arange(-90.0, 90.0), "degrees_north"),
        (np.arange(0.0, 360.0), "degrees_east"),
    )
    x, y, z = comparison_images.box(ocean)
    assert (x, y) == pytest.approx((1.0, 0.5), rel=0.02)
    assert 0.25 < z < 1.0


def test_uneven_axes_are_resampled_at_even_distances(tmp_path):
    heights = np.array([0.0, 1.0, 3.0, 7.0])
    values = np.broadcast_to(heights[:, None, None], (4, 5, 6)).astype(np.float32)
    even = np.arange(6.0)
    field = volume_from_array(values, geometry=geometry((heights, "m"), (even[:5],), (even,)))
    _, image = saved(field, tmp_path)
    along_z = image["values"][:, 0, 0]
    assert along_z.size == 8
    np.testing.assert_allclose(along_z, np.linspace(0.0, 7.0, 8), atol=1e-5)


def test_the_slice_lies_at_the_middle_sample_of_an_uneven_axis(tmp_path):
    heights = np.array([0.0, 1.0, 3.0, 7.0])
    values = np.broadcast_to(heights[:, None, None], (4, 5, 6)).astype(np.float32)
    even = np.arange(6.0)
    field = volume_from_array(values, geometry=geometry((heights, "m"), (even[:5],), (even,)))
    _, image = saved(field, tmp_path)
    assert image["values"][int(image["slice"])][0, 0] == pytest.approx(3.0)
    assert str(image["slice_title"]) == "z = 3 m"


def test_missing_values_stay_missing_and_do_not_spread(tmp_path):
    values = np.random.default_rng(0).random((6, 7, 8), dtype=np.float32)
    valid = np.ones(values.shape, bool)
    valid[2, 3, 4] = False
    _, image = saved(volume_from_array(values, valid=valid), tmp_path)
    np.testing.assert_array_equal(np.isnan(image["values"]), ~valid)


def test_both_columns_share_range_and_opacities(tmp_path):
    rng = np.random.default_rng(1)
    look, left = saved(volume_from_array(rng.random((5, 5, 5))), tmp_path)
    _, right = saved(volume_from_array(9 * rng.random((5, 5, 5))), tmp_path, look)
    np.testing.assert_array_equal(left["range"], right["range"])
    np.testing.assert_array_equal(left["opacities"], right["opacities"])


def test_the_background_is_transparent_and_the_object_is_not():
    values = np.zeros((20, 20, 20), np.float32)
    values[5:12, 5:12, 5:12] = np.random.default_rng(2).uniform(80, 100, (7, 7, 7))
    points = comparison_images.choose_look(values)["opacities"]
    where, opacity = np.array(points).T
    assert np.all(np.diff(where) >= 0)
    assert np.interp(0.0, where, opacity) == 0.0
    assert np.interp(98.0, where, opacity) == pytest.approx(0.9)


def test_large_volumes_are_thinned(tmp_path, monkeypatch):
    monkeypatch.setattr(comparison_images, "LARGEST_SIDE", 8)
    values = np.arange(20 * 5 * 9, dtype=np.float32).reshape(20, 5, 9)
    monkeypatch.setattr(
        "amgsrn_core.volume.volume.Volume.slabs",
        lambda self: iter([self.geometry.window((slice(a, a + 5), slice(0, 5), slice(0, 9)))
                           and (slice(a, a + 5), slice(0, 5), slice(0, 9))
                           for a in range(0, 20, 5)]),
    )  # fmt: skip
    _, image = saved(volume_from_array(values), tmp_path)
    np.testing.assert_array_equal(image["values"], values[::3, :, ::2])


def test_of_several_components_the_magnitude_is_drawn(tmp_path):
    values = np.random.default_rng(3).random((3, 4, 5, 6)).astype(np.float32)
    _, image = saved(volume_from_array(values), tmp_path)
    np.testing.assert_allclose(image["values"], np.linalg.norm(values, axis=0), rtol=1e-6)


def test_a_scan_becomes_netcdf_with_its_axes_in_millimetres(tmp_path):
    nibabel = pytest.importorskip("nibabel", reason="nibabel is not installed")
    import example_volume

    values = np.random.default_rng(4).integers(0, 255, (4, 5, 6), dtype=np.uint8)
    # Stored from right to left: the conversion has to turn the first axis around.
    affine = np.array([[-2.0, 0, 0, 10], [0, 1, 0, -20], [0, 0, 3, 30], [0, 0, 0, 1]])
    nibabel.save(nibabel.Nifti1Image(values, affine), tmp_path / "scan.nii.gz")
    example_volume.convert_nifti(tmp_path / "scan.nii.gz", tmp_path / "scan.nc", "t1")
    volume = open_volume(tmp_path / "scan.nc", "t1")
    assert volume.source_dtype == np.uint8
    assert volume.geometry.bounds == pytest.approx((4, 10, -20, -16, 30, 45))
    assert {axis.units for axis in volume.geometry.axes} == {"mm"}
    np.testing.assert_array_equal(volume.read().values[0], values[::-1].transpose(2, 1, 0))
