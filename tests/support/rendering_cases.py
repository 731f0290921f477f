"""Models, cameras and transfer functions for tests of rendering, and a marcher in plain loops."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from amgsrn_core import NeuralVolume
from amgsrn_core.rendering import Camera, RenderSettings, TransferFunction
from amgsrn_core.rendering.samples import random_offsets, visible_range
from amgsrn_core.volume.axis import Axis
from amgsrn_core.volume.geometry import GridGeometry
from support.sample_models import small_index, write_small_model, write_two_bricks

DIMS = (9, 8, 10)


def uneven_geometry() -> GridGeometry:
    """Pressure-like levels along z, a stretched y."""
    _, y, x = small_index(DIMS).geometry.axes
    levels = np.array([0.0, 0.5, 1.2, 2.0, 3.5, 4.0, 6.0, 7.0, 9.5])
    return GridGeometry((Axis("z", levels), Axis("y", 1.5 * y.coordinates**1.1), x))


def turned_geometry() -> GridGeometry:
    """Axes turned and sheared in the world."""
    direction = np.array([[0.8, -0.6, 0.1], [0.6, 0.8, 0.0], [0.0, 0.1, 1.0]])
    return GridGeometry.uniform(DIMS, (5.0, -3.0, 2.0), (1.0, 1.3, 0.7), direction)


def models(folder: Path) -> dict[str, NeuralVolume]:
    """Return a model of each kind that rendering has to cope with."""
    kinds = {
        "plain": (write_small_model, {}),
        "uneven": (write_small_model, {"geometry": uneven_geometry()}),
        "turned": (write_small_model, {"geometry": turned_geometry()}),
        "masked": (write_small_model, {"mask": True}),
        "vectors": (write_small_model, {"components": ("u", "v", "w")}),
        "bricks": (write_two_bricks, {"mask": True, "components": ("u", "v")}),
    }
    opened = {}
    for seed, (name, (write, options)) in enumerate(kinds.items()):
        path = folder / f"{name}.amgsrn"
        write(path, seed=seed + 3, dims=DIMS, **options)
        opened[name] = NeuralVolume.open(path, "cpu")
    return opened


def camera_at(
    volume: NeuralVolume, width: int = 16, height: int = 12, zoom: float = 1.0, **options
) -> Camera:
    """Return a camera that sees the volume from an odd angle."""
    x0, x1, y0, y1, z0, z1 = volume.geometry.bounds
    centre = np.array([x0 + x1, y0 + y1, z0 + z1]) / 2
    reach = math.dist((x0, y0, z0), (x1, y1, z1))
    position = centre + zoom * reach * np.array([0.9, 0.7, 1.1])
    options.setdefault("near", 0.01 * reach)
    options.setdefault("far", 10 * reach)
    return Camera.look_at(position, centre, (0, 1, 0), width=width, height=height, **options)


def parallel_camera(volume: NeuralVolume, **options) -> Camera:
    x0, x1, y0, y1, z0, z1 = volume.geometry.bounds
    scale = 0.6 * math.dist((x0, y0, z0), (x1, y1, z1))
    return camera_at(volume, parallel_scale=scale, **options)


def transfer_for(volume: NeuralVolume, seed: int = 0, **options) -> TransferFunction:
    """Return a bumpy transfer function over the range of the model's first component."""
    values = volume.reconstruct_block().values[0]
    table = np.random.default_rng(seed).random((12, 4))
    table[:, 3] *= 0.8
    low, high = np.nanquantile(values, [0.05, 0.95])
    return TransferFunction(float(low), float(high), table, **options)


def looped_image(
    volume: NeuralVolume, camera: Camera, transfer: TransferFunction, settings: RenderSettings
) -> np.ndarray:
    """March every ray by itself, sample after sample, as VTK's shader does; [N, 4].

    Samples along each ray lie at (k + offset) * step from its origin; a step is as long as a
    voxel along the ray, or as a part of one.
    """
    geometry = volume.geometry
    spacing = sum(geometry.spacing) / 3
    rays = camera.rays()
    in_voxels = rays.directions @ np.linalg.inv(geometry.direction).T / geometry.spacing
    lengths = 1 / np.linalg.norm(in_voxels, axis=1) / settings.samples_per_voxel
    image = np.zeros((len(rays), 4))
    near, far = visible_range(rays, geometry, settings)
    offsets = random_offsets(rays.pixels, settings.seed) if settings.jitter else [0.5] * len(rays)
    limits = zip(rays.near, rays.far, lengths)
    steps = [np.arange(int(a / step) - 2, int(b / step) + 2) for a, b, step in limits]
    distances = [(k + offset) * step for k, offset, step in zip(steps, offsets, lengths)]
    lines = [o + t[:, None] * d for o, t, d in zip(rays.origins, distances, rays.directions)]
    ends = np.cumsum([len(line) for line in lines])[:-1]
    everything = np.split(_values(volume, np.concatenate(lines), settings), ends)
    for i, (origin, direction) in enumerate(zip(rays.origins, rays.directions)):
        t, points, values, step = distances[i], lines[i], everything[i], lengths[i]
        if settings.blend == "isosurface":
            image[i] = _surfaces(volume, transfer, settings, origin, direction, t, values)
            continue
        # A step that is not all visible counts for the part that is, and is sampled in its middle.
        low, high = np.maximum(t - step / 2, near[i]), np.minimum(t + step / 2, far[i])
        visible = low < high
        points = origin + 0.5 * (low + high)[visible, None] * direction
        shares = (high - low)[visible] / step
        values = _values(volume, points, settings)
        if settings.blend == "maximum":
            if not np.isnan(values).all():
                r, g, b, a = _look_up(transfer, np.nanmax(values))
                image[i] = r * a, g * a, b * a, a
            continue
        known = ~np.isnan(values)
        # Tables are corrected for a mean voxel; the rest of a step counts as a cut one does.
        mean = spacing / settings.samples_per_voxel
        ratio, shares = mean / (settings.unit_distance or spacing), shares * (step / mean)
        looked_up = _look_up(transfer, values[known], ratio)
        for point, rgba, share in zip(points[known], looked_up, shares[known]):
            *colour, opacity = rgba
            opacity = 1 - (1 - opacity) ** share
            if settings.shade and opacity:
                colour = _lit(volume, settings, np.array(colour), point, direction)
            image[i, :3] += (1 - image[i, 3]) * opacity * np.array(colour)
            image[i, 3] += (1 - image[i, 3]) * opacity
            if image[i, 3] >= settings.opacity_limit:
                break
    image[:, :3] = np.minimum(image[:, :3], 1)
    return image


def _values(volume: NeuralVolume, points: np.ndarray, settings: RenderSettings) -> np.ndarray:
    """Return what is seen at points; NaN outside the volume."""
    geometry = volume.geometry
    index = geometry.world_to_index(points)
    inside = ((index >= 0) & (index <= np.array(geometry.dims[::-1]) - 1)).all(axis=1)
    values = np.full(len(points), np.nan)
    values[inside] = seen(volume.sample(points[inside]), settings)
    return values


def seen(values: np.ndarray, settings: RenderSettings) -> np.ndarray:
    if settings.component == "magnitude":
        return np.sqrt((values.astype(float) ** 2).sum(axis=1))
    return values[:, settings.component].astype(float)


def _surfaces(volume, transfer, settings, origin, direction, t, values) -> np.ndarray:
    result = np.zeros(4)
    for k in range(len(t) - 1):
        a, b = values[k], values[k + 1]
        if np.isnan(a) or np.isnan(b):
            continue
        crossings = [v for v in settings.isovalues if (a < v) != (b < v)]
        for value in sorted(crossings, reverse=bool(a > b)):
            point = origin + (t[k] + (a - value) / (a - b) * (t[k + 1] - t[k])) * direction
            *colour, opacity = _look_up(transfer, value)
            if settings.shade:
                colour = _lit(volume, settings, np.array(colour), point, direction)
            result[:3] += (1 - result[3]) * opacity * np.array(colour)
            result[3] += (1 - result[3]) * opacity
            if result[3] >= settings.opacity_limit:
                return result
    return result


def _look_up(transfer: TransferFunction, values, ratio: float = 1.0) -> np.ndarray:
    x = np.linspace(0, 1, len(transfer.table))
    low, high = transfer.low, transfer.high
    values = np.clip(np.asarray(values, dtype=float), low, high)
    if transfer.logarithmic:
        low, high, values = math.log10(low), math.log10(high), np.log10(values)
    table = transfer.table.astype(float)
    table[:, 3] = 1 - (1 - table[:, 3]) ** ratio
    return np.stack([np.interp((values - low) / (high - low), x, c) for c in table.T], axis=-1)


def _lit(volume, settings, colour, point, direction) -> np.ndarray:
    """Light with a gradient of central differences, tiny ones, in the world."""
    h = 2e-3 * min(volume.geometry.spacing)
    ends = np.array([point + sign * h * np.eye(3)[axis] for axis in range(3) for sign in (1, -1)])
    low, high = np.array(volume.geometry.bounds).reshape(3, 2).T
    ends = ends.clip(low, high)  # next to a face from one side
    values = seen(volume.sample(ends), settings).reshape(3, 2)
    gradient = (values[:, 0] - values[:, 1]) / np.abs(ends[::2] - ends[1::2]).sum(axis=1)
    normal = gradient / max(np.linalg.norm(gradient), 1e-30)
    result = settings.ambient * colour
    for *towards, red, green, blue in settings.lights or [(*-direction, 1, 1, 1)]:
        towards = np.array(towards) / np.linalg.norm(towards)
        halfway = (towards - direction) / np.linalg.norm(towards - direction)
        shine = settings.specular * abs(normal @ halfway) ** settings.specular_power
        result = result + np.array([red, green, blue]) * (
            settings.diffuse * abs(normal @ towards) * colour + shine
        )
    return result
