"""A model beside the data that it stands for: errors as a field, and tables of them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from vtkmodules.vtkCommonDataModel import vtkDataObject, vtkImageData, vtkTable
from vtkmodules.vtkCommonExecutionModel import vtkAlgorithm
from vtkmodules.vtkCommonExecutionModel import vtkStreamingDemandDrivenPipeline as Pipeline

from amgsrn_core.errors import ConfigurationError
from amgsrn_core.evaluation.comparison import Row, rows
from amgsrn_core.volume import Block, Extent, volume_from_vtk
from amgsrn_paraview import datasets
from amgsrn_paraview.algorithm import Algorithm
from amgsrn_paraview.comparison import Comparison, fill_histogram, fill_table
from amgsrn_paraview.model_file import ModelFile
from amgsrn_paraview.model_input import ModelInput
from amgsrn_paraview.ranks import rank, ranks, share_cores
from amgsrn_paraview.reference import Reference
from amgsrn_paraview.timed_input import TimedInput, ask_for_piece

CURRENT, ALL = range(2)
_MODEL, _REFERENCE = range(2)

# Half of SSIM's window: what a rank needs of its neighbours.
_SSIM_GHOSTS = 5


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
        self.change(_absolute=bool(wanted))

    def SetRelativeError(self, wanted: int) -> None:
        """Choose whether the error as a share of the range is an array, too."""
        self.change(_relative=bool(wanted))

    def SetSSIM(self, wanted: int) -> None:
        """Choose whether the structural similarity is computed, which takes long."""
        self.change(_ssim=bool(wanted))

    def SetBins(self, bins: int) -> None:
        """Set the number of bins of the histogram."""
        self.change(_bins=bins)

    def SetTimeSteps(self, choice: int) -> None:
        """Choose what the table has: 0 the current time step, 1 all that both have."""
        self.change(_time_steps=choice)

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
        found = self._source.find()
        live = not found and self._has_preview
        shown = inInfo[_MODEL].GetInformationObject(0) if live else given
        for key in (Pipeline.WHOLE_EXTENT(), vtkDataObject.ORIGIN(), vtkDataObject.SPACING()):
            if shown.Has(key):
                field.CopyEntry(shown, key)
        times = _times(given) or (self._model.index.times if found else ())
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
        given = self.GetInputDataObject(_REFERENCE, 0)
        found: dict[int, list[Row]] = {}
        notes: list[str] = []
        times: tuple[float, ...] = ()
        is_complete = self._source.find()
        if not (is_complete or self._has_preview):
            self._source.refuse_others()
            self.forget_complaint()
            self.remark("The model is not complete; the comparison comes when it is.")
            return 1
        if not is_complete:
            comparison = self._live(field, given)
            found[0] = list(rows(comparison.metrics))
        else:
            self._model.refuse_index_space("use `amgsrn test --against` with the mesh's file")
            share_cores()
            if self._time_steps == ALL:
                found, notes = self._all_steps(inInfo)
            comparison, times = self._compare(given, inInfo, self._source.step), self._times
            found[self._source.step] = list(rows(comparison.metrics))
            field.ShallowCopy(given)
            notes += self._notes(given, comparison)
        comparison.fill(field, absolute=self._absolute, relative_too=self._relative)
        counts = comparison.histogram(self._bins)
        if rank() == 0:
            fill_table(table, found, times)
            fill_histogram(histogram, counts, comparison)
        self.forget_complaint()
        self.remark(" ".join(notes))
        return 1

    # --- Helpers ---------------------------------------------------------------------------------

    @property
    def _ghosts(self) -> int:
        return _SSIM_GHOSTS if self._ssim and ranks() > 1 else 0

    @property
    def _times(self) -> tuple[float, ...]:
        return self._model.index.times

    def _compare(self, given: Any, inInfo: Any, step: int) -> Comparison:
        """Compare a step of the model with a data set of the reference."""
        model = self._model.network().at(step)
        index = model.index
        reference = Reference.of(given, self._whole(inInfo), index, self.label)
        volume, members = reference.volume, reference.match.components

        def decode(extent: Extent) -> Block:
            block = model.reconstruct_block(volume.geometry, extent)
            return Block(block.values[members], block.valid)

        return Comparison(
            reference,
            decode,
            bricks=[brick.extent for brick in index.bricks] if index.dims == volume.dims else (),
            with_ssim=self._ssim,
            geometry=index.geometry,
            progress=self.UpdateProgress,
            label=self.label,
        )

    def _live(self, field: Any, given: Any) -> Comparison:
        """Compare the preview of a model that is not complete, at the preview's own points."""
        preview = self.GetInputDataObject(_MODEL, 0)
        reference = Reference.at_points_of(preview, given)
        geometry = reference.volume.geometry
        datasets.set_geometry(field, geometry, datasets.whole_extent(geometry))
        reference.add_arrays(field, reference.volume.read().with_nan(), "")
        known = volume_from_vtk(preview, reference.match.arrays).read()
        return Comparison(
            reference,
            lambda extent: Block(known.values[(slice(None), *extent)]),
            with_ssim=self._ssim,
            geometry=geometry,
            label=self.label,
        )

    @property
    def _has_preview(self) -> bool:
        """Whether the model is in training, and there is something to see of it."""
        data = self.GetInputDataObject(_MODEL, 0)
        # On several ranks the first one alone has the preview, once the training has ended.
        return (
            ranks() == 1
            and datasets.is_in_training(data)
            and data.GetPointData().GetNumberOfArrays() > 0
        )

    def _whole(self, inInfo: Any) -> Any:
        return inInfo[_REFERENCE].GetInformationObject(0).Get(Pipeline.WHOLE_EXTENT())

    def _notes(self, given: Any, comparison: Comparison) -> Iterator[str]:
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
        times, key = self._times, vtkDataObject.DATA_TIME_STEP()
        if times and given.GetInformation().Has(key):
            shown, own = given.GetInformation().Get(key), times[self._source.step]
            if not _is_same(shown, own, times):
                yield f"The reference is of the time {shown:g}, the model of {own:g}."

    def _all_steps(self, inInfo: Any) -> tuple[dict[int, list[Row]], list[str]]:
        """Return the rows of the steps that both have, but for the present one."""
        info, whole = inInfo[_REFERENCE].GetInformationObject(0), self._whole(inInfo)
        times, own = _times(info), self._times
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
                    comparison = self._compare(timed.at(time), inInfo, step)
                    self._known[(*key, step)] = list(rows(comparison.metrics))
        others = (step for step in pairs if step != self._source.step)
        return {step: self._known[(*key, step)] for step in others}, notes


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
