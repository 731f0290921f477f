"""An input of a filter, at times of the filter's own choice."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from vtkmodules.vtkCommonCore import vtkInformation, vtkInformationVector
from vtkmodules.vtkCommonExecutionModel import vtkStreamingDemandDrivenPipeline as Pipeline

from amgsrn_core.errors import ConfigurationError, VolumeError
from amgsrn_paraview.datasets import VTKExtent
from amgsrn_paraview.ranks import rank, ranks


def times_of(info: Any) -> tuple[float, ...]:
    """Return the time steps that an input announces in its pipeline information.

    Raises
    ------
    ConfigurationError
        It announces none, or not as VTK asks for.
    """
    steps = Pipeline.TIME_STEPS()
    times = tuple(info.Get(steps, number) for number in range(info.Length(steps)))
    if not times:
        raise ConfigurationError(
            "The input has no time steps; choose to train the current one (Time Steps)."
        )
    if not info.Has(Pipeline.TIME_RANGE()):
        # VTK would go on giving out the step that there is.
        raise ConfigurationError(
            "The input announces time steps without a time range; let its source set TIME_RANGE "
            "beside TIME_STEPS."
        )
    for before, time in zip(times, times[1:]):
        if not before < time:
            raise ConfigurationError(
                f"The input announces the time {time:g} after {before:g}; a series needs ascending "
                "times, each once, so sort them in its source or train the current one (Time "
                "Steps)."
            )
    return times


def step_near(times: tuple[float, ...], info: Any) -> int:
    """Return the number of the step that is asked for in an output's pipeline information."""
    if not info.Has(Pipeline.UPDATE_TIME_STEP()):
        return 0
    wanted = info.Get(Pipeline.UPDATE_TIME_STEP())
    return min(range(len(times)), key=lambda number: abs(times[number] - wanted))


def ask_for_piece(info: Any, ghosts: int) -> None:
    """Ask in an input's pipeline information for this rank's piece."""
    # A source that goes by pieces cuts them from the extent.
    info.Set(Pipeline.UPDATE_EXTENT_INITIALIZED(), 1)
    info.Set(Pipeline.UPDATE_PIECE_NUMBER(), rank())
    info.Set(Pipeline.UPDATE_NUMBER_OF_PIECES(), ranks())
    info.Set(Pipeline.UPDATE_NUMBER_OF_GHOST_LEVELS(), ghosts)


def whole_extent_of(info: Any) -> VTKExtent | None:
    """Return the whole extent that an input announces in its pipeline information, or None.

    A structured grid has one, and often so has what was made of a volume, for what is upstream.
    """
    whole = Pipeline.WHOLE_EXTENT()
    return info.Get(whole) if info.Has(whole) else None


def ask_for_part(info: Any, whole: VTKExtent | None) -> None:
    """Ask an input, in its pipeline information, for this rank's part of a mesh.

    Sources that go by extents cut the rank's part out of the whole one.
    """
    info.Set(Pipeline.UPDATE_PIECE_NUMBER(), rank())
    info.Set(Pipeline.UPDATE_NUMBER_OF_PIECES(), ranks())
    info.Set(Pipeline.UPDATE_NUMBER_OF_GHOST_LEVELS(), 0)
    info.Remove(Pipeline.UPDATE_EXTENT())  # VTK has put the output's there
    if whole is not None:
        info.Set(Pipeline.UPDATE_EXTENT(), whole, 6)
        info.Set(Pipeline.UPDATE_EXTENT_INITIALIZED(), 1)


class TimedInput:
    """An input of an algorithm while this executes.

    Parameters
    ----------
    algorithm : vtkAlgorithm
    extent : six integers or None
        What to ask for, the same at every time; None where the input has no extents.
    is_mesh : bool
        Whether to ask for this rank's part of it, as that of a mesh.
    announce : callable, optional
        Is told each time before the input is brought there.
    port : int, default: 0
        Of the algorithm's inputs.
    ghosts : int, optional
        Ask for this rank's piece of the extent, with so many levels of ghost cells.

    Notes
    -----
    What is upstream is updated from within the algorithm. VTK's own way, CONTINUE_EXECUTING, goes
    on for ever when a source fails at one of the times.
    """

    def __init__(
        self,
        algorithm: Any,
        extent: VTKExtent | None,
        announce: Callable[[float], None] = lambda time: None,
        *,
        is_mesh: bool = False,
        port: int = 0,
        ghosts: int | None = None,
    ) -> None:
        connection = algorithm.GetInputConnection(port, 0)
        self._ghosts = ghosts
        self._producer, self._port = connection.GetProducer(), connection.GetIndex()
        self._extent, self._announce, self._is_mesh = extent, announce, is_mesh
        self._present: float | None = None

    @property
    def changed(self) -> int:
        """When anything upstream was last changed; going to another time is no change."""
        return int(self._producer.GetExecutive().GetPipelineMTime())

    def at(self, time: float) -> Any:
        """Bring the input to a time, and return its data set.

        Raises
        ------
        VolumeError
            Something upstream failed.
        """
        self._announce(time)
        self._present = time
        requests = vtkInformationVector()
        for _ in range(self._port + 1):
            requests.Append(vtkInformation())
        request = requests.GetInformationObject(self._port)
        request.Set(Pipeline.UPDATE_TIME_STEP(), time)
        if self._is_mesh:
            ask_for_part(request, self._extent)
        else:
            request.Set(Pipeline.UPDATE_EXTENT(), self._extent, 6)
        if self._ghosts is not None:
            ask_for_piece(request, self._ghosts)
        if not self._producer.Update(self._port, requests):
            raise VolumeError(
                f"The input cannot be read at the time {time:g}; the messages before this one say "
                "why."
            )
        return self._producer.GetOutputDataObject(self._port)

    @contextlib.contextmanager
    def back_to(self, time: float) -> Iterator[None]:
        """In the end bring the input back to a time, for others that it goes to as well."""
        try:
            yield
        finally:
            if self._present not in (None, time):
                self.at(time)
