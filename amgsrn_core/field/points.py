"""Points of a model by the names of its axes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from amgsrn_core.errors import VolumeError
from amgsrn_core.volume import GridGeometry
from amgsrn_core.volume.axis_names import axis_number, describe_axes, other_sign, to_world


def named_points(
    geometry: GridGeometry, named: Mapping[str, Any]
) -> tuple[np.ndarray, tuple[int, ...]]:
    """Return world points [N, 3] (x, y, z), and the shape that the coordinates have together.

    Parameters
    ----------
    geometry : GridGeometry
    named : mapping of str to array_like
        A coordinate for each axis, as its file has them; their shapes are broadcast.

    Raises
    ------
    VolumeError
        An axis is not named, or twice; there is no such axis; or all points lie outside in a way
        that another sign explains.
    """
    if not geometry.is_aligned:
        raise VolumeError("A grid that is turned in space has no axes to name; give points [N, 3].")
    found: dict[int, np.ndarray] = {}
    for name, values in named.items():
        number = axis_number(geometry, name)
        if number in found:
            raise VolumeError(f"One axis is named twice, the second time as '{name}'.")
        axis = geometry.axes[number]
        found[number] = world = to_world(axis, values)
        if world.size and np.isfinite(world).all():
            low, high = float(world.min()), float(world.max())
            first, last = axis.coordinates[[0, -1]]
            why = other_sign(axis, low, high) if high < first or low > last else ""
            if why:
                raise VolumeError(
                    f"All points lie outside along {name} ({why}); the axes are "
                    f"{describe_axes(geometry)}."
                )
    missing = [geometry.axes[number].name for number in (2, 1, 0) if number not in found]
    if missing:
        raise VolumeError(
            f"A point needs a coordinate along each axis, and {', '.join(missing)} "
            f"{'is' if len(missing) == 1 else 'are'} not named; the axes are "
            f"{describe_axes(geometry)}."
        )
    try:
        x, y, z = np.broadcast_arrays(found[2], found[1], found[0])
    except ValueError as error:
        raise VolumeError(f"The coordinates do not go together: {error}.") from error
    return np.stack([x.ravel(), y.ravel(), z.ravel()], axis=1), x.shape
