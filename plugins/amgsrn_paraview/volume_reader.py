"""The reader of NetCDF volumes: what the library reads, with units, times and missing values."""

from __future__ import annotations

import weakref
from typing import Any

from vtkmodules.vtkCommonCore import vtkDataArraySelection
from vtkmodules.vtkCommonDataModel import vtkDataObject, vtkImageData
from vtkmodules.vtkCommonExecutionModel import vtkStreamingDemandDrivenPipeline as Pipeline

from amgsrn_core.errors import AmgsrnError, ConfigurationError, VolumeError
from amgsrn_core.system.files import FileVersion, file_version
from amgsrn_core.volume import Attributes, Volume
from amgsrn_core.volume.description import Description
from amgsrn_core.volume.open import open_step, volume_names
from amgsrn_core.volume.times import select_times
from amgsrn_paraview import datasets
from amgsrn_paraview.algorithm import Algorithm


class AMGSRNVolumeReader(Algorithm):
    """Reads variables of a NetCDF file that are on one grid, each as an array of its own.

    Evenly spaced axes make image data, others a rectilinear grid. Ranks read their own extents.
    NaN marks missing values.
    """

    label = "NetCDF volume (AMGSRN)"

    def __init__(self) -> None:
        super().__init__(nInputPorts=0, nOutputPorts=1, outputType="vtkDataSet")
        self._path = ""
        self._known: tuple[str, FileVersion | None] | None = None
        self._names: tuple[str, ...] = ()
        self._opened: tuple[str, ...] = ()
        self._volumes: list[Volume] = []
        self._steps: list[int] = []
        self._times: list[float] = []
        self._note = ""
        self._selection = vtkDataArraySelection()
        reader = weakref.ref(self)
        self._selection.AddObserver("ModifiedEvent", lambda _caller, _event: _modify(reader()))

    def SetFileName(self, path: str | None) -> None:
        """Set the NetCDF file."""
        self.change(_path=path or "")

    def GetFileName(self) -> str:
        """Return the NetCDF file."""
        return self._path

    def CanReadFile(self, path: str) -> int:
        """Tell whether a file has a variable that can be a volume."""
        try:
            return int(bool(volume_names(path)))
        except AmgsrnError:
            return 0

    def GetVariables(self) -> vtkDataArraySelection:
        """Return which variables of the file are read."""
        return self._selection

    def RequestDataObject(self, request: Any, inInfo: Any, outInfo: Any) -> int:
        """Make an output of the kind that suits the file's axes."""
        self._refresh()
        info = outInfo.GetInformationObject(0)
        wanted = datasets.new_dataset(self._volumes[0].geometry) if self._path else vtkImageData()
        present = info.Get(vtkDataObject.DATA_OBJECT())
        if present is None or present.GetClassName() != wanted.GetClassName():
            info.Set(vtkDataObject.DATA_OBJECT(), wanted)
        return 1

    def RequestInformation(self, request: Any, inInfo: Any, outInfo: Any) -> int:
        """Announce the grid and the times."""
        self._refresh()
        info = outInfo.GetInformationObject(0)
        if self._path:
            datasets.announce(info, self._volumes[0].geometry)
            datasets.announce_times(info, self._times)
        info.Set(self.CAN_PRODUCE_SUB_EXTENT(), 1)
        return 1

    def RequestData(self, request: Any, inInfo: Any, outInfo: Any) -> int:
        """Read the extent and the time that are asked for."""
        self._refresh()
        if not self._path:
            raise ConfigurationError("Choose a NetCDF file.")
        info = outInfo.GetInformationObject(0)
        output = info.Get(vtkDataObject.DATA_OBJECT())
        extent, number = info.Get(Pipeline.UPDATE_EXTENT()), self._number(info)
        volumes = self._at(number)
        datasets.set_geometry(output, volumes[0].geometry, extent)
        if not datasets.is_empty(extent):
            for volume, name in zip(volumes, self._array_names()):
                block = volume.read(datasets.to_slices(extent))
                datasets.set_arrays(output, block, name, (name,), volume.units)
            output.GetPointData().SetActiveScalars(self._array_names()[0])
        datasets.set_description(output, _together(volumes, self._array_names()))
        if self._times:
            output.GetInformation().Set(vtkDataObject.DATA_TIME_STEP(), self._times[number])
        self.forget_complaint()
        self.remark(self._note)
        return 1

    def _refresh(self) -> None:
        """Open the file's chosen variables, unless they are open already."""
        if not self._path:
            return
        known = self._path, file_version(self._path)
        if known != self._known or known[1] is None:
            self._known, self._opened = None, ()
            self._names = volume_names(self._path)
            if not self._names:
                open_step(self._path)  # says what the file lacks
            for number, name in enumerate(self._names):
                if not self._selection.ArrayExists(name):
                    self._selection.AddArray(name, number == 0)
            for name in _listed(self._selection):
                if name not in self._names:
                    self._selection.RemoveArrayByName(name)
            self._known = known
        chosen = tuple(name for name in self._names if self._selection.ArrayIsEnabled(name))
        if not chosen:
            raise ConfigurationError(
                f"Choose a variable to read: {', '.join(self._names)} (Variables)."
            )
        if chosen != self._opened:
            self._open(chosen)

    def _open(self, chosen: tuple[str, ...]) -> None:
        volumes = [open_step(self._path, name) for name in chosen]
        for volume, name in zip(volumes[1:], chosen[1:]):
            if volume.geometry != volumes[0].geometry or volume.time != volumes[0].time:
                raise VolumeError(
                    f"'{name}' and '{chosen[0]}' are not on the same grid and times; untick one of "
                    "them (Variables), or read it with another reader."
                )
        axis, self._note, self._steps, self._times = volumes[0].time, "", [], []
        if axis is not None:
            try:
                self._steps = select_times(volumes[0].name, axis, "all")
                self._times = [axis.values[step] for step in self._steps]
            except VolumeError as error:
                # ParaView needs ascending times, each once.
                self._steps = list(range(len(axis.values)))
                self._times = [float(step) for step in self._steps]
                self._note = f"{error} Here the steps are counted from 0 instead."
        self._volumes, self._opened = volumes, chosen

    def _number(self, info: Any) -> int:
        """Return which of the times the pipeline asks for, else the first."""
        if not self._times or not info.Has(Pipeline.UPDATE_TIME_STEP()):
            return 0
        wanted = info.Get(Pipeline.UPDATE_TIME_STEP())
        return min(range(len(self._times)), key=lambda number: abs(self._times[number] - wanted))

    def _at(self, number: int) -> list[Volume]:
        """Return the variables at a time step."""
        if not self._steps:
            return self._volumes
        step = self._steps[number]
        return [open_step(self._path, name, step) for name in self._opened]

    def _array_names(self) -> tuple[str, ...]:
        """Return the names of the arrays: those of the variables, with their groups if need be."""
        names = tuple(volume.name for volume in self._volumes)
        return names if len(set(names)) == len(names) else self._opened


def _modify(reader: AMGSRNVolumeReader | None) -> None:
    if reader is not None:
        reader.Modified()


def _listed(selection: vtkDataArraySelection) -> list[str]:
    return [selection.GetArrayName(i) for i in range(selection.GetNumberOfArrays())]


def _together(volumes: list[Volume], names: tuple[str, ...]) -> Description:
    """Return what is known of several variables on one grid."""
    first = volumes[0]
    known = first.attributes or Attributes()
    own = [volume.attributes.components[0] if volume.attributes else {} for volume in volumes]
    return Description(
        name="_".join(names),
        components=names,
        units=tuple(volume.units[0] for volume in volumes),
        geometry=first.geometry,
        missing=first.missing,
        time=first.time,
        attributes=Attributes(known.file, tuple(own), known.axes, known.time),
    )
