"""The tests of ``amgsrn test``: one comparison that feeds the volumes and tables, and the rest."""

from __future__ import annotations

import contextlib
import csv
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from amgsrn_core.evaluation.comparison import ErrorHistogram
from amgsrn_core.evaluation.metrics import Metrics, compare
from amgsrn_core.kernels.threads import thread_count
from amgsrn_core.system.output import replacing
from amgsrn_core.volume import Block, Extent, Volume, VolumeWriter
from amgsrn_core.volume.replacement import TABLE, VOLUME, Kind

if TYPE_CHECKING:
    from amgsrn_core.field.neural_volume import NeuralVolume

TESTS = (
    "psnr",
    "ssim",
    "error",
    "histogram",
    "throughput",
    "feature-density",
    "feature-locations",
)
DEFAULT_TESTS = ("psnr", "ssim")

_BINS = 256
_SPEED_POINTS = 1 << 18
_SPEED_SECONDS = 2.0


class Measures:
    """Carries out the chosen tests of one model.

    Parameters
    ----------
    model : NeuralVolume
    reference : Volume
    tests : sequence of str
        Names of tests, see :data:`TESTS`.
    folder : Path, optional
        Where tests put their files; needed by those that write any.
    report : callable
        Is told how far it is, from 0 to 1.
    made_by : str
        Mark of the volumes that are written.
    force : bool, default: False
        Replace volumes that somebody else made.
    """

    def __init__(
        self,
        model: NeuralVolume,
        reference: Volume,
        tests: Sequence[str],
        folder: Path | None,
        report: Callable[[float], None],
        made_by: str = "test",
        force: bool = False,
    ) -> None:
        self._model, self._reference = model, reference
        self._made_by, self._force = made_by, force
        self._tests = tests
        self._folder = folder or Path()
        self._report = report
        self._histogram: _Histogram | None = None
        self._files: list[str] = []

    def compare(self, anyway: bool = False) -> Metrics:
        """Compare every voxel once, and write the error volume and the histogram on the way.

        `anyway`: see :func:`amgsrn_core.evaluation.metrics.compare`.
        """
        model, reference = self._model, self._reference
        same_grid = model.geometry.dims == reference.dims
        done = 0
        with contextlib.ExitStack() as stack:
            writer = None
            if "error" in self._tests:
                writer = stack.enter_context(self._writer("error"))
            summary = reference.survey()
            if "histogram" in self._tests and summary.valid_count:
                self._histogram = _Histogram(summary.minimum, summary.maximum)

            def watch(
                extent: Extent, data: np.ndarray, decoded: np.ndarray, valid: np.ndarray | None
            ) -> None:
                nonlocal done
                if writer is not None:
                    writer.write(extent, Block(decoded - data, valid))
                if self._histogram is not None:
                    self._histogram.add(data, decoded, valid)
                done += data[0].size
                self._report(done / reference.geometry.n_points)

            return compare(
                reference,
                lambda extent: model.reconstruct_block(reference.geometry, extent),
                bricks=[brick.extent for brick in model.index.bricks] if same_grid else (),
                with_ssim="ssim" in self._tests,
                watch=watch,
                geometry=model.geometry,
                anyway=anyway,
                summary=summary,
            )

    def extra(self) -> dict[str, Any]:
        """Return what the other tests find, by their names, and which files there are."""
        results: dict[str, Any] = {}
        if self._histogram is not None:
            results["histogram"] = self._histogram.to_json(self._reference.components)
            rows = self._histogram.rows(self._reference.components)
            self._write_table("histogram", _Histogram.COLUMNS, rows)
        if "throughput" in self._tests:
            results["throughput"] = measure_throughput(self._model)
        if "feature-density" in self._tests:
            self._write_density()
        if "feature-locations" in self._tests:
            self._write_locations()
        if self._files:
            results["files"] = self._files
        return results

    def _write_density(self) -> None:
        geometry = self._reference.geometry
        with self._writer("feature-density", ("feature_density",)) as writer:
            for extent in self._reference.slabs(max_bytes=8 << 20):
                writer.write(extent, self._model.density_block(geometry, extent))

    def _write_locations(self) -> None:
        corners = self._model.feature_corners()
        rows = (
            (brick, grid, corner, *corners[brick, grid, corner].tolist())
            for brick, grid, corner in np.ndindex(*corners.shape[:3])
        )
        columns = ("brick", "grid", "corner", "x", "y", "z")
        self._write_table("feature-locations", columns, rows)

    def _writer(self, name: str, components: tuple[str, ...] | None = None) -> VolumeWriter:
        reference = self._reference
        path = self._folder / f"{name}{volume_suffix(reference)}"
        self._files.append(str(path))
        return VolumeWriter(
            path,
            reference.geometry,
            name=name.replace("-", "_"),
            components=components or tuple(f"{part}_error" for part in reference.components),
            units="" if components else reference.units,
            made_by=self._made_by,
            force=self._force,
            dtype=np.float32 if components else self._model.dtype,
        )

    def _write_table(
        self, name: str, columns: Sequence[str], rows: Iterable[Sequence[object]]
    ) -> None:
        path = self._folder / f"{name}.csv"
        with replacing(path) as temporary, open(temporary, "w", newline="") as file:
            table = csv.writer(file)
            table.writerow(columns)
            table.writerows(rows)
        self._files.append(str(path))


def output_files(
    folder: Path, tests: Sequence[str], reference: Volume
) -> Iterator[tuple[Path, Kind]]:
    """Yield the files that tests write into a folder, and what they are."""
    for test in tests:
        if test in ("error", "feature-density"):
            yield folder / f"{test}{volume_suffix(reference)}", VOLUME
        elif test in ("histogram", "feature-locations"):
            yield folder / f"{test}.csv", TABLE


def volume_suffix(reference: Volume) -> str:
    """Return the suffix of volumes on a grid; one that is turned fits into image data only."""
    return ".nc" if reference.geometry.is_aligned else ".vti"


def measure_throughput(model: NeuralVolume, seconds: float = _SPEED_SECONDS) -> dict[str, Any]:
    """Return how many random points inside the volume are evaluated in a second."""
    random = np.random.default_rng(0)
    last = np.array(model.geometry.dims[::-1]) - 1.0
    points = model.geometry.index_to_world(random.random((_SPEED_POINTS, 3)) * last)
    model.sample(points[: 1 << 14])  # the first call also sets up threads and memory
    start = time.perf_counter()
    count = 0
    while (elapsed := time.perf_counter() - start) < seconds or not count:
        model.sample(points)
        count += len(points)
    return {
        "points_per_second": count / elapsed,
        "points": count,
        "seconds": elapsed,
        "device": str(model.device),
        "backend": model.backend,
        "threads": thread_count(),
    }


class _Histogram:
    """How often values and errors occur, in bins over the reference's range, per component."""

    COLUMNS = ("component", "from", "to", "reference", "model", "error_from", "error_to", "error")

    def __init__(self, minimum: np.ndarray, maximum: np.ndarray) -> None:
        spans = np.where(maximum > minimum, maximum - minimum, np.finfo(np.float32).tiny)
        self._values = [
            np.linspace(low, low + span, _BINS + 1) for low, span in zip(minimum, spans)
        ]
        # Errors from -10 % to 10 % of the range; larger ones count in the outermost bins.
        self._errors = ErrorHistogram(0.1 * spans, _BINS)
        self._counts = np.zeros((len(spans), 2, _BINS), dtype=np.int64)

    def add(self, data: np.ndarray, decoded: np.ndarray, valid: np.ndarray | None) -> None:
        for c, edges in enumerate(self._values):
            a = data[c].ravel() if valid is None else data[c][valid]
            b = decoded[c].ravel() if valid is None else decoded[c][valid]
            for row, values in enumerate((a, b)):
                self._counts[c, row] += np.histogram(np.clip(values, edges[0], edges[-1]), edges)[0]
            self._errors.add(c, b - a)

    def to_json(self, components: Sequence[str]) -> dict[str, Any]:
        return {
            name: {
                "edges": self._values[c].tolist(),
                "reference": self._counts[c, 0].tolist(),
                "model": self._counts[c, 1].tolist(),
                "error_edges": self._errors.edges[c].tolist(),
                "error": self._errors.counts[c].tolist(),
            }
            for c, name in enumerate(components)
        }

    def rows(self, components: Sequence[str]) -> Iterable[Sequence[object]]:
        errors = self._errors
        for c, name in enumerate(components):
            edges, bounds, counts = self._values[c], errors.edges[c], self._counts[c]
            for i in range(_BINS):
                yield (
                    name, edges[i], edges[i + 1], counts[0, i], counts[1, i],
                    bounds[i], bounds[i + 1], errors.counts[c, i],
                )  # fmt: skip
