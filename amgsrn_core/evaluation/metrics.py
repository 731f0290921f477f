"""How well a model reproduces a volume: PSNR, SSIM and errors, over valid voxels, tile by tile."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Callable

import numpy as np

from amgsrn_core.errors import VolumeError
from amgsrn_core.evaluation.overlap import difference, refuse_stranger, voxels_inside

if TYPE_CHECKING:
    from amgsrn_core.volume import Block, Extent, GridGeometry, Volume

    Decode = Callable[[Extent], Block]
    Watch = Callable[[Extent, np.ndarray, np.ndarray, "np.ndarray | None"], None]

# Wang, Bovik, Sheikh, Simoncelli: Image quality assessment: from error visibility to structural
# similarity. IEEE Transactions on Image Processing 13(4), 2004: a Gaussian window of 11 samples
# with a standard deviation of 1.5, and the constants K1 and K2.
_TAPS = 11
_SIGMA = 1.5
_K1, _K2 = 0.01, 0.03

# From so many ranges away from 0 on, SSIM works with differences.
_FAR = 1e3

# Voxels of one tile with its halo: 16 MiB for each float64 temporary, of which there are about ten.
_TILE_VOXELS = 1 << 21


@dataclass(frozen=True)
class ComponentMetrics:
    """Quality of one component; `minimum` and `maximum` are the reference's over valid voxels."""

    name: str
    units: str
    psnr: float
    ssim: float
    rmse: float
    max_error: float
    nrmse: float
    minimum: float
    maximum: float


@dataclass(frozen=True)
class BrickMetrics:
    """Quality over one brick's own voxels, relative to the value range of the whole volume."""

    psnr: float
    rmse: float
    max_error: float
    voxels: int


@dataclass(frozen=True)
class Metrics:
    """Quality of a model against a reference volume.

    For a volume with several components, `nrmse` is the root mean square of the components'
    NRMSE and `psnr` = -20 log10 `nrmse`, so that each counts by its own range; `ssim` is the
    components' mean, `rmse` their root mean square, `max_error` and `value_range` the largest.
    What there is nothing to compute of, such as the PSNR of a constant field, is NaN.
    Constant components have no range and count in `rmse` and `max_error` only. With one component
    all of these are the usual definitions.

    Parameters
    ----------
    psnr : float
        10 log10(range^2 / MSE) in dB, with range = maximum - minimum of the reference over its
        valid voxels; infinite when there is no error.
    ssim : float
        Mean structural similarity, at most 1; NaN when it was not asked for or no window is valid.
    rmse, max_error : float
        Root mean square and largest absolute error, in the volume's units.
    nrmse : float
        `rmse` / `value_range`.
    value_range : float
        Maximum - minimum of the reference.
    voxels : int
        Voxels compared: those with a value in the reference and in the model.
    missing_voxels : int
        Voxels with a value in the reference, but none in the model.
    """

    psnr: float
    ssim: float
    rmse: float
    max_error: float
    nrmse: float
    value_range: float
    voxels: int
    missing_voxels: int
    per_component: tuple[ComponentMetrics, ...]
    per_brick: tuple[BrickMetrics, ...]

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON types; numbers that are not finite become null."""
        return {
            "psnr": _finite(self.psnr),
            "ssim": _finite(self.ssim),
            "rmse": _finite(self.rmse),
            "max_error": _finite(self.max_error),
            "nrmse": _finite(self.nrmse),
            "value_range": _finite(self.value_range),
            "voxels": self.voxels,
            "missing_voxels": self.missing_voxels,
            "per_component": [_record(item) for item in self.per_component],
            "per_brick": [_record(item) for item in self.per_brick],
        }


def compare(
    reference: Volume,
    decode: Decode,
    *,
    bricks: Sequence[Extent] = (),
    with_ssim: bool = True,
    watch: Watch | None = None,
    tile_voxels: int = _TILE_VOXELS,
    geometry: GridGeometry | None = None,
    anyway: bool = False,
) -> Metrics:
    """Compare a model with the volume that it stands for.

    Both are read tile by tile, twice the reference and once the model, and never as a whole. The
    result does not depend on the tiles.

    Parameters
    ----------
    reference : Volume
        The data.
    decode : callable
        Given an extent of the reference's grid (slices z, y, x), returns the model's
        :class:`~amgsrn_core.volume.Block` there: values [C, z, y, x] and which are valid.
    bricks : sequence of extents, optional
        A partition of the grid, for `per_brick`.
    with_ssim : bool, default: True
        SSIM takes most of the time that is not spent in `decode`.
    watch : callable, optional
        Called once for each part of the grid with its extent, the reference's and the model's
        values [C, z, y, x], and the voxels that count [z, y, x] (None: all), for example to
        write an error volume.
    tile_voxels : int
        Upper bound of a tile's size with its halo.
    geometry : GridGeometry, optional
        Of the data that the model was trained on: a reference that lies elsewhere is then refused
        before anything is decoded, and the message says where both are.
    anyway : bool, default: False
        Also measure where less than half of the reference's valid voxels have a value in the
        model, which then is hardly the model of this volume.

    Returns
    -------
    Metrics

    Raises
    ------
    VolumeError
        When the reference cannot be read, or hardly any voxel has a value in both (`anyway`: none)
        though one of them has values.
    """
    summary = reference.survey()
    name = f"'{reference.name}'" if reference.source == "memory" else reference.source
    place = name, reference.geometry, geometry
    advice = ", or measure what there is anyway (--anyway)"
    if geometry is not None and not anyway:
        inside = voxels_inside(reference.geometry, geometry)
        if inside is not None:
            refuse_stranger(*place, min(inside, summary.valid_count), summary.valid_count, advice)
    lows, highs = np.asarray(summary.minimum), np.asarray(summary.maximum)
    if not summary.valid_count:
        lows = highs = np.full(reference.n_components, math.nan)
    windows = _windows(reference.dims)
    halo = tuple(len(w) // 2 for w in windows) if with_ssim else (0, 0, 0)
    parts = list(bricks) or [reference.geometry.resolve()]
    errors = [_Errors(reference.n_components) for _ in parts]
    similarity = _Mean(reference.n_components)
    missing, is_empty = 0, not summary.valid_count
    for core in _tiles(reference.dims, halo, tile_voxels):
        outer = _grown(core, halo, reference.dims)
        inner = _relative(core, outer)
        data, model = reference.read(outer), decode(outer)
        valid = _both(data.valid, model.valid)
        is_empty = is_empty and model.valid is not None and not model.valid.any()
        if model.valid is not None:
            has_value = slice(None) if data.valid is None else data.valid[inner]
            missing += int(np.count_nonzero(~model.valid[inner][has_value]))
        for part, statistics in zip(parts, errors):
            common = _intersection(core, part)
            if common is not None:
                statistics.add(data.values, model.values, valid, _relative(common, outer))
        if with_ssim:
            similarity.add_ssim(data.values, model.values, valid, windows, highs - lows)
        if watch is not None:
            mask = None if valid is None else valid[inner]
            watch(core, data.values[(..., *inner)], model.values[(..., *inner)], mask)
    total = _Errors.sum(errors)
    if not anyway:
        refuse_stranger(*place, total.count, total.count + missing, advice)
    if not total.count and not is_empty:
        raise VolumeError(
            "The model and the volume have no voxel with a value in common: "
            f"{difference(reference.geometry, geometry)}; name the data that it was trained on."
        )
    return _metrics(reference, (lows, highs), total, errors, similarity, missing)


def psnr(reference: np.ndarray, values: np.ndarray, valid: np.ndarray | None = None) -> float:
    """Return 10 log10(range^2 / MSE) in dB of two arrays of one shape, over `valid` samples."""
    keep = np.ones(reference.shape, bool) if valid is None else valid
    data = reference[keep].astype(np.float64)
    error = float(np.mean((data - values[keep]) ** 2))
    return _psnr(math.sqrt(error), float(data.max() - data.min()))


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
    windows = _windows(reference.shape)
    similarity = _Mean(1)
    similarity.add_ssim(reference[None], values[None], valid, windows, np.array([value_range]))
    return float(similarity.means()[0])


@dataclass
class _Errors:
    """Sums over voxels, for each component; parts of a volume can be added up."""

    components: int
    count: int = 0
    squares: np.ndarray = field(init=False)
    largest: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.squares = np.zeros(self.components)
        self.largest = np.zeros(self.components)

    def add(
        self,
        data: np.ndarray,
        model: np.ndarray,
        valid: np.ndarray | None,
        region: tuple[slice, slice, slice],
    ) -> None:
        keep = None if valid is None else valid[region]
        size = math.prod(s.stop - s.start for s in region)
        count = size if keep is None else int(np.count_nonzero(keep))
        if not count:
            return
        self.count += count
        for c in range(self.components):
            error = np.subtract(data[c][region], model[c][region], dtype=np.float64)
            chosen = error.ravel() if keep is None else error[keep]
            self.squares[c] += float(np.dot(chosen, chosen))
            self.largest[c] = max(self.largest[c], chosen.max(), -chosen.min())

    @staticmethod
    def sum(parts: Sequence[_Errors]) -> _Errors:
        total = _Errors(parts[0].components, sum(part.count for part in parts))
        total.squares = np.sum([part.squares for part in parts], axis=0)
        total.largest = np.max([part.largest for part in parts], axis=0)
        return total

    def rmse(self) -> np.ndarray:
        return np.sqrt(self.squares / self.count) if self.count else self.squares * math.nan


class _Mean:
    """Running mean of the local SSIM, for each component."""

    def __init__(self, components: int) -> None:
        self._sums = np.zeros(components)
        self._counts = np.zeros(components, dtype=np.int64)

    def add_ssim(
        self,
        data: np.ndarray,
        model: np.ndarray,
        valid: np.ndarray | None,
        windows: Sequence[np.ndarray],
        ranges: np.ndarray,
    ) -> None:
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
        with np.errstate(invalid="ignore"):
            return self._sums / self._counts


def _metrics(
    reference: Volume,
    limits: tuple[np.ndarray, np.ndarray],
    total: _Errors,
    bricks: Sequence[_Errors],
    similarity: _Mean,
    missing: int,
) -> Metrics:
    lows, highs = limits
    ranges = highs - lows
    varied = ranges > 0
    rmse, ssims = total.rmse(), similarity.means()
    nrmse = _root_mean_square(rmse[varied] / ranges[varied])
    per_component = tuple(
        ComponentMetrics(
            name=reference.components[c],
            units=reference.units[c],
            psnr=_psnr(float(rmse[c]), float(ranges[c])),
            ssim=float(ssims[c]),
            rmse=float(rmse[c]),
            max_error=float(total.largest[c]) if total.count else math.nan,
            nrmse=float(rmse[c] / ranges[c]) if varied[c] else math.nan,
            minimum=float(lows[c]),
            maximum=float(highs[c]),
        )
        for c in range(reference.n_components)
    )
    return Metrics(
        psnr=_psnr(nrmse, 1.0),
        ssim=float(np.mean(ssims[varied])) if varied.any() else math.nan,
        rmse=_root_mean_square(rmse),
        max_error=float(total.largest.max()) if total.count else math.nan,
        nrmse=nrmse,
        value_range=float(ranges.max()),
        voxels=total.count,
        missing_voxels=missing,
        per_component=per_component,
        per_brick=tuple(_brick_metrics(part, ranges) for part in bricks),
    )


def _brick_metrics(part: _Errors, ranges: np.ndarray) -> BrickMetrics:
    rmse, varied = part.rmse(), ranges > 0
    nrmse = _root_mean_square(rmse[varied] / ranges[varied])
    return BrickMetrics(
        psnr=_psnr(nrmse, 1.0),
        rmse=_root_mean_square(rmse),
        max_error=float(part.largest.max()),
        voxels=part.count,
    )


def _root_mean_square(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(values)))) if len(values) else math.nan


def _psnr(rmse: float, value_range: float) -> float:
    if math.isnan(rmse) or value_range <= 0:
        return math.nan
    return math.inf if rmse == 0 else 20.0 * math.log10(value_range / rmse)


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


def _windows(dims: Sequence[int]) -> list[np.ndarray]:
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


def _tiles(
    dims: Sequence[int], halo: Sequence[int], most: int
) -> Iterator[tuple[slice, slice, slice]]:
    """Cut a grid into tiles of at most `most` voxels with their halo, if a tile can be so small.

    With a halo each tile owns the windows that are centred in it.
    """
    edges = list(dims)
    while math.prod(e + 2 * h for e, h in zip(edges, halo)) > most and max(edges) > 1:
        longest = edges.index(max(edges))
        edges[longest] = -(-edges[longest] // 2)
    ranges = [range(0, n, edge) for n, edge in zip(dims, edges)]
    for starts in itertools.product(*ranges):
        z, y, x = (slice(s, min(s + e, n)) for s, e, n in zip(starts, edges, dims))
        yield z, y, x


def _grown(core: Extent, halo: Sequence[int], dims: Sequence[int]) -> Extent:
    z, y, x = (slice(max(s.start - h, 0), min(s.stop + h, n)) for s, h, n in zip(core, halo, dims))
    return z, y, x


def _relative(inner: Extent, outer: Extent) -> Extent:
    z, y, x = (slice(i.start - o.start, i.stop - o.start) for i, o in zip(inner, outer))
    return z, y, x


def _intersection(a: Extent, b: Extent) -> Extent | None:
    z, y, x = (slice(max(s.start, t.start), min(s.stop, t.stop)) for s, t in zip(a, b))
    return (z, y, x) if all(s.start < s.stop for s in (z, y, x)) else None


def _both(a: np.ndarray | None, b: np.ndarray | None) -> np.ndarray | None:
    if a is None or b is None:
        return b if a is None else a
    return a & b


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _record(item: Any) -> dict[str, Any]:
    return {k: _finite(v) if isinstance(v, float) else v for k, v in vars(item).items()}
