"""Streamlines straight through a model of velocities."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from vtkmodules.util.numpy_support import numpy_to_vtk, numpy_to_vtkIdTypeArray
from vtkmodules.vtkCommonCore import vtkPoints
from vtkmodules.vtkCommonDataModel import vtkCellArray, vtkDataObject

from amgsrn_core.errors import ConfigurationError
from amgsrn_core.field.streamlines import Steps, Streamlines, streamlines
from amgsrn_core.model import ModelIndex
from amgsrn_core.volume.vtk.dataset import new_array, stored_arrays
from amgsrn_core.volume.vtk.points import DatasetPoints
from amgsrn_paraview import datasets
from amgsrn_paraview.model_input import ModelFilter
from amgsrn_paraview.ranks import agree, rank, ranks, share, share_cores

BOTH, FORWARD, BACKWARD = range(3)
_DIRECTIONS = ("both", "forward", "backward")
_MODEL, _SEEDS = range(2)


class AMGSRNStreamTracer(ModelFilter):
    """Follows the velocities of a model from the points of a data set.

    On several ranks each follows some of all seeds.
    """

    label = "AMGSRN Stream Tracer"

    def __init__(self) -> None:
        super().__init__("vtkPolyData", ports=2, model_port=_MODEL)
        self._vectors = ""
        self._direction = BOTH
        self._steps: dict[str, Any] = {"max_length": 0.0}

    def SetVectors(self, name: str | None) -> None:
        """Choose the array of velocities; empty is the first of three components."""
        self.change(_vectors=name or "")

    def SetIntegrationDirection(self, direction: int) -> None:
        """Choose 0 both directions, 1 forward, 2 backward."""
        self.change(_direction=direction)

    def SetMaximumStreamlineLength(self, length: float) -> None:
        """Set the world length after which a line ends; 0 is the diagonal of the model."""
        self._set("max_length", length)

    def SetMaximumSteps(self, steps: int) -> None:
        """Set the steps after which a line ends."""
        self._set("max_steps", steps)

    def SetInitialStepLength(self, cells: float) -> None:
        """Set the length of the first step, in cells."""
        self._set("initial", cells)

    def SetMinimumStepLength(self, cells: float) -> None:
        """Set the length of the shortest step, in cells."""
        self._set("shortest", cells)

    def SetMaximumStepLength(self, cells: float) -> None:
        """Set the length of the longest step, in cells."""
        self._set("longest", cells)

    def SetMaximumError(self, cells: float) -> None:
        """Set the largest error of a step, in cells."""
        self._set("error", cells)

    def SetTerminalSpeed(self, speed: float) -> None:
        """Set the speed below which a line ends."""
        self._set("terminal_speed", speed)

    def RequestInformation(self, request: Any, inInfo: Any, outInfo: Any) -> int:
        """Announce the model's times."""
        super().RequestInformation(request, inInfo, outInfo)
        if self._source.find():
            datasets.announce_times(outInfo.GetInformationObject(0), self._model.index.times)
        return 1

    def RequestData(self, request: Any, inInfo: Any, outInfo: Any) -> int:
        """Follow this rank's share of the seeds."""
        output = outInfo.GetInformationObject(0).Get(vtkDataObject.DATA_OBJECT())
        output.Initialize()
        if not self._source.find():
            self._source.refuse_others()
            self.forget_complaint()
            self.remark("The model is not complete; lines come when it is.")
            return 1
        self._model.refuse_index_space()
        index = self._model.index
        members, note = _velocity(index, self._vectors)
        own = DatasetPoints(self.GetInputDataObject(_SEEDS, 0))
        seeds = np.concatenate(share(own[0 : own.count]))
        mine = np.arange(rank(), len(seeds), ranks())
        share_cores()
        model = self._model.network().at(self._source.step)
        steps = Steps(**{**self._steps, "max_length": self._length})

        def follow() -> tuple[Streamlines, np.ndarray]:
            lines = streamlines(
                lambda points: model.sample(points)[:, members],
                index.geometry,
                seeds[mine],
                direction=_DIRECTIONS[self._direction],
                steps=steps,
                progress=self._goes_on,
            )
            return lines, model.sample(lines.points)

        lost = self._fill(output, follow, mine)
        self._note_time(output)
        self.forget_complaint()
        self.remark(" ".join([*note, *_without(lost, len(seeds))]))
        return 1

    def _fill(
        self, output: Any, follow: Callable[[], tuple[Streamlines, np.ndarray]], mine: np.ndarray
    ) -> int:
        """Make lines of this rank's seeds; return how many seeds of all ranks have none."""

        def fill() -> int:
            lines, values = follow()
            index = self._model.index
            _fill_lines(output, lines, mine)
            for name, members in stored_arrays(index.name, index.components).items():
                output.GetPointData().AddArray(new_array(values[:, members], name))
            return len(mine) - len(np.unique(lines.seeds))

        return sum(agree(fill, self.label))

    def _set(self, name: str, value: float) -> None:
        self.change(_steps={**self._steps, name: value})

    @property
    def _length(self) -> float:
        bounds = np.reshape(self._model.index.geometry.bounds, (3, 2))
        return self._steps["max_length"] or float(np.linalg.norm(np.ptp(bounds, axis=1)))

    def _goes_on(self, done: float) -> bool:
        self.UpdateProgress(done)
        return not self.GetAbortExecute()


def _without(lost: int, count: int) -> Iterator[str]:
    if lost:
        yield (
            f"{lost} of {count} seeds have no line: they lie outside the model, or it has no value "
            "or no velocity there."
        )


def _velocity(index: ModelIndex, name: str) -> tuple[list[int], list[str]]:
    """Return the components that are the velocity along x, y, z, and what there is to say of it."""
    stored = stored_arrays(index.name, index.components)
    vectors = {array: members for array, members in stored.items() if len(members) == 3}
    if name in vectors:
        return vectors[name], []
    if vectors and not name:
        return next(iter(vectors.values())), []
    listed = ", ".join(f"{array} ({len(members)})" for array, members in stored.items())
    if name or len(index.components) != 3:
        wanted = f"'{name}'" if name else "array"
        raise ConfigurationError(
            f"The model has no {wanted} of three components to follow; its arrays, and their "
            f"numbers of components, are {listed}."
        )
    return [0, 1, 2], [f"{', '.join(stored)} are taken for the velocity along x, y, z."]


def _fill_lines(output: Any, lines: Streamlines, numbers: np.ndarray) -> None:
    points, cells = vtkPoints(), vtkCellArray()
    points.SetData(numpy_to_vtk(np.ascontiguousarray(lines.points), deep=True))
    output.SetPoints(points)
    cells.SetData(
        numpy_to_vtkIdTypeArray(np.asarray(lines.offsets, dtype=np.int64), deep=True),
        numpy_to_vtkIdTypeArray(np.arange(len(lines.points), dtype=np.int64), deep=True),
    )
    output.SetLines(cells)
    output.GetPointData().AddArray(new_array(lines.times, "IntegrationTime"))
    about = output.GetCellData()
    about.AddArray(new_array(lines.reasons.astype(np.int32), "ReasonForTermination"))
    about.AddArray(new_array(numbers[lines.seeds].astype(np.int32), "SeedIds"))
