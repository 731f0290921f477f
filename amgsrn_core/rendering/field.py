"""What a PyTorch marcher renders: a field on a device, in the volume's index space."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from amgsrn_core.field.device_field import DeviceField
from amgsrn_core.field.neural_volume import NeuralVolume
from amgsrn_core.model.box import Box
from amgsrn_core.networks import SceneNetwork
from amgsrn_core.volume.axis import Axis
from amgsrn_core.volume.geometry import GridGeometry

Select = Callable[[Tensor], Tensor]
"""From values [N, C] to the one [N] that is seen."""


class Field(Protocol):
    """A field of C components over a volume's index space.

    Points are float64 [N, 3], columns x, y, z, on `device`; 0 is the first sample of an axis.
    """

    geometry: GridGeometry
    device: torch.device

    def values(self, points: Tensor) -> Tensor:
        """Return float32 [N, C]; NaN outside the volume and where data are missing."""

    def gradients(self, points: Tensor, select: Select) -> Tensor:
        """Return float32 [N, 3], the gradient of what `select` chooses, per index step."""


class NeuralField:
    """A model evaluated by the torch reference, whatever its backend.

    A point's value is the mean of its bricks', weighted by how far each has faded in there.
    """

    @classmethod
    def of_volume(cls, volume: NeuralVolume) -> NeuralField:
        """Return the model's field, always the same one."""
        return volume.derived(cls, lambda: cls(volume))

    def __init__(self, volume: NeuralVolume, masked: bool = True) -> None:
        self.geometry = volume.geometry
        self.device = torch.device(volume.device)
        self._components = len(volume.components)
        bricks = list(volume.bricks())
        if not masked:  # the networks' own values, also where data were missing
            bricks = [dataclasses.replace(brick, valid=None) for brick in bricks]
        self._field = DeviceField(
            dims=self.geometry.dims,
            blend=volume.blend,
            boxes=Box.of_extents(brick.record.ghosted for brick in bricks),
            brick=bricks.__getitem__,
            sizes=tuple({brick.network.config for brick in bricks}),
            device=self.device,
        )

    def values(self, points: Tensor) -> Tensor:
        """Return float32 [N, C]; see :class:`Field`."""
        return self._field.evaluated(points, _by_reference, self._components)

    def gradients(self, points: Tensor, select: Select) -> Tensor:
        """Return float32 [N, 3], 0 where there is no value; see :class:`Field`."""
        slopes = self._field.gradients(points, _by_reference, self._components, select)
        return torch.nan_to_num(slopes)


def _by_reference(network: SceneNetwork, local: Tensor) -> Tensor:
    """Return values [N, C] without the CPU kernels."""
    if network.library is None:
        return network.forward(local)
    values = network.decoded(network.encode(local, network.transforms))
    return values * (network.maximum - network.minimum) + network.minimum


def is_even(axis: Axis) -> bool:
    """Return whether an axis is evenly spaced up to rounding."""
    return bool(np.ptp(np.diff(axis.coordinates)) < 1e-9 * axis.spacing)


class IndexMap:
    """From axis coordinates to index space, on a device; see GridGeometry."""

    def __init__(self, geometry: GridGeometry, device: torch.device) -> None:
        self._axes = [
            torch.tensor(np.asarray(axis.coordinates), dtype=torch.float64, device=device)
            for axis in reversed(geometry.axes)
        ]
        self._even = [is_even(axis) for axis in reversed(geometry.axes)]
        inverse = np.linalg.inv(geometry.direction)
        self._inverse = torch.tensor(inverse, dtype=torch.float32, device=device)

    def index(self, points: Tensor) -> Tensor:
        """Map points float64 [N, 3] in axis coordinates to index space."""
        columns = []
        for axis, even, column in zip(self._axes, self._even, points.unbind(dim=1)):
            if even:
                scale = (len(axis) - 1) / (axis[-1] - axis[0])
                columns.append((column - axis[0]) * scale)
            else:
                cell = _cell(axis, column)
                low, high = axis[cell], axis[cell + 1]
                columns.append(cell + (column - low) / (high - low))
        return torch.stack(columns, dim=1)

    def to_world(self, gradients: Tensor, points: Tensor) -> Tensor:
        """Turn gradients [N, 3] per index step at points [N, 3] in index space into the world's."""
        columns = []
        for axis, column, gradient in zip(self._axes, points.unbind(dim=1), gradients.unbind(1)):
            cell = column.long().clamp(0, len(axis) - 2)
            columns.append(gradient / (axis[cell + 1] - axis[cell]).float())
        return torch.stack(columns, dim=1) @ self._inverse


def _cell(axis: Tensor, values: Tensor) -> Tensor:
    found = torch.searchsorted(axis, values.contiguous(), right=True) - 1
    return found.clamp(0, len(axis) - 2)
