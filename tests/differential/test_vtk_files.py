"""Random .vti and .vtr files: the reader against VTK's own, and against what was written.

300 files by default, the same ones each time; ``AMGSRN_EXAMPLES=20000`` for others and more.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("vtkmodules.vtkIOXML", reason="VTK's Python modules are missing")
from hypothesis import HealthCheck, given, note, settings
from vtk_recipes import Recipe, dataset, recipes, write
from vtkmodules.util.numpy_support import vtk_to_numpy
from vtkmodules.vtkCommonCore import vtkObject
from vtkmodules.vtkIOXML import (
    vtkXMLImageDataReader,
    vtkXMLPImageDataReader,
    vtkXMLPRectilinearGridReader,
    vtkXMLRectilinearGridReader,
)

from amgsrn_core.errors import VolumeError
from amgsrn_core.volume import Volume, open_volume, volume_from_vtk

EXAMPLES = os.environ.get("AMGSRN_EXAMPLES", "")


def read_by_vtk(path: Path, recipe: Recipe) -> Any:
    """Return the whole data set, or None where this VTK does not find raw arrays.

    Nor is its reader asked of pieces with ghost cells, which it takes for the whole's.
    """
    if recipe.cuts and recipe.apart:
        if recipe.ghost_level or (recipe.mode == "appended" and recipe.raw):
            return None
        reader = vtkXMLPRectilinearGridReader() if recipe.rectilinear else vtkXMLPImageDataReader()
        reader.SetFileName(str(path))
        reader.Update()
        # Geometry is named in front of the pieces, which is left out here.
        data = dataset(recipe)
        for association in ("point", "cell"):
            attributes(data, association).ShallowCopy(attributes(reader.GetOutput(), association))
        return data
    reader = vtkXMLRectilinearGridReader() if recipe.rectilinear else vtkXMLImageDataReader()
    reader.SetFileName(str(path))
    vtkObject.GlobalWarningDisplayOff()
    try:
        reader.Update()
    finally:
        vtkObject.GlobalWarningDisplayOn()
    data = reader.GetOutput()
    if tuple(data.GetExtent()) == recipe.extent:
        return data
    assert recipe.mode == "appended" and recipe.raw, "VTK reads no such file"
    return None


def attributes(data: Any, association: str) -> Any:
    return data.GetPointData() if association == "point" else data.GetCellData()


def marks_of(data: Any, association: str, count: int) -> np.ndarray:
    array = attributes(data, association).GetArray("vtkGhostType")
    return np.zeros(count, dtype=int) if array is None else vtk_to_numpy(array).astype(int)


def shown(data: Any, association: str) -> np.ndarray:
    """Return what VTK shows, no other rank answers for, and touches such a cell; one by one."""
    n_points, n_cells = data.GetNumberOfPoints(), data.GetNumberOfCells()
    cells = marks_of(data, "cell", n_cells)
    if association == "cell":
        visible = np.array([data.IsCellVisible(i) for i in range(n_cells)], dtype=bool)
        return visible & (cells & 1 == 0)
    points = marks_of(data, "point", n_points)
    visible = np.array([data.IsPointVisible(i) for i in range(n_points)], dtype=bool)
    touches = np.zeros(n_points, dtype=bool)
    for cell in np.flatnonzero(cells & (1 | 8 | 32) == 0):
        corners = np.ravel(np.unravel_index(cell, [n - 1 for n in data.GetDimensions()[::-1]]))
        nearby = [np.add(corners, offset) for offset in np.ndindex(2, 2, 2)]
        touches[np.ravel_multi_index(np.transpose(nearby), data.GetDimensions()[::-1])] = True
    return visible & (points & 1 == 0) & touches


def centres(data: Any, association: str) -> np.ndarray:
    points = np.array([data.GetPoint(i) for i in range(data.GetNumberOfPoints())])
    if association == "point":
        return points
    grid = points.reshape(*data.GetDimensions()[::-1], 3)
    for axis in range(3):
        ahead = np.moveaxis(grid, axis, 0)
        grid = np.moveaxis(0.5 * (ahead[1:] + ahead[:-1]), 0, axis)
    return grid.reshape(-1, 3)


def compare(volume: Volume, data: Any, association: str, names: list[str]) -> None:
    """Compare every value, whether it is missing, and where it lies."""
    index = volume.geometry.world_to_index(centres(data, association))
    assert np.allclose(index, np.rint(index), atol=1e-4)
    x, y, z = np.rint(index).astype(int).T
    columns = [vtk_to_numpy(attributes(data, association).GetArray(name)) for name in names]
    expected = np.concatenate([c.reshape(len(c), -1) for c in columns], axis=1).astype("f4")
    missing = np.isnan(expected).any(axis=1) | ~shown(data, association)
    block = volume.read()
    valid = np.ones(volume.dims, bool) if block.valid is None else block.valid
    np.testing.assert_array_equal(~valid[z, y, x], missing)
    expected[missing] = 0
    np.testing.assert_array_equal(block.values[:, z, y, x].T, expected)
    assert len({*zip(x, y, z)}) == volume.geometry.n_points == len(x)


@pytest.mark.differential
@settings(
    max_examples=int(EXAMPLES or 300),
    derandomize=not EXAMPLES,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
@given(recipe=recipes())
def test_files_are_read_as_vtk_reads_them(recipe: Recipe, tmp_path_factory: Any) -> None:
    note(repr(recipe))
    path = tmp_path_factory.getbasetemp() / f"a.{'vtr' if recipe.rectilinear else 'vti'}"
    write(recipe, path)
    made, read = dataset(recipe), read_by_vtk(path, recipe)
    for association in ("point", "cell"):
        names = [array.name for array in recipe.arrays if array.association == association]
        if not names:
            continue
        volume = open_volume(path, names)
        for data in filter(None, (made, read)):
            compare(volume, data, association, names)
            compare(volume_from_vtk(data, names, association), data, association, names)
        # A part of it is the same as in the whole.
        random = np.random.default_rng(recipe.seed)
        part = tuple(slice(*sorted(random.choice(n + 1, 2, replace=False))) for n in volume.dims)
        whole, block = volume.read(), volume.read(part)
        np.testing.assert_array_equal(block.values, whole.values[(slice(None), *part)])
        if whole.valid is None:
            assert block.valid is None
        else:
            valid = np.ones(block.values.shape[1:], bool) if block.valid is None else block.valid
            np.testing.assert_array_equal(valid, whole.valid[part])


@pytest.mark.differential
@settings(max_examples=60, derandomize=True, database=None, deadline=None)
@given(recipe=recipes())
def test_a_file_that_was_cut_off_is_never_read(recipe: Recipe, tmp_path_factory: Any) -> None:
    path = tmp_path_factory.getbasetemp() / "cut.vti"
    write(recipe, path)
    content = path.read_bytes()
    end = content.rindex(b"</VTKFile>", 0, len(content) - len(recipe.after.encode()))
    random = np.random.default_rng(recipe.seed)
    for length in [end + 9, *random.integers(1, end + 10, 3)]:
        path.write_bytes(content[:length])
        with pytest.raises(VolumeError):
            open_volume(path, [recipe.arrays[0].name])
