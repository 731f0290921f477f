"""Values of a block as networks learn them: each component from 0 to 1."""

from __future__ import annotations

import numpy as np

from amgsrn_core.volume.block import Block, cache_slabs
from amgsrn_core.volume.precision import normalise

# Ranges that values of float32 are normalised by in float32.
_PLAIN_SPANS = (1e-37, 1e37)


def normalised_values(block: Block, minimum: np.ndarray, maximum: np.ndarray) -> np.ndarray:
    """Return a block's values as float32, 0 at each minimum and 1 at each maximum.

    Values of float32 are overwritten.
    """
    values = block.values
    spans = [high - low for low, high in zip(minimum, maximum) if high > low]
    result = values if values.dtype == np.float32 else np.empty(values.shape, dtype=np.float32)
    is_plain = result is values and all(_PLAIN_SPANS[0] < s < _PLAIN_SPANS[1] for s in spans)
    for part in cache_slabs(values):
        known = True if block.valid is None else block.valid[part]
        for component, (low, high) in enumerate(zip(minimum, maximum)):
            piece = values[component, part]
            if is_plain:
                piece -= np.float32(low)
                piece *= np.float32(1.0 / (high - low) if high > low else 0.0)
            else:  # what is missing is 0 in the data, which may be far outside
                result[component, part] = normalise(np.where(known, piece, low), low, high)
    return result
