"""A model as a prop of VTK."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from vtkmodules.vtkCommonDataModel import vtkPiecewiseFunction
from vtkmodules.vtkRenderingCore import vtkColorTransferFunction

from amgsrn_core.errors import AmgsrnError
from amgsrn_core.field.neural_volume import NeuralVolume
from amgsrn_core.rendering.colormap import look_transfer
from amgsrn_core.rendering.looks import UNITS_PER_DIAGONAL, suggestion
from amgsrn_core.rendering.settings import RenderSettings
from amgsrn_core.rendering.transfer import TransferFunction
from amgsrn_core.volume.preview import even_geometry
from amgsrn_core.volume.vtk.dataset import new_dataset, set_arrays, set_geometry, whole_extent
from amgsrn_core.vtk import scene
from amgsrn_core.vtk.network_volume import NetworkVolume, opened

_PREVIEW = 64  # points along an axis, at most


class NeuralVolumeProp(NetworkVolume):
    """A model in scenes of VTK, drawn by the network itself.

    What is seen follows `volume`, as of any vtkVolume: its property's colours, opacities and
    shading, its mapper's blend mode, cropping and clipping planes, its matrix and visibility. The
    scene's lights, opaque geometry, anti-aliasing and parallel projection count as well.

    Parameters
    ----------
    model : NeuralVolume or path
        Of a series, one time step.
    transfer : TransferFunction, optional
        Default: what the model suggests.
    settings : RenderSettings, optional
        Default: one sample a voxel.
    half : bool, default: False
        Features in 16 bits: half the memory, and pictures that differ by up to two levels of 255.
    moving_seconds : float, default: 0.2
        What a frame takes at most while the window is being moved.

    Raises
    ------
    ConfigurationError
        There is no such component, also where settings or model are set later.

    Attributes
    ----------
    volume : vtkVolume
    status : str
        What draws it, for people, or why the preview is shown in its place.
    is_network : bool
        Whether the network is drawn; else a preview of at most 64^3 values.

    Examples
    --------
    >>> prop = NeuralVolumeProp("model.amgsrn")  # doctest: +SKIP
    >>> prop.attach(renderer)  # doctest: +SKIP
    """

    def __init__(
        self,
        model: NeuralVolume | str | os.PathLike[str],
        transfer: TransferFunction | None = None,
        settings: RenderSettings | None = None,
        *,
        half: bool = False,
        moving_seconds: float = 0.2,
    ) -> None:
        model, wanted = opened(model), settings or RenderSettings()
        wanted.require_component(len(model.components))
        if transfer is None:
            transfer = look_transfer(suggestion(model, wanted.component))
            if settings is None:
                low, high = np.reshape(model.geometry.bounds, (3, 2)).T
                unit = float(np.linalg.norm(high - low)) / UNITS_PER_DIAGONAL
                wanted = RenderSettings(unit_distance=unit)
        super().__init__(model, wanted, half=half, moving_seconds=moving_seconds)
        prop = self.volume.GetProperty()
        prop.SetColor(vtkColorTransferFunction())
        prop.SetScalarOpacity(vtkPiecewiseFunction())
        scene.show_transfer(prop, transfer)
        scene.show_settings(self.volume, wanted)
        self._given = transfer, self._times()

    @property
    def settings(self) -> RenderSettings:
        """What VTK's objects do not say: samples per voxel, component, seed, opacity limit."""
        return self._settings

    @settings.setter
    def settings(self, settings: RenderSettings) -> None:
        settings.require_component(len(self._model.components))
        scene.show_settings(self.volume, settings)
        self._settings = settings
        self._try_again()

    def fall_back(self, reason: str) -> None:
        """Show a preview of decoded values, and say why."""
        super().fall_back(reason)
        shader, mapper = self.volume.GetShaderProperty(), self.volume.GetMapper()
        shader.ClearAllFragmentShaderReplacements()
        shader.SetFragmentShaderCode(None)
        mapper.SetImageSampleDistance(1.0)
        try:
            image = self._preview()
        except (AmgsrnError, MemoryError) as error:
            self.volume.VisibilityOff()
            self.status = f"Nothing is shown: {reason} Neither is a preview: {error}"
            return
        mapper.SetInputData(image)

    def _preview(self) -> Any:
        """Return a vtkImageData of decoded values."""
        model = self._model
        z, y, x = (min(n, _PREVIEW) for n in model.geometry.dims)
        geometry = even_geometry(model.geometry, (z, y, x))
        block = model.reconstruct_block(geometry)
        image = new_dataset(geometry)
        set_geometry(image, geometry, whole_extent(geometry))
        set_arrays(image, block, model.name, model.components, model.units)
        image.GetPointData().SetActiveScalars(image.GetPointData().GetArrayName(0))
        return image

    def _transfer(self) -> TransferFunction:
        transfer, times = self._given
        return transfer if self._times() == times else super()._transfer()
