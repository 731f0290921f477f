"""The trainer: a volume in, a model file out, with its preview on the way."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from typing import Any

from vtkmodules.vtkCommonDataModel import (
    vtkDataObject,
    vtkImageData,
    vtkMultiBlockDataSet,
    vtkTable,
)
from vtkmodules.vtkCommonExecutionModel import vtkStreamingDemandDrivenPipeline as Pipeline

from amgsrn_core.config import (
    BrickConfig,
    DataConfig,
    DispatchConfig,
    GoalConfig,
    MeshConfig,
    NetworkConfig,
    SeriesConfig,
    StorageConfig,
    TrainingConfig,
)
from amgsrn_core.errors import AmgsrnError, ConfigurationError
from amgsrn_core.jobs import PREVIEW_POINTS, JobStatus
from amgsrn_core.runs.outcome import stopped_text
from amgsrn_core.volume.preview import coarse_dims
from amgsrn_core.volume.vtk.data import require_grid
from amgsrn_core.volume.vtk.mesh import default_array, is_mesh
from amgsrn_paraview import datasets, results
from amgsrn_paraview.algorithm import Algorithm
from amgsrn_paraview.datasets import VTKExtent
from amgsrn_paraview.execution import may_return_early
from amgsrn_paraview.options import Configurations, sets_options
from amgsrn_paraview.ranks import listen, rank, ranks, tell
from amgsrn_paraview.sampler import Sampler, Wanted
from amgsrn_paraview.session import ReadingAborted, Request, Session, Shown, Steps, describe
from amgsrn_paraview.timed_input import (
    TimedInput,
    ask_for_part,
    step_near,
    times_of,
    whole_extent_of,
)
from amgsrn_paraview.together import RankProgress, SharedTraining

AUTO, LIVE, BLOCKING = range(3)
CURRENT, ALL = range(2)

_OUTPUT_TYPES = ("vtkImageData", "vtkTable", "vtkMultiBlockDataSet")


@sets_options
class AMGSRNTrainer(Algorithm):
    """Trains a model of arrays of its input in another process.

    Outputs are a preview of the model (image data, evenly spaced in the world), the training
    history (table) and the feature grids (boxes). In ParaView's window each update shows what
    there is by then; elsewhere the first one waits for the finished model. With all time steps the
    model is one of a series, and the outputs are those of the step that is asked for.

    Meshes are sampled on a lattice first.

    On several ranks each one trains the bricks of its own piece of the volume; a volume that is not
    cut into bricks, and a mesh, which all of them sample, is trained by the first one. The other
    ranks' outputs are empty.
    """

    label = "AMGSRN Trainer"

    def __init__(self) -> None:
        super().__init__(nInputPorts=1, nOutputPorts=len(_OUTPUT_TYPES))
        self.configurations = Configurations()
        self._time_steps = CURRENT
        self._more_arrays: list[str] = []
        self._output_file = ""
        self._restart = False
        self._execution = AUTO
        self._polled = False
        self._shared = SharedTraining()
        self._sampler = Sampler()
        session = self._session = Session()
        # Python may keep this object's attributes for longer than there is a filter. (ParaView's
        # window keeps a deleted filter to undo that; it asks no more, and the worker notices.)
        self.AddObserver("DeleteEvent", lambda _caller, _event: session.end())

    # --- Properties ------------------------------------------------------------------------------

    def AddArray(self, name: str | None) -> None:
        """Learn a further array with the same network."""
        if name:
            self._more_arrays.append(name)
            self.Modified()

    def ClearArrays(self) -> None:
        """Learn only the array that was chosen first."""
        if self._more_arrays:
            self._more_arrays.clear()
            self.Modified()

    def SetOutputFile(self, path: str | None) -> None:
        """Set the model file; empty means a file of its own in the temporary folder."""
        self.change(_output_file=path or "")

    def SetRestart(self, restart: int) -> None:
        """Begin anew even if the output file has a model or unfinished training."""
        self.change(_restart=bool(restart))

    def SetExecution(self, execution: int) -> None:
        """Set when an update returns: 0 auto, 1 live, 2 when the model is complete."""
        self.change(_execution=execution)

    def SetTimeSteps(self, choice: int) -> None:
        """Choose what to learn: 0 the current time step, 1 every one of the input's."""
        self.change(_time_steps=choice)

    # --- Commands and information ----------------------------------------------------------------

    def Pause(self) -> None:
        """Hold training where it is."""
        self._session.pause()

    def Resume(self) -> None:
        """Go on with paused or stopped training."""
        if self._session.resume() or ranks() > 1:
            self.Modified()  # on every rank alike

    def Stop(self) -> None:
        """End training and keep its state."""
        self._session.stop()

    def GetNeedsUpdate(self) -> bool:
        """Tell ParaView's window, which asks several times a second, whether there are news."""
        self._polled = True
        if ranks() == 1 and self._session.has_news():
            self.Modified()
            return True
        return False

    def GetState(self) -> str:
        """Return idle, starting, training, paused, finishing, done, stopped or failed."""
        status = self._status()
        return "idle" if status is None else status.state

    def GetIteration(self) -> int:
        """Return the optimiser steps done, of a series in the present time step."""
        status = self._status()
        return 0 if status is None else status.iteration

    def GetTrainingProgress(self) -> str:
        """Return in a line how far the training is, or what came of it."""
        status = self._status()
        return "Press Apply to train." if status is None else describe(status, self.GetModelFile())

    def GetModelFile(self) -> str:
        """Return the model file that is written, or an empty string before the first update."""
        return self._shared.output if self._is_shared() else self._session.output

    # --- Requests of the pipeline ----------------------------------------------------------------

    def FillInputPortInformation(self, port: int, info: Any) -> int:
        """Accept volumes and meshes; others are refused in our own words."""
        info.Remove(self.INPUT_REQUIRED_DATA_TYPE())
        info.Append(self.INPUT_REQUIRED_DATA_TYPE(), "vtkDataObject")
        return 1

    def FillOutputPortInformation(self, port: int, info: Any) -> int:
        """Produce a preview, a table and boxes."""
        info.Set(vtkDataObject.DATA_TYPE_NAME(), _OUTPUT_TYPES[port])
        return 1

    def RequestInformation(self, request: Any, inInfo: Any, outInfo: Any) -> int:
        """Announce the preview's grid."""
        if self._is_mesh():
            # It is known when the mesh was looked at; until then, what every preview has.
            dims = self._sampler.dims or (2, 2, 2)
        else:
            require_grid(self.GetInputDataObject(0, 0))
            whole = inInfo[0].GetInformationObject(0).Get(Pipeline.WHOLE_EXTENT())
            cells = self._chosen()[1] == "cell"
            z, y, x = (whole[2 * i + 1] - whole[2 * i] + 1 - cells for i in (2, 1, 0))
            dims = z, y, x
        nz, ny, nx = coarse_dims(dims, PREVIEW_POINTS)
        info = outInfo.GetInformationObject(0)
        info.Set(Pipeline.WHOLE_EXTENT(), (0, nx - 1, 0, ny - 1, 0, nz - 1), 6)
        return 1

    def RequestUpdateExtent(self, request: Any, inInfo: Any, outInfo: Any) -> int:
        """Ask for this rank's piece, or for the whole volume on the first rank."""
        info = inInfo[0].GetInformationObject(0)
        if self._is_mesh():
            ask_for_part(info, whole_extent_of(info))
            return 1
        require_grid(self.GetInputDataObject(0, 0))
        first, shared = rank() == 0, self._is_shared()
        whole = info.Get(Pipeline.WHOLE_EXTENT())
        extent = whole if first or shared else _one_cell(whole)
        info.Set(Pipeline.UPDATE_EXTENT(), extent, 6)
        # A source that goes by pieces cuts them from this extent; without bricks ours are not its
        # pieces.
        info.Set(Pipeline.UPDATE_EXTENT_INITIALIZED(), 1)
        info.Set(Pipeline.UPDATE_PIECE_NUMBER(), rank())
        info.Set(Pipeline.UPDATE_NUMBER_OF_PIECES(), 1 if first and not shared else ranks())
        ghosts = self.configurations.of(BrickConfig).ghost if shared else 0
        info.Set(Pipeline.UPDATE_NUMBER_OF_GHOST_LEVELS(), ghosts)
        return 1

    def RequestData(self, request: Any, inInfo: Any, outInfo: Any) -> int:
        """Start training if need be, wait for it or not, and show what there is."""
        preview = vtkImageData.GetData(outInfo, 0)
        if not self._is_mesh():
            require_grid(self.GetInputDataObject(0, 0))
        step = self._step(request, inInfo, outInfo)
        self.about = ""
        if self._is_mesh():
            shown = self._train_sampled(inInfo, step)
        elif self._is_shared():
            shown = self._train_together(inInfo)
        elif rank() == 0:
            shown = self._train_alone(inInfo, step)
        else:
            shown = self._follow(inInfo)
        if rank() == 0:
            self.remark(" ".join(self._notes()))
        if isinstance(shown, RankProgress):
            if shown.state:
                datasets.set_state(preview, shown.state)
            if shown.model is not None:
                datasets.set_model(preview, *shown.model)
            return 1
        # ParaView's window shows it in its status bar.
        self.SetProgressText(describe(shown.status, self.GetModelFile()))
        self.UpdateProgress(shown.status.fraction)
        results.fill_preview(preview, shown)
        results.fill_history(vtkTable.GetData(outInfo, 1), shown)
        results.fill_feature_grids(vtkMultiBlockDataSet.GetData(outInfo, 2), shown)
        if shown.status.stopped_by:
            self.warn(f"{stopped_text(shown.status.stopped_by)}; Resume goes on.")
        else:
            self.forget_complaint()
        return 1

    # --- Helpers ---------------------------------------------------------------------------------

    def _chosen(self) -> tuple[str, str]:
        """Return the name of the chosen array, perhaps empty, and its association."""
        info = self.GetInputArrayInformation(0)
        name = info.Get(vtkDataObject.FIELD_NAME()) if info.Has(vtkDataObject.FIELD_NAME()) else ""
        association = info.Get(vtkDataObject.FIELD_ASSOCIATION())
        cells = association == vtkDataObject.FIELD_ASSOCIATION_CELLS
        return name or "", "cell" if cells else "point"

    def _request(self, dataset: Any) -> Request:
        name, association = self._chosen()
        if not name:
            # A script that makes the filter before its input has data gets no default from
            # ParaView.
            name = default_array(dataset)
            # (A rank may have no data, and must not be the only one to go on: they all say so.)
            if not name and not self._is_shared():
                raise ConfigurationError("Choose the point or cell array to learn.")
        return Request(
            dataset=dataset,
            arrays=tuple(dict.fromkeys(filter(None, [name, *self._more_arrays]))),
            association=association,
            mesh=self.configurations.of(MeshConfig) if self._is_mesh() else MeshConfig(),
            output=self._output_file,
            restart=self._restart,
            network=self.configurations.of(NetworkConfig),
            training=self.configurations.of(TrainingConfig),
            storage=self.configurations.of(StorageConfig),
            bricks=self.configurations.of(BrickConfig),
            dispatch=self.configurations.of(DispatchConfig),
            series=self.configurations.of(SeriesConfig),
            data=self.configurations.of(DataConfig),
            goal=self.configurations.of(GoalConfig),
        )

    def _is_shared(self) -> bool:
        """Tell whether each rank trains bricks of its own."""
        bricks = self.configurations.of(BrickConfig)
        return (
            ranks() > 1
            and not self._is_mesh()
            and (bricks.bricks != (1, 1, 1) or bricks.brick_voxels > 0)
        )

    def _status(self) -> JobStatus | None:
        return self._shared.status if self._is_shared() else self._session.status()

    def _notes(self) -> list[str]:
        if self._is_shared():
            return self._shared.notes
        if self._is_mesh():
            return [*self._sampler.notes, *(self._sampler.fill_notes or self._session.notes())]
        return self._session.notes()

    def _is_mesh(self) -> bool:
        """Tell whether the input is to be sampled."""
        dataset = self.GetInputDataObject(0, 0)
        is_grid = dataset is not None and dataset.IsA("vtkStructuredGrid")
        if is_grid and self.configurations.of(MeshConfig).curvilinear == "index":
            return False
        return is_mesh(dataset)

    def _wanted(self, request: Request) -> Wanted:
        return Wanted(request.arrays, request.association, request.mesh, request.data)

    def _train_sampled(self, inInfo: Any, step: int) -> Shown | RankProgress:
        """Sample a mesh, on all ranks; train, on the first one; and measure on all."""
        mesh = self.GetInputDataObject(0, 0)
        request = self._request(mesh)
        wanted, image = self._wanted(request), mesh
        try:
            if self._time_steps == CURRENT:
                image = self._sampler.present(mesh, wanted)
        except AmgsrnError:
            if rank() == 0:
                raise
            return RankProgress("failed")  # the first rank says why
        request = dataclasses.replace(request, dataset=image, association="point")
        shown: Shown | RankProgress
        if rank() == 0:
            shown = self._train_alone(inInfo, step, request, wanted)
        else:
            shown = self._follow(inInfo, wanted)
        if shown.model is not None:
            self._sampler.measure(shown.model, mesh, wanted)
        self.about = self._sampler.message()
        return shown

    def _train_together(self, inInfo: Any) -> Shown | RankProgress:
        whole = inInfo[0].GetInformationObject(0).Get(Pipeline.WHOLE_EXTENT())
        self.SetAbortExecute(0)
        request = self._request(self.GetInputData(inInfo, 0, 0))
        try:
            if self._time_steps == ALL:
                raise ConfigurationError(
                    "On several ranks all time steps are trained without bricks only; set Bricks "
                    "to 1 1 1 and BrickVoxels to 0, or use a single rank."
                )
            if request.dataset.IsA("vtkStructuredGrid"):
                raise ConfigurationError(
                    "On several ranks a curvilinear grid is learned in index space without bricks "
                    "only; set Bricks to 1 1 1 and BrickVoxels to 0, or use a single rank."
                )
            return self._shared.train(request, whole, self._show_progress)
        except AmgsrnError:
            if rank() == 0:
                raise
            return RankProgress("failed")  # the first rank says why

    def _train_alone(
        self,
        inInfo: Any,
        step: int,
        request: Request | None = None,
        wanted: Wanted | None = None,
    ) -> Shown:
        try:
            shown = self._train(inInfo, step, request, wanted)
        except BaseException:
            tell({"news": RankProgress()}, last=True)
            raise
        tell({"news": RankProgress(shown.status.state, shown.model)}, last=True)
        return shown

    def _follow(self, inInfo: Any, wanted: Wanted | None = None) -> RankProgress:
        """On another rank: go along while the first one reads, samples and trains."""
        info = inInfo[0].GetInformationObject(0)
        if wanted is None:
            timed = TimedInput(self, _one_cell(info.Get(Pipeline.WHOLE_EXTENT())))
        else:
            timed = TimedInput(self, whole_extent_of(info), is_mesh=True)
        while "time" in (message := listen()):
            with contextlib.suppress(AmgsrnError):  # the first rank fails as well, and says so
                time = message["time"]
                if wanted is None or not message["samples"]:
                    timed.at(time)
                else:
                    self._sample_step(timed, time, time == self._times(inInfo)[0], wanted)
        news: RankProgress = message["news"]
        return news

    def _check_complete(self, dataset: Any, whole: VTKExtent | None) -> None:
        present = dataset.GetExtent()
        if whole is not None and tuple(whole) != tuple(present):
            raise ConfigurationError(
                f"Training needs the whole volume on one rank, but its source gave the extent "
                f"{present} of {whole} only; train with a single rank."
            )

    def _train(
        self, inInfo: Any, step: int, request: Request | None, wanted: Wanted | None
    ) -> Shown:
        """Make sure that training goes on, and return what there is to show of a time step.

        Of a mesh, `request` is for what was sampled of it, and `wanted` what is.
        """
        if request is None:
            volume = self.GetInputData(inInfo, 0, 0)
            whole = inInfo[0].GetInformationObject(0).Get(Pipeline.WHOLE_EXTENT())
            self._check_complete(volume, whole)
            request = self._request(volume)
        early = self._may_return_early()
        self.SetAbortExecute(0)  # VTK leaves it to us to forget an abort
        with self._steps(inInfo, wanted) as steps:
            request = dataclasses.replace(request, steps=steps)
            # What Apply began is waited for by no macro, which would hold the window.
            early = early or (self._execution == AUTO and self._session.is_watched(request))
            self._session.ensure(request, restart_interrupted=not early)
        if not early:
            self._session.wait(self._report)
        return self._session.show(step)

    def _times(self, inInfo: Any) -> tuple[float, ...]:
        """Return the times to train, none for what the input has at present."""
        return times_of(inInfo[0].GetInformationObject(0)) if self._time_steps == ALL else ()

    def _step(self, request: Any, inInfo: Any, outInfo: Any) -> int:
        """Return the time step that is asked for, having noted it on the outputs."""
        times = self._times(inInfo)
        if not times:
            return 0
        port = max(0, request.Get(Pipeline.FROM_OUTPUT_PORT()))
        step = step_near(times, outInfo.GetInformationObject(port))
        for output in range(len(_OUTPUT_TYPES)):
            data = outInfo.GetInformationObject(output).Get(vtkDataObject.DATA_OBJECT())
            data.GetInformation().Set(vtkDataObject.DATA_TIME_STEP(), times[step])
        return step

    @contextlib.contextmanager
    def _steps(self, inInfo: Any, wanted: Wanted | None) -> Iterator[Steps | None]:
        """Yield the input's time steps if all are wanted, those of a mesh sampled."""
        times, info = self._times(inInfo), inInfo[0].GetInformationObject(0)
        if not times:
            yield None
            return
        extent = whole_extent_of(info)
        samples = False

        def announce(time: float) -> None:
            # The other ranks have their part in what is upstream.
            tell({"time": time, "samples": samples}, last=True)

        timed = TimedInput(self, extent, announce, is_mesh=wanted is not None)

        def at(time: float) -> Any:
            nonlocal samples
            where = f"Reading time step {times.index(time) + 1} of {len(times)}"
            if not self._show_progress(0.0, where):
                raise ReadingAborted("Stopped before every time step was read; Resume goes on.")
            if wanted is None:
                dataset = timed.at(time)
                self._check_complete(dataset, extent)
                return dataset
            samples = True
            try:
                return self._sample_step(timed, time, time == times[0], wanted)
            finally:
                samples = False

        asked = Pipeline.UPDATE_TIME_STEP()
        with timed.back_to(info.Get(asked) if info.Has(asked) else times[0]):
            yield Steps(times, at, timed.changed)

    def _sample_step(self, timed: TimedInput, time: float, is_first: bool, wanted: Wanted) -> Any:
        if is_first:
            self._sampler.forget()
        return self._sampler.step(lambda: timed.at(time), wanted)

    def _may_return_early(self) -> bool:
        if ranks() > 1:
            # ParaView's window asks the first rank only for news: the others would fall behind.
            return False
        if self._execution == AUTO:
            return may_return_early(self._polled)
        return self._execution == LIVE

    def _report(self, fraction: float, text: str) -> bool:
        """Tell ParaView and the other ranks how far the training is; return whether to go on."""
        goes_on = self._show_progress(fraction, text)
        tell({}, last=False)
        return goes_on

    def _show_progress(self, fraction: float, text: str) -> bool:
        self.SetProgressText(text)
        self.UpdateProgress(fraction)
        return not self.GetAbortExecute()


def _one_cell(whole: VTKExtent) -> VTKExtent:
    """Return the first cell of an extent: for ranks that need nothing.

    Some readers fail where they are asked for nothing, ParaView's of NetCDF among them; then their
    rank is not asked to go along, and the first one waits for it for ever.
    """
    x, y, z = ((low, min(low + 1, high)) for low, high in zip(whole[0::2], whole[1::2]))
    return *x, *y, *z
