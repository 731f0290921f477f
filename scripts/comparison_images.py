"""Prepare a volume of any kind for a picture: an even grid whose box is pleasant to look at."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from amgsrn_core.model.replacement import guard
from amgsrn_core.rendering.looks import otsu
from amgsrn_core.volume import Axis, GridGeometry, Volume
from amgsrn_core.volume.replacement import Kind

LARGEST_SIDE = 256
ARRAYS = Kind("arrays", (".npz",))
_FLATTEST = 0.35  # the shortest side of the drawn box, of its longest


def save_image(
    volume: Volume, target: Path, title: str, look: dict[str, Any] | None
) -> dict[str, Any]:
    """Write `volume` for comparison_picture.py.

    Parameters
    ----------
    volume : Volume
        Any volume; of several components the magnitude is drawn.
    target : Path
        A .npz file.
    title : str
        Heading of its column.
    look : dict or None
        What another call returned, to draw with the same range and opacities.

    Returns
    -------
    dict
        The value range and the opacities that were used.
    """
    guard(target, ARRAYS, by="comparison_images", inputs=[volume.source])
    values, geometry = _coarse(volume)
    values = _even(values, geometry)
    if look is None:
        look = choose_look(values)
    sides = box(geometry)
    spacing = [side / max(n - 1, 1) for side, n in zip(sides, values.shape[::-1])]
    z = geometry.axes[0]
    height = z.coordinates[z.size // 2]
    share = (height - z.coordinates[0]) / (z.coordinates[-1] - z.coordinates[0])
    units = [unit for unit in dict.fromkeys(volume.units) if unit not in ("", "1")]
    np.savez(
        target,
        values=values,
        spacing=spacing,
        title=title,
        quantity=volume.name + (f" [{units[0]}]" if len(units) == 1 else ""),
        slice=round(share * (len(values) - 1)),
        slice_title=f"{z.name} = {height:.4g} {z.units.strip('1')}".rstrip(),
        **look,
    )
    return look


def choose_look(values: np.ndarray) -> dict[str, Any]:
    """Choose the range, and opacities that leave the low values out and rise with the rest.

    Returns
    -------
    dict
        ``range`` (low, high) and ``opacities``, pairs of value and opacity in ascending order.
    """
    present = values[np.isfinite(values)]
    low, high = float(present.min()), float(present.max())
    threshold = otsu(present)
    shown = present[present > threshold]
    # Little that is high stands before an empty background: show it from its surface on.
    solid = shown.size < 0.35 * present.size
    full = float(np.quantile(shown, 0.25 if solid else 0.98))
    points = [(low, 0.0), (threshold, 0.0), (full, 0.9), (high, 0.9)]
    return {"range": (low, high), "opacities": points}


def box(geometry: GridGeometry) -> tuple[float, float, float]:
    """Return the sides of the drawn box along x, y, z, the longest being 1.

    Axes in one unit keep their proportions. Degrees against metres would make a sheet or a needle:
    an axis of another unit, or a far too short one, gets a fixed share of the longest.
    """
    x, y, z = (abs(axis.coordinates[-1] - axis.coordinates[0]) for axis in reversed(geometry.axes))
    unit_z, unit_y, unit_x = (_unit(axis) for axis in geometry.axes)
    plane = max(x, y)
    sides = [x / plane, y / plane, z / plane]
    if unit_y != unit_x:
        sides[:2] = [1.0, 1.0]
    if unit_z != unit_x:
        sides[2] = 0.5
    longest = max(sides)
    return tuple(max(side / longest, _FLATTEST) for side in sides)  # type: ignore[return-value]


def _unit(axis: Axis) -> str:
    return "degrees" if axis.units.startswith("degree") else axis.units


def _coarse(volume: Volume) -> tuple[np.ndarray, GridGeometry]:
    """Return every n-th sample as one component, NaN where missing, and where these are."""
    steps = [-(-size // LARGEST_SIDE) for size in volume.dims]
    parts = []
    for extent in volume.slabs():
        block = volume.read(extent)
        values = block.values[0]
        if len(block.values) > 1:
            values = np.sqrt(np.sum(np.square(block.values), axis=0))
        if block.valid is not None:
            values = np.where(block.valid, values, np.float32(np.nan))
        first = -extent[0].start % steps[0]
        # A copy, because a view would keep the whole slab in memory.
        parts.append(values[first :: steps[0], :: steps[1], :: steps[2]].copy())
    axes = tuple(
        Axis(axis.name, axis.coordinates[::step], axis.units)
        for axis, step in zip(volume.geometry.axes, steps)
    )
    return np.concatenate(parts), GridGeometry(axes)  # type: ignore[arg-type]


def _even(values: np.ndarray, geometry: GridGeometry) -> np.ndarray:
    """Resample uneven axes at even distances; a sample beside a missing one stays missing."""
    for number, axis in enumerate(geometry.axes):
        if axis.is_uniform:
            continue
        world = axis.coordinates
        finest = float(np.diff(world).min())
        wanted = int(np.ceil((world[-1] - world[0]) / finest)) + 1
        count = min(max(wanted, axis.size), max(axis.size, LARGEST_SIDE // 2))
        index = np.interp(np.linspace(world[0], world[-1], count), world, np.arange(axis.size))
        lower = np.minimum(index.astype(int), axis.size - 2)
        shape = [1, 1, 1]
        shape[number] = count
        weight = (index - lower).reshape(shape).astype(np.float32)
        below = np.take(values, lower, axis=number)
        above = np.take(values, lower + 1, axis=number)
        mixed = below + weight * (above - below)
        # A point that falls on a sample must not be lost to a missing neighbour.
        mixed = np.where(weight == 0, below, np.where(weight == 1, above, mixed))
        values = mixed.astype(np.float32)
    return values
