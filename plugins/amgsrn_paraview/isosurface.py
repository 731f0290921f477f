"""Isosurfaces straight from a model, as polygonal data."""

from __future__ import annotations

from typing import Any

import numpy as np
from vtkmodules.util.numpy_support import numpy_to_vtk, numpy_to_vtkIdTypeArray
from vtkmodules.vtkCommonCore import vtkPoints
from vtkmodules.vtkCommonDataModel import vtkCellArray, vtkDataObject
from vtkmodules.vtkCommonExecutionModel import vtkStreamingDemandDrivenPipeline as Pipeline

from amgsrn_core.errors import ConfigurationError
from amgsrn_core.rendering.isosurface import Surface, isosurface
from amgsrn_core.volume.vtk.dataset import new_array, stored_arrays
from amgsrn_paraview.model_input import ModelFilter
from amgsrn_paraview.ranks import agree, share_cores

MAGNITUDE = -1


class AMGSRNIsosurface(ModelFilter):
    """Makes triangles of the surfaces on which a model has some values."""

    label = "AMGSRN Isosurface"

    def __init__(self) -> None:
        super().__init__("vtkPolyData")
        self._isovalues: dict[int, float] = {}
        self._component = 0
        self._tolerance = 0.5

    def SetIsovalue(self, number: int, isovalue: float) -> None:
        """Set one of the values."""
        self.change(_isovalues={**self._isovalues, number: isovalue})

    def ClearIsovalues(self) -> None:
        """Forget the values."""
        self._isovalues = {}
        self.Modified()

    def SetComponent(self, component: int) -> None:
        """Choose the component, from 0, or -1 for the magnitude."""
        self.change(_component=component)

    def SetTolerance(self, tolerance: float) -> None:
        """Set how far triangles may be from the surface, in voxels."""
        self.change(_tolerance=tolerance)

    def RequestData(self, request: Any, inInfo: Any, outInfo: Any) -> int:
        """Make the triangles of this piece."""
        info = outInfo.GetInformationObject(0)
        output = info.Get(vtkDataObject.DATA_OBJECT())
        output.Initialize()
        if not self._source.find():
            self._source.refuse_others()
            self.forget_complaint()
            return 1
        isovalues = [self._isovalues[number] for number in sorted(self._isovalues)]
        if not isovalues:
            raise ConfigurationError("Give at least one isovalue.")
        self._model.refuse_index_space()
        share_cores()
        model = self._model.network().at(self._source.step)
        component = "magnitude" if self._component == MAGNITUDE else self._component
        surface = isosurface(
            model,
            isovalues,
            component=component,
            tolerance=self._tolerance,
            part=(
                info.Get(Pipeline.UPDATE_PIECE_NUMBER()),
                info.Get(Pipeline.UPDATE_NUMBER_OF_PIECES()),
            ),
            progress=self.UpdateProgress,
        )
        _fill(output, surface, stored_arrays(model.name, model.components))
        self._note_time(output)
        self.forget_complaint()
        found = set().union(*agree(lambda: set(surface.isovalues.tolist()), self.label))
        absent = [iso for iso in isovalues if iso not in found]
        self.remark(self._outside(absent, component) if absent else "")
        return 1

    def _outside(self, absent: list[float], component: int | str) -> str:
        index = self._model.index
        listed = ", ".join(f"{iso:g}" for iso in absent)
        known = (
            ""
            if component == "magnitude"
            else (
                f"; those of its data are {index.value_minimum[int(component)]:g} to "
                f"{index.value_maximum[int(component)]:g}"
            )
        )
        return f"There is no surface at {listed}: the model has no such values{known}."


def _fill(output: Any, surface: Surface, stored: dict[str, list[int]]) -> None:
    points = vtkPoints()
    points.SetData(numpy_to_vtk(surface.points, deep=True))
    output.SetPoints(points)
    cells, count = vtkCellArray(), len(surface.triangles)
    cells.SetData(
        numpy_to_vtkIdTypeArray(np.arange(0, 3 * count + 1, 3, dtype=np.int64), deep=True),
        numpy_to_vtkIdTypeArray(
            np.ascontiguousarray(surface.triangles.ravel(), dtype=np.int64), deep=True
        ),
    )
    output.SetPolys(cells)
    attributes = output.GetPointData()
    for name, members in stored.items():
        attributes.AddArray(new_array(surface.values[:, members], name))
    attributes.AddArray(new_array(surface.isovalues, "isovalue"))
    attributes.SetNormals(new_array(surface.normals, "Normals"))
