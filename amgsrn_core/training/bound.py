"""The bound of a model's errors that was asked for, and what of it is left for its networks."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from amgsrn_core.config import StorageConfig
from amgsrn_core.errors import ConfigurationError
from amgsrn_core.model.entropy import coder_package
from amgsrn_core.volume.block import FieldSummary
from amgsrn_core.volume.precision import type_of_ranges
from amgsrn_core.volume.volume import Volume

ROUNDINGS = 4.0
"""How often a value is rounded to the field's type, in units of its last place."""

# A bound below this share of the range is refused: rounding would take too much of it.
_SMALLEST_SHARE = 1e-5


@dataclass(frozen=True)
class Bound:
    """How large errors may be; it pickles.

    Attributes
    ----------
    limits : tuple of float
        Of each component, in the volume's units.
    dtype : str
        Type of the field's values.
    """

    limits: tuple[float, ...]
    dtype: str

    @classmethod
    def of(cls, volume: Volume, storage: StorageConfig, summary: FieldSummary) -> Bound | None:
        """Return the bound that was asked for; None where none was.

        Raises
        ------
        ConfigurationError
            It is too small for the data's type or for the rounding of networks.
        """
        if not storage.is_bounded or not summary.valid_count:
            return None
        coder_package()
        low, high = np.asarray(summary.minimum), np.asarray(summary.maximum)
        limits = np.full(len(low), storage.max_error or math.inf)
        if storage.max_relative_error:
            span = np.where(high > low, high - low, math.inf)
            limits = np.minimum(limits, storage.max_relative_error * span)
        if 0 < storage.max_error < 0.5:
            _refuse_parts_of_ones(volume, storage.max_error, low, high)
        dtype = type_of_ranges([(low.tolist(), high.tolist())])
        names = volume.components
        kept = [
            _own_limit(name, limit, ends, np.dtype(volume.source_dtype), dtype)
            for name, limit, ends in zip(names, limits.tolist(), zip(low.tolist(), high.tolist()))
        ]
        return cls(tuple(kept), str(dtype))


def _is_whole(source: np.dtype, ends: tuple[float, float]) -> bool:
    """Return whether the values are whole numbers, as far as their type and ends tell."""
    return source.kind in "iub" and all(end == round(end) for end in ends)


def _refuse_parts_of_ones(volume: Volume, limit: float, low: np.ndarray, high: np.ndarray) -> None:
    """Raise if all values are whole numbers, for which a smaller bound is worth nothing more.

    A share of a small range may be that small: it is kept to the letter.
    """
    if all(_is_whole(np.dtype(volume.source_dtype), ends) for ends in zip(low, high)):
        raise ConfigurationError(
            f"A bound of {limit:g} for '{volume.name}' is too small: its values are whole numbers, "
            "each of which a bound of 0.5 keeps exactly."
        )


def _own_limit(
    name: str, limit: float, ends: tuple[float, float], source: np.dtype, dtype: np.dtype
) -> float:
    """Return what the values may be off so that they are within a limit in the data's type, too."""
    if not math.isfinite(limit):
        return limit  # a component with one value, and no absolute bound
    low, high = ends
    most = max(abs(low), abs(high))
    asked = f"A bound of {limit:g} for '{name}' is too small: "
    if _is_whole(source, ends):
        limit = min(limit, math.floor(limit) + 0.499)
    precision = float(np.spacing(np.array(most, np.float16 if source == "f2" else dtype)))
    if source == "f2":
        if limit < precision:
            raise ConfigurationError(f"{asked}the data's own precision is {precision:.3g}.")
        limit -= 0.5 * precision
    least = max(_SMALLEST_SHARE * (high - low), 4.0 * ROUNDINGS * precision)
    if source != "f2" and limit < least:
        raise ConfigurationError(
            f"{asked}networks are rounded by parts of it that differ from computer to computer; "
            f"the least for these data is {least:.3g}."
        )
    return limit
