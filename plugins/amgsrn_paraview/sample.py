"""A model's values, and what follows from its gradient, at the points of any data set."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from vtkmodules.vtkCommonDataModel import vtkDataObject, vtkPolyData
from vtkmodules.vtkCommonExecutionModel import vtkAlgorithm
from vtkmodules.vtkCommonExecutionModel import vtkStreamingDemandDrivenPipeline as Pipeline

from amgsrn_core.errors import ConfigurationError
from amgsrn_core.field.flow import divergence, q_criterion, vorticity
from amgsrn_core.field.neural_volume import NeuralVolume
from amgsrn_core.volume.vtk.dataset import new_array, stored_arrays
from amgsrn_core.volume.vtk.points import DatasetPoints
from amgsrn_paraview import datasets
from amgsrn_paraview.model_input import ModelFilter

POINTS, CELLS = range(2)
_DATA, _MODEL = range(2)

_OF_VECTORS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "vorticity": vorticity,
    "divergence": divergence,
    "q_criterion": q_criterion,
}

# Points that are made and evaluated between two reports of progress.
_BATCH = 1 << 20


class AMGSRNSample(ModelFilter):
    """Adds what a model says at a data set's points, or at the centres of its cells."""

    label = "AMGSRN Sample"

    def __init__(self) -> None:
        super().__init__("vtkDataObject", ports=2, model_port=_MODEL)
        self._association = POINTS
        self._wanted: frozenset[str] = frozenset()

    def SetAssociation(self, association: int) -> None:
        """Choose where to sample: 0 at the points, 1 at the centres of the cells."""
        self.change(_association=association)

    def SetGradient(self, wanted: int) -> None:
        """Choose whether the gradient of each component is an array, too."""
        self._want("gradient", wanted)

    def SetVorticity(self, wanted: int) -> None:
        """Choose whether the vorticity of vectors is an array, too."""
        self._want("vorticity", wanted)

    def SetDivergence(self, wanted: int) -> None:
        """Choose whether the divergence of vectors is an array, too."""
        self._want("divergence", wanted)

    def SetQCriterion(self, wanted: int) -> None:
        """Choose whether the Q criterion of vectors is an array, too."""
        self._want("q_criterion", wanted)

    def FillInputPortInformation(self, port: int, info: Any) -> int:
        """Take data sets and composites of them, and a grid that carries the model."""
        kinds = ("vtkDataSet", "vtkCompositeDataSet") if port == _DATA else ("vtkDataSet",)
        info.Remove(vtkAlgorithm.INPUT_REQUIRED_DATA_TYPE())
        for kind in kinds:
            info.Append(vtkAlgorithm.INPUT_REQUIRED_DATA_TYPE(), kind)
        return 1

    def RequestDataObject(self, request: Any, inInfo: Any, outInfo: Any) -> int:
        """Make an output of the input's kind."""
        given = inInfo[_DATA].GetInformationObject(0).Get(vtkDataObject.DATA_OBJECT())
        info = outInfo.GetInformationObject(0)
        present = info.Get(vtkDataObject.DATA_OBJECT())
        wanted = vtkPolyData() if given is None else given.NewInstance()
        if present is None or present.GetClassName() != wanted.GetClassName():
            info.Set(vtkDataObject.DATA_OBJECT(), wanted)
        return 1

    def RequestInformation(self, request: Any, inInfo: Any, outInfo: Any) -> int:
        """Announce the model's times where the data set has none."""
        # Which part of its grid the model has is known only when it was made.
        self._source.update()
        has_times = inInfo[_DATA].GetInformationObject(0).Has(Pipeline.TIME_STEPS())
        if not has_times and self._source.find():
            datasets.announce_times(outInfo.GetInformationObject(0), self._model.index.times)
        return 1

    def RequestData(self, request: Any, inInfo: Any, outInfo: Any) -> int:
        """Copy the data set and add the model's arrays."""
        output = outInfo.GetInformationObject(0).Get(vtkDataObject.DATA_OBJECT())
        given = self.GetInputDataObject(_DATA, 0)
        missing = total = 0
        if not self._source.find():
            self._source.refuse_others()
            output.ShallowCopy(given)
        else:
            self._model.refuse_index_space()
            model = self._model.network().at(self._source.step)
            for dataset in _copied(given, output):
                points = DatasetPoints(dataset, cells=self._association == CELLS)
                missing += self._add_arrays(dataset, model, points)
                total += points.count
        self.forget_complaint()
        where = "cell centres" if self._association == CELLS else "points"
        self.remark(
            f"{missing} of {total} {where} are outside the model, or where its data have no value; "
            "the result is NaN there."
            if missing
            else ""
        )
        return 1

    def _want(self, what: str, wanted: int) -> None:
        self.change(_wanted=self._wanted | {what} if wanted else self._wanted - {what})

    def _add_arrays(self, dataset: Any, model: NeuralVolume, points: DatasetPoints) -> int:
        """Add the arrays to a data set; return how many of its points have no value."""
        arrays, missing = self._new_arrays(model, points.count), 0
        for start in range(0, points.count, _BATCH):
            part = slice(start, min(start + _BATCH, points.count))
            for name, values in self._sampled(model, points[part]).items():
                arrays[name][part] = values
            values = arrays[next(iter(arrays))][part]
            missing += int(np.isnan(values).all(axis=1).sum())
            self.UpdateProgress(part.stop / points.count)
        is_cells = self._association == CELLS
        attributes = dataset.GetCellData() if is_cells else dataset.GetPointData()
        for name, values in arrays.items():
            while attributes.HasArray(name):  # nothing of the data set's own is replaced
                name += "_network"
            attributes.AddArray(new_array(values, name))
        return missing

    def _new_arrays(self, model: NeuralVolume, count: int) -> dict[str, np.ndarray]:
        # What no point at all yields tells names, numbers of components and types.
        kinds = self._sampled(model, np.empty((0, 3)))
        return {
            name: np.empty((count, *some.shape[1:]), dtype=some.dtype)
            for name, some in kinds.items()
        }

    def _sampled(self, model: NeuralVolume, points: np.ndarray) -> dict[str, np.ndarray]:
        """Return values [N, components] at points, by the names of their arrays."""
        stored = stored_arrays(model.name, model.components)
        if not self._wanted:
            values = model.sample(points)
            return {name: values[:, members] for name, members in stored.items()}
        of_vectors = [name for name in _OF_VECTORS if name in self._wanted]
        if of_vectors and not any(len(members) == 3 for members in stored.values()):
            raise ConfigurationError(
                f"The model has no array of three components, which {of_vectors[0]} needs; its "
                f"arrays are {', '.join(stored)}."
            )
        values, gradients = model.sample_with_gradient(points)
        found = {name: values[:, members] for name, members in stored.items()}
        for name, members in stored.items():
            own = gradients[:, members]
            if "gradient" in self._wanted:
                # As ParaView's own: all changes of the first component, then of the second.
                found[f"{name}_gradient"] = own.reshape(len(points), 3 * len(members))
            for what in of_vectors if len(members) == 3 else ():
                columns = 3 if what == "vorticity" else 1
                found[f"{name}_{what}"] = _OF_VECTORS[what](own).reshape(len(points), columns)
        return found


def _copied(given: Any, output: Any) -> Iterator[Any]:
    """Make the output a copy of the input, and yield the data sets that it consists of."""
    if not given.IsA("vtkCompositeDataSet"):
        output.ShallowCopy(given)
        yield output
        return
    output.CopyStructure(given)
    output.GetFieldData().ShallowCopy(given.GetFieldData())
    leaves = given.NewIterator()
    leaves.InitTraversal()
    while not leaves.IsDoneWithTraversal():
        leaf = leaves.GetCurrentDataObject()
        copy = leaf.NewInstance()
        copy.ShallowCopy(leaf)
        output.SetDataSet(leaves, copy)
        if copy.IsA("vtkDataSet"):
            yield copy
        leaves.GoToNextItem()
