"""Values of a block as networks learn them: each component from 0 to 1."""

from __future__ import annotations

import numpy as np

from amgsrn_core.volume.precision import normalise
from amgsrn_core.volume.volume import Block

# Voxels normalised at a time in double precision, and the ranges that float32 does that for.
_PIECE = 1 << 22
_PLAIN_SPANS = (1e-37, 1e37)


def normalised_values(block: Block, minimum: np.ndarray, maximum: np.ndarray) -> np.ndarray:
    """Return a block's values as float32, 0 at each minimum and 1 at each maximum.

    Values of float32 are overwritten.
    """
    values = block.values
    spans = [high - low for low, high in zip(minimum, maximum) if high > low]
    result = values if values.dtype == np.float32 else np.empty(values.shape, dtype=np.float32)
    if result is values and all(_PLAIN_SPANS[0] < span < _PLAIN_SPANS[1] for span in spans):
        for component, (low, high) in enumerate(zip(minimum, maximum)):
            values[component] -= np.float32(low)
            values[component] *= np.float32(1.0 / (high - low) if high > low else 0.0)
        return values
    layers = max(1, _PIECE // max(1, values[0, 0].size))
    for component, (low, high) in enumerate(zip(minimum, maximum)):
        for start in range(0, values.shape[1], layers):
            part = slice(start, start + layers)
            # What is missing is 0 in the data, which may be far outside.
            known = True if block.valid is None else block.valid[part]
            piece = np.where(known, values[component, part], low)
            result[component, part] = normalise(piece, low, high)
    return result
