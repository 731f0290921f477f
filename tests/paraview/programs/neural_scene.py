"""A scene for pictures of a model: as Neural Volume, or as ParaView's own volume of its values."""

from __future__ import annotations

from typing import Any

import paraview.simple as pv
from paraview.modules.vtkRemotingViews import vtkSMTransferFunctionPresets
from session import load_neural_volume, load_plugin, output_of
from vtkmodules.vtkCommonDataModel import vtkPlane
from vtkmodules.vtkRenderingCore import vtkVolume
from vtkmodules.vtkRenderingVolumeOpenGL2 import vtkSmartVolumeMapper

NEURAL = "Neural Volume"
PEAKS = [0.0, 0.0, 0.5, 0.0, 1.0, 0.0, 0.5, 0.0, 4.0, 0.5, 0.5, 0.0, 10.0, 0.1, 0.5, 0.0]


# ParaView 6.1 dropped the second word.
_PRESETS = vtkSMTransferFunctionPresets.GetInstance()
VIRIDIS = "Viridis" if _PRESETS.HasPreset("Viridis") else "Viridis (matplotlib)"


class Scene:
    """A view, something in it, and its colour map and opacity function over [0, 10]."""

    def __init__(self, source: Any, representation: str = NEURAL, array: str = "density") -> None:
        self.source = source
        self.view = pv.CreateView("RenderView")
        self.view.ViewSize = [160, 120]
        self.view.UseColorPaletteForBackground = 0
        self.view.Background = [0.1, 0.1, 0.2]
        self.view.OrientationAxesVisibility = 0
        self.view.UseFXAA = 0
        self.display = pv.Show(source, self.view)
        self.display.SetRepresentationType(representation)
        pv.ColorBy(self.display, ("POINTS", array))
        self.display.SetScalarBarVisibility(self.view, False)
        self.display.ScalarOpacityUnitDistance = self.display.NeuralUnitDistance = 1.0
        # Steep transfer functions need more samples, whoever takes them.
        self.display.NeuralSamplesPerVoxel = 3.0
        self.colors = pv.GetColorTransferFunction(array)
        self.opacity = pv.GetOpacityTransferFunction(array)
        self.colors.RescaleTransferFunction(0.0, 10.0)
        self.colors.ApplyPreset(VIRIDIS, True)
        self.opacity.Points = PEAKS
        self.look_from([70.0, 50.0, 80.0])

    def look_from(self, position: list[float], parallel: bool = False) -> None:
        # The first render of a script resets the camera.
        pv.Render(self.view)
        self.view.CameraPosition = position
        self.view.CameraFocalPoint = [14.0, 13.0, 11.0]
        self.view.CameraViewUp = [0.0, 1.0, 0.0]
        self.view.CameraViewAngle = 30.0
        self.view.CameraParallelProjection = int(parallel)
        self.view.CameraParallelScale = 20.0

    def add_ball(self, center: list[float], radius: float, opacity: float = 1.0) -> Any:
        ball = pv.Sphere(Center=center, Radius=radius, ThetaResolution=24, PhiResolution=24)
        shown = pv.Show(ball, self.view)
        shown.ColorArrayName = ["POINTS", ""]
        shown.AmbientColor = shown.DiffuseColor = [1.0, 0.3, 0.2]
        shown.Opacity = opacity
        return shown

    def mapper(self) -> Any:
        """Return what draws the volume.

        In place of ParaView's own volumes that is, from now on, one of VTK's, which can do more.
        """
        volumes = self.view.GetRenderer().GetVolumes()
        items = [volumes.GetItemAsObject(i) for i in range(volumes.GetNumberOfItems())]
        volume = next(item for item in items if item.GetVisibility())
        if volume.GetMapper().GetClassName() != "vtkMultiBlockVolumeMapper":
            return volume.GetMapper()
        mapper = vtkSmartVolumeMapper()
        mapper.SetInputDataObject(output_of(self.source))
        mapper.SelectScalarArray(self.display.ColorArrayName[1])
        mapper.SetScalarModeToUsePointFieldData()
        own = vtkVolume()
        own.SetMapper(mapper)
        own.SetProperty(volume.GetProperty())
        self.view.GetRenderer().AddVolume(own)
        self.display.Visibility = 0
        return mapper

    def clip(self, normal: list[float], origin: list[float]) -> None:
        """Show only what is on the side of a plane to which its normal points."""
        plane = vtkPlane()
        plane.SetNormal(normal)
        plane.SetOrigin(origin)
        self.mapper().AddClippingPlane(plane)

    def status(self) -> str:
        self.display.UpdatePropertyInformation()
        return str(self.display.GetProperty("NeuralStatus"))

    def save(self, path: Any, **options: Any) -> None:
        pv.SaveScreenshot(str(path), self.view, **options)


def load(remote: bool = False) -> Any:
    """Load both plugins."""
    names = load_plugin(remote)
    load_neural_volume(remote)
    return names
