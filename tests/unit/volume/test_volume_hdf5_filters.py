"""NetCDF-4 files whose HDF5 filters the library lacks."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.sample_volumes import coordinate, field, ramp, write_netcdf

from amgsrn_core.errors import VolumeError
from amgsrn_core.volume import open_volume
from amgsrn_core.volume.netcdf.hdf5_filters import filters_in, is_filter_known, missing_filters
from amgsrn_core.volume.netcdf.library import import_netcdf4

ZSTANDARD, UNKNOWN = 32015, 32999


def compressed(path: Path) -> Path:
    try:
        return write_netcdf(
            path,
            {"y": coordinate("y", [0, 1, 2]), "v": field(ramp(2, 3, 4))},
            compression="zstd",
            shuffle=True,
        )
    except (RuntimeError, KeyError, TypeError):
        pytest.skip("this NetCDF library cannot write Zstandard")


def test_a_missing_filter_is_named_with_a_remedy(tmp_path: Path) -> None:
    path = compressed(tmp_path / "a.nc")
    assert open_volume(path).read().values.max() == 24
    # The same file where the library does not find its plugins.
    environment = {**os.environ, "HDF5_PLUGIN_PATH": str(tmp_path)}
    command = [sys.executable, "-m", "amgsrn_core.cli", "train", str(path), "-o", "model.amgsrn"]
    ended = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300
    )
    assert ended.returncode == 1
    message = ended.stderr.strip().splitlines()[-1]
    assert "'v' is stored with the HDF5 filter 32015 (Zstandard), which is missing" in message
    assert "HDF5_PLUGIN_PATH" in message and "damaged" not in message


def test_known_filters_are_not_missing(tmp_path: Path) -> None:
    path = compressed(tmp_path / "a.nc")
    with import_netcdf4().Dataset(str(path)) as dataset:
        assert missing_filters(dataset["v"]) == missing_filters(dataset["y"]) == []
    assert is_filter_known(1) and is_filter_known(ZSTANDARD) and not is_filter_known(UNKNOWN)
    path = write_netcdf(tmp_path / "b.nc", {"v": field(ramp(2, 3, 4))}, "NETCDF3_CLASSIC")
    with import_netcdf4().Dataset(str(path)) as dataset:
        assert missing_filters(dataset["v"]) == []


def test_a_file_that_does_not_open_tells_of_its_filters(tmp_path: Path) -> None:
    path = compressed(tmp_path / "a.nc")
    content = path.read_bytes()
    assert filters_in(path) == [ZSTANDARD]
    number = ZSTANDARD.to_bytes(2, "little")
    path.write_bytes(content.replace(number, UNKNOWN.to_bytes(2, "little")))
    assert filters_in(path) == [UNKNOWN]
    with pytest.raises(VolumeError, match=r"filter 32999, .*HDF5_PLUGIN_PATH; if that .* damaged"):
        open_volume(path)
    # Damaged elsewhere: the filter is there, and is not to blame.
    path.write_bytes(content.replace(number, number + b"\xff"))
    with pytest.raises(VolumeError, match="damaged") as caught:
        open_volume(path)
    assert "filter" not in str(caught.value)
    path.write_bytes(b"OHDR\2\x3f" + b"OHDR\2\0\xff" * 3)
    assert filters_in(path) == []
