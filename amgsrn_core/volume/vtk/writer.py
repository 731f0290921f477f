"""Output as VTK's XML files, .vti and .vtr, without VTK: a header and raw appended arrays.

Format: https://docs.vtk.org/en/latest/design_documents/VTKFileFormats.html (XML formats, raw
appended data with 64-bit headers).
"""

from __future__ import annotations

import contextlib
import html
import sys
from pathlib import Path

import numpy as np

from amgsrn_core.volume.array_file import ArrayFile
from amgsrn_core.volume.attributes import Attributes
from amgsrn_core.volume.geometry import Extent, GridGeometry
from amgsrn_core.volume.replacement import comment
from amgsrn_core.volume.volume import MissingValues, TimeAxis
from amgsrn_core.volume.vtk.layout import raw_data_tag


class VTKOutput:
    """Image data (.vti) or a rectilinear grid (.vtr) with one point array, float32 or float64."""

    def __init__(
        self,
        path: Path,
        geometry: GridGeometry,
        *,
        name: str,
        components: tuple[str, ...],
        units: tuple[str, ...],
        missing: MissingValues,
        time: TimeAxis | None,
        attributes: Attributes | None,
        made_by: str,
        dtype: np.dtype,
    ) -> None:
        # VTK's files have no room for fill values: NaN marks what is missing.
        del missing, attributes
        coordinates = []
        if path.suffix.lower() == ".vtr":
            coordinates = [axis.coordinates for axis in reversed(geometry.axes)]
        item_bytes = dtype.itemsize * len(components)
        header = _header(
            geometry,
            name,
            components,
            dtype,
            units=units[0] if len(set(units)) == 1 else "",
            time=time,
            coordinates=coordinates,
            made_by=made_by,
        )
        self._file = open(path, "wb")  # noqa: SIM115 (closed by close or abandon)
        self._file.write(header)
        for values in coordinates:
            self._file.write(np.uint64(values.nbytes).tobytes() + values.tobytes())
        self._file.write(np.uint64(item_bytes * geometry.n_points).tobytes())
        self._array = ArrayFile(self._file, self._file.tell(), geometry.dims, item_bytes)

    def write(self, extent: Extent, values: np.ndarray, step: int = 0) -> None:
        """Write values [C, z, y, x] of a resolved extent; there is only one time step."""
        self._array.write(extent, np.moveaxis(values, 0, -1))

    def close(self) -> None:
        """Complete the file."""
        self._file.seek(self._array.end)
        self._file.write(b"\n  </AppendedData>\n</VTKFile>\n")
        self._file.close()

    def abandon(self) -> None:
        """Let go of a file that will be removed."""
        with contextlib.suppress(OSError):
            self._file.close()


def _header(
    geometry: GridGeometry,
    name: str,
    components: tuple[str, ...],
    dtype: np.dtype,
    *,
    units: str,
    time: TimeAxis | None,
    coordinates: list[np.ndarray],
    made_by: str,
) -> bytes:
    """Return the XML up to the first byte of the appended arrays."""
    kind = "RectilinearGrid" if coordinates else "ImageData"
    extent = " ".join(f"0 {size - 1}" for size in reversed(geometry.dims))
    place = ""
    if not coordinates:
        place = (
            f' Origin="{_numbers(geometry.origin)}" Spacing="{_numbers(geometry.spacing)}"'
            f' Direction="{_numbers(geometry.direction.ravel())}"'
        )
    lines = [
        '<?xml version="1.0"?>',
        comment(made_by),
        f'<VTKFile type="{kind}" version="1.0" byte_order="{sys.byteorder.title()}Endian"'
        ' header_type="UInt64">',
        f'  <{kind} WholeExtent="{extent}"{place}>',
    ]
    if time is not None:
        lines.append(
            '    <FieldData><DataArray type="Float64" Name="TimeValue" NumberOfTuples="1"'
            f' format="ascii">{time.value!r}</DataArray></FieldData>'
        )
    lines.append(f'    <Piece Extent="{extent}">')
    offset = 0
    if coordinates:
        lines.append("      <Coordinates>")
        for letter, values in zip("XYZ", coordinates):
            lines.append(
                f'        <DataArray type="Float64" Name="{letter}Coordinates" format="appended"'
                f' offset="{offset}"/>'
            )
            offset += 8 + values.nbytes
        lines.append("      </Coordinates>")
    names = ""
    if len(components) > 1:
        names = "".join(f" ComponentName{i}={_quoted(c)}" for i, c in enumerate(components))
    role = "Vectors" if len(components) == 3 else "Scalars"
    lines += [
        f"      <PointData {role}={_quoted(name)}>",
        f'        <DataArray type="Float{8 * dtype.itemsize}" Name={_quoted(name)}'
        f' NumberOfComponents="{len(components)}"{names} format="appended" offset="{offset}">',
        *_units(units),
        "        </DataArray>",
        "      </PointData>",
        "    </Piece>",
        f"  </{kind}>",
        "",
    ]
    text = "\n".join(lines).encode()
    return text + raw_data_tag(len(text)) + b"\n_"


def _units(units: str) -> list[str]:
    """Return the key of an array that VTK has for its units."""
    if not units:
        return []
    key = '<InformationKey name="UNITS_LABEL" location="vtkDataArray">'
    return [f"          {key}{html.escape(units)}</InformationKey>"]


def _numbers(values: tuple[float, ...] | np.ndarray) -> str:
    return " ".join(repr(float(value)) for value in values)


def _quoted(text: str) -> str:
    return f'"{html.escape(text)}"'
