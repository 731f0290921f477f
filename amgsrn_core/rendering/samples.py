"""Where samples lie on rays: on a grid of fixed step that no brick and no rank disturbs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from amgsrn_core.errors import ConfigurationError
from amgsrn_core.rendering.camera import Rays
from amgsrn_core.rendering.settings import RenderSettings
from amgsrn_core.volume.geometry import GridGeometry

# Along the longest axis that a volume may have that is more than one a voxel.
_MOST_SAMPLES = 1 << 24

# Steps that differ by less are equal but for rounding.
_SAME = 1e-6


@dataclass(frozen=True, eq=False)
class Samples:
    """The samples of each ray: t = (k + offset) * step for first <= k < first + count.

    A ray's step is as long as a voxel along it: all rays take equally many samples per voxel, also
    where voxels are much longer along one axis than along another.

    Parameters
    ----------
    near, far : float64 array [N]
        What of the ray is inside the volume, the crop box and the clip planes; far <= near where
        nothing is.
    first, count : int64 array [N]
        All k whose steps, from t - step / 2 to t + step / 2, reach into the range from near to far.
        A step that it cuts counts for what is left, and its sample is in the middle of that: else
        the faces of dense volumes would show rings. For isosurfaces, which lie between whole
        samples, all k with near <= t < far and the next on either side, so that each is found by
        whoever's range it is in.
    offset : float64 array [N]
        0.5, or a random number from 0 to 1 for each ray.
    step : float64 array [N]
        World units.
    exponent : float32 array [N]
        How many of the settings' step, which tables of opacities are for, are in the ray's; 1 on
        voxels with edges of one length.
    """

    near: np.ndarray
    far: np.ndarray
    first: np.ndarray
    count: np.ndarray
    offset: np.ndarray
    step: np.ndarray
    exponent: np.ndarray

    @classmethod
    def on_rays(cls, rays: Rays, geometry: GridGeometry, settings: RenderSettings) -> Samples:
        """Place the samples of rays through a volume.

        Raises
        ------
        ConfigurationError
            A ray would have more than 2^24 samples, which no picture needs.
        """
        step = ray_steps(rays, geometry, settings)
        exponent = (step / settings.step(geometry)).astype(np.float32)
        exponent[np.abs(exponent - 1) < _SAME] = 1
        near, far = visible_range(rays, geometry, settings)
        if settings.jitter:
            offset = random_offsets(rays.pixels, settings.seed)
        else:
            offset = np.full(len(rays), 0.5)
        with np.errstate(invalid="ignore"):
            reach = reach_of(settings)
            first = np.ceil(near / step - offset - reach)
            end = np.ceil(far / step - offset + reach)
        missed = ~(near < far)
        first[missed] = end[missed] = 0
        count = np.maximum(end - first, 0)
        most = count.max(initial=0)
        if not most <= _MOST_SAMPLES:
            raise ConfigurationError(
                f"A ray through the volume would have {most:.3g} samples; use fewer samples per "
                "voxel, or check where the volume's axes lie."
            )
        return cls(
            *(near, far, first.astype(np.int64), count.astype(np.int64)),
            *(offset, step, exponent),
        )


def reach_of(settings: RenderSettings) -> float:
    """Return how many steps beyond what is seen there are samples; see :class:`Samples`."""
    return 1.0 if settings.blend == "isosurface" else 0.5


def ray_steps(rays: Rays, geometry: GridGeometry, settings: RenderSettings) -> np.ndarray:
    """Return the world distance between the samples of each ray, float64 [N].

    It is an index step, in the Euclidean length, divided by the samples per voxel.
    """
    _, directions = axis_rays(rays, geometry)
    spacing = np.array(geometry.spacing)
    cells = np.linalg.norm(directions / spacing, axis=1)
    return 1.0 / (settings.samples_per_voxel * cells)


def visible_range(
    rays: Rays, geometry: GridGeometry, settings: RenderSettings
) -> tuple[np.ndarray, np.ndarray]:
    """Cut rays [N] to the volume, the crop box and the clip planes; far <= near where they miss.

    Boxes that touch share each ray exactly between them.
    """
    near, far = rays.near, rays.far
    origins, directions = axis_rays(rays, geometry)
    for column, axis in enumerate(reversed(geometry.axes)):
        low, high = axis.coordinates[0], axis.coordinates[-1]
        near, far = _slab(near, far, origins[:, column], directions[:, column], low, high)
    if settings.crop is not None:
        for column in range(3):
            low, high = settings.crop[2 * column : 2 * column + 2]
            near, far = _slab(
                near, far, rays.origins[:, column], rays.directions[:, column], low, high
            )
    for plane in settings.clip_planes:
        normal, shift = np.array(plane[:3]), plane[3]
        start, slope = rays.origins @ normal, rays.directions @ normal
        near, far = _slab(near, far, start, slope, -shift, np.inf)
    return near, far


def axis_rays(rays: Rays, geometry: GridGeometry) -> tuple[np.ndarray, np.ndarray]:
    """Return origins and directions [N, 3] in axis coordinates, before the direction turns them.

    t means the same there; the directions are unit vectors only if the direction is a rotation.
    """
    if geometry.is_aligned:
        return rays.origins, rays.directions
    inverse, origin = np.linalg.inv(geometry.direction), np.array(geometry.origin)
    return origin + (rays.origins - origin) @ inverse.T, rays.directions @ inverse.T


def random_offsets(pixels: np.ndarray, seed: int) -> np.ndarray:
    """Return a random number in [0, 1) for each pixel, float64 [N], the same for the same seed.

    The finaliser of SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number
    generators", OOPSLA 2014) applied to the pixel's place in a sequence that the seed starts.
    """
    with np.errstate(over="ignore"):
        state = pixels.astype(np.uint64) + (np.uint64(seed) << np.uint64(32))
        state = (state + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        state ^= state >> np.uint64(31)
    return (state >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _slab(
    near: np.ndarray,
    far: np.ndarray,
    start: np.ndarray,
    slope: np.ndarray,
    low: float,
    high: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Cut ranges of t to low <= start + t * slope < high."""
    parallel = slope == 0
    with np.errstate(divide="ignore", invalid="ignore"):
        enter, leave = (low - start) / slope, (high - start) / slope
    enter, leave = np.minimum(enter, leave), np.maximum(enter, leave)
    inside = (start >= low) & (start < high)
    enter = np.where(parallel, np.where(inside, -np.inf, np.inf), enter)
    leave = np.where(parallel, np.where(inside, np.inf, -np.inf), leave)
    return np.maximum(near, enter), np.minimum(far, leave)
