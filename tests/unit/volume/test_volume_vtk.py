"""VTK's data sets and files as volumes: every sample stays where VTK has it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Callable

import numpy as np
import pytest

pytest.importorskip("vtkmodules.vtkCommonDataModel", reason="VTK's Python modules are missing")
from vtkmodules.util.numpy_support import numpy_to_vtk, vtk_to_numpy
from vtkmodules.vtkCommonCore import (
    vtkBitArray,
    vtkDoubleArray,
    vtkFloatArray,
    vtkSOADataArrayTemplate,
    vtkStringArray,
    vtkUnsignedCharArray,
)
from vtkmodules.vtkCommonDataModel import (
    vtkDataObject,
    vtkImageData,
    vtkPolyData,
    vtkRectilinearGrid,
    vtkUniformGrid,
)
from vtkmodules.vtkFiltersCore import vtkPointDataToCellData
from vtkmodules.vtkImagingSources import vtkImageMandelbrotSource
from vtkmodules.vtkIOXML import vtkXMLImageDataWriter, vtkXMLRectilinearGridWriter

from amgsrn_core.errors import VariableNotFoundError, VolumeError, VolumeNotFoundError
from amgsrn_core.volume import (
    TimeAxis,
    Volume,
    export_volume,
    open_volume,
    volume_from_vtk,
)

DIMS = (3, 4, 5)  # z, y, x: all different, so that no mix-up can hide
EXTENT = (10, 14, -2, 1, 5, 7)


def image() -> Any:
    data = vtkImageData()
    data.SetExtent(*EXTENT)
    data.SetOrigin(1.0, 2.0, 3.0)
    data.SetSpacing(0.1, 0.2, 0.3)
    return filled(data)


def turned_image() -> Any:
    data = vtkImageData()
    data.SetExtent(*EXTENT)
    data.SetOrigin(1.0, 2.0, 3.0)
    data.SetSpacing(0.1, 0.2, 0.3)
    data.SetDirectionMatrix([0, -1, 0, 0.6, 0, -0.8, 0.8, 0, 0.6])
    return filled(data)


def mirrored_image() -> Any:
    data = vtkImageData()
    data.SetExtent(*EXTENT)
    data.SetSpacing(0.1, -0.2, 0.3)
    return filled(data)


def rectilinear() -> Any:
    return grid([0, 1, 3, 4, 9], [2, 3, 5, 7], [-5, 0, 1])


def descending_rectilinear() -> Any:
    return grid([9, 4, 3, 1, 0], [2, 3, 5, 7], [1, 0, -5])


def grid(*coordinates: list[float]) -> Any:
    data = vtkRectilinearGrid()
    data.SetExtent(*EXTENT)
    for letter, values in zip("XYZ", coordinates):
        array = vtkDoubleArray()
        for value in values:
            array.InsertNextValue(value)
        getattr(data, f"Set{letter}Coordinates")(array)
    return filled(data)


def filled(data: Any) -> Any:
    """Add a scalar and a vector array to the points and cells, every number a different one."""
    for attributes, count in (
        (data.GetPointData(), data.GetNumberOfPoints()),
        (data.GetCellData(), data.GetNumberOfCells()),
    ):
        for name, columns in (("density", 1), ("velocity", 3)):
            values = np.arange(count * columns, dtype="f4").reshape(count, columns) + 1
            array = numpy_to_vtk(values, deep=True)
            array.SetName(name)
            attributes.AddArray(array)
    return data


def places(data: Any, association: str) -> np.ndarray:
    """Return where VTK says its points, or its cells' centres, are."""
    points = np.array([data.GetPoint(i) for i in range(data.GetNumberOfPoints())])
    if association == "point":
        return points
    corners = []
    for index in range(data.GetNumberOfCells()):
        cell = data.GetCell(index).GetPointIds()
        corners.append([points[cell.GetId(i)] for i in range(cell.GetNumberOfIds())])
    return np.mean(corners, axis=1)


def assert_in_place(volume: Volume, data: Any, association: str, name: str) -> None:
    attributes = data.GetPointData() if association == "point" else data.GetCellData()
    array = attributes.GetArray(name)
    where = places(data, association)
    index = volume.geometry.world_to_index(where)
    assert np.allclose(index, np.rint(index), atol=1e-6)
    x, y, z = np.rint(index).astype(int).T
    values = volume.read().values[:, z, y, x].T
    expected = [array.GetTuple(i) for i in range(array.GetNumberOfTuples())]
    assert np.array_equal(values, expected)


SHAPES: list[Callable[[], Any]] = [
    image,
    turned_image,
    mirrored_image,
    rectilinear,
    descending_rectilinear,
]


@pytest.mark.parametrize("make", SHAPES)
@pytest.mark.parametrize("association", ["point", "cell"])
@pytest.mark.parametrize("name", ["density", "velocity"])
def test_every_sample_stays_in_place(make: Callable[[], Any], association: str, name: str) -> None:
    data = make()
    volume = volume_from_vtk(data, name, association)
    assert volume.dims == (DIMS if association == "point" else (2, 3, 4))
    assert volume.name == name
    assert_in_place(volume, data, association, name)


@pytest.mark.parametrize("make", SHAPES)
@pytest.mark.parametrize("association", ["point", "cell"])
@pytest.mark.parametrize("mode", ["raw", "compressed", "ascii"])
def test_files_are_read_in_place(
    make: Callable[[], Any], association: str, mode: str, tmp_path: Path
) -> None:
    data = make()
    path = write(data, tmp_path / "data.xml", mode)
    (data.GetCellData() if association == "point" else data.GetPointData()).Initialize()
    path = write(data, tmp_path / "data.xml", mode)
    volume = open_volume(path, "velocity")
    assert volume.geometry == volume_from_vtk(data, "velocity", association).geometry
    assert_in_place(volume, data, association, "velocity")
    whole = volume.read().values
    extent = (slice(1, 2), slice(0, 2), slice(1, 4))
    assert np.array_equal(volume.read(extent).values, whole[(slice(None), *extent)])


def write(data: Any, path: Path, mode: str = "compressed") -> Path:
    is_image = data.IsA("vtkImageData")
    writer = vtkXMLImageDataWriter() if is_image else vtkXMLRectilinearGridWriter()
    writer.SetFileName(str(path))
    writer.SetInputData(data)
    if mode == "ascii":
        writer.SetDataModeToAscii()
    if mode == "raw":
        writer.SetCompressorTypeToNone()
        writer.EncodeAppendedDataOff()
    assert writer.Write() == 1
    return path


def test_only_the_extent_is_asked_of_the_file(tmp_path: Path) -> None:
    volume: Any = open_volume(write(image(), tmp_path / "a.vti"), "velocity")
    whole = np.array(EXTENT).reshape(3, 2)[:, 0]
    asked = np.array(volume._vtk_extent((slice(1, 2), slice(0, 3), slice(2, 5)))).reshape(3, 2)
    assert (asked - whole[:, None]).tolist() == [[2, 4], [0, 2], [1, 1]]


def test_the_values_are_not_copied() -> None:
    data = image()
    volume = volume_from_vtk(data, "density")
    data.GetPointData().GetArray("density").SetTuple1(0, 99.0)
    assert volume.read().values[0, 0, 0, 0] == 99


def test_several_arrays_and_their_component_names(tmp_path: Path) -> None:
    data = image()
    velocity = data.GetPointData().GetArray("velocity")
    for index, name in enumerate("uvw"):
        velocity.SetComponentName(index, name)
    volume = volume_from_vtk(data, ["density", "velocity"])
    assert volume.components == ("density", "u", "v", "w")
    copy = vtkFloatArray()
    copy.DeepCopy(velocity)
    copy.SetName("wind")
    data.GetPointData().AddArray(copy)
    both = ("velocity_u", "velocity_v", "velocity_w", "wind_u", "wind_v", "wind_w")
    assert volume_from_vtk(data, ["velocity", "wind"]).components == both
    data.GetCellData().Initialize()
    assert open_volume(write(data, tmp_path / "a.vti"), ["velocity", "wind"]).components == both


@pytest.mark.parametrize("association", ["point", "cell"])
def test_ghost_and_blanked_samples_are_invalid(association: str, tmp_path: Path) -> None:
    data = vtkUniformGrid()
    data.SetExtent(*EXTENT)
    filled(data)
    if association == "point":
        data.BlankPoint(7)
        data.GetCellData().Initialize()
    else:
        data.BlankCell(7)
        data.GetPointData().Initialize()
    attributes = data.GetPointData() if association == "point" else data.GetCellData()
    attributes.GetArray("vtkGhostType").SetTuple1(3, 1)  # a duplicate of another rank's
    attributes.GetArray("density").SetTuple1(5, float("nan"))
    for volume in (
        volume_from_vtk(data, "density", association),
        open_volume(write(data, tmp_path / "a.vti"), "density"),
    ):
        assert np.flatnonzero(~volume.read().valid).tolist() == [3, 5, 7]


def test_ghosts_are_no_data(tmp_path: Path) -> None:
    data = vtkUniformGrid()
    data.SetExtent(*EXTENT)
    filled(data)
    data.BlankPoint(7)
    with pytest.raises(VariableNotFoundError) as caught:
        volume_from_vtk(data, "pressure")
    assert str(caught.value).endswith(
        "density (point), velocity (point), density (cell), velocity (cell)."
    )


def marked(association: str, marks: np.ndarray, data: Any = None) -> Any:
    """Return a grid with a ghost array of all combinations of marks, and values everywhere."""
    data = data or image()
    attributes = data.GetPointData() if association == "point" else data.GetCellData()
    array = numpy_to_vtk(marks.astype("u1").ravel(), deep=True)
    array.SetName("vtkGhostType")
    attributes.AddArray(array)
    return data


def shown_by_vtk(data: Any, association: str) -> np.ndarray:
    """Return what VTK shows and no other rank answers for, flat."""
    attributes = data.GetPointData() if association == "point" else data.GetCellData()
    is_shown = data.IsPointVisible if association == "point" else data.IsCellVisible
    shown = np.array([is_shown(i) for i in range(attributes.GetNumberOfTuples())], dtype=bool)
    ghosts = attributes.GetArray("vtkGhostType")
    if ghosts is not None:
        shown &= vtk_to_numpy(ghosts) & 1 == 0
    return shown


@pytest.mark.parametrize("make", SHAPES)
@pytest.mark.parametrize("marks", ["point", "cell"])
def test_missing_is_what_vtk_hides(make: Callable[[], Any], marks: str, tmp_path: Path) -> None:
    random = np.random.default_rng(5)
    size = 60 if marks == "point" else 24
    drawn = random.integers(0, 256, size) & random.integers(0, 256, size)
    for association in dict.fromkeys([marks, "cell"]):
        data = marked(marks, drawn, make())
        here, there = data.GetPointData(), data.GetCellData()
        if association == "cell":
            here, there = there, here
        there.RemoveArray("density")
        expected = shown_by_vtk(data, association)
        assert 0 < expected.sum() < len(expected)
        path = write(data, tmp_path / "a.vti")
        for volume in (volume_from_vtk(data, "density", association), open_volume(path, "density")):
            block = volume.read()
            array = vtk_to_numpy(here.GetArray("density"))
            assert sorted(block.values[0][block.valid]) == sorted(array[expected])


@pytest.mark.parametrize("bit", [1, 2, 4, 8, 16, 32, 64, 128])
def test_of_cells_only_duplicate_refined_and_hidden_ones_are_missing(bit: int) -> None:
    data = marked("cell", np.where(np.arange(24) == 7, bit, 0))
    valid = volume_from_vtk(data, "density", "cell").read().valid
    assert (valid is None) == (bit not in (1, 8, 32))
    valid = volume_from_vtk(data, "density", "cell", duplicates=True).read().valid
    assert (valid is None) == (bit not in (8, 32))


@pytest.mark.parametrize("bit", [1, 2, 4, 8, 16, 32, 64, 128])
def test_of_points_only_duplicate_and_hidden_ones_are_missing(bit: int) -> None:
    data = marked("point", np.where(np.arange(60) == 7, bit, 0))
    valid = volume_from_vtk(data, "density").read().valid
    assert (valid is None) == (bit not in (1, 2))
    valid = volume_from_vtk(data, "density", duplicates=True).read().valid
    assert (valid is None) == (bit != 2)


@pytest.mark.parametrize("bit", [1, 8, 32])
@pytest.mark.parametrize("make", [image, descending_rectilinear])
def test_points_without_a_visible_cell_are_missing(
    bit: int, make: Callable[[], Any], tmp_path: Path
) -> None:
    marks = np.zeros((2, 3, 4), "u1")
    marks[:, :2, :2] = bit
    data = marked("cell", marks, make())
    hidden = np.zeros(DIMS, bool)
    hidden[:, :2, :2] = True  # the points behind touch visible cells
    volume = volume_from_vtk(data, "density")
    flip = tuple(slice(None, None, -1 if axis.descending else 1) for axis in volume.geometry.axes)
    from_file = open_volume(write(data, tmp_path / "a.vti"), "density")
    for each in (volume, from_file):
        assert np.array_equal(each.read().valid, ~hidden[flip])
    for z, y, x in np.ndindex(DIMS):  # also where a part of the cells around is asked for
        extent = slice(z, z + 1), slice(y, y + 1), slice(x, x + 1)
        assert (from_file.read(extent).valid is not None) == hidden[flip][z, y, x]
    valid = volume_from_vtk(data, "density", duplicates=True).read().valid
    assert (valid is None) == (bit == 1)


def test_ghosts_of_another_type_hide_nothing() -> None:
    data = image()
    array = numpy_to_vtk(np.full(60, 2.0), deep=True)
    array.SetName("vtkGhostType")
    data.GetPointData().AddArray(array)
    assert volume_from_vtk(data, "density").read().valid is None


def test_ghost_levels_of_old_files_are_duplicates(tmp_path: Path) -> None:
    levels = vtkUnsignedCharArray()
    levels.SetName("vtkGhostLevels")
    for index in range(60):
        levels.InsertNextValue(index // 58)
    data = image()
    data.GetPointData().AddArray(levels)
    valid = open_volume(write(data, tmp_path / "a.vti", "ascii"), "density").read().valid
    assert np.flatnonzero(~valid).tolist() == [58, 59]


@pytest.mark.parametrize("dtype", ["i1", "u1", "i2", "u2", "i4", "i8", "f4", "f8"])
def test_types(dtype: str, tmp_path: Path) -> None:
    data = vtkImageData()
    data.SetDimensions(5, 4, 3)
    values = np.arange(60).astype(dtype)
    array = numpy_to_vtk(values, deep=True)
    array.SetName("v")
    data.GetPointData().AddArray(array)
    for volume in (volume_from_vtk(data, "v"), open_volume(write(data, tmp_path / "a.vti"))):
        assert volume.source_dtype == np.dtype(dtype)
        assert np.array_equal(volume.read().values.ravel(), values)


def test_unusual_memory_layouts() -> None:
    data = vtkImageData()
    data.SetDimensions(5, 4, 3)
    bits = vtkBitArray()
    bits.SetName("bits")
    for index in range(60):
        bits.InsertNextValue(index % 3 == 0)
    data.GetPointData().AddArray(bits)
    separate = vtkSOADataArrayTemplate["float"]()
    separate.SetName("separate")
    separate.SetNumberOfComponents(2)
    separate.SetNumberOfTuples(60)
    for index in range(60):
        separate.SetTuple2(index, index, -index)
    data.GetPointData().AddArray(separate)
    values = volume_from_vtk(data, ["bits", "separate"]).read().values.reshape(3, 60)
    assert np.array_equal(values[0], np.arange(60) % 3 == 0)
    assert np.array_equal(values[1:], [np.arange(60), -np.arange(60)])


def test_text_arrays_are_no_data() -> None:
    data = image()
    words = vtkStringArray()
    words.SetName("words")
    words.SetNumberOfValues(60)
    data.GetPointData().AddArray(words)
    with pytest.raises(VariableNotFoundError, match="no numeric point array 'words'"):
        volume_from_vtk(data, "words")


def test_a_file_with_one_array_needs_no_name(tmp_path: Path) -> None:
    data = image()
    data.GetPointData().Initialize()
    data.GetCellData().RemoveArray("velocity")
    volume = open_volume(write(data, tmp_path / "a.vti"))
    assert (volume.name, volume.dims) == ("density", (2, 3, 4))


def test_a_choice_of_arrays_lists_them(tmp_path: Path) -> None:
    path = write(image(), tmp_path / "a.vti")
    for wanted in (None, "pressure"):
        with pytest.raises(VariableNotFoundError, match=r"density \(point\).*velocity \(cell\)"):
            open_volume(path, wanted)


def test_points_come_first_where_both_have_an_array(tmp_path: Path) -> None:
    assert open_volume(write(image(), tmp_path / "a.vti"), "density").dims == DIMS


def test_points_and_cells_do_not_mix(tmp_path: Path) -> None:
    data = image()
    data.GetCellData().RemoveArray("density")
    data.GetPointData().RemoveArray("velocity")
    with pytest.raises(VolumeError, match="partly to points and partly to cells"):
        open_volume(write(data, tmp_path / "a.vti"), ["density", "velocity"])


LONGITUDES = {
    "through 0": ([355, 357, 359, 1, 4], [-5, -3, -1, 1, 4]),
    "through 180": ([176, 178, -180, -178, -175], [176, 178, 180, 182, 185]),
    "falling": ([4, 1, 359, 357, 355], [-5, -3, -1, 1, 4]),
}


@pytest.mark.parametrize(("given", "ascending"), LONGITUDES.values(), ids=LONGITUDES)
def test_longitudes_that_jump_ascend(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, given: list[float], ascending: list[float]
) -> None:
    data = grid(given, [2, 3, 5, 7], [-5, 0, 1])
    for volume in (
        volume_from_vtk(data, "density"),
        open_volume(write(data, tmp_path / "a.vtr"), "density"),
    ):
        x = volume.geometry.axes[2]
        assert x.coordinates.tolist() == ascending
        assert x.file_coordinates.tolist() == given
        values = np.arange(60).reshape(3, 4, 5) + 1.0
        falling = ascending[0] % 360 != given[0] % 360
        assert np.array_equal(volume.read().values[0], values[..., ::-1] if falling else values)
    assert "jump from" in caplog.text and "as longitudes do" in caplog.text
    cells = volume_from_vtk(data, "density", "cell").geometry.axes[2].coordinates
    assert cells.tolist() == (0.5 * (np.array(ascending)[1:] + ascending[:-1])).tolist()


@pytest.mark.parametrize(
    "given", [[0, 1, 3, 2, 9], [0, 1, 1, 2, 3], [0, 359, 0, 359, 0], [350, 355, 60, 65, 70]]
)
def test_coordinates_in_no_order_are_refused(given: list[float]) -> None:
    data = grid(given, [2, 3, 5, 7], [-5, 0, 1])
    with pytest.raises(VolumeError, match=r"x coordinates .* is followed by .* resample"):
        volume_from_vtk(data, "density")


@pytest.mark.parametrize("data", [None, vtkPolyData()])
def test_other_data_sets_are_refused(data: Any) -> None:
    with pytest.raises(VolumeError, match="needs image data, a rectilinear grid or a mesh"):
        volume_from_vtk(data, "density")


@pytest.mark.parametrize("dims", [(5, 4, 1), (1, 1, 1), (0, 0, 0)])
def test_flat_data_sets_are_refused(dims: tuple[int, int, int]) -> None:
    data = vtkImageData()
    data.SetDimensions(*dims)
    with pytest.raises(VolumeError, match="fewer than 2 samples along z"):
        volume_from_vtk(filled(data), "density")


def test_one_layer_of_cells_is_flat() -> None:
    data = vtkImageData()
    data.SetDimensions(5, 4, 2)
    filled(data)
    assert volume_from_vtk(data, "density").dims == (2, 4, 5)
    with pytest.raises(VolumeError, match="fewer than 2 samples along z"):
        volume_from_vtk(data, "density", "cell")


def test_a_spacing_of_zero_is_refused() -> None:
    data = image()
    data.SetSpacing(1, 0, 1)
    with pytest.raises(VolumeError, match="spacing 0 along y"):
        volume_from_vtk(data, "density")


def test_an_array_of_the_wrong_length_is_refused() -> None:
    data = image()
    data.GetPointData().GetArray("density").SetNumberOfTuples(59)
    with pytest.raises(VolumeError, match="59 values for 60 samples"):
        volume_from_vtk(data, "density")


def test_unknown_associations_are_refused() -> None:
    with pytest.raises(VolumeError, match="point or cell"):
        volume_from_vtk(image(), "density", "field")
    with pytest.raises(VariableNotFoundError, match="at least one"):
        volume_from_vtk(image(), [])


def test_the_time_of_a_pipeline_s_data_is_kept():
    data = image()
    array = data.GetPointData().GetArrayName(0)
    assert volume_from_vtk(data, array).time is None
    data.GetInformation().Set(vtkDataObject.DATA_TIME_STEP(), 7.5)
    assert volume_from_vtk(data, array).time == TimeAxis((7.5,))


# --- The text of files -------------------------------------------------------------------------

FIELD = np.arange(60, dtype="f4").reshape(DIMS)
PROLOG = '<?xml version="1.0"?>\n'
LONG = f"<!-- {'x' * 9000} </VTKFile> -->\n<?tool </VTKFile> ?>\n"
BOTH = [(0, 1), (1, 2)]


def written(
    arrays: Sequence[str] = "qq", layers: Sequence[tuple[int, int]] = BOTH, inside: str = ""
) -> str:
    """Return a .vti of pieces with some arrays, of which all but q are 100 larger."""
    pieces = []
    for names, (low, high) in zip(arrays, layers):
        sections = []
        for name in names:
            numbers = " ".join(map(str, (FIELD[low : high + 1] + 100 * (name != "q")).ravel()))
            kind = "Float64" if name == "d" else "Float32"
            sections.append(
                f"<DataArray type='{kind}' Name='{name}' format='ascii'>{numbers}</DataArray>"
            )
        pieces.append(
            f"<Piece Extent='0 4 0 3 {low} {high}'>"
            f"<PointData>{''.join(sections)}</PointData></Piece>"
        )
    return (
        "<VTKFile type='ImageData' version='0.1' byte_order='LittleEndian'>"
        f"<ImageData WholeExtent='0 4 0 3 0 2' Origin='0 0 0' Spacing='1 1 1'>{inside}"
        f"{''.join(pieces)}</ImageData></VTKFile>"
    )


TEXTS = {
    "a comment in front": PROLOG + LONG + written(),
    "a comment behind": PROLOG + written() + "\n" + LONG,
    "comments all over": LONG[:-40] + LONG[-40:] + written(inside=LONG) + LONG,
    "blanks all over": "\n \t" + written() + "\n" * 5000,
    "a document type": "<!DOCTYPE VTKFile [<!ENTITY a 'b'>]>" + written(),
    "no declaration": written(),
}


@pytest.mark.parametrize("what", TEXTS)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "iso-8859-1"])
def test_what_stands_around_the_data_set_is_skipped(
    what: str, encoding: str, tmp_path: Path
) -> None:
    text = TEXTS[what].replace("Name='q'", "Name='\u00e4'")
    if encoding == "iso-8859-1":
        if text.startswith("\n"):
            pytest.skip("a declaration has to come first")
        text = "<?xml version='1.0' encoding='ISO-8859-1'?>" + text.replace(PROLOG, "")
    (tmp_path / "a.vti").write_bytes(text.encode(encoding))
    volume = open_volume(tmp_path / "a.vti", "\u00e4")
    assert np.array_equal(volume.read().values[0] % 100, FIELD)


@pytest.mark.parametrize("mode", ["raw", "compressed"])
def test_comments_stand_around_appended_arrays(mode: str, tmp_path: Path) -> None:
    path = write(image(), tmp_path / "a.vti", mode)
    values = open_volume(path, "velocity").read().values
    content = path.read_bytes()
    start = content.index(b"<VTKFile")
    decoy = LONG.encode()
    path.write_bytes(content[:start] + decoy + content[start:] + LONG.encode())
    assert np.array_equal(open_volume(path, "velocity").read().values, values)


@pytest.mark.parametrize("mode", ["raw", "compressed", "ascii"])
def test_a_cut_file_is_truncated_whatever_its_comments_say(mode: str, tmp_path: Path) -> None:
    content = write(image(), tmp_path / "a.vti", mode).read_bytes()
    decoy = b"<!-- </VTKFile> --><?tool </VTKFile> ?>"
    start = content.index(b"<PointData")
    content = content[:start] + decoy + content[start:] + b"\n"
    end = content.rindex(b"</VTKFile")
    for length in (start + len(decoy), end - 200, end - 1, end, end + 9):
        (tmp_path / "a.vti").write_bytes(content[:length])
        with pytest.raises(VolumeError, match="truncated: its end is missing"):
            open_volume(tmp_path / "a.vti", "density")
    (tmp_path / "a.vti").write_bytes(content)
    assert open_volume(tmp_path / "a.vti", "density").dims == DIMS


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ((PROLOG + written() + "more").encode(), "no XML that VTK can read .*junk after"),
        (written().encode("utf-16"), "encoding utf-16.*save it as UTF-8"),
        (
            f"<?xml version='1.0' encoding='windows-1252'?>{written()}".encode("cp1252"),
            "encoding windows-1252.*save it as UTF-8",
        ),
        (written(layers=[(0, 1)]).encode(), "leave gaps in its extent 0 4 0 3 0 2"),
        (written(["qr", "rq"]).encode(), "differ in their point arrays"),
        (written(["qr", "q"]).encode(), "differ in their point arrays"),
        (written(["q", "d"]).encode(), "differ in their point arrays"),
    ],
)
def test_what_vtk_reads_wrongly_or_not_at_all_is_said(
    content: bytes, reason: str, tmp_path: Path
) -> None:
    (tmp_path / "a.vti").write_bytes(content)
    with pytest.raises(VolumeError, match=reason):
        open_volume(tmp_path / "a.vti", "q")


def test_pieces_may_overlap_or_be_empty(tmp_path: Path) -> None:
    for layers in (BOTH, [(0, 2), (1, 2)], [(0, 0), (1, 2)], [(0, 2), (3, 2)]):
        (tmp_path / "a.vti").write_text(written(layers=layers))
        assert np.array_equal(open_volume(tmp_path / "a.vti").read().values[0], FIELD)


# --- Pieces in files of their own ---------------------------------------------------------------


def apart(
    folder: Path, layers: Sequence[tuple[int, int]] = BOTH, whole: str = "0 4 0 3 0 2"
) -> Path:
    """Write layers of points as files, and one that names them."""
    named = []
    for number, (low, high) in enumerate(layers):
        text = written(layers=[(low, high)]).replace("0 4 0 3 0 2", f"0 4 0 3 {low} {high}")
        (folder / f"part {number}.vti").write_text(text)
        named.append(f"<Piece Extent='0 4 0 3 {low} {high}' Source='part {number}.vti'/>")
    path = folder / "a.pvti"
    path.write_text(
        f"<VTKFile type='PImageData'><PImageData WholeExtent='{whole}'>{''.join(named)}"
        "</PImageData></VTKFile>"
    )
    return path


@pytest.mark.parametrize("layers", [BOTH, [(0, 2), (1, 2)], [(0, 0), (1, 2)], [(1, 2), (0, 1)]])
def test_pieces_in_files_are_one_volume(layers: Any, tmp_path: Path) -> None:
    volume = open_volume(apart(tmp_path, layers), "q")
    assert np.array_equal(volume.read().values[0], FIELD)
    part = (slice(1, 2), slice(0, 4), slice(2, 5))
    assert np.array_equal(volume.read(part).values[0], FIELD[part])
    assert volume.geometry.dims == DIMS


@pytest.mark.parametrize("association", ["point", "cell"])
def test_pieces_of_vtk_s_own_writer_are_read(association: str, tmp_path: Path) -> None:
    parallel = pytest.importorskip("vtkmodules.vtkIOParallelXML")
    source = vtkImageMandelbrotSource()  # gives out its own pieces, each with ghost cells
    source.SetWholeExtent(2, 14, -3, 6, 0, 9)
    writer = parallel.vtkXMLPImageDataWriter()
    last: Any = source
    if association == "cell":
        last = vtkPointDataToCellData()
        last.SetInputConnection(source.GetOutputPort())
    writer.SetInputConnection(last.GetOutputPort())
    writer.SetFileName(str(tmp_path / "a.pvti"))
    writer.SetNumberOfPieces(4)
    writer.SetEndPiece(3)
    writer.SetGhostLevel(1)
    writer.Write()
    assert len([*tmp_path.rglob("*.vti")]) == 4
    last.Update()
    volume = open_volume(tmp_path / "a.pvti")
    expected = volume_from_vtk(last.GetOutput(), volume.name, association)
    assert volume.geometry == expected.geometry
    block = volume.read()
    assert block.valid is None
    assert np.array_equal(block.values, expected.read().values)


def test_pieces_that_do_not_fit_together_are_refused(tmp_path: Path) -> None:
    def refused(kind: type[VolumeError], text: str) -> None:
        with pytest.raises(kind, match=text):
            open_volume(tmp_path / "a.pvti", "q")

    apart(tmp_path, whole="0 4 0 3 0 3")
    refused(VolumeError, "leave gaps in its extent 0 4 0 3 0 3")
    apart(tmp_path, [])
    refused(VolumeError, "names no pieces")
    apart(tmp_path)
    second = tmp_path / "part 1.vti"
    text = second.read_text()
    second.write_text(text.replace("0 4 0 3 1 2", "0 4 0 3 0 1"))
    refused(VolumeError, "names it for 0 4 0 3 1 2; it is of another run")
    second.write_text(text.replace("Spacing='1 1 1'", "Spacing='1 1 2'"))
    refused(VolumeError, "are not of one grid")
    second.write_text(text.replace("Float32", "Float64"))
    refused(VolumeError, "differ in their point arrays")
    second.write_text(text[:-20])
    refused(VolumeError, "part 1.vti' is truncated")
    second.write_text("<VTKFile type='PolyData'></VTKFile>")
    refused(VolumeError, "is no ImageData")
    second.unlink()
    refused(VolumeNotFoundError, "copy the pieces together with it")


NAMES = [
    "Temperature, K",
    "p [Pa]",
    "gr\u00f6\u00dfe (\u00b5m)",
    "rho*U",
    "a:b",
    "-speed",
    "v.x",
    "x=1",
]
NAMES += ["50%", " blank ", "Temperature"]


def test_any_name_is_found_exactly(tmp_path: Path) -> None:
    data = image()
    data.GetPointData().Initialize()
    for number, name in enumerate(NAMES):
        array = numpy_to_vtk(np.arange(60.0) + number, deep=True)
        array.SetName(name)
        data.GetPointData().AddArray(array)
    path = write(data, tmp_path / "a.vti")
    for number, name in enumerate(NAMES):
        for volume in (volume_from_vtk(data, name), open_volume(path, name)):
            assert (volume.name, volume.components, volume.variables) == (name, (name,), (name,))
            exported = open_volume(export_volume(volume, tmp_path / "exported"), [name])
            for each in (volume, exported):
                assert each.read().values[0, 0, 0, 0] == number
    several = open_volume(path, NAMES[::-1])
    assert several.components == tuple(NAMES[::-1])
    assert several.read().values[:, 0, 0, 0].tolist() == [*range(len(NAMES))][::-1]
