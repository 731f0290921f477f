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
from amgsrn_core.evaluation.ssim import MeanSimilarity, windows_of
from amgsrn_core.volume.psnr import psnr_of

if TYPE_CHECKING:
    from amgsrn_core.volume import Block, Extent, FieldSummary, GridGeometry, Volume

    Decode = Callable[[Extent], Block]
    Watch = Callable[[Extent, np.ndarray, np.ndarray, "np.ndarray | None"], None]

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
    summary: FieldSummary | None = None,
) -> Metrics:
    """Compare a model with the volume that it stands for.

    Both are read tile by tile, the reference for its range before, and never as a whole. The
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
    summary : FieldSummary, optional
        What :meth:`Volume.survey` has found of the reference, where somebody had to know before:
        it is then read once.

    Returns
    -------
    Metrics

    Raises
    ------
    VolumeError
        When the reference cannot be read, or hardly any voxel has a value in both (`anyway`: none)
        though one of them has values.
    """
    summary = summary or reference.survey()
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
    windows = windows_of(reference.dims)
    halo = tuple(len(w) // 2 for w in windows) if with_ssim else (0, 0, 0)
    parts = list(bricks) or [reference.geometry.resolve()]
    errors = [_Errors(reference.n_components) for _ in parts]
    similarity = MeanSimilarity(reference.n_components)
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
            similarity.add(data.values, model.values, valid, windows, highs - lows)
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
    return _metrics(reference, (lows, highs), total, errors, similarity.means(), missing)


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


def _metrics(
    reference: Volume,
    bounds: tuple[np.ndarray, np.ndarray],
    total: _Errors,
    bricks: Sequence[_Errors],
    ssims: np.ndarray,
    missing: int,
) -> Metrics:
    lows, highs = bounds
    ranges = highs - lows
    varied = ranges > 0
    rmse = total.rmse()
    nrmse = _root_mean_square(rmse[varied] / ranges[varied])
    per_component = tuple(
        ComponentMetrics(
            name=reference.components[c],
            units=reference.units[c],
            psnr=psnr_of(float(rmse[c] * rmse[c]), float(ranges[c])),
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
        psnr=psnr_of(nrmse * nrmse),
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
        psnr=psnr_of(nrmse * nrmse),
        rmse=_root_mean_square(rmse),
        max_error=float(part.largest.max()),
        voxels=part.count,
    )


def _root_mean_square(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(values)))) if len(values) else math.nan


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
