"""A brick in memory: its network, where it lies in the volume, and which voxels have a value."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from amgsrn_core.field.corrections import Corrections
from amgsrn_core.field.evaluators import CONSTANT, Evaluator, make_evaluator
from amgsrn_core.kernels import KernelLibrary
from amgsrn_core.kernels.backend import native_library
from amgsrn_core.kernels.inference import KernelNetwork
from amgsrn_core.model import BrickRecord, ModelIndex
from amgsrn_core.model.box import Box
from amgsrn_core.model.correction_codes import CORRECTIONS, read_corrections
from amgsrn_core.model.error_codes import ERRORS, ErrorMap, unpack_errors
from amgsrn_core.model.feature_grids import box_corners, box_densities
from amgsrn_core.model.shapes import parameter_shapes

if TYPE_CHECKING:
    from amgsrn_core.networks import SceneNetwork


@dataclass(frozen=True, eq=False)
class FieldBrick:
    """A network, and its place in the volume's index space; its weight there has the Blend.

    Attributes
    ----------
    record : BrickRecord
    box : Box
    evaluator : Evaluator
        Of the network.
    valid : bool array [z, y, x] or None
        Which voxels of the box have a value; None when all have.
    cells : uint8 array [2, C, z, y, x] or None
        Codes of the macro-cells, where the file has them; see :mod:`amgsrn_core.model.cell_codes`.
    scale : pair of float64 arrays [C] or None
        The lowest values and the ranges that the network's outputs, then 0 to 1, are scaled by in
        double precision; None where the network does that itself.
    corrections : Corrections or None
        What is added to the values at voxels, where the model promises a bound of its errors.
    errors : ErrorMap or None
        The largest errors of its cells, where the file has them.
    """

    record: BrickRecord
    box: Box
    evaluator: Evaluator
    valid: np.ndarray | None
    cells: np.ndarray | None
    scale: tuple[np.ndarray, np.ndarray] | None = None
    corrections: Corrections | None = None
    errors: ErrorMap | None = None

    @classmethod
    def of_state(
        cls,
        index: ModelIndex,
        record: BrickRecord,
        state: dict[str, np.ndarray],
        device: str,
        backend: str,
        in_double: bool | None = None,
    ) -> FieldBrick:
        """Make a brick of its record and the tensors that its file has.

        `in_double` is `index.is_scaled_in_double` unless another is given.
        """
        low, high = np.array(index.value_range(record), dtype=np.float64)
        scale = None
        if index.is_scaled_in_double if in_double is None else in_double:
            scale = low, high - low
            low, high = np.zeros_like(low), np.where(scale[1] > 0, 1.0, 0.0)
        config, parameters = index.network_of(record), state
        if record.state == "constant":
            config, high = CONSTANT, low
            shapes = parameter_shapes(config, len(low)).items()
            parameters = {name: np.zeros(shape, dtype=np.float32) for name, shape in shapes}
            backend = "torch" if backend == "tcnn" else backend  # for which it is too narrow
        evaluator = make_evaluator(
            config,
            parameters,
            (low, high),
            device=device,
            backend=backend,
            library=native_library(backend, device, config.encoder),
        )
        valid = _without_holes(state.get("mask"), index, record)
        cells = state.get("macro_cells")
        brick = cls(record, Box.of_record(record), evaluator, valid, cells, scale)
        if (packed := state.get(CORRECTIONS)) is not None:
            read = read_corrections(packed, record.ghosted_dims, len(low))
            brick = replace(brick, corrections=Corrections(read, record.ghosted))
        if (packed := state.get(ERRORS)) is not None:
            brick = replace(brick, errors=unpack_errors(packed, record.extent, len(low)))
        return brick

    @property
    def first(self) -> np.ndarray:
        """Index of the box's first sample along x, y, z."""
        return self.box.first

    @property
    def last(self) -> np.ndarray:
        """Index of the box's last sample along x, y, z."""
        return self.box.last

    @property
    def minimum(self) -> np.ndarray:
        """What the network's 0 stands for, float32 [C]."""
        return self.evaluator.minimum

    @property
    def maximum(self) -> np.ndarray:
        """What the network's 1 stands for, float32 [C]."""
        return self.evaluator.maximum

    @property
    def network(self) -> SceneNetwork:
        """The network for PyTorch, always the same one; with kernels it is a copy, made now."""
        return self.evaluator.network

    def kernel_network(self, library: KernelLibrary) -> KernelNetwork:
        """Return the network as the CPU kernels take it."""
        return self.evaluator.kernel_network(library)

    def rescaled(self, low: np.ndarray, high: np.ndarray) -> FieldBrick:
        """Return the brick with outputs in another range, [C] to [C], that float32 holds."""
        evaluator = self.evaluator.with_range(low, high)
        return replace(self, evaluator=evaluator, scale=None, corrections=None, errors=None)

    def is_valid(self, points: np.ndarray) -> np.ndarray | None:
        """Return whether the nearest voxel of each point has a value; None when all have."""
        return None if self.valid is None else self.valid[self.box.voxels(points)]

    def size(self) -> int:
        """Return the bytes that the brick takes."""
        parts = self.valid, self.corrections
        return self.evaluator.nbytes + sum(part.nbytes for part in parts if part is not None)

    def correct(self, values: np.ndarray, points: np.ndarray) -> None:
        """Add the corrections at points [N, 3] in the volume's index space to values [N, C]."""
        if self.corrections is not None:
            values += self.corrections.at(points).astype(values.dtype)

    def errors_at(self, voxels: np.ndarray, rms: bool) -> np.ndarray:
        """Return errors float64 [N, C] in the cells of voxels [N, 3] (x, y, z), NaN without value.

        They are infinite where the file tells none.
        """
        if self.errors is not None:
            errors = self.errors.at(voxels, rms)
            if self.corrections is not None:  # what is rounded upwards may be above the bound
                errors = np.minimum(errors, self.corrections.limits)
        else:  # what has one value needs no network
            no_error = self.record.state == "constant"
            errors = np.full((len(voxels), len(self.minimum)), 0.0 if no_error else np.inf)
        known = self.is_valid(voxels)
        if known is not None:
            errors[~known] = np.nan
        return errors

    def values(self, points: np.ndarray, local: np.ndarray) -> np.ndarray:
        """Return values [N, C], NaN where the nearest voxel of a point has none; uncorrected.

        `points` are in the volume's index space, `local` the same ones in the brick's.
        """
        known = self.is_valid(points)
        if known is None or known.all():
            return self._scaled(self.evaluator.values(local))
        dtype = np.float32 if self.scale is None else np.float64
        values = np.full((len(points), len(self.minimum)), np.nan, dtype=dtype)
        if known.any():
            values[known] = self._scaled(self.evaluator.values(local[known]))
        return values

    def density(self, points: np.ndarray, local: np.ndarray) -> np.ndarray:
        """Return the feature density, float32 [N, 1]; otherwise like :meth:`values`."""
        density = self.evaluator.density(local)
        known = self.is_valid(points)
        if known is not None:
            density[~known] = np.nan
        return density

    def with_gradient(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return values [N, C] and gradients [N, C, 3] by the volume's index; NaN where invalid."""
        values, gradients = self.evaluator.with_gradient(self.box.local(points))
        gradients = gradients * self.box.scale.astype(np.float32)
        if self.scale is not None:
            gradients = gradients * self.scale[1][:, None]
            values = self._scaled(values)
        known = self.is_valid(points)
        if known is not None:
            values[~known], gradients[~known] = np.nan, np.nan
        return values, gradients

    def feature_corners(self) -> np.ndarray:
        """Return the corners of the feature grids [G, 8, 3] in the volume's index space."""
        return self.box.index(box_corners(self.evaluator.transforms))

    def feature_densities(self) -> np.ndarray:
        """Return what each feature grid adds to the feature density inside its box [G]."""
        return box_densities(self.evaluator.transforms)

    def _scaled(self, values: np.ndarray) -> np.ndarray:
        if self.scale is None:
            return values
        low, span = self.scale
        return values * span + low


def _without_holes(
    valid: np.ndarray | None, index: ModelIndex, record: BrickRecord
) -> np.ndarray | None:
    """Return the mask of a brick's voxels, False in bricks that were not trained."""
    for number in index.holes:
        hole = tuple(
            slice(max(h.start - g.start, 0), max(h.stop - g.start, 0))
            for h, g in zip(index.bricks[number].extent, record.ghosted)
        )
        if all(h.start < g.stop - g.start and h.stop for h, g in zip(hole, record.ghosted)):
            valid = np.ones(record.ghosted_dims, dtype=bool) if valid is None else valid.copy()
            valid[hole] = False
    return valid
