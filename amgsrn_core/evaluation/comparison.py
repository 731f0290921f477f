"""Where a model differs from a volume, voxel by voxel, and the tables that follow from it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from amgsrn_core.evaluation.metrics import ComponentMetrics, Metrics, Tally, relative, tally
from amgsrn_core.volume import Block

if TYPE_CHECKING:
    from amgsrn_core.evaluation.metrics import Decode
    from amgsrn_core.volume import Extent, FieldSummary, Volume
    from amgsrn_core.volume.geometry import PartialExtent

_SLAB_VOXELS = 1 << 21

# Numbers that stay in a core's cache from one pass to the next.
_CACHED = 1 << 15

ALL = "all"
WHOLE = -1
"""In a table: all components together, and the whole volume."""


@dataclass(frozen=True)
class Row:
    """The quality of one component, or of all together, in a brick or in the whole volume.

    What is not known of it is NaN, see :class:`~amgsrn_core.evaluation.metrics.Metrics`.
    """

    component: str
    brick: int
    psnr: float
    rmse: float
    largest_error: float
    voxels: int
    ssim: float = math.nan
    nrmse: float = math.nan
    minimum: float = math.nan
    maximum: float = math.nan
    missing_voxels: int = 0


def rows(metrics: Metrics) -> Iterator[Row]:
    """Yield the whole volume, its components where there are several, and its bricks."""
    parts = metrics.per_component
    if len(parts) > 1:
        lowest, highest = min(p.minimum for p in parts), max(p.maximum for p in parts)
        yield _whole(ALL, metrics, metrics, (lowest, highest))
    for part in parts:
        yield _whole(part.name, part, metrics, (part.minimum, part.maximum))
    for number, brick in enumerate(metrics.per_brick if len(metrics.per_brick) > 1 else ()):
        yield Row(
            ALL if len(parts) > 1 else parts[0].name,
            number,
            psnr=brick.psnr,
            rmse=brick.rmse,
            largest_error=brick.max_error if brick.voxels else math.nan,
            voxels=brick.voxels,
        )


def _whole(
    name: str, part: Metrics | ComponentMetrics, metrics: Metrics, bounds: tuple[float, float]
) -> Row:
    return Row(
        name,
        WHOLE,
        psnr=part.psnr,
        rmse=part.rmse,
        largest_error=part.max_error,
        voxels=metrics.voxels,
        ssim=part.ssim,
        nrmse=part.nrmse,
        minimum=bounds[0],
        maximum=bounds[1],
        missing_voxels=metrics.missing_voxels,
    )


def differences(
    reference: Volume,
    decode: Decode,
    summary: FieldSummary,
    *,
    own: PartialExtent = None,
    held: PartialExtent = None,
    bricks: Sequence[Extent] = (),
    with_ssim: bool = False,
    progress: Callable[[float], None] = lambda done: None,
) -> tuple[np.ndarray, Tally]:
    """Return a model minus a part of a volume, and what that says of the model.

    Besides the result, only slabs of a few million voxels are in memory.

    Parameters
    ----------
    reference : Volume
    decode : callable
        Given an extent of the reference's grid, returns the model's block there: values
        [C, z, y, x] of the reference's components, and which are valid.
    summary : FieldSummary
        Of the whole reference.
    own, held, bricks, with_ssim
        See :func:`~amgsrn_core.evaluation.metrics.tally`, to which `own` is left.
    progress : callable
        Is told how far it is, from 0 to 1.

    Returns
    -------
    errors : array [C, z, y, x]
        On `held`, of the model's type; NaN where the model or the volume has no value.
    found : Tally
        Of `own`.
    """
    extent = reference.geometry.resolve(held)
    values = _decoded(decode, extent, reference.n_components, progress)

    def known(wanted: Extent) -> Block:
        return Block.of_field(values[(slice(None), *relative(wanted, extent))])

    found = tally(reference, known, summary, bricks=bricks, with_ssim=with_ssim, own=own, held=held)
    for part in slabs(extent):
        data, here = reference.read(part), (slice(None), *relative(part, extent))
        # In double precision: float32 may be too coarse for what the data have.
        np.subtract(values[here], data.values, out=values[here], dtype=np.float64, casting="unsafe")
        if data.valid is not None:
            values[here][:, ~data.valid] = np.nan
    return values, found


def _decoded(
    decode: Decode, extent: Extent, components: int, progress: Callable[[float], None]
) -> np.ndarray:
    values: np.ndarray | None = None
    for part in slabs(extent):
        block = decode(part)
        if values is None:
            shape = (s.stop - s.start for s in extent)
            values = np.empty((components, *shape), dtype=block.values.dtype)
        values[(slice(None), *relative(part, extent))] = block.with_nan()
        progress((part[0].stop - extent[0].start) / (extent[0].stop - extent[0].start))
    assert values is not None
    return values


def slabs(extent: Extent) -> Iterator[Extent]:
    """Yield ranges of z that cover an extent, each of a few million voxels or a single layer."""
    z, y, x = extent
    depth = max(1, _SLAB_VOXELS // max(1, (y.stop - y.start) * (x.stop - x.start)))
    for start in range(z.start, max(z.stop, z.start + 1), depth):
        yield slice(start, min(start + depth, z.stop)), y, x


class ErrorHistogram:
    """How often errors occur, in even bins from minus to plus a limit of each component.

    Parameters
    ----------
    limits : float array [C]
        Errors beyond these count in the outermost bins.
    bins : int

    Attributes
    ----------
    counts : int64 array [C, bins]
    edges : float array [C, bins + 1]
    """

    def __init__(self, limits: np.ndarray, bins: int) -> None:
        # Without any error all of them are in the middle.
        self._limits = np.where(limits > 0, limits, 1.0).astype(np.float64)
        self.counts = np.zeros((len(limits), bins), dtype=np.int64)
        self.edges = self._limits[:, None] * np.linspace(-1.0, 1.0, bins + 1)

    def add(self, component: int, errors: np.ndarray) -> None:
        """Count errors of a component, an array of any shape; NaN are none."""
        bins = self.counts.shape[1]
        scale = 0.5 * bins / self._limits[component]
        flat = np.ravel(errors)
        for start in range(0, flat.size, _CACHED):
            places = np.multiply(flat[start : start + _CACHED], scale, dtype=np.float64)
            places += 0.5 * bins
            if np.isnan(places.min(initial=0.0)):
                places = places[~np.isnan(places)]
            np.minimum(places, bins - 1, out=places)
            numbers = np.maximum(places, 0, out=places).astype(np.intp)
            self.counts[component] += np.bincount(numbers, minlength=bins)
