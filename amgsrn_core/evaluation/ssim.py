"""Structural similarity of two fields, over the windows that have all their voxels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

# Wang, Bovik, Sheikh, Simoncelli: Image quality assessment: from error visibility to structural
# similarity. IEEE Transactions on Image Processing 13(4), 2004: a Gaussian window of 11 samples
# with a standard deviation of 1.5, and the constants K1 and K2.
_TAPS = 11
_SIGMA = 1.5
_K1, _K2 = 0.01, 0.03


def ssim(
    reference: np.ndarray,
    values: np.ndarray,
    valid: np.ndarray | None = None,
    value_range: float | None = None,
) -> float:
    """Return the mean structural similarity (Wang et al. 2004) of two arrays [z, y, x].

    The window is the product of three Gaussians of 11 samples (sigma 1.5); on an axis with fewer
    samples it is cut to the largest odd number that fits. As in the authors' program, only
    windows that lie inside the volume count, and of these only those without a missing voxel.

    Parameters
    ----------
    reference, values : array [z, y, x]
    valid : bool array [z, y, x], optional
        Voxels with a value.
    value_range : float, optional
        L of the paper; default: the reference's maximum - minimum over valid voxels.

    Returns
    -------
    float
        At most 1; NaN when no window is valid.
    """
    if value_range is None:
        known = reference if valid is None else reference[valid]
        value_range = float(known.max()) - float(known.min())
    windows = windows_of(reference.shape)
    similarity = MeanSimilarity(1)
    similarity.add(reference[None], values[None], valid, windows, np.array([value_range]))
    return float(similarity.means()[0])


class MeanSimilarity:
    """Running mean of the local SSIM, for each component."""

    def __init__(self, components: int) -> None:
        self._sums = np.zeros(components)
        self._counts = np.zeros(components, dtype=np.int64)

    @classmethod
    def sum(cls, parts: Sequence[MeanSimilarity]) -> MeanSimilarity:
        """Return the means over the windows of all parts."""
        total = cls(len(parts[0]._sums))
        total._sums = np.sum([part._sums for part in parts], axis=0)
        total._counts = np.sum([part._counts for part in parts], axis=0)
        return total

    def add(
        self,
        data: np.ndarray,
        model: np.ndarray,
        valid: np.ndarray | None,
        windows: Sequence[np.ndarray],
        ranges: np.ndarray,
    ) -> None:
        """Add the windows that lie inside two parts [C, z, y, x], in components of such ranges."""
        if any(n < len(w) for n, w in zip(data.shape[1:], windows)):
            return  # a tile at the volume's face may hold no centre of a whole window
        keep = None if valid is None else _eroded(valid, [len(w) for w in windows])
        if keep is not None and not keep.any():
            return
        for c, value_range in enumerate(ranges):
            local = _local_ssim(data[c], model[c], windows, float(value_range))
            chosen = local if keep is None else local[keep]
            self._sums[c] += float(chosen.sum(dtype=np.float64))
            self._counts[c] += chosen.size

    def means(self) -> np.ndarray:
        """Return the means [C]; NaN where no window is valid."""
        with np.errstate(invalid="ignore"):
            return self._sums / self._counts


def _local_ssim(
    data: np.ndarray, model: np.ndarray, windows: Sequence[np.ndarray], value_range: float
) -> np.ndarray:
    """Return the SSIM of every window that lies inside the arrays [z, y, x].

    With the difference d = x - y the two factors of the paper are 1 - mean(d)^2 / (mean(x)^2 +
    mean(y)^2 + C1) and 1 - var(d) / (var(x) + var(y) + C2), in which nothing large cancels: single
    precision will do for data that have no more, and is four times as fast.
    """
    is_single = data.dtype == model.dtype == np.float32
    dtype = np.dtype(np.float32 if is_single else np.float64)
    # The squares of values far from 0 would drown all else.
    level = float(data.flat[data.size // 2])
    level = level if np.isfinite(level) else 0.0
    unit = value_range or 1.0
    x = np.subtract(data, dtype.type(level), dtype=dtype)
    d = np.subtract(data, model, dtype=dtype)
    x *= dtype.type(1 / unit)
    d *= dtype.type(1 / unit)
    mean_x, mean_d = _filtered(x, windows), _filtered(d, windows)
    mean_y = mean_x - mean_d
    y = x - d
    x *= x
    y *= y
    x += y
    d *= d
    variances = _filtered(x, windows)
    variances -= mean_x * mean_x
    variances -= mean_y * mean_y
    mean_d *= mean_d
    variance_d = _filtered(d, windows)
    variance_d -= mean_d
    mean_x += dtype.type(level / unit)
    mean_y += dtype.type(level / unit)
    mean_x *= mean_x
    mean_y *= mean_y
    mean_x += mean_y
    c1, c2 = (_K1**2, _K2**2) if value_range else (0.0, 0.0)
    mean_x += dtype.type(c1)
    variances += dtype.type(c2)
    with np.errstate(invalid="ignore", divide="ignore"):  # in a constant field, excluded later
        mean_d /= mean_x
        variance_d /= variances
    return np.asarray((1 - mean_d) * (1 - variance_d))


def windows_of(dims: Sequence[int]) -> list[np.ndarray]:
    """Return the weights of the Gaussian window along each axis; they sum to 1."""
    windows = []
    for n in dims:
        radius = (min(_TAPS, n - 1 + n % 2) - 1) // 2
        offsets = np.arange(-radius, radius + 1)
        weights = np.exp(-0.5 * (offsets / _SIGMA) ** 2)
        windows.append(weights / weights.sum())
    return windows


def _filtered(values: np.ndarray, windows: Sequence[np.ndarray]) -> np.ndarray:
    """Return the weighted mean of every window inside the array; each axis loses taps - 1."""
    for axis, weights in enumerate(windows):
        n = values.shape[axis] - len(weights) + 1
        half = len(weights) // 2
        weights = weights.astype(values.dtype)
        total = weights[half] * _shifted(values, axis, half, n)
        for k in range(half):  # the window is symmetric
            pair = _shifted(values, axis, k, n) + _shifted(values, axis, 2 * half - k, n)
            pair *= weights[k]
            total += pair
        values = total
    return values


def _eroded(valid: np.ndarray, taps: Sequence[int]) -> np.ndarray:
    """Return, for every window inside the array, whether all its voxels are valid."""
    for axis, count in enumerate(taps):
        n = valid.shape[axis] - count + 1
        whole = np.ones((), dtype=bool)
        for k in range(count):
            whole = whole & _shifted(valid, axis, k, n)
        valid = whole
    return valid


def _shifted(values: np.ndarray, axis: int, start: int, count: int) -> np.ndarray:
    return values[(slice(None),) * axis + (slice(start, start + count),)]
