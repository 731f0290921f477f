"""What a scene of VTK says about a volume: its look, its place, lights and the camera."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from amgsrn_core.rendering.settings import Light, Plane, RenderSettings
from amgsrn_core.rendering.transfer import TransferFunction

# VTK's numbers.
BLEND_MODES = {0: "composite", 1: "maximum", 5: "isosurface"}
_OTHER_MODES = {2: "minimum intensity", 3: "average intensity", 4: "additive", 6: "slice"}
_LOGARITHMIC = 1

_ENTRIES = 1024


def blend_of(mode: int) -> tuple[str, str]:
    """Return how a blend mode of VTK's is drawn, and a remark where that is another one."""
    if mode in BLEND_MODES:
        return BLEND_MODES[mode], ""
    name = _OTHER_MODES.get(mode, f"number {mode}")
    return "composite", f"Blend mode {name} is drawn as composite, since networks have no such mode"


def numbers(matrix: Any) -> np.ndarray:
    """Return a vtkMatrix4x4 as float64 [4, 4]."""
    return np.array([[matrix.GetElement(i, j) for j in range(4)] for i in range(4)])


@dataclasses.dataclass(frozen=True)
class Placement:
    """Where a prop's matrix puts a volume: world = rotation @ (scale * point) + shift.

    Attributes
    ----------
    scale : three floats
    rotation : float64 array [3, 3]
    shift : float64 array [3]
    """

    scale: tuple[float, float, float]
    rotation: np.ndarray
    shift: np.ndarray

    @classmethod
    def of(cls, matrix: np.ndarray) -> Placement:
        """Take a matrix apart, float64 [4, 4]."""
        lengths = np.linalg.norm(matrix[:3, :3], axis=0)
        # Rounded: they come out of a product of matrices.
        x, y, z = (float(f"{length:.9g}") or 1.0 for length in lengths)
        return cls((x, y, z), matrix[:3, :3] / (x, y, z), matrix[:3, 3])

    def matrix(self) -> np.ndarray:
        """Return the map from the stretched volume to the world, float64 [4, 4]."""
        whole = np.eye(4)
        whole[:3, :3], whole[:3, 3] = self.rotation, self.shift
        return whole

    def plane(self, normal: np.ndarray, origin: np.ndarray) -> Plane:
        """Return a plane of the world in the stretched volume's coordinates."""
        a, b, c = (normal @ self.rotation).tolist()
        return a, b, c, float(normal @ (self.shift - origin))


def world_to_clip(renderer: Any) -> np.ndarray:
    """Return the camera's matrix, float64 [4, 4]."""
    camera = renderer.GetActiveCamera()
    aspect = renderer.GetTiledAspectRatio()
    return numbers(camera.GetCompositeProjectionTransformMatrix(aspect, -1, 1))


def is_seen(matrix: np.ndarray) -> bool:
    """Return whether a matrix, float64 [4, 4], leaves anything of a volume to be seen."""
    return bool(np.isfinite(matrix).all() and np.linalg.det(matrix) != 0)


def transfer_of(volume_property: Any) -> TransferFunction:
    """Return colours and opacities of a vtkVolumeProperty's first component."""
    colour, opacity = volume_property.GetRGBTransferFunction(0), volume_property.GetScalarOpacity(0)
    low, high = colour.GetRange()
    if not low < high:
        low, high = opacity.GetRange()
    if not low < high:  # of one value: everything below is its first colour
        high = low + 1e-6 * max(abs(low), 1.0)
    logarithmic = colour.GetScale() == _LOGARITHMIC and low > 0
    if logarithmic:
        values = np.geomspace(low, high, _ENTRIES)
        rows = [(*_color(colour, v), opacity.GetValue(v)) for v in values.tolist()]
        return TransferFunction(low, high, np.clip(rows, 0, 1), logarithmic=True)
    rgb, alpha = [0.0] * (3 * _ENTRIES), [0.0] * _ENTRIES
    colour.GetTable(low, high, _ENTRIES, rgb)
    opacity.GetTable(low, high, _ENTRIES, alpha)
    table = np.column_stack([np.reshape(rgb, (_ENTRIES, 3)), alpha])
    return TransferFunction(low, high, np.clip(table, 0, 1))


def _color(colours: Any, value: float) -> list[float]:
    rgb = [0.0] * 3
    colours.GetColor(value, rgb)  # ParaView's class has this form alone
    return rgb


def show_transfer(volume_property: Any, transfer: TransferFunction) -> None:
    """Give a vtkVolumeProperty the colours and opacities of a transfer function."""
    colour, opacity = volume_property.GetRGBTransferFunction(0), volume_property.GetScalarOpacity(0)
    colour.RemoveAllPoints()
    opacity.RemoveAllPoints()
    space = np.geomspace if transfer.logarithmic else np.linspace
    if transfer.logarithmic:
        colour.SetScaleToLog10()
    rows = transfer.table.astype(np.float64).tolist()
    for value, (r, g, b, a) in zip(space(transfer.low, transfer.high, len(rows)).tolist(), rows):
        colour.AddRGBPoint(value, r, g, b)
        opacity.AddPoint(value, a)


def show_settings(volume: Any, settings: RenderSettings) -> None:
    """Give a vtkVolume's property and mapper what settings say."""
    prop, mapper = volume.GetProperty(), volume.GetMapper()
    prop.SetShade(settings.shade)
    prop.SetAmbient(settings.ambient)
    prop.SetDiffuse(settings.diffuse)
    prop.SetSpecular(settings.specular)
    prop.SetSpecularPower(settings.specular_power)
    prop.SetScalarOpacityUnitDistance(settings.unit_distance)
    mapper.SetUseJittering(settings.jitter)
    mode = next(mode for mode, name in BLEND_MODES.items() if name == settings.blend)
    mapper.SetBlendMode(mode)
    for number, value in enumerate(settings.isovalues):
        prop.GetIsoSurfaceValues().SetValue(number, value)
    if settings.crop is not None:
        mapper.CroppingOn()
        mapper.SetCroppingRegionFlagsToSubVolume()
        mapper.SetCroppingRegionPlanes(settings.crop)


def settings_of(
    volume: Any, renderer: Any, placement: Placement, wanted: RenderSettings
) -> RenderSettings:
    """Return settings in the stretched volume's coordinates: VTK's where VTK has them."""
    prop, mapper = volume.GetProperty(), volume.GetMapper()
    contours = prop.GetIsoSurfaceValues()
    scale = np.repeat(placement.scale, 2)
    crop = None
    if mapper.GetCropping():
        crop = tuple((np.array(mapper.GetCroppingRegionPlanes()) * scale).tolist())
    return dataclasses.replace(
        wanted,
        shade=bool(prop.GetShade()),
        ambient=prop.GetAmbient(),
        diffuse=prop.GetDiffuse(),
        specular=prop.GetSpecular(),
        specular_power=prop.GetSpecularPower(),
        unit_distance=prop.GetScalarOpacityUnitDistance(),
        blend=blend_of(mapper.GetBlendMode())[0],
        jitter=bool(mapper.GetUseJittering()),
        isovalues=tuple(contours.GetValue(i) for i in range(contours.GetNumberOfContours())),
        crop=crop,
        clip_planes=_clip_planes(mapper, placement),
        lights=_lights(renderer, placement) if prop.GetShade() else (),
    )


def _clip_planes(mapper: Any, placement: Placement) -> tuple[Plane, ...]:
    planes = mapper.GetClippingPlanes()
    if planes is None:
        return ()
    found = [planes.GetItem(i) for i in range(planes.GetNumberOfItems())]
    return tuple(placement.plane(np.array(p.GetNormal()), np.array(p.GetOrigin())) for p in found)


def _lights(renderer: Any, placement: Placement) -> tuple[Light, ...]:
    """Return lights that are on, by their directions; none for one lamp at the camera."""
    lights = renderer.GetLights()
    found: list[Light] = []
    is_lamp = False
    for number in range(lights.GetNumberOfItems()):
        light = lights.GetItemAsObject(number)
        if not light.GetSwitch():
            continue
        towards = np.subtract(light.GetTransformedPosition(), light.GetTransformedFocalPoint())
        colour = np.array(light.GetDiffuseColor()) * light.GetIntensity()
        is_lamp = bool(light.LightTypeIsHeadlight()) and (colour == 1).all()
        if towards.any():
            x, y, z = (towards @ placement.rotation).tolist()
            found.append((x, y, z, *colour.tolist()))
    if is_lamp and len(found) <= 1:
        return ()
    return tuple(found) or ((0.0, 0.0, 1.0, 0.0, 0.0, 0.0),)  # all is dark
