"""The training that a filter has under way: started, watched, steered, and never started twice."""

from __future__ import annotations

import contextlib
import dataclasses
import getpass
import os
import shutil
import tempfile
import time
import weakref
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

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
    gives_size,
    to_json,
)
from amgsrn_core.errors import AmgsrnError, OutputError, TrainingError
from amgsrn_core.jobs import PREVIEW_POINTS, JobStatus, LiveResult, TrainingJob
from amgsrn_core.jobs.status import LEASE_SECONDS
from amgsrn_core.model import Archive, read_index
from amgsrn_core.runs.outcome import stopped_text
from amgsrn_core.runs.settings import Settings
from amgsrn_core.runs.stop_file import stopped_since
from amgsrn_core.system.output import ensure_writable, reason
from amgsrn_core.system.run_folder import parts_folder
from amgsrn_core.volume import Block, GridGeometry, Volume, volume_from_vtk
from amgsrn_core.volume.precision import type_of_ranges
from amgsrn_core.volume.preview import preview_geometry
from amgsrn_core.volume.volume import TimeAxis
from amgsrn_core.volume.vtk.data import ASSOCIATIONS, GHOSTS, attributes
from amgsrn_paraview.datasets import Looks
from amgsrn_paraview.handover import Handover, overview
from amgsrn_paraview.pace import Pace

SUFFIX = ".amgsrn"

_POLL_SECONDS = 0.1
_REPORT_SECONDS = 1.0

Report = Callable[[float, str], bool]
"""Takes the share that is done and a text; returns whether to go on."""


class ReadingAborted(AmgsrnError):
    """The user stopped the training before all time steps were read."""


@dataclass(frozen=True)
class Steps:
    """Every time step of an input.

    Attributes
    ----------
    times : tuple of float
    at : callable
        Brings the input to a time, and returns its data set.
    changed : int
        Another number whenever the input's steps may have changed, other than by :attr:`at`.
    """

    times: tuple[float, ...]
    at: Callable[[float], Any]
    changed: int


@dataclass(frozen=True)
class Request:
    """What a user asks for when pressing Apply: for `dataset`, or for all its time steps."""

    dataset: Any
    arrays: tuple[str, ...]
    association: str
    output: str
    restart: bool
    network: NetworkConfig
    training: TrainingConfig
    storage: StorageConfig
    bricks: BrickConfig
    dispatch: DispatchConfig
    series: SeriesConfig
    data: DataConfig = dataclasses.field(default_factory=DataConfig)
    goal: GoalConfig = dataclasses.field(default_factory=GoalConfig)
    mesh: MeshConfig = dataclasses.field(default_factory=MeshConfig)
    steps: Steps | None = None

    @property
    def settings(self) -> Settings:
        """The options of the training itself."""
        return Settings(
            network=self.network,
            training=self.training,
            storage=self.storage,
            bricks=self.bricks,
            dispatch=self.dispatch,
            series=self.series,
            goal=self.goal.for_network(self.network, gives_size(self.network)),
        )

    @property
    def times(self) -> tuple[float, ...]:
        """The times of a series, otherwise none."""
        return () if self.steps is None else self.steps.times

    def volumes(self) -> Iterator[Volume]:
        """Yield the arrays as a volume, without copies, or as one for each time step."""
        if self.steps is None:
            yield self._volume(self.dataset)
            return
        for number, time_value in enumerate(self.times):
            volume = self._volume(self.steps.at(time_value))
            known = volume.time or TimeAxis((time_value,))
            volume.time = TimeAxis(
                self.times, known.units, known.calendar, index=number, name=known.name
            )
            yield volume

    def _volume(self, dataset: Any) -> Volume:
        volume = volume_from_vtk(dataset, self.arrays, self.association)
        return volume.masking(self.data.fill_numbers)

    def options(self) -> tuple[Any, ...]:
        """Return everything but the data, to compare requests by."""
        return (
            self.arrays,
            self.association,
            self.output,
            self.restart,
            self.network,
            self.training,
            self.storage,
            self.bricks,
            self.dispatch,
            self.data,
            self.goal,
            self.mesh,
            self.times and (self.times, self.series),
        )

    def stamp(self) -> tuple[Any, ...]:
        """Return when the data were last touched: equal stamps mean equal data."""
        if self.steps is not None:
            return (self.steps.changed,)
        data = attributes(self.dataset, self.association)
        arrays = [data.GetArray(name) for name in self.arrays]
        # Both kinds of ghosts tell which points, or cells, have no value.
        arrays += [attributes(self.dataset, each).GetArray(GHOSTS) for each in ASSOCIATIONS]
        points = self.dataset.GetPoints() if self.dataset.IsA("vtkStructuredGrid") else None
        return (
            self.dataset.GetExtent(),
            self.dataset.GetBounds(),
            None if points is None else points.GetMTime(),
            tuple(None if array is None else array.GetMTime() for array in arrays),
        )


@dataclass(frozen=True)
class Shown:
    """What there is to show of a training.

    `model` is the model file with its checksum and the time step, once there is one.
    """

    status: JobStatus
    name: str
    components: tuple[str, ...]
    geometry: GridGeometry
    preview: Block
    looks: Looks
    live: LiveResult | None
    model: tuple[str, str, int] | None


class Session:
    """At most one training at a time; when this object goes, the training stops, state kept."""

    def __init__(self) -> None:
        self.output = ""
        self._options: tuple[Any, ...] = ()
        self._stamp: tuple[Any, ...] = ()
        self._digest = 0
        self._refusal: AmgsrnError | None = None
        self._run: _Run | None = None
        self._again = False
        self._seen: tuple[str, int] = ("", 0)
        self._pace = Pace()
        self._began_live = False

    def ensure(self, request: Request, *, restart_interrupted: bool) -> None:
        """Make sure that what is asked for is being trained, or was.

        The same request again changes nothing, whatever happened to it; `restart_interrupted` (or a
        call of :meth:`resume` before) goes on with a training that was stopped or failed.

        Raises
        ------
        AmgsrnError
            The request cannot be served. The same request raises the same error at once.
        """
        again, self._again = self._again, False
        if self._is_same(request):
            goes_on = again or (restart_interrupted and self._is_aborted())
            if self._refusal is not None and not goes_on:
                raise self._refusal
            if self._run is not None:
                interrupted = self._run.status().state in ("stopped", "failed")
                if interrupted and (again or restart_interrupted):
                    # What the first run of this request threw away is gone; go on from here.
                    self._start(request, restart=False)
                return
        self._options, self._stamp, self._digest = request.options(), request.stamp(), 0
        self._began_live = not restart_interrupted
        self._start(request, restart=request.restart)

    def is_watched(self, request: Request) -> bool:
        """Tell whether this is being trained for somebody who did not wait for its end."""
        return self._began_live and self._run is not None and self._is_same(request)

    def status(self) -> JobStatus | None:
        """Return the state of the training; None before the first."""
        return None if self._run is None else self._run.status()

    def notes(self) -> list[str]:
        """Return what there is to say about the data of the training."""
        return [] if self._run is None else self._run.notes

    def has_news(self) -> bool:
        """Tell whether :meth:`show` would return something else than last time.

        Who asks is somebody who watches: a training that stopped because the window was busy for
        long goes on now.
        """
        if self._run is not None:
            self._run.watch()
            if self._run.has_lapsed and self._run.status().state == "stopped":
                self._again = True
        if self._again:
            return True
        if self._run is None:
            return False
        is_time, version = self._pace.is_time(), self._run.version()
        # Buttons follow the state, which does not change often.
        return version[0] != self._seen[0] or (is_time and version != self._seen)

    def show(self, step: int = 0) -> Shown:
        """Return what there is to show, of a series for one time step.

        Raises
        ------
        TrainingError
            The training failed.
        """
        assert self._run is not None
        self._run.step = step
        self._seen = self._run.version()
        self._pace.show()
        return self._run.show()

    def wait(self, report: Report) -> None:
        """Return when the training has ended; `report` is called about once a second."""
        assert self._run is not None
        self._run.wait(report)

    def pause(self) -> None:
        """Hold the training."""
        if self._run is not None:
            self._run.job.pause()

    def resume(self) -> bool:
        """Go on; return whether that needs an update because the training had ended."""
        if self._run is not None:
            self._run.job.resume()
            self._again = self._run.status().state in ("stopped", "failed")
        elif self._is_aborted():
            self._again = True
        return self._again

    def stop(self) -> None:
        """End the training, state kept, without waiting for it."""
        if self._run is not None:
            self._run.has_lapsed = False
            self._run.job.stop(wait=False)

    def end(self) -> None:
        """Stop the training, state kept, because nobody will ask for it any more."""
        run, self._run = self._run, None
        if run is not None:
            run.close(wait=False)

    def _is_same(self, request: Request) -> bool:
        if request.options() != self._options:
            return False
        stamp = request.stamp()
        if stamp != self._stamp and self._run is not None:
            # The pipeline may have run again and come to the same values.
            with contextlib.suppress(AmgsrnError):
                if overview(request.volumes()).digest == self._digest:
                    self._stamp = stamp
        return stamp == self._stamp

    def _is_aborted(self) -> bool:
        return isinstance(self._refusal, ReadingAborted)

    def _start(self, request: Request, *, restart: bool) -> None:
        previous, self._run = self._run, None
        try:
            if request.output:
                output = output_of(request.output)
                ensure_writable(Path(output))
                place = parts_folder(output)
            else:
                output, place = "", own_folder()
            if previous is not None and output == self.output:
                # A worker that ends takes along whatever is in its folder.
                previous.close(wait=True)
            handover = Handover(place)
            try:
                handover.write(_unless_stopped(request, output, handover), request.data)
                found = handover.found
                self._digest = found.digest
                if not output:
                    output = output_of(own_output(found.first.name, found.digest, request))
                if previous is not None:
                    previous.close(wait=output == self.output)
                if not request.output:
                    handover.move(parts_folder(output))
                self.output = output
                self._run = _Run.start(handover, Path(output), request, restart)
            except BaseException:
                handover.remove()
                raise
        except AmgsrnError as error:
            if previous is not None:
                previous.close(wait=False)
            self._refusal = error
            raise
        self._refusal, self._seen = None, ("", 0)


def _unless_stopped(request: Request, output: str, handover: Handover) -> Iterator[Volume]:
    """Yield what is handed over, as long as nobody makes a stop file where the model is to be.

    Raises
    ------
    ReadingAborted
        There is one, which is removed.
    """
    begun = handover.folder.stat().st_mtime_ns
    for volume in request.volumes():
        yield volume
        if output and (by := stopped_since(Path(output), begun)):
            raise ReadingAborted(f"{stopped_text(by)} before everything was read; Resume goes on.")


class _Run:
    """One worker process with the files that it reads and publishes."""

    def __init__(self, job: TrainingJob, handover: Handover, live: Path) -> None:
        self.job = job
        volume = handover.found.first
        self._name, self._components = volume.name, volume.components
        self._summary, self.notes = handover.found.summary, handover.found.notes
        self._looks = handover.found.shown()
        self._watched = 0.0
        self.has_lapsed = False
        self.step = 0  # of a series, the one that is shown
        self._preview_geometry = preview_geometry(volume.geometry, PREVIEW_POINTS)
        # Also when the filter is deleted and when ParaView quits.
        self._finalizer = weakref.finalize(self, _end, job, handover, live)

    @classmethod
    def start(cls, handover: Handover, output: Path, request: Request, restart: bool) -> _Run:
        """Have a new worker train what it is handed."""
        try:
            live = Path(tempfile.mkdtemp(prefix="amgsrn-live-"))
        except OSError as error:
            raise OutputError(f"Cannot write {tempfile.gettempdir()}: {reason(error)}.") from error
        try:
            job = TrainingJob.start(
                output,
                handover.source(is_series=request.steps is not None),
                request.settings,
                restart=restart,
                live_folder=live,
            )
        except BaseException:
            shutil.rmtree(live, ignore_errors=True)
            raise
        return cls(job, handover, live)

    def status(self) -> JobStatus:
        return self.job.status()

    def watch(self) -> None:
        """Keep the worker going; note when that was too late."""
        now = time.monotonic()
        if self._watched and now - self._watched > LEASE_SECONDS:
            self.has_lapsed = True
        self._watched = now
        self.job.renew_lease()

    def version(self) -> tuple[str, int]:
        """Return something that changes whenever there is something new to show."""
        return self.status().state, self.job.live_time(self.step)

    def wait(self, report: Report) -> None:
        """Wait for the worker's end."""
        last = -1e9

        def on_status(status: JobStatus) -> bool:
            nonlocal last
            self.watch()
            if time.monotonic() - last < _REPORT_SECONDS:
                return True
            last = time.monotonic()
            return report(status.fraction, describe(status))

        try:
            self.job.wait(on_status, _POLL_SECONDS)
        except BaseException:  # Ctrl-C: the training must not go on unseen
            self.job.stop(wait=False)
            raise

    def show(self) -> Shown:
        status = self.status()
        if status.state == "failed":
            raise TrainingError(status.message)
        live = self.job.live(step=self.step)
        model = None
        if status.state == "done":
            with Archive(self.job.output) as archive:
                model = (str(self.job.output), archive.checksum, self.step)
        return Shown(
            status=status,
            name=self._name,
            components=self._components,
            geometry=self._preview_geometry,
            preview=live.preview if live is not None else self._untrained(),
            looks=self._looks,
            live=live,
            model=model,
        )

    def close(self, *, wait: bool) -> None:
        """Stop the worker; with `wait`, until it has let go of the model's folder."""
        self.job.stop(wait=wait)
        self._finalizer()

    def _untrained(self) -> Block:
        return untrained(self._preview_geometry, self._summary.minimum, self._summary.maximum)


def untrained(geometry: GridGeometry, minimum: np.ndarray, maximum: np.ndarray) -> Block:
    """Return what networks show that have learned nothing: the minimum of each component.

    One corner has the maximum, so that a colour map that is made now has the data's range.
    """
    dtype = type_of_ranges([(minimum.tolist(), maximum.tolist())])
    values = np.empty((len(minimum), *geometry.dims), dtype=dtype)
    values[:] = minimum.reshape(-1, 1, 1, 1)
    values[:, -1, -1, -1] = maximum
    return Block(values)


def _end(job: TrainingJob, handover: Handover, live: Path) -> None:
    job.stop(wait=False)
    handover.remove()
    shutil.rmtree(live, ignore_errors=True)
    job.clean()


def describe(status: JobStatus, model: str = "") -> str:
    """Say in a few words how far a training is, or how large its model is and how good."""
    if status.state == "done" and model:
        return _result(model)
    where = f"Time step {status.step + 1} of {status.steps}: " if status.steps > 1 else ""
    if status.state != "training":
        return where + {"starting": "Reading", "finishing": "Measuring and saving"}.get(
            status.state, status.state.capitalize()
        )
    text = f"{where}{status.iteration}/{status.iterations}"
    if status.psnr == status.psnr:
        text += f", {status.psnr:.1f} dB"
    if status.eta_seconds == status.eta_seconds:
        text += f", {status.eta_seconds:.0f} s left"
    return text


def _result(model: str) -> str:
    try:
        index, size = read_index(model), os.path.getsize(model)
    except (AmgsrnError, OSError):
        return "Complete, but the model file is gone"
    quality = "" if index.psnr is None else f", {index.psnr:.1f} dB"
    return f"Complete: {size / 1000:.4g} kB{quality}, {index.source.bytes / size:.3g} : 1"


def output_of(name: str) -> str:
    """Return the absolute path of a model file, with its suffix."""
    return os.path.abspath(name if name.endswith(SUFFIX) else name + SUFFIX)


def own_output(name: str, digest: int, request: Request) -> str:
    """Return a file in the temporary folder that belongs to these data and settings alone."""
    options = [
        to_json(request.network),
        request.training.substance(),
        to_json(request.storage),
        to_json(request.bricks),
        *([request.times, to_json(request.series)] if request.times else []),
        *([to_json(request.data)] if request.data != DataConfig() else []),
        *([to_json(request.goal)] if request.goal != GoalConfig() else []),
        *([to_json(request.mesh)] if request.mesh != MeshConfig() else []),
    ]
    crc = zlib.crc32(repr(options).encode())
    name = "".join(c if c.isalnum() or c in "-_" else "_" for c in name)[:60]
    return str(own_folder() / f"{name}-{digest:08x}-{crc:08x}{SUFFIX}")


def own_folder() -> Path:
    """Return the folder for models that nobody named, made if need be."""
    folder = Path(tempfile.gettempdir()) / f"amgsrn-{_user()}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        if hasattr(os, "getuid") and folder.stat().st_uid != os.getuid():
            raise OutputError(f"The folder {folder} belongs to somebody else; name an output file.")
    except OSError as error:
        if isinstance(error, OutputError):
            raise
        raise OutputError(f"Cannot make the folder {folder}: {reason(error)}.") from error
    return folder


def _user() -> str:
    with contextlib.suppress(OSError, KeyError, ImportError):
        return getpass.getuser()
    return "user"
