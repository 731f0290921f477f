"""What a model's errors are against a reference, on all ranks together, as arrays and tables."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from vtkmodules.vtkCommonCore import vtkStringArray
from vtkmodules.vtkCommonDataModel import vtkTable

from amgsrn_core.evaluation.comparison import ErrorHistogram, Row, differences
from amgsrn_core.evaluation.metrics import Tally, relative
from amgsrn_core.volume import Block, Extent, GridGeometry
from amgsrn_core.volume.vtk.dataset import new_array
from amgsrn_paraview.ranks import agree
from amgsrn_paraview.reference import Reference

_COLUMNS = {
    "psnr": "PSNR",
    "ssim": "SSIM",
    "rmse": "RMSE",
    "nrmse": "NRMSE",
    "largest_error": "LargestError",
    "minimum": "Minimum",
    "maximum": "Maximum",
    "voxels": "Voxels",
    "missing_voxels": "MissingVoxels",
}


class Comparison:
    """A model beside a reference; made on all ranks alike.

    Parameters
    ----------
    reference : Reference
    decode, bricks, with_ssim, progress
        See :func:`amgsrn_core.evaluation.comparison.differences`.
    geometry : GridGeometry
        Of the data that the model was trained on.
    label : str
        What compares.

    Attributes
    ----------
    metrics : Metrics
        Of the whole.
    """

    def __init__(
        self,
        reference: Reference,
        decode: Callable[[Extent], Block],
        *,
        geometry: GridGeometry,
        label: str,
        **options: Any,
    ) -> None:
        self.reference, self._label = reference, label

        def compare() -> Tally | None:
            if not reference.is_here:
                return None
            self._errors, found = differences(
                *(reference.volume, decode, reference.summary),
                own=reference.own,
                held=reference.held,
                **options,
            )
            return found

        tallies = [part for part in agree(compare, label) if part is not None]
        together = Tally.sum(tallies)
        self.metrics = together.metrics(reference.volume, reference.summary, geometry)

    @property
    def spans(self) -> np.ndarray:
        """Of each component of the whole reference, NaN where it has none."""
        parts = self.metrics.per_component
        spans = np.array([part.maximum - part.minimum for part in parts])
        return np.where(spans > 0, spans, math.nan)

    def fill(self, field: Any, *, absolute: bool, relative_too: bool) -> None:
        """Give a copy of the reference the errors of this rank's part."""
        if not self.reference.is_here:
            return
        self.reference.add_arrays(field, self._errors, "_error")
        if absolute:
            self.reference.add_arrays(field, np.abs(self._errors), "_error_absolute")
        if relative_too:
            spans = self.spans.astype(self._errors.dtype)[:, None, None, None]
            self.reference.add_arrays(field, self._errors / spans, "_error_relative")

    def histogram(self, bins: int) -> ErrorHistogram:
        """Count the errors of the whole, in bins of one width relative to each range."""
        largest = np.array([part.max_error for part in self.metrics.per_component])
        shares = largest / self.spans
        share = float(np.nanmax(shares)) if np.isfinite(shares).any() else math.nan
        limits = np.where(np.isfinite(self.spans), share * self.spans, largest)
        counted = ErrorHistogram(np.nan_to_num(limits), bins)

        def count() -> np.ndarray:
            if self.reference.is_here:
                geometry = self.reference.volume.geometry
                held = geometry.resolve(self.reference.held)
                own = relative(geometry.resolve(self.reference.own), held)
                for number, errors in enumerate(self._errors):
                    counted.add(number, errors[own])
            return counted.counts

        counted.counts = np.sum(agree(count, self._label), axis=0)
        return counted


def fill_table(table: vtkTable, found: dict[int, list[Row]], times: Sequence[float]) -> None:
    """Show a row for each step's components and bricks."""
    lines = [(step, row) for step in sorted(found) for row in found[step]]
    table.AddColumn(new_array(np.array([step for step, _ in lines], dtype=np.int32), "Step"))
    if times:
        table.AddColumn(new_array(np.array([times[step] for step, _ in lines]), "Time"))
    component = vtkStringArray()
    component.SetName("Component")
    for _, row in lines:
        component.InsertNextValue(row.component)
    table.AddColumn(component)
    table.AddColumn(new_array(np.array([row.brick for _, row in lines], dtype=np.int32), "Brick"))
    for field, name in _COLUMNS.items():
        values = [getattr(row, field) for _, row in lines]
        kind = np.int64 if field.endswith("voxels") else np.float64
        table.AddColumn(new_array(np.array(values, dtype=kind), name))


def fill_histogram(table: vtkTable, counted: ErrorHistogram, comparison: Comparison) -> None:
    """Show the middle of each bin, in percent of the range and in the data's unit, and counts."""
    middles = 0.5 * (counted.edges[:, 1:] + counted.edges[:, :-1])
    varied = np.flatnonzero(np.isfinite(comparison.spans))
    if len(varied):
        percent = 100.0 * middles[varied[0]] / comparison.spans[varied[0]]
        table.AddColumn(new_array(percent, "ErrorPercent"))
    for number, part in enumerate(comparison.metrics.per_component):
        table.AddColumn(new_array(middles[number], f"{part.name}_error"))
        table.AddColumn(new_array(counted.counts[number], f"{part.name}_count"))
