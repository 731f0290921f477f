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
    from amgsrn_core.volume.geometry import PartialExtent

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
    found = tally(
        reference,
        decode,
        summary,
        bricks=bricks,
        with_ssim=with_ssim,
        watch=watch,
        tile_voxels=tile_voxels,
    )
    if not anyway:
        refuse_stranger(*place, found.voxels, found.voxels + found.missing, advice)
    return found.metrics(reference, summary, geometry)


def tally(
    reference: Volume,
    decode: Decode,
    summary: FieldSummary,
    *,
    bricks: Sequence[Extent] = (),
    with_ssim: bool = True,
    watch: Watch | None = None,
    tile_voxels: int = _TILE_VOXELS,
    own: PartialExtent = None,
    held: PartialExtent = None,
) -> Tally:
    """Compare a model with a part of a volume; see :func:`compare`.

    Parameters
    ----------
    reference, decode, bricks, with_ssim, watch, tile_voxels
        See :func:`compare`; extents are of the whole grid.
    summary : FieldSummary
        Of the whole volume.
    own : tuple of three slices (z, y, x), default: everything
        The part: voxels of others take no part, but in the windows of SSIM around own ones.
    held : tuple of three slices (z, y, x), default: everything
        What can be read and decoded, `own` at least.
    """
    own, held = reference.geometry.resolve(own), reference.geometry.resolve(held)
    spans = _bounds(reference, summary)[1] - _bounds(reference, summary)[0]
    windows = windows_of(reference.dims)
    halo = tuple(len(w) // 2 for w in windows) if with_ssim else (0, 0, 0)
    parts = list(bricks) or [reference.geometry.resolve()]
    found = Tally.of_nothing(reference.n_components, len(parts))
    for core in _tiles(own, halo, tile_voxels):
        outer = _grown(core, halo, held)
        inner = relative(core, outer)
        data, model = reference.read(outer), decode(outer)
        valid = _both(data.valid, model.valid)
        found.has_values = found.has_values or model.valid is None or bool(model.valid.any())
        if model.valid is not None:
            has_value = slice(None) if data.valid is None else data.valid[inner]
            found.missing += int(np.count_nonzero(~model.valid[inner][has_value]))
        for part, statistics in zip(parts, found.errors):
            common = _intersection(core, part)
            if common is not None:
                statistics.add(data.values, model.values, valid, relative(common, outer))
        if with_ssim:
            found.similarity.add(data.values, model.values, valid, windows, spans)
        if watch is not None:
            mask = None if valid is None else valid[inner]
            watch(core, data.values[(..., *inner)], model.values[(..., *inner)], mask)
    return found


@dataclass
class Tally:
    """What the comparison of a part of a volume has found; parts can be added up.

    Attributes
    ----------
    errors : list
        Sums over the voxels of each brick, or of the whole where none are named.
    similarity : MeanSimilarity
    missing : int
        Voxels with a value in the reference, but none in the model.
    has_values : bool
        Whether the model has a value anywhere.
    """

    errors: list[_Errors]
    similarity: MeanSimilarity
    missing: int = 0
    has_values: bool = False

    @classmethod
    def of_nothing(cls, components: int, bricks: int) -> Tally:
        """Return what is known before the first part."""
        errors = [_Errors(components) for _ in range(bricks)]
        return cls(errors, MeanSimilarity(components))

    @classmethod
    def sum(cls, tallies: Sequence[Tally]) -> Tally:
        """Return what the comparisons of all parts have found together."""
        return cls(
            [_Errors.sum(same) for same in zip(*(each.errors for each in tallies))],
            MeanSimilarity.sum([each.similarity for each in tallies]),
            sum(each.missing for each in tallies),
            any(each.has_values for each in tallies),
        )

    @property
    def voxels(self) -> int:
        """Voxels with a value in both."""
        return sum(part.count for part in self.errors)

    def metrics(
        self, reference: Volume, summary: FieldSummary, geometry: GridGeometry | None = None
    ) -> Metrics:
        """Return the quality that follows.

        Raises
        ------
        VolumeError
            No voxel has a value in both, though one of them has values.
        """
        total = _Errors.sum(self.errors)
        if not total.count and (summary.valid_count or self.has_values):
            raise VolumeError(
                "The model and the volume have no voxel with a value in common: "
                f"{difference(reference.geometry, geometry)}; name the data that it was trained on."
            )
        bounds = _bounds(reference, summary)
        means = self.similarity.means()
        return _metrics(reference, bounds, total, self.errors, means, self.missing)


def _bounds(reference: Volume, summary: FieldSummary) -> tuple[np.ndarray, np.ndarray]:
    """Return the lowest and highest value of each component; NaN where there is none."""
    if summary.valid_count:
        return np.asarray(summary.minimum), np.asarray(summary.maximum)
    nothing = np.full(reference.n_components, math.nan)
    return nothing, nothing


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


def _tiles(extent: Extent, halo: Sequence[int], most: int) -> Iterator[tuple[slice, slice, slice]]:
    """Cut an extent into tiles of at most `most` voxels with their halo, if one can be so small.

    With a halo each tile owns the windows that are centred in it.
    """
    edges = [s.stop - s.start for s in extent]
    while math.prod(e + 2 * h for e, h in zip(edges, halo)) > most and max(edges) > 1:
        longest = edges.index(max(edges))
        edges[longest] = -(-edges[longest] // 2)
    ranges = [range(s.start, s.stop, max(1, edge)) for s, edge in zip(extent, edges)]
    for starts in itertools.product(*ranges):
        z, y, x = (slice(s, min(s + e, w.stop)) for s, e, w in zip(starts, edges, extent))
        yield z, y, x


def _grown(core: Extent, halo: Sequence[int], held: Extent) -> Extent:
    z, y, x = (
        slice(max(s.start - h, w.start), min(s.stop + h, w.stop))
        for s, h, w in zip(core, halo, held)
    )
    return z, y, x


def relative(inner: Extent, outer: Extent) -> Extent:
    """Return where an extent lies in another one that holds it."""
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
