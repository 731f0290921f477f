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

# From so many ranges away from 0 on, SSIM works with differences.
_FAR = 1e3


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
            self._sums[c] += float(chosen.sum())
            self._counts[c] += chosen.size

    def means(self) -> np.ndarray:
        """Return the means [C]; NaN where no window is valid."""
        with np.errstate(invalid="ignore"):
            return self._sums / self._counts


def _local_ssim(
    data: np.ndarray, model: np.ndarray, windows: Sequence[np.ndarray], value_range: float
) -> np.ndarray:
    """Return the SSIM of every window that lies inside the arrays [z, y, x]."""
    x, y = data.astype(np.float64), model.astype(np.float64)
    # The variances of values far from 0 would drown in the squares of these.
    level = float(x.flat[0])
    level = level if np.isfinite(level) and abs(level) > _FAR * value_range else 0.0
    x -= level
    y -= level
    mean_x, mean_y = _filtered(x, windows), _filtered(y, windows)
    product = mean_x * mean_y
    covariance = _filtered(x * y, windows) - product
    squares = mean_x * mean_x + mean_y * mean_y
    variances = _filtered(x * x + y * y, windows) - squares
    if level:
        mean_x, mean_y = mean_x + level, mean_y + level
        product, squares = mean_x * mean_y, mean_x * mean_x + mean_y * mean_y
    c1, c2 = (_K1 * value_range) ** 2, (_K2 * value_range) ** 2
    with np.errstate(invalid="ignore"):  # 0 / 0 in a constant field, which is excluded later
        luminance = (2.0 * product + c1) / (squares + c1)
        return luminance * ((2.0 * covariance + c2) / (variances + c2))


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
        total: np.ndarray | None = None
        for k, weight in enumerate(weights):
            term = weight * _shifted(values, axis, k, n)
            total = term if total is None else np.add(total, term, out=total)
        assert total is not None
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
