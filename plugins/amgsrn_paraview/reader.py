"""The reader of model files: a coarse preview that carries the model."""

from __future__ import annotations

from typing import Any

from vtkmodules.vtkCommonDataModel import vtkImageData
from vtkmodules.vtkCommonExecutionModel import vtkStreamingDemandDrivenPipeline as Pipeline

from amgsrn_core.errors import ConfigurationError
from amgsrn_core.volume import GridGeometry
from amgsrn_core.volume.preview import preview_geometry
from amgsrn_paraview import datasets
from amgsrn_paraview.algorithm import Algorithm
from amgsrn_paraview.model_file import ModelFile

_INDEX_SPACE = (
    "The model is in the index space of a curvilinear grid, and so is this preview; AMGSRN "
    "Reconstruction returns the grid itself."
)


class AMGSRNReader(Algorithm):
    """Reads a model file and decodes a preview, evenly spaced in the world.

    Ranks decode their own extents. NaN marks missing values.
    """

    label = "AMGSRN Reader"

    def __init__(self) -> None:
        super().__init__(nInputPorts=0, nOutputPorts=1, outputType="vtkImageData")
        self._path = ""
        self._samples = 64
        self._errors = self._density = False
        self._model = ModelFile()

    def SetFileName(self, path: str | None) -> None:
        """Set the model file."""
        self.change(_path=path or "")

    def GetFileName(self) -> str:
        """Return the model file."""
        return self._path

    def SetPreviewSamples(self, samples: int) -> None:
        """Set the cube root of the number of samples that the preview may have."""
        self.change(_samples=samples)

    def SetErrorArrays(self, wanted: int) -> None:
        """Choose whether the errors of the model's parts are arrays, too."""
        self.change(_errors=bool(wanted))

    def SetFeatureDensity(self, wanted: int) -> None:
        """Choose whether the feature density is an array, too."""
        self.change(_density=bool(wanted))

    def RequestInformation(self, request: Any, inInfo: Any, outInfo: Any) -> int:
        """Announce the preview's grid and the model's times."""
        self._refresh()
        info = outInfo.GetInformationObject(0)
        geometry = self._preview_geometry()
        datasets.announce(info, geometry)
        info.Set(self.CAN_PRODUCE_SUB_EXTENT(), 1)
        datasets.announce_times(info, self._model.index.times)
        return 1

    def RequestData(self, request: Any, inInfo: Any, outInfo: Any) -> int:
        """Decode this rank's part of the preview of the time that is asked for."""
        self._refresh()
        info = outInfo.GetInformationObject(0)
        output = vtkImageData.GetData(info)
        extent, step = info.Get(Pipeline.UPDATE_EXTENT()), self._model.step(info)
        self._model.fill(
            *(output, self._preview_geometry(), extent, step),
            is_preview=True,
            errors=self._errors,
            density=self._density,
        )
        self.forget_complaint()
        self.remark(_INDEX_SPACE if self._model.index.coordinates is not None else "")
        return 1

    def _refresh(self) -> None:
        if not self._path:
            raise ConfigurationError("Choose a model file (.amgsrn).")
        self._model.refresh(self._path)

    def _preview_geometry(self) -> GridGeometry:
        return preview_geometry(self._model.index.geometry, self._samples**3)
