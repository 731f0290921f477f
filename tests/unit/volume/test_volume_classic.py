"""The size that the header of a classic file asks for, against files as the library writes them."""

from __future__ import annotations

import io
import itertools
import struct
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amgsrn_core.volume.netcdf.classic import required_size
from amgsrn_core.volume.netcdf.library import import_netcdf4

FORMATS = ("NETCDF3_CLASSIC", "NETCDF3_64BIT_OFFSET", "NETCDF3_64BIT_DATA")

variables = st.lists(
    st.tuples(st.sampled_from(["i1", "i2", "i4", "f4", "f8"]), st.booleans(), st.integers(0, 2)),
    max_size=4,
)


@settings(max_examples=80, deadline=None)
@given(st.sampled_from(FORMATS), variables, st.integers(0, 3), st.text("ab", max_size=9))
def test_a_complete_file_is_as_large_as_its_header_says(
    kind: str, variables: list[tuple[str, bool, int]], records: int, title: str
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.nc"
        with import_netcdf4().Dataset(str(path), "w", format=kind) as dataset:
            dataset.title = title
            dataset.numbers = np.arange(len(title) + 1, dtype="i2")
            dataset.createDimension("record", None)
            for name, size in (("a", 3), ("b", 5)):
                dataset.createDimension(name, size)
            for index, (dtype, grows, rank) in enumerate(variables):
                dimensions = ("record",) * grows + ("a", "b")[:rank]
                variable = dataset.createVariable(f"v{index}", dtype, dimensions)
                variable.units = "m" * index
                if grows:
                    for record in range(records):
                        variable[record] = np.ones([3, 5][:rank])
                else:
                    variable[...] = np.ones([3, 5][:rank])
        with open(path, "rb") as file:
            needed = required_size(file)
        size = path.stat().st_size
    assert needed is not None
    # The library pads the end to four bytes, which nobody needs.
    if variables and (records or any(not grows for _, grows, _ in variables)):
        assert size - 4 < needed <= size
    else:
        assert needed <= size


def test_other_formats_have_no_such_header() -> None:
    assert required_size(io.BytesIO(b"\x89HDF\r\n\x1a\n")) is None
    assert required_size(io.BytesIO(b"CDF\x07")) is None
    assert required_size(io.BytesIO(b"")) is None


def test_a_truncated_header_is_an_error() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.nc"
        with import_netcdf4().Dataset(str(path), "w", format=FORMATS[0]) as dataset:
            dataset.createDimension("x", 4)
            dataset.createVariable("v", "f4", ("x",)).units = "m"
        content = path.read_bytes()
    # 16 bytes of numbers follow the header.
    for length in itertools.chain(range(4, 40), (len(content) - 17,)):
        with pytest.raises((ValueError, struct.error)):
            required_size(io.BytesIO(content[:length]))
