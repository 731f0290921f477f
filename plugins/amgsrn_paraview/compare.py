"""A model beside the data that it stands for: errors as a field, and tables of them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from vtkmodules.vtkCommonCore import vtkStringArray
from vtkmodules.vtkCommonDataModel import vtkDataObject, vtkImageData, vtkTable
from vtkmodules.vtkCommonExecutionModel import vtkAlgorithm
from vtkmodules.vtkCommonExecutionModel import vtkStreamingDemandDrivenPipeline as Pipeline

from amgsrn_core.errors import ConfigurationError
from amgsrn_core.evaluation.comparison import ErrorHistogram, Row, differences, rows
from amgsrn_core.evaluation.metrics import Metrics, Tally, relative
from amgsrn_core.field.neural_volume import NeuralVolume
from amgsrn_core.volume import Block, Extent
from amgsrn_core.volume.vtk.dataset import new_array
from amgsrn_paraview import datasets
from amgsrn_paraview.algorithm import Algorithm
from amgsrn_paraview.model_file import ModelFile
from amgsrn_paraview.model_input import ModelInput
from amgsrn_paraview.ranks import agree, rank, ranks, share_cores
from amgsrn_paraview.reference import Reference
from amgsrn_paraview.timed_input import TimedInput, ask_for_piece

CURRENT, ALL = range(2)
_MODEL, _REFERENCE = range(2)

# Half of SSIM's window: what a rank needs of its neighbours.
_SSIM_GHOSTS = 5

_COLUMNS = {
    "psnr": "PSNR",
    "ssim": "SSIM",
    "rmse": "RMSE",
    "nrmse": "NRMSE",
    "largest_error": "LargestError",
    "minimum": "Minimum",
    "maximum": "Maximum",
    "voxels": "Voxels",
    "missing_voxels": "MissingVoxels",
}


class AMGSRNCompare(Algorithm):
    """Subtracts the data from a model at the data's own points.

    Outputs are the reference with arrays of errors, a table of how large they are, and their
    histogram. On several ranks each compares its own part; the first one has the tables.
    """

    label = "AMGSRN Compare"

    def __init__(self) -> None:
        super().__init__(nInputPorts=2, nOutputPorts=3)
        self._absolute = self._relative = True
        self._ssim = False
        self._bins = 128
        self._time_steps = CURRENT
        self._model = ModelFile()
        self._source = ModelInput(self, self._model, _MODEL)
        self._known: dict[Any, list[Row]] = {}  # by what was compared

    def SetAbsoluteError(self, wanted: int) -> None:
        """Choose whether the absolute error is an array, too."""
        self._assign("_absolute", bool(wanted))

    def SetRelativeError(self, wanted: int) -> None:
        """Choose whether the error as a share of the range is an array, too."""
        self._assign("_relative", bool(wanted))

    def SetSSIM(self, wanted: int) -> None:
        """Choose whether the structural similarity is computed, which takes long."""
        self._assign("_ssim", bool(wanted))

    def SetBins(self, bins: int) -> None:
        """Set the number of bins of the histogram."""
        self._assign("_bins", bins)

    def SetTimeSteps(self, choice: int) -> None:
        """Choose what the table has: 0 the current time step, 1 all that both have."""
        self._assign("_time_steps", choice)

    def _assign(self, name: str, value: Any) -> None:
        if getattr(self, name) != value:
            setattr(self, name, value)
            self.Modified()

    # --- Requests of the pipeline ----------------------------------------------------------------

    def FillInputPortInformation(self, port: int, info: Any) -> int:
        """Accept any data set; what is no volume is refused in our own words."""
        info.Set(vtkAlgorithm.INPUT_REQUIRED_DATA_TYPE(), "vtkDataSet")
        return 1

    def FillOutputPortInformation(self, port: int, info: Any) -> int:
        """Produce what the reference is, and two tables."""
        info.Set(vtkDataObject.DATA_TYPE_NAME(), "vtkTable" if port else "vtkDataSet")
        return 1

    def RequestDataObject(self, request: Any, inInfo: Any, outInfo: Any) -> int:
        """Make outputs, the first of the reference's kind."""
        given = inInfo[_REFERENCE].GetInformationObject(0).Get(vtkDataObject.DATA_OBJECT())
        for port in range(self.GetNumberOfOutputPorts()):
            info = outInfo.GetInformationObject(port)
            present = info.Get(vtkDataObject.DATA_OBJECT())
            field = vtkImageData() if given is None else given.NewInstance()
            wanted = vtkTable() if port else field
            if present is None or present.GetClassName() != wanted.GetClassName():
                info.Set(vtkDataObject.DATA_OBJECT(), wanted)
        return 1

    def RequestInformation(self, request: Any, inInfo: Any, outInfo: Any) -> int:
        """Announce the reference's grid, and its times, or else the model's."""
        self._source.update()
        given, field = inInfo[_REFERENCE].GetInformationObject(0), outInfo.GetInformationObject(0)
        for key in (Pipeline.WHOLE_EXTENT(), vtkDataObject.ORIGIN(), vtkDataObject.SPACING()):
            if given.Has(key):
                field.CopyEntry(given, key)
        times = _times(given)
        if not times and self._source.find():
            times = self._model.index.times
        for port in range(self.GetNumberOfOutputPorts()):
            datasets.announce_times(outInfo.GetInformationObject(port), times)
        return 1

    def RequestUpdateExtent(self, request: Any, inInfo: Any, outInfo: Any) -> int:
        """Ask for the model as it is, and for this rank's piece of the reference."""
        self._source.ask(inInfo)
        info = inInfo[_REFERENCE].GetInformationObject(0)
        if info.Has(Pipeline.WHOLE_EXTENT()):
            info.Set(Pipeline.UPDATE_EXTENT(), info.Get(Pipeline.WHOLE_EXTENT()), 6)
        asked = outInfo.GetInformationObject(0).Get(Pipeline.UPDATE_NUMBER_OF_GHOST_LEVELS())
        ask_for_piece(info, max(asked or 0, self._ghosts))
        return 1

    def RequestData(self, request: Any, inInfo: Any, outInfo: Any) -> int:
        """Compare, and show what came of it."""
        field, table, histogram = (
            outInfo.GetInformationObject(port).Get(vtkDataObject.DATA_OBJECT()) for port in range(3)
        )
        for output in (field, table, histogram):
            output.Initialize()
        if not self._source.find():
            self._source.refuse_others()
            self.forget_complaint()
            self.remark("The model is not complete; the comparison comes when it is.")
            return 1
        share_cores()
        found, notes = self._all_steps(inInfo) if self._time_steps == ALL else ({}, [])
        given = self.GetInputDataObject(_REFERENCE, 0)
        field.ShallowCopy(given)
        comparison = _Comparison(self, given, self._whole(inInfo), self._source.step)
        comparison.fill(field, absolute=self._absolute, relative_too=self._relative)
        found[self._source.step] = list(rows(comparison.metrics))
        counts = comparison.histogram(self._bins)
        if rank() == 0:
            _fill_table(table, found, self._model.index.times)
            _fill_histogram(histogram, counts, comparison)
        self.forget_complaint()
        self.remark(" ".join([*notes, *self._notes(given, comparison)]))
        return 1

    # --- Helpers ---------------------------------------------------------------------------------

    @property
    def _ghosts(self) -> int:
        return _SSIM_GHOSTS if self._ssim and ranks() > 1 else 0

    def _whole(self, inInfo: Any) -> Any:
        return inInfo[_REFERENCE].GetInformationObject(0).Get(Pipeline.WHOLE_EXTENT())

    def _notes(self, given: Any, comparison: _Comparison) -> Iterator[str]:
        """Yield what is not as one may expect."""
        metrics, match = comparison.metrics, comparison.reference.match
        if match.note:
            yield match.note
        if metrics.missing_voxels:
            total = metrics.voxels + metrics.missing_voxels
            yield (
                f"The model has no value at {metrics.missing_voxels:,} of the {total:,} samples of "
                "the reference; they take no part, and their error is NaN."
            )
        times, key = self._model.index.times, vtkDataObject.DATA_TIME_STEP()
        if times and given.GetInformation().Has(key):
            shown, own = given.GetInformation().Get(key), times[self._source.step]
            if not _is_same(shown, own, times):
                yield f"The reference is of the time {shown:g}, the model of {own:g}."

    def _all_steps(self, inInfo: Any) -> tuple[dict[int, list[Row]], list[str]]:
        """Return the rows of the steps that both have, but for the present one."""
        info, whole = inInfo[_REFERENCE].GetInformationObject(0), self._whole(inInfo)
        times, own = _times(info), self._model.index.times
        pairs = {
            step: time
            for step, wanted in enumerate(own)
            for time in times
            if _is_same(time, wanted, own)
        }
        if not pairs:
            raise ConfigurationError(
                f"The model and the reference have no time in common: the model has "
                f"{_listed(own)}, and the reference {_listed(times)}; compare the current step "
                "(Time Steps)."
            )
        notes = []
        if len(pairs) < max(len(own), len(times)):
            notes.append(
                f"The table has the {len(pairs)} time steps that both have; the model has "
                f"{len(own)}, and the reference {len(times)}."
            )
        timed = TimedInput(self, whole, port=_REFERENCE, ghosts=self._ghosts)
        key = (self._model.checksum, timed.changed, self._ssim)
        self._known = {each: found for each, found in self._known.items() if each[:3] == key}
        asked = Pipeline.UPDATE_TIME_STEP()
        with timed.back_to(info.Get(asked) if info.Has(asked) else times[0]):
            for step, time in pairs.items():
                # On all ranks alike: they have the same steps, and ask for the same time.
                if step != self._source.step and (*key, step) not in self._known:
                    comparison = _Comparison(self, timed.at(time), whole, step)
                    self._known[(*key, step)] = list(rows(comparison.metrics))
        others = (step for step in pairs if step != self._source.step)
        return {step: self._known[(*key, step)] for step in others}, notes


class _Comparison:
    """One time step of a model beside a data set; on all ranks alike.

    Attributes
    ----------
    reference : Reference
    metrics : Metrics
        Of the whole.
    """

    def __init__(self, algorithm: AMGSRNCompare, given: Any, whole: Any, step: int) -> None:
        model = algorithm._model.network().at(step)
        reference = Reference.of(given, whole, model.index, algorithm.label)
        self.reference, self._label = reference, algorithm.label
        parts = agree(lambda: self._compare(model, algorithm), self._label)
        tallies = [part for part in parts if part is not None]
        self._tally = Tally.sum(tallies)
        self.metrics: Metrics = self._tally.metrics(
            reference.volume, reference.summary, model.geometry
        )

    def _compare(self, model: NeuralVolume, algorithm: AMGSRNCompare) -> Tally | None:
        reference, volume = self.reference, self.reference.volume
        if not reference.is_here:
            return None
        members = reference.match.components

        def decode(extent: Extent) -> Block:
            block = model.reconstruct_block(volume.geometry, extent)
            return Block(block.values[members], block.valid)

        same_grid = model.geometry.dims == volume.dims
        self.errors, found = differences(
            volume,
            decode,
            reference.summary,
            own=reference.own,
            held=reference.held,
            bricks=[brick.extent for brick in model.index.bricks] if same_grid else (),
            with_ssim=algorithm._ssim,
            progress=algorithm.UpdateProgress,
        )
        return found

    @property
    def spans(self) -> np.ndarray:
        """Of each component of the whole reference, NaN where it has none."""
        parts = self.metrics.per_component
        spans = np.array([part.maximum - part.minimum for part in parts])
        return np.where(spans > 0, spans, math.nan)

    def fill(self, field: Any, *, absolute: bool, relative_too: bool) -> None:
        """Give a copy of the reference the errors of this rank's part."""
        if not self.reference.is_here:
            return
        self.reference.add_arrays(field, self.errors, "_error")
        if absolute:
            self.reference.add_arrays(field, np.abs(self.errors), "_error_absolute")
        if relative_too:
            spans = self.spans.astype(self.errors.dtype)[:, None, None, None]
            self.reference.add_arrays(field, self.errors / spans, "_error_relative")

    def histogram(self, bins: int) -> ErrorHistogram:
        """Count the errors of the whole, in bins of one width relative to each range."""
        largest = np.array([part.max_error for part in self.metrics.per_component])
        shares = largest / self.spans
        share = float(np.nanmax(shares)) if np.isfinite(shares).any() else math.nan
        limits = np.where(np.isfinite(self.spans), share * self.spans, largest)
        counted = ErrorHistogram(np.nan_to_num(limits), bins)

        def count() -> np.ndarray:
            if self.reference.is_here:
                geometry = self.reference.volume.geometry
                held = geometry.resolve(self.reference.held)
                own = relative(geometry.resolve(self.reference.own), held)
                for number, errors in enumerate(self.errors):
                    counted.add(number, errors[own])
            return counted.counts

        counted.counts = np.sum(agree(count, self._label), axis=0)
        return counted


def _times(info: Any) -> tuple[float, ...]:
    steps = Pipeline.TIME_STEPS()
    return tuple(info.Get(steps, number) for number in range(info.Length(steps)))


def _is_same(time: float, other: float, times: Sequence[float]) -> bool:
    """Tell whether two times are the same up to rounding, beside the steps of a series."""
    return math.isclose(time, other, rel_tol=1e-9, abs_tol=1e-6 * (times[-1] - times[0]))


def _listed(times: Sequence[float]) -> str:
    if not times:
        return "none"
    return f"{len(times)} from {times[0]:g} to {times[-1]:g}"


def _fill_table(table: vtkTable, found: dict[int, list[Row]], times: Sequence[float]) -> None:
    lines = [(step, row) for step in sorted(found) for row in found[step]]
    table.AddColumn(new_array(np.array([step for step, _ in lines], dtype=np.int32), "Step"))
    if times:
        table.AddColumn(new_array(np.array([times[step] for step, _ in lines]), "Time"))
    component = vtkStringArray()
    component.SetName("Component")
    for _, row in lines:
        component.InsertNextValue(row.component)
    table.AddColumn(component)
    table.AddColumn(new_array(np.array([row.brick for _, row in lines], dtype=np.int32), "Brick"))
    for field, name in _COLUMNS.items():
        values = [dataclasses.asdict(row)[field] for _, row in lines]
        table.AddColumn(new_array(np.array(values, dtype=np.float64), name))


def _fill_histogram(table: vtkTable, counted: ErrorHistogram, comparison: _Comparison) -> None:
    """Show the middle of each bin, in percent of the range and in the data's unit, and counts."""
    middles = 0.5 * (counted.edges[:, 1:] + counted.edges[:, :-1])
    varied = np.flatnonzero(np.isfinite(comparison.spans))
    if len(varied):
        percent = 100.0 * middles[varied[0]] / comparison.spans[varied[0]]
        table.AddColumn(new_array(percent, "ErrorPercent"))
    for number, part in enumerate(comparison.metrics.per_component):
        table.AddColumn(new_array(middles[number], f"{part.name}_error"))
        table.AddColumn(new_array(counted.counts[number], f"{part.name}_count"))
