"""A model in xarray has the dimensions, coordinates, times and attributes of its source."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.sample_models import write_small_model
from support.sample_volumes import coordinate, ramp, shared_file, write_netcdf

from amgsrn_core import NetworkConfig, NeuralVolume, TrainingConfig, open_series, open_volume
from amgsrn_core.errors import ConfigurationError, VolumeError
from amgsrn_core.field.xarray_backend import ModelBackend
from amgsrn_core.runs import train, train_series
from amgsrn_core.volume import GridGeometry
from amgsrn_core.volume.netcdf.library import import_netcdf4

xarray = pytest.importorskip("xarray", reason="xarray is missing")

NETWORK = NetworkConfig(grids=1, grid_shape=(6, 6, 6), width=16, layers=1)
TRAINING = TrainingConfig(iterations=40, batch=1024, device="cpu")


def trained(source: Path, variable: Any, model: Path, times: str | None = None) -> NeuralVolume:
    if times is None:
        train(open_volume(source, variable, 0), model, NETWORK, TRAINING)
    else:
        train_series(open_series(source, variable, times), model, NETWORK, TRAINING)
    return NeuralVolume.open(model, device="cpu")


def small_model(folder: Path, **options: Any) -> NeuralVolume:
    write_small_model(folder / "a.amgsrn", **options)
    return NeuralVolume.open(folder / "a.amgsrn", device="cpu")


def compare(
    source: Path, variables: list[str], model: NeuralVolume, steps: slice | None
) -> tuple[Any, Any]:
    """Compare all but the values, then how far these are apart; return both data sets."""
    before = xarray.open_dataset(source, decode_timedelta=False)
    after = xarray.open_dataset(model.path, engine=ModelBackend, decode_timedelta=False)
    if steps is not None and "time" in before.dims:
        before = before.isel(time=steps)
    assert list(after.data_vars) == variables
    assert set(after.coords) == set(before[variables[0]].coords)
    xarray.testing.assert_identical(before.coords.to_dataset(), after.coords.to_dataset())
    for key, value in before.attrs.items():
        assert np.array_equal(after.attrs[key], value), key
    assert after.attrs.keys() == before.attrs.keys()
    for name in variables:
        assert after[name].dims == before[name].dims
        assert after[name].attrs == before[name].attrs
        assert after[name].dtype == before[name].dtype
        missing = np.isnan(before[name].values)
        assert np.array_equal(np.isnan(after[name].values), missing)
    return before, after


@pytest.mark.parametrize(
    ("file", "variables", "times"),
    [
        pytest.param("levitus_ocean.nc", ["temperature"], None, marks=pytest.mark.slow),
        ("katrina_wrf.nc", ["theta", "qvapor"], None),
        ("colpex_uk.nc", ["theta"], "0:2"),
        ("nmc_forecast.nc", ["t"], "1,3"),
        ("csm_uvt.nc", ["u", "v"], None),
    ],
)
def test_real_files_come_back_but_for_their_values(
    file: str, variables: list[str], times: str | None, tmp_path: Path
) -> None:
    from amgsrn_core.evaluation.metrics import compare as measure

    source = shared_file(file)
    model = trained(source, variables, tmp_path / "m.amgsrn", times)
    steps = {"0:2": slice(0, 2), "1,3": slice(1, 4, 2)}.get(times or "", slice(0, 1))
    before, after = compare(source, variables, model, steps)
    first = open_volume(source, variables, steps.start)
    reported = measure(first, lambda extent: model.reconstruct_block(None, extent), with_ssim=False)
    for part, name in zip(reported.per_component, variables):
        gap = (after[name] - before[name]).values
        gap = gap[0] if "time" in before[name].dims else gap
        assert np.nanmax(np.abs(gap)) == pytest.approx(part.max_error, rel=1e-3)


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, NeuralVolume]:
    """A file with everything turned about: falling depths, 360 days, packed, gaps, no x."""
    folder = tmp_path_factory.mktemp("odd")
    packed = np.round(ramp(3, 4, 5, 6)).astype("i2")
    packed[:, :, 1, 2] = -9
    path = write_netcdf(
        folder / "odd.nc",
        {
            "time": coordinate(
                "time", [30, 60, 90], units="days since 2000-01-01", calendar="360_day"
            ),
            "depth": coordinate("depth", [100, 30, 10, 0], units="m", positive="down", note="CTD"),
            "lat": coordinate("lat", [40, 20, 0, -20, -40], units="degrees_north"),
            "t": (
                ("time", "depth", "lat", "cell"),
                packed,
                {
                    "scale_factor": np.float32(0.5),
                    "units": "degC",
                    "_FillValue": np.int16(-9),
                    "cell_methods": "time: mean",
                },
            ),
        },
    )
    with import_netcdf4().Dataset(str(path), "a") as dataset:
        dataset.setncatts({"institution": "MBL", "history": "2001: made", "cruise": 7})
    return path, trained(path, "t", folder / "odd.amgsrn", "all")


def test_an_odd_file_comes_back(odd: tuple[Path, NeuralVolume]) -> None:
    _, after = compare(odd[0], ["t"], odd[1], None)
    assert "cell" not in after.coords
    assert str(after.time.values[0]) == "2000-02-01 00:00:00"
    assert after["t"].encoding.get("_FillValue") is None


def test_indices_of_every_kind_sample_what_they_name(odd: tuple[Path, NeuralVolume]) -> None:
    model = odd[1]
    lazy = xarray.open_dataset(model.path, engine=ModelBackend)["t"]
    whole = lazy.values
    assert np.array_equal(model.at(1).to_numpy()[:, ::-1], whole[1], equal_nan=True)
    fresh = xarray.open_dataset(model.path, engine=ModelBackend)["t"]
    for key in (
        (0, 1, 2, 3),
        (slice(None, None, -1), [3, 1], slice(0, 5, 2), 2),
        (slice(1, 1), 0, 0, 0),
        (2, slice(None), [0, 0, 4], slice(1, 3)),
    ):
        found = np.asarray(fresh[key].values)
        wanted = lazy.load()[key].values
        assert found.shape == wanted.shape
        assert np.allclose(found, wanted, equal_nan=True)


def test_only_what_is_asked_for_is_sampled(
    odd: tuple[Path, NeuralVolume], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    real = NeuralVolume._on_samples

    def watched(self: NeuralVolume, step: int, *lists: np.ndarray) -> np.ndarray:
        asked.append((step, *map(len, lists)))
        return real(self, step, *lists)

    monkeypatch.setattr(NeuralVolume, "_on_samples", watched)
    dataset = odd[1].to_xarray()
    assert asked == []
    dataset["t"].isel(time=2, depth=0).load()
    assert asked == [(2, 1, 5, 6)]


def test_a_data_set_can_be_written_and_read(odd: tuple[Path, NeuralVolume], tmp_path: Path) -> None:
    dataset = odd[1].to_xarray()
    dataset.to_netcdf(tmp_path / "back.nc")
    back = open_volume(tmp_path / "back.nc", "t", 1)
    assert back.geometry.axes[0].negated
    assert np.allclose(back.read().with_nan()[0], odd[1].at(1).to_numpy(), equal_nan=True)


def test_a_model_without_a_file_of_attributes(tmp_path: Path) -> None:
    model = small_model(tmp_path)
    dataset = model.to_xarray()
    name = model.components[0]
    assert dataset[name].attrs["long_name"] == name
    assert [dataset[axis.name].attrs["axis"] for axis in model.geometry.axes] == ["Z", "Y", "X"]


def test_a_turned_grid_is_refused(tmp_path: Path) -> None:
    turn = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    geometry = GridGeometry.uniform((5, 6, 7), direction=turn)
    model = small_model(tmp_path, dims=(5, 6, 7), geometry=geometry)
    with pytest.raises(VolumeError, match="turned in space"):
        model.to_xarray()


def test_xarray_is_an_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = small_model(tmp_path)
    monkeypatch.setitem(__import__("sys").modules, "xarray", None)
    with pytest.raises(ConfigurationError, match=r"needs xarray.*install amgsrn\[xarray\]"):
        model.to_xarray()


def test_xarray_finds_the_backend_by_itself(odd: tuple[Path, NeuralVolume]) -> None:
    from importlib.metadata import entry_points

    groups = entry_points()
    chosen: Any = {"group": "xarray.backends"}
    found = groups.select(**chosen) if hasattr(groups, "select") else groups["xarray.backends"]
    if not any(each.name == "amgsrn" for each in found):
        pytest.skip("the package was installed before it had the entry point: scripts/setup")
    assert list(xarray.open_dataset(odd[1].path).data_vars) == ["t"]
    assert list(xarray.open_dataset(odd[1].path, drop_variables="t").data_vars) == []
