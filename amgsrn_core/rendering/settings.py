"""How a volume is rendered, apart from camera and transfer function."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from amgsrn_core.config import Checked, option
from amgsrn_core.errors import ConfigurationError
from amgsrn_core.volume.geometry import GridGeometry

BLEND_MODES = ("composite", "maximum", "isosurface")

SAMPLINGS = ("exact", "cached")

INTERPOLATIONS = ("linear", "cubic")

Bounds = tuple[float, float, float, float, float, float]
Plane = tuple[float, float, float, float]
Light = tuple[float, float, float, float, float, float]


@dataclass(frozen=True)
class RenderSettings(Checked):
    """How rays are sampled, blended and shaded; the meaning of everything is VTK's.

    Parameters
    ----------
    sharers : int, default: 1
        How many processes of this computer share the memory for decoded blocks evenly.
    isovalues : tuple of float
        What blend mode "isosurface" shows, in the field's units.
    component : int or "magnitude", default: 0
        What of a field of several components is seen.
    crop : six floats, optional
        Only what lies in this world box x0, x1, y0, y1, z0, z1 is seen.
    clip_planes : tuple of (nx, ny, nz, d)
        Only where nx*x + ny*y + nz*z + d >= 0 something is seen.
    lights : tuple of (x, y, z, red, green, blue)
        Lights for `shade`, infinitely far away: the direction to each in the world, of any length
        but 0, and its colour times its intensity. Default: a white lamp at the camera.
    """

    samples_per_voxel: float = option(
        1.0, "samples along a ray per mean voxel spacing", minimum=1e-3, maximum=1e3
    )
    unit_distance: float = option(
        0.0,
        "world distance over which the transfer function's opacity applies (0: the mean spacing)",
        minimum=0.0,
    )
    blend: str = option(
        "composite",
        "composite, the maximum along the ray, or surfaces at the isovalues",
        choices=BLEND_MODES,
    )
    shade: bool = option(False, "light with a lamp at the camera, by the field's gradient")
    ambient: float = option(0.1, "ambient light", minimum=0.0, maximum=1.0)
    diffuse: float = option(0.9, "diffuse reflection", minimum=0.0, maximum=1.0)
    specular: float = option(0.2, "specular reflection", minimum=0.0, maximum=1.0)
    specular_power: float = option(
        10.0, "sharpness of specular highlights", minimum=0.0, maximum=1000.0
    )
    jitter: bool = option(False, "start rays at random offsets, which turns rings into noise")
    seed: int = option(0, "seed of the random offsets", minimum=0, maximum=2**31 - 1)
    opacity_limit: float = option(
        0.995, "accumulated opacity at which a ray ends", minimum=0.0, maximum=1.0
    )
    sampling: str = option(
        "exact",
        "evaluate the networks at every sample, or interpolate blocks decoded from them, which are "
        "kept (CPU kernels)",
        choices=SAMPLINGS,
    )
    cells_per_voxel: int = option(
        1,
        "lattice cells per voxel of the finest decoded blocks, along each axis",
        maximum=2,
        minimum=1,
    )
    interpolation: str = option(
        "linear",
        "of decoded blocks, between their points: linear, or cubic, which is closer and slower",
        choices=INTERPOLATIONS,
    )
    cache_memory: float = option(
        0.0,
        "megabytes for decoded blocks (0: an eighth of the machine's memory, at most 1074)",
        minimum=0.0,
        maximum=1e7,
    )
    sharers: int = 1
    isovalues: tuple[float, ...] = ()
    component: int | str = 0
    crop: Bounds | None = None
    clip_planes: tuple[Plane, ...] = ()
    lights: tuple[Light, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.sharers, bool) or not isinstance(self.sharers, int) or self.sharers < 1:
            raise ConfigurationError(f"sharers must be at least 1, not {self.sharers!r}.")
        object.__setattr__(self, "isovalues", _numbers("isovalues", self.isovalues))
        component = self.component
        if component != "magnitude" and (
            isinstance(component, (bool, str)) or not isinstance(component, int) or component < 0
        ):
            raise ConfigurationError(
                f"component must be a component's number from 0, or magnitude, not {component!r}."
            )
        if self.crop is not None:
            object.__setattr__(self, "crop", _numbers("crop", self.crop, 6))
        planes = tuple(_numbers("a clip plane", plane, 4) for plane in self.clip_planes)
        object.__setattr__(self, "clip_planes", planes)
        lights = tuple(_numbers("a light", light, 6) for light in self.lights)
        if not all(any(light[:3]) for light in lights):
            raise ConfigurationError("A light needs a direction that is not 0, 0, 0.")
        object.__setattr__(self, "lights", lights)

    def require_component(self, count: int) -> None:
        """Raise :class:`ConfigurationError` unless a field of `count` components has the one."""
        if self.component != "magnitude" and int(self.component) >= count:
            raise ConfigurationError(
                f"The field has {count} component(s), numbered from 0; there is no component "
                f"{self.component}."
            )

    def unit_lights(self) -> np.ndarray:
        """Return the lights, float64 [n, 6], with directions of length 1."""
        lights = np.array(self.lights, dtype=np.float64).reshape(-1, 6)
        lights[:, :3] /= np.linalg.norm(lights[:, :3], axis=1, keepdims=True)
        return lights

    def scaled(self, factors: tuple[float, float, float]) -> RenderSettings:
        """Return the settings in a world that is stretched along x, y, z.

        The unit distance and the lights are those of the stretched world already.
        """
        x, y, z = factors
        crop = self.crop
        if crop is not None:
            x0, x1, y0, y1, z0, z1 = crop
            crop = x0 * x, x1 * x, y0 * y, y1 * y, z0 * z, z1 * z
        planes = tuple((a / x, b / y, c / z, d) for a, b, c, d in self.clip_planes)
        return replace(self, crop=crop, clip_planes=planes)

    def step(self, geometry: GridGeometry) -> float:
        """Return the mean world distance between samples: one for a whole volume."""
        return mean_spacing(geometry) / self.samples_per_voxel

    def opacity_ratio(self, geometry: GridGeometry) -> float:
        """Return the exponent that corrects opacities: step / unit distance."""
        return self.step(geometry) / (self.unit_distance or mean_spacing(geometry))


def mean_spacing(geometry: GridGeometry) -> float:
    """Return the mean of the mean distances between samples along x, y, z, in world units."""
    return sum(geometry.spacing) / 3.0


def chosen_isovalues(
    isovalues: tuple[float, ...], low: float, high: float, name: str
) -> tuple[float, ...]:
    """Return the values of surfaces to show: those that are wanted, or the middle of the range.

    Raises
    ------
    ConfigurationError
        One is outside the range `low` to `high` of the array `name`.
    """
    for value in isovalues:
        if not low <= value <= high:
            raise ConfigurationError(
                f"There is no surface at the isovalue {value:g}: {name} has the range {low:g} to "
                f"{high:g}; choose a value in it."
            )
    return isovalues or (low + 0.5 * (high - low),)


def _numbers(name: str, values: object, count: int | None = None) -> tuple[float, ...]:
    try:
        numbers = tuple(float(value) for value in values)  # type: ignore[attr-defined]
    except (TypeError, ValueError):
        numbers = (math.nan,)
    if not all(map(math.isfinite, numbers)) or (count is not None and len(numbers) != count):
        words = "finite numbers" if count is None else f"{count} finite numbers"
        raise ConfigurationError(f"{name} must be {words}, not {values!r}.")
    return numbers
