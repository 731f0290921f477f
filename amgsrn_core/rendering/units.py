"""Units in which float32 holds what a picture shows of values that it does not hold themselves."""

from __future__ import annotations

import dataclasses

import numpy as np

from amgsrn_core.field.neural_volume import NeuralVolume
from amgsrn_core.rendering.settings import RenderSettings
from amgsrn_core.rendering.transfer import TransferFunction
from amgsrn_core.volume.precision import type_of_ranges

# Entries of a table over the field's range in place of a logarithmic one.
_ENTRIES = 4096

# How many ranges beyond the range that table goes: networks leave it a little.
_MARGIN = 0.25


def in_view_units(
    volume: NeuralVolume, transfer: TransferFunction, settings: RenderSettings
) -> tuple[NeuralVolume, TransferFunction, RenderSettings]:
    """Return model, transfer function and settings in units that make the same picture.

    They are what they were where float32 holds the model's values. Elsewhere the component that is
    seen is shifted and scaled to 0 to 1, or only scaled where that suffices and its magnitude or
    its logarithm is seen.
    """
    if not volume.series.is_scaled_in_double:
        return volume, transfer, settings
    low, high = (np.array(bound, dtype=np.float64) for bound in volume.index.own_range)
    largest = np.maximum(np.abs(low), np.abs(high))
    offset, factor = low, np.where(high > low, high - low, 1.0)
    number = 0
    if settings.component == "magnitude" and len(low) == 1 and low[0] >= 0:
        settings = dataclasses.replace(settings, component=0)
    if settings.component == "magnitude":
        offset, factor = np.zeros_like(low), np.full_like(low, largest.max() or 1.0)
    else:
        number = int(settings.component)
        if transfer.logarithmic and _holds(low[number], high[number]):
            offset, factor = np.zeros_like(low), np.where(largest > 0, largest, 1.0)
        elif transfer.logarithmic:
            margin = _MARGIN * factor[number]
            transfer = _linear(transfer, low[number] - margin, high[number] + margin)
    shift, scale = float(offset[number]), float(factor[number])
    begin, end = ((value - shift) / scale for value in (transfer.low, transfer.high))
    isovalues = tuple((value - shift) / scale for value in settings.isovalues)
    return (
        volume.in_units(offset, factor),
        TransferFunction(begin, end, transfer.table, transfer.logarithmic),
        dataclasses.replace(settings, isovalues=isovalues),
    )


def _holds(low: float, high: float) -> bool:
    """Return whether float32 holds values once the largest of them is 1."""
    largest = max(abs(low), abs(high))
    if not largest > 0:
        return False
    return bool(type_of_ranges([((low / largest,), (high / largest,))]) == np.float32)


def _linear(transfer: TransferFunction, low: float, high: float) -> TransferFunction:
    """Return a transfer function over a range as one that is linear in the value."""
    return TransferFunction(low, high, transfer(np.linspace(low, high, _ENTRIES)))
