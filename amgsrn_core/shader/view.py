"""A view of a volume as the shader takes it: single precision, however far away the eye is."""

from __future__ import annotations

from typing import Union

import numpy as np

from amgsrn_core.rendering.settings import RenderSettings, mean_spacing
from amgsrn_core.volume.geometry import GridGeometry

Uniform = Union[int, float, tuple[float, ...], np.ndarray]
"""An int, a float, a tuple of 2 to 4 floats, a float array [n], or a matrix [n, n]."""

# As in Camera.rays: the eye is at infinity.
_INFINITELY_FAR = 1e9


def view_uniforms(
    world_to_clip: np.ndarray, geometry: GridGeometry, settings: RenderSettings
) -> dict[str, Uniform]:
    """Return the uniforms of a view; all that is large cancels out here, in double precision.

    Rays start on a plane that faces the eye and is as far from it as the volume's middle. Their
    samples are counted from the eye, as :class:`amgsrn_core.rendering.samples.Samples` counts
    them; whole numbers of samples are left out.

    Parameters
    ----------
    world_to_clip : float64 array [4, 4]
        As in :class:`amgsrn_core.rendering.Camera`.
    geometry : GridGeometry
    settings : RenderSettings
        Their lights, crop box and clip planes are the world's.
    """
    spacing, origin = np.array(geometry.spacing), np.array(geometry.origin)
    to_world = geometry.direction * spacing  # of even coordinates
    place = np.eye(4)
    place[:3, :3], place[:3, 3] = to_world, origin
    to_clip = world_to_clip @ place
    last = np.array(geometry.dims[::-1], dtype=np.float64) - 1
    view = _parallel if _is_parallel(np.linalg.inv(to_clip)) else _perspective
    uniforms = view(to_clip, last / 2, settings.samples_per_voxel, place)
    mean = mean_spacing(geometry)
    normals = np.linalg.inv(geometry.direction).T / spacing
    uniforms |= {
        "toWorld": to_world / mean,
        "normalToWorld": normals / np.abs(normals).max(),
        "lastIndex": tuple(last.tolist()),
        "samplesPerVoxel": settings.samples_per_voxel,
        "seed": settings.seed,
    }
    planes = even_planes(settings, to_world, origin)
    if len(planes):
        uniforms["planes"] = planes.ravel()
    if settings.shade and settings.lights:
        uniforms["lights"] = settings.unit_lights().ravel()
    return uniforms


def plane_count(settings: RenderSettings) -> int:
    """Return how many planes cut the volume."""
    return len(settings.clip_planes) + (0 if settings.crop is None else 6)


def even_planes(settings: RenderSettings, to_world: np.ndarray, origin: np.ndarray) -> np.ndarray:
    """Return crop box and clip planes in even coordinates, float64 [n, 4]."""
    planes = [np.array(plane) for plane in settings.clip_planes]
    if settings.crop is not None:
        for axis, (low, high) in enumerate(np.reshape(settings.crop, (3, 2))):
            planes += [np.append(np.eye(3)[axis], -low), np.append(-np.eye(3)[axis], high)]
    if not planes:
        return np.empty((0, 4))
    world = np.array(planes)
    even = np.column_stack([world[:, :3] @ to_world, world[:, :3] @ origin + world[:, 3]])
    largest: np.ndarray = np.abs(even[:, :3]).max(axis=1, keepdims=True)
    return even / np.where(largest > 0, largest, 1.0)


def _is_parallel(inverse: np.ndarray) -> bool:
    near, far = (inverse @ (0, 0, z, 1) for z in (-1, 1))
    length = np.linalg.norm(far[:3] / far[3] - near[:3] / near[3])
    return not abs(inverse[3, 2]) * length * _INFINITELY_FAR > np.linalg.norm(inverse[:3, 2])


def _perspective(
    to_clip: np.ndarray, middle: np.ndarray, per_voxel: float, place: np.ndarray
) -> dict[str, Uniform]:
    inverse = np.linalg.inv(to_clip)
    eye, row = inverse[:3, 2] / inverse[3, 2], inverse[3]
    # A point of depth z at (x, y) is eye + ways (x, y, 1) / row . (x, y, z, 1).
    ways = inverse[:3, [0, 1, 3]] - np.outer(eye, row[[0, 1, 3]])
    away = float(np.linalg.norm(middle - eye))
    length = max(away, float(np.linalg.norm(middle))) / np.linalg.norm(ways[:, 2])
    centre = np.array([0.0, 0.0, (1.0 / length - row[3]) / row[2]])
    from_eye = length * ways[:, 2]
    reference = eye + from_eye
    distance = float(np.linalg.norm(from_eye))
    return {
        "centre": tuple(centre.tolist()),
        "reference": tuple(reference.tolist()),
        "acrossX": tuple((length * ways[:, 0]).tolist()),
        "acrossY": tuple((length * ways[:, 1]).tolist()),
        "fromEye": tuple(from_eye.tolist()),
        "eyeDistance": distance,
        "phase": per_voxel * distance % 1.0,
        "phaseSlope": (0.0, 0.0),
        "depthRow": tuple((length * row[:3]).tolist()),
        "isParallel": 0,
    }


def _parallel(
    to_clip: np.ndarray, middle: np.ndarray, per_voxel: float, place: np.ndarray
) -> dict[str, Uniform]:
    inverse = np.linalg.inv(to_clip)
    across = inverse[:3] / inverse[3, 3]
    clip = to_clip @ np.append(middle, 1.0)
    way = across[:, 2]
    length = float(np.linalg.norm(way))
    world_way = place[:3, :3] @ way
    # Samples are counted from the plane through the world's origin that faces the camera.
    count = world_way * (per_voxel * length / (world_way @ world_way))
    slope = count @ place[:3, :3] @ across[:, :2]
    phase = float(count @ (place @ np.append(middle, 1.0))[:3]) % 1.0
    return {
        "centre": tuple((clip[:3] / clip[3]).tolist()),
        "reference": tuple(middle.tolist()),
        "acrossX": tuple(across[:, 0].tolist()),
        "acrossY": tuple(across[:, 1].tolist()),
        "fromEye": tuple((way / length).tolist()),
        "eyeDistance": 0.0,
        "phase": phase,
        "phaseSlope": tuple(slope.tolist()),
        "depthRow": (0.0, 0.0, length * per_voxel),
        "isParallel": 1,
    }
