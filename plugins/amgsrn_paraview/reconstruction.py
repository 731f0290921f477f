"""A model sampled on a grid of any resolution and region, as a source and as a filter."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from vtkmodules.vtkCommonDataModel import vtkDataObject, vtkImageData
from vtkmodules.vtkCommonExecutionModel import vtkStreamingDemandDrivenPipeline as Pipeline

from amgsrn_core.errors import ConfigurationError
from amgsrn_core.volume import Extent, GridGeometry
from amgsrn_paraview import datasets
from amgsrn_paraview.algorithm import Algorithm
from amgsrn_paraview.model_file import ModelFile
from amgsrn_paraview.model_input import ModelInput

WHOLE, BOUNDS, EXTENT = range(3)

# VTK counts the samples of an axis with 32-bit numbers.
_MOST_SAMPLES = 2**31 - 1


class _Reconstruction(Algorithm):
    """What source and filter share: the grid's properties and its evaluation, extent by extent."""

    label = "AMGSRN Reconstruction"

    def __init__(self, **ports: Any) -> None:
        super().__init__(nOutputPorts=1, outputType="vtkDataSet", **ports)
        self._dimensions = (0, 0, 0)
        self._scale = 1.0
        self._region = WHOLE
        self._bounds = (0.0, 1.0, 0.0, 1.0, 0.0, 1.0)
        self._extent = (0, 1, 0, 1, 0, 1)
        self._errors = self._density = False
        self._model = ModelFile()

    def SetDimensions(self, x: int, y: int, z: int) -> None:
        """Set the samples along each axis; 0 means the model's own, scaled."""
        self.change(_dimensions=(x, y, z))

    def SetScaleFactor(self, factor: float) -> None:
        """Set the samples per sample of the model's own grid, where no dimension is given."""
        self.change(_scale=factor)

    def SetRegion(self, region: int) -> None:
        """Choose what to sample: 0 everything, 1 the world bounds, 2 the index extent."""
        self.change(_region=region)

    def SetWorldBounds(self, *bounds: float) -> None:
        """Set the box x0, x1, y0, y1, z0, z1 in the world."""
        self.change(_bounds=bounds)

    def SetIndexExtent(self, *extent: int) -> None:
        """Set the first and last sample (inclusive) along x, y, z."""
        self.change(_extent=extent)

    def SetErrorArrays(self, wanted: int) -> None:
        """Choose whether the errors of the model's parts are arrays, too."""
        self.change(_errors=bool(wanted))

    def SetFeatureDensity(self, wanted: int) -> None:
        """Choose whether the feature density is an array, too."""
        self.change(_density=bool(wanted))

    def RequestDataObject(self, request: Any, inInfo: Any, outInfo: Any) -> int:
        """Make an output of the kind that suits the model's axes."""
        known = self._find_model()
        wanted = vtkImageData()
        if known:
            index = self._model.index
            wanted = datasets.new_dataset(index.geometry, index.coordinates)
        info = outInfo.GetInformationObject(0)
        present = info.Get(vtkDataObject.DATA_OBJECT())
        if present is None or present.GetClassName() != wanted.GetClassName():
            info.Set(vtkDataObject.DATA_OBJECT(), wanted)
        return 1

    def RequestInformation(self, request: Any, inInfo: Any, outInfo: Any) -> int:
        """Announce the grid; a single point while no model is known."""
        info = outInfo.GetInformationObject(0)
        if self._find_model():
            datasets.announce(info, self._geometry())
            self._announce_times(info)
        else:
            # ParaView asks as soon as the proxy is made: too early to complain.
            info.Set(Pipeline.WHOLE_EXTENT(), (0, 0, 0, 0, 0, 0), 6)
        info.Set(self.CAN_PRODUCE_SUB_EXTENT(), 1)
        return 1

    def RequestData(self, request: Any, inInfo: Any, outInfo: Any) -> int:
        """Evaluate the model on the extent that is asked for."""
        if not self._find_model():
            return self._without_model()
        info = outInfo.GetInformationObject(0)
        output = info.Get(vtkDataObject.DATA_OBJECT())
        extent, step = info.Get(Pipeline.UPDATE_EXTENT()), self._step(info)
        self._model.fill(
            *(output, self._geometry(), extent, step), errors=self._errors, density=self._density
        )
        self.forget_complaint()
        return 1

    def _find_model(self) -> bool:
        """Read the model's index; False when no model has been named yet."""
        raise NotImplementedError

    def _without_model(self) -> int:
        """Serve a request for data that cannot be."""
        raise NotImplementedError

    def _announce_times(self, info: Any) -> None:
        """Tell the pipeline the model's times, unless its input does."""

    def _step(self, info: Any) -> int:
        """Return the time step to evaluate."""
        raise NotImplementedError

    def _geometry(self) -> GridGeometry:
        own = self._model.index.geometry
        if self._region == BOUNDS:
            self._model.refuse_index_space("choose the region by its Index Extent")
            own = own.window(_extent_of_bounds(own, self._bounds))
        elif self._region == EXTENT:
            own = own.window(_extent_of_samples(own, self._extent))
        x, y, z = (
            wanted or max(min(n, 2), round(n * self._scale))
            for wanted, n in zip(self._dimensions, reversed(own.dims))
        )
        if x * y * z > _MOST_SAMPLES * 1024 or max(x, y, z) > _MOST_SAMPLES:
            raise ConfigurationError(
                f"A grid of {x} x {y} x {z} samples is too large; choose a lower resolution."
            )
        return own if (z, y, x) == own.dims else own.resampled((z, y, x))


class AMGSRNReconstructionSource(_Reconstruction):
    """Samples a model file."""

    def __init__(self) -> None:
        super().__init__(nInputPorts=0)
        self._path = ""

    def SetFileName(self, path: str | None) -> None:
        """Set the model file."""
        self.change(_path=path or "")

    def Reload(self) -> None:
        """Look whether the file was replaced, at the next update."""
        self.Modified()

    def _find_model(self) -> bool:
        if self._path:
            self._model.refresh(self._path)
        return bool(self._path)

    def _without_model(self) -> int:
        raise ConfigurationError("Choose a model file (.amgsrn).")

    def _announce_times(self, info: Any) -> None:
        datasets.announce_times(info, self._model.index.times)

    def _step(self, info: Any) -> int:
        return self._model.step(info)


class AMGSRNReconstruction(_Reconstruction):
    """Samples the model that the input's field data name."""

    def __init__(self) -> None:
        super().__init__(nInputPorts=1, inputType="vtkDataSet")
        self._source = ModelInput(self, self._model)

    def RequestUpdateExtent(self, request: Any, inInfo: Any, outInfo: Any) -> int:
        """Ask the input for nothing but what it has: only its field data matter."""
        self._source.ask(inInfo)
        return 1

    def _find_model(self) -> bool:
        # The grid depends on the model, and which model that is stands in the input's data: they
        # have to be there before the pipeline asks for them.
        self._source.update()
        return self._source.find()

    def _step(self, info: Any) -> int:
        return self._source.step

    def _without_model(self) -> int:
        self._source.refuse_others()
        self.forget_complaint()
        return 1


def _extent_of_bounds(geometry: GridGeometry, bounds: Sequence[float]) -> Extent:
    """Return the samples that enclose a box in the world, cut at the ends of the grid."""
    corners = np.array(
        [(x, y, z) for x in bounds[0:2] for y in bounds[2:4] for z in bounds[4:6]], dtype=float
    )
    index = geometry.world_to_index(corners)
    parts = []
    for low, high, n, name in zip(
        index.min(axis=0), index.max(axis=0), reversed(geometry.dims), "xyz"
    ):
        # A bound that meets a sample up to rounding is on it.
        first, last = math.floor(low + 1e-6), math.ceil(high - 1e-6)
        if last < 0 or first > n - 1:
            raise ConfigurationError(
                f"The world bounds lie outside the model along {name}; the model's are "
                f"{', '.join(f'{value:g}' for value in geometry.bounds)}."
            )
        first, last = max(0, first), min(n - 1, last)
        parts.append(slice(first, last + 1))
    x, y, z = parts
    return z, y, x


def _extent_of_samples(geometry: GridGeometry, extent: Sequence[int]) -> Extent:
    parts = []
    for i, (n, name) in enumerate(zip(reversed(geometry.dims), "xyz")):
        first, last = extent[2 * i], extent[2 * i + 1]
        if not 0 <= first <= last < n:
            raise ConfigurationError(
                f"The index extent along {name} is {first} to {last}, but the model has samples 0 "
                f"to {n - 1} there."
            )
        parts.append(slice(first, last + 1))
    x, y, z = parts
    return z, y, x
