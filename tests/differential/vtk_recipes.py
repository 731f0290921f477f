"""Recipes of small .vti and .vtr files: what a file is made of, printable, and drawn at random.

A printed recipe is Python: ``from vtk_recipes import *``, then ``dataset(recipe)`` and
``write(recipe, path)`` make the data set and the file again.
"""

from __future__ import annotations

import base64
import struct
import sys
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

import numpy as np
from hypothesis import strategies as st
from vtkmodules.util.numpy_support import numpy_to_vtk, vtk_to_numpy
from vtkmodules.vtkCommonDataModel import vtkImageData, vtkRectilinearGrid
from vtkmodules.vtkIOXML import vtkXMLImageDataWriter, vtkXMLRectilinearGridWriter

TYPES = {
    "i1": "Int8",
    "u1": "UInt8",
    "i2": "Int16",
    "u2": "UInt16",
    "i4": "Int32",
    "u4": "UInt32",
    "i8": "Int64",
    "u8": "UInt64",
    "f4": "Float32",
    "f8": "Float64",
}
DIRECTIONS = (
    (1, 0, 0, 0, 1, 0, 0, 0, 1),
    (0, -1, 0, 1, 0, 0, 0, 0, 1),
    (1, 0, 0, 0, 1, 0, 0, 0, -1),
    (0.6, 0.8, 0, -0.8, 0.6, 0, 0, 0, 1),
)
NAMES = ("q", "a, b", " p [Pa] ", "größe", "x=1", "q*")
AROUND = ("", "\n", "<!-- a </VTKFile> -->", "<?tool a?>\n", f"<!-- {'x' * 5000} -->\n\n")

_SAFE = {"i1": 100, "u1": 200}


@dataclass(frozen=True)
class Array:
    """An array of points or cells; `is_large` makes 64-bit integers large."""

    name: str
    association: str
    dtype: str = "f4"
    components: int = 1
    has_nan: bool = False
    is_large: bool = False


@dataclass(frozen=True)
class Recipe:
    """A file; `cuts` are layers along `cut_axis` (x, y, z) where pieces meet.

    With `apart` the pieces are files of their own, with ghost cells around them.
    """

    extent: tuple[int, ...]
    arrays: tuple[Array, ...]
    rectilinear: bool = False
    origin: tuple[float, ...] = (0.0, 0.0, 0.0)
    spacing: tuple[float, ...] = (1.0, 1.0, 1.0)
    direction: tuple[float, ...] = DIRECTIONS[0]
    line_dtypes: tuple[str, ...] = ("f8", "f8", "f8")
    ghosts: tuple[str, ...] = ()
    marks: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64, 128)
    mode: str = "appended"
    raw: bool = False
    compressor: str = "zlib"
    big_endian: bool = False
    header: int = 64
    block: int = 64
    cut_axis: int = 2
    cuts: tuple[int, ...] = ()
    apart: bool = False
    ghost_level: int = 0
    before: str = ""
    after: str = ""
    bom: bool = False
    seed: int = 0

    @property
    def dims(self) -> tuple[int, int, int]:
        """Points along x, y, z."""
        x, y, z = (self.extent[i + 1] - self.extent[i] + 1 for i in (0, 2, 4))
        return x, y, z


def size(recipe: Recipe, association: str) -> int:
    """Return how many points or cells there are."""
    return int(np.prod([n - (association == "cell") for n in recipe.dims]))


def dataset(recipe: Recipe) -> Any:
    """Return the data set that the file is of."""
    random = np.random.default_rng(recipe.seed)
    if recipe.rectilinear:
        data = vtkRectilinearGrid()
        data.SetExtent(recipe.extent)
        lines = zip("XYZ", recipe.dims, recipe.spacing, recipe.origin, recipe.line_dtypes)
        for letter, count, step, origin, dtype in lines:
            line = origin + step * np.cumsum(random.integers(1, 4, count))
            array = numpy_to_vtk(line.astype(dtype), deep=True)
            array.SetName(letter)
            getattr(data, f"Set{letter}Coordinates")(array)
    else:
        data = vtkImageData()
        data.SetExtent(recipe.extent)
        data.SetOrigin(recipe.origin)
        data.SetSpacing(recipe.spacing)
        data.SetDirectionMatrix(recipe.direction)
    attributes = {"point": data.GetPointData(), "cell": data.GetCellData()}
    for each in recipe.arrays:
        made = numpy_to_vtk(numbers(each, size(recipe, each.association), random), deep=True)
        made.SetName(each.name)
        attributes[each.association].AddArray(made)
    for association in recipe.ghosts:
        marks = random.choice([0, 0, 0, *recipe.marks], (2, size(recipe, association)))
        made = numpy_to_vtk((marks[0] | marks[1]).astype("u1"), deep=True)
        made.SetName("vtkGhostType")
        attributes[association].AddArray(made)
    return data


def numbers(array: Array, count: int, random: np.random.Generator) -> np.ndarray:
    """Return values that float32 holds exactly."""
    low = 0 if array.dtype[0] == "u" else -_SAFE.get(array.dtype, 1000)
    drawn = random.integers(low, _SAFE.get(array.dtype, 1000), (count, array.components))
    values = drawn.astype(array.dtype)
    if array.dtype in ("i8", "u8") and array.is_large:
        values *= values.dtype.type(1 << 52)
    if array.dtype[0] == "f":
        values /= 8
        if array.has_nan:
            values[random.random(values.shape) < 0.1] = np.nan
    return values


def write(recipe: Recipe, path: Path) -> None:
    """Write the file: of one piece with VTK's writer, of several with the one below."""
    if recipe.cuts and recipe.apart:
        content = _apart(recipe, path)
    elif recipe.cuts:
        content = _in_pieces(recipe)
    else:
        _write_with_vtk(recipe, dataset(recipe), path)
        content = path.read_bytes()
    start = content.index(b"<VTKFile")
    content = content[:start] + recipe.before.encode() + content[start:] + recipe.after.encode()
    path.write_bytes(b"\xef\xbb\xbf" * recipe.bom + content)


def _write_with_vtk(recipe: Recipe, data: Any, path: Path) -> None:
    writer = vtkXMLRectilinearGridWriter() if recipe.rectilinear else vtkXMLImageDataWriter()
    writer.SetFileName(str(path))
    writer.SetInputData(data)
    getattr(writer, f"SetDataModeTo{recipe.mode.title()}")()
    writer.SetEncodeAppendedData(not recipe.raw)
    writer.SetCompressorType(("none", "zlib", "lz4", "lzma").index(recipe.compressor))
    writer.SetByteOrder(0 if recipe.big_endian else 1)
    writer.SetHeaderType(recipe.header)
    writer.SetBlockSize(recipe.block)
    assert writer.Write() == 1


def _apart(recipe: Recipe, path: Path) -> bytes:
    """Write the pieces as files; return the file that names them."""
    kind = "PRectilinearGrid" if recipe.rectilinear else "PImageData"
    first, last = (recipe.extent[2 * recipe.cut_axis + i] for i in (0, 1))
    ends = [first, *recipe.cuts, last]
    named = []
    for number, (low, high) in enumerate(zip(ends, ends[1:])):
        extent = list(recipe.extent)
        wide = max(first, low - recipe.ghost_level), min(last, high + recipe.ghost_level)
        extent[2 * recipe.cut_axis : 2 * recipe.cut_axis + 2] = wide
        data = dataset(recipe)
        piece = data.NewInstance()
        piece.DeepCopy(data)
        piece.Crop(extent)
        if recipe.ghost_level:
            _mark_duplicates(recipe, piece, low, high)
        source = f"piece-{number}.{'vtr' if recipe.rectilinear else 'vti'}"
        _write_with_vtk(recipe, piece, path.parent / source)
        named.append(f"<Piece Extent='{' '.join(map(str, extent))}' Source='{source}'/>")
    text = []
    for tag, data in (("PPointData", piece.GetPointData()), ("PCellData", piece.GetCellData())):
        arrays = [data.GetArray(index) for index in range(data.GetNumberOfArrays())]
        text.append(f"<{tag}>{''.join(map(_declared, arrays))}</{tag}>")
    if recipe.rectilinear:
        lines = [getattr(piece, f"Get{letter}Coordinates")() for letter in "XYZ"]
        text.append(f"<PCoordinates>{''.join(map(_declared, lines))}</PCoordinates>")
    whole = " ".join(map(str, recipe.extent))
    return (
        f"<VTKFile type='{kind}' version='1.0'><{kind} WholeExtent='{whole}'{_place(recipe)} "
        f"GhostLevel='{recipe.ghost_level}'>{''.join([*text, *named])}</{kind}></VTKFile>"
    ).encode()


def _declared(array: Any) -> str:
    kind = TYPES[vtk_to_numpy(array).dtype.str[1:]]
    name, count = quoteattr(array.GetName() or "line"), array.GetNumberOfComponents()
    return f"<PDataArray type='{kind}' Name={name} NumberOfComponents='{count}'/>"


def _place(recipe: Recipe) -> str:
    if recipe.rectilinear:
        return ""
    words = (
        ("Origin", recipe.origin),
        ("Spacing", recipe.spacing),
        ("Direction", recipe.direction),
    )
    return "".join(f" {k}='{' '.join(map(repr, v))}'" for k, v in words)


def _mark_duplicates(recipe: Recipe, piece: Any, low: int, high: int) -> None:
    """Mark the cells of other pieces, as ParaView's ranks do."""
    sizes = [n - 1 for n in piece.GetDimensions()]
    marks = np.zeros(sizes[::-1], "u1")
    start = piece.GetExtent()[2 * recipe.cut_axis]
    layers = np.arange(start, start + sizes[recipe.cut_axis])
    np.moveaxis(marks, 2 - recipe.cut_axis, 0)[(layers < low) | (layers >= high)] = 1
    there = piece.GetCellData().GetArray("vtkGhostType")
    if there is not None:
        vtk_to_numpy(there)[:] |= marks.ravel()
        return
    array = numpy_to_vtk(marks.ravel(), deep=True)
    array.SetName("vtkGhostType")
    piece.GetCellData().AddArray(array)


def _in_pieces(recipe: Recipe) -> bytes:
    """Return a file of several pieces, by the documentation of the format."""
    data = dataset(recipe)
    kind = "RectilinearGrid" if recipe.rectilinear else "ImageData"
    encode = _Encoder(recipe)
    text = []
    ends = [
        recipe.extent[2 * recipe.cut_axis],
        *recipe.cuts,
        recipe.extent[2 * recipe.cut_axis + 1],
    ]
    for low, high in zip(ends, ends[1:]):
        extent = list(recipe.extent)
        extent[2 * recipe.cut_axis : 2 * recipe.cut_axis + 2] = low, high
        text.append(f"<Piece Extent='{' '.join(map(str, extent))}'>")
        for tag, association in (("PointData", "point"), ("CellData", "cell")):
            text.append(f"<{tag}>")
            attributes = data.GetPointData() if association == "point" else data.GetCellData()
            for index in range(attributes.GetNumberOfArrays()):
                array = attributes.GetArray(index)
                values = vtk_to_numpy(array).reshape(size(recipe, association), -1)
                shape = [n - (association == "cell") for n in recipe.dims[::-1]]
                part = values.reshape(*shape, -1)[_slices(recipe, extent, association)]
                text.append(encode(array.GetName(), part.reshape(-1, part.shape[-1])))
            text.append(f"</{tag}>")
        if recipe.rectilinear:
            text.append("<Coordinates>")
            for i, letter in enumerate("XYZ"):
                line = vtk_to_numpy(getattr(data, f"Get{letter}Coordinates")())
                first = recipe.extent[2 * i]
                part = line[extent[2 * i] - first : extent[2 * i + 1] - first + 1]
                text.append(encode(letter, part.reshape(-1, 1)))
            text.append("</Coordinates>")
        text.append("</Piece>")
    whole = " ".join(map(str, recipe.extent))
    compressor = {"zlib": " compressor='vtkZLibDataCompressor'"}.get(encode.compressor, "")
    order = "Big" if recipe.big_endian else "Little"
    head = (
        f"<VTKFile type='{kind}' version='1.0' byte_order='{order}Endian' "
        f"header_type='UInt{recipe.header}'{compressor}>"
        f"<{kind} WholeExtent='{whole}'{_place(recipe)}>"
    )
    return encode.file(head, "\n".join(text), f"</{kind}>")


def _slices(recipe: Recipe, extent: list[int], association: str) -> tuple[slice, ...]:
    last = int(association == "point")
    return tuple(
        slice(extent[i] - recipe.extent[i], extent[i + 1] - recipe.extent[i] + last)
        for i in (4, 2, 0)
    )


class _Encoder:
    """Writes arrays as ascii, as base64 or behind the data set."""

    def __init__(self, recipe: Recipe) -> None:
        self._recipe = recipe
        self.compressor = "zlib" if recipe.compressor == "zlib" and recipe.mode != "ascii" else ""
        self._order = ">" if recipe.big_endian else "<"
        self._appended = b""

    def __call__(self, name: str, values: np.ndarray) -> str:
        kind = TYPES[values.dtype.str[1:]]
        mode = self._recipe.mode
        start = (
            f"<DataArray type='{kind}' Name={quoteattr(name)} "
            f"NumberOfComponents='{values.shape[1]}' format='{mode}'"
        )
        if mode == "ascii":
            # (A number that a tag follows at once is none to VTK if it is NaN.)
            return f"{start}>{' '.join(map(str, values.ravel().tolist()))}\n</DataArray>"
        content = self._bytes(values)
        if mode == "binary":
            return f"{start}>{content.decode()}</DataArray>"
        offset = len(self._appended)
        self._appended += content
        return f"{start} offset='{offset}'/>"

    def file(self, head: str, body: str, tail: str) -> bytes:
        """Return the whole file."""
        text = f"{head}{body}{tail}"
        if self._recipe.mode != "appended":
            return f"{text}</VTKFile>".encode()
        encoding = "raw" if self._recipe.raw else "base64"
        tag = f"<AppendedData encoding='{encoding}'>_".encode()
        return text.encode() + tag + self._appended + b"</AppendedData></VTKFile>"

    def _bytes(self, values: np.ndarray) -> bytes:
        """Return header and content: raw where appended so, else each in base64."""
        word = f"{self._order}{'Q' if self._recipe.header == 64 else 'I'}"
        data = values.astype(values.dtype.newbyteorder(self._order)).tobytes()
        if not self.compressor:
            header = struct.pack(word, len(data))
            joined = header + data
            return joined if self._is_raw else base64.b64encode(joined)
        step = self._recipe.block
        blocks = [data[i : i + step] for i in range(0, len(data), step)]
        packed = [zlib.compress(block) for block in blocks]
        rest = len(data) % step
        counts = [len(blocks), step, rest, *map(len, packed)]
        header = b"".join(struct.pack(word, count) for count in counts)
        content = b"".join(packed)
        return (
            header + content if self._is_raw else b"".join(map(base64.b64encode, (header, content)))
        )

    @property
    def _is_raw(self) -> bool:
        return self._recipe.mode == "appended" and self._recipe.raw


@st.composite
def recipes(draw: st.DrawFn) -> Recipe:
    """Draw a recipe."""
    sizes = [draw(st.integers(2, 5)) for _ in range(3)]
    starts = [draw(st.sampled_from([0, 0, 3, -7])) for _ in range(3)]
    extent = tuple(n for start, count in zip(starts, sizes) for n in (start, start + count - 1))
    names = draw(st.permutations(NAMES))
    associations = ["point", "cell"] if min(sizes) > 2 else ["point"]
    arrays = tuple(
        Array(
            name,
            draw(st.sampled_from(associations)),
            draw(st.sampled_from(sorted(TYPES))),
            draw(st.sampled_from([1, 1, 2, 3])),
            draw(st.booleans()),
            draw(st.booleans()),
        )
        for name in names[: draw(st.integers(1, 3))]
    )
    cut_axis = draw(st.integers(0, 2))
    low, high = extent[2 * cut_axis : 2 * cut_axis + 2]
    cuts: set[int] = set()
    if high - low > 1 and draw(st.booleans()):
        cuts = draw(st.sets(st.integers(low + 1, high - 1), min_size=1, max_size=2))
    three = st.tuples(*3 * [st.sampled_from([1.0, 0.25, -0.5, 3.0])])
    mode = draw(st.sampled_from(["ascii", "binary", "appended"]))
    return Recipe(
        extent,
        arrays,
        rectilinear=draw(st.booleans()),
        origin=draw(st.tuples(*3 * [st.sampled_from([0.0, 1.5, -100.0])])),
        spacing=draw(three),
        direction=draw(st.sampled_from(DIRECTIONS)),
        line_dtypes=draw(st.tuples(*3 * [st.sampled_from(["f4", "f8"])])),
        ghosts=tuple(draw(st.lists(st.sampled_from(["point", "cell"]), unique=True))),
        marks=draw(st.sampled_from([(1,), (2,), (32,), (1, 2, 4, 8, 16, 32, 64, 128), (4, 16)])),
        mode=mode,
        raw=draw(st.booleans()),
        compressor=draw(st.sampled_from(["none", "zlib", "lz4", "lzma"])),
        big_endian=draw(st.booleans()) if mode != "ascii" else sys.byteorder == "big",
        header=draw(st.sampled_from([32, 64])),
        block=draw(st.sampled_from([64, 1 << 15])),
        cut_axis=cut_axis,
        cuts=tuple(sorted(cuts)),
        apart=draw(st.booleans()),
        ghost_level=draw(st.integers(0, 1)),
        before=draw(st.sampled_from(AROUND)),
        after=draw(st.sampled_from(AROUND)),
        bom=draw(st.booleans()),
        seed=draw(st.integers(0, 99)),
    )
