"""A simulation that makes a series of models of itself: two substances that react and diffuse.

Gray and Scott's equations on a periodic cube, cut along z into a slab for each MPI rank. Every so
many steps the concentration v is handed over, and other processes train a model of it while the
simulation goes on.

    amgsrn script gray_scott -o run.amgsrn --seconds-per-step 5
    mpiexec -n 2 amgsrn script gray_scott -o run.amgsrn --seconds-per-step 5     (with mpi4py)
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from amgsrn_core import SeriesExtractor
from amgsrn_core.cli.options import add_options, configuration, gives_size
from amgsrn_core.config import ExtractionConfig, NetworkConfig, StorageConfig, TrainingConfig
from amgsrn_core.errors import AmgsrnError
from amgsrn_core.jobs.extractor import NOT_RECORDED
from amgsrn_core.runs.extraction_report import read_report

FEED, KILL, DIFFUSION_U, DIFFUSION_V = 0.02, 0.048, 0.2, 0.1

HandOver = Callable[[int, "Slab"], None]


class Ranks:
    """The ranks of an MPI program, or a single one where there is no MPI."""

    def __init__(self) -> None:
        self._world: Any = None
        self.rank, self.count = 0, 1
        try:
            from mpi4py import MPI
        except ImportError:
            if int(os.environ.get("OMPI_COMM_WORLD_SIZE", os.environ.get("PMI_SIZE", 1))) > 1:
                sys.exit("Several ranks need mpi4py: install it, or use ParaView's pvbatch --sym.")
            return
        self._world = MPI.COMM_WORLD
        self.rank, self.count = self._world.rank, self._world.size

    def exchange(self, values: np.ndarray) -> None:
        """Fill the first and last layer along z with the neighbours' layers."""
        if self.count == 1:
            values[0], values[-1] = values[-2], values[1]
            return
        below, above = (self.rank - 1) % self.count, (self.rank + 1) % self.count
        self._world.Sendrecv(values[-2], above, recvbuf=values[0], source=below)
        self._world.Sendrecv(values[1], below, recvbuf=values[-1], source=above)

    def least(self, number: int) -> int:
        """Return the least number of all ranks."""
        return number if self._world is None else min(self._world.allgather(number))

    def wait(self) -> None:
        """Return when all ranks are here."""
        if self._world is not None:
            self._world.Barrier()


class Slab:
    """The part of the cube that a rank computes, with a layer of its neighbours at both ends.

    Attributes
    ----------
    u, v : ndarray of float32 [z + 2, y, x]
    low, high : int
        Layers of the cube that the rank has: ``low <= z < high``.
    """

    def __init__(self, cells: int, ranks: Ranks) -> None:
        self.cells, self.ranks = cells, ranks
        self.low, self.high = (cells * (ranks.rank + i) // ranks.count for i in (0, 1))
        shape = self.high - self.low + 2, cells, cells
        self.u, self.v = np.ones(shape, np.float32), np.zeros(shape, np.float32)
        z, y, x = np.ogrid[self.low - 1 : self.high + 1, 0:cells, 0:cells]
        middle, size = cells / 2, max(2.0, cells / 12)
        seed = (abs(z - middle) < size) & (abs(y - middle) < size) & (abs(x - middle) < 2 * size)
        self.u[seed], self.v[seed] = 0.25, 0.33
        self._exchange()

    def advance(self) -> None:
        """Compute the next step."""
        u, v = self.u[1:-1], self.v[1:-1]
        reaction = u * v * v
        u_next = u + DIFFUSION_U * _laplacian(self.u) - reaction + FEED * (1 - u)
        v_next = v + DIFFUSION_V * _laplacian(self.v) + reaction - (FEED + KILL) * v
        self.u[1:-1], self.v[1:-1] = u_next, v_next
        self._exchange()

    def handed(self) -> tuple[np.ndarray, tuple[slice, slice, slice], tuple[slice, slice, slice]]:
        """Return v, the voxels that the rank answers for, and those that it hands over."""
        all_ = slice(0, self.cells)
        first, last = max(0, self.low - 1), min(self.cells, self.high + 1)
        values = self.v[first - self.low + 1 : last - self.low + 1]
        return values, (slice(self.low, self.high), all_, all_), (slice(first, last), all_, all_)

    def _exchange(self) -> None:
        self.ranks.exchange(self.u)
        self.ranks.exchange(self.v)


class Checkpoints:
    """The solver's own checkpoints: of each rank the last two, for not all may have the last."""

    def __init__(self, folder: Path | None, slab: Slab) -> None:
        self._folder, self._slab = folder, slab

    def write(self, step: int) -> None:
        """Keep the state after a step."""
        if self._folder is None:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        temporary = self._folder / f".{self._name(step)}"
        with open(temporary, "wb") as file:
            np.savez(file, u=self._slab.u, v=self._slab.v)
        os.replace(temporary, self._folder / self._name(step))
        for old in self._steps()[:-2]:
            (self._folder / self._name(old)).unlink()

    def restore(self) -> int:
        """Go back to the last step that all ranks have kept; return it, or 0."""
        step = self._slab.ranks.least(max(self._steps(), default=0))
        if step and self._folder is not None:
            with np.load(self._folder / self._name(step)) as stored:
                self._slab.u, self._slab.v = stored["u"], stored["v"]
        return step

    def _name(self, step: int) -> str:
        return f"rank-{self._slab.ranks.rank:04d}.step-{step:08d}.npz"

    def _steps(self) -> list[int]:
        found = [] if self._folder is None else self._folder.glob(self._name(0)[:15] + "*.npz")
        return sorted(int(path.stem[-8:]) for path in found)


def _laplacian(values: np.ndarray) -> np.ndarray:
    """Return how far the mean of the six neighbours is from each value within the slab."""
    inner = values[1:-1]
    total = values[:-2] + values[2:] - 6 * inner
    for axis in (1, 2):
        total += np.roll(inner, 1, axis) + np.roll(inner, -1, axis)
    return total / np.float32(6)


def extracting(arguments: argparse.Namespace, slab: Slab) -> tuple[HandOver, Callable[[], None]]:
    """Return what hands a step over to an extractor of this process, and what ends that."""
    ranks = slab.ranks
    extractor = SeriesExtractor(
        arguments.output,
        (slab.cells,) * 3,
        name="v",
        rank=ranks.rank,
        ranks=ranks.count,
        network=configuration(NetworkConfig, arguments) if gives_size(arguments) else None,
        training=configuration(TrainingConfig, arguments),
        storage=configuration(StorageConfig, arguments),
        extraction=configuration(ExtractionConfig, arguments),
    )

    def hand_over(step: int, slab: Slab) -> None:
        values, own, ghosted = slab.handed()
        extractor.put(step, float(step), values, own, ghosted)

    return hand_over, extractor.close


def catalyst(script: str) -> tuple[HandOver, Callable[[], None]]:
    """Return what hands a step over to a script of Catalyst 2, and what ends that.

    ParaView's bridge calls such scripts from Python as its Catalyst library does from C, C++ and
    Fortran.
    """
    from paraview.catalyst import bridge
    from vtkmodules.util.numpy_support import numpy_to_vtk
    from vtkmodules.vtkCommonDataModel import vtkImageData

    bridge.initialize()
    bridge.add_pipeline(script, 2)

    def hand_over(step: int, slab: Slab) -> None:
        # Neighbouring pieces of an image share a layer of points.
        top = min(slab.cells - 1, slab.high)
        image, last = vtkImageData(), slab.cells - 1
        image.SetExtent(0, last, 0, last, slab.low, top)
        values = numpy_to_vtk(slab.v[1 : top - slab.low + 2].ravel(), deep=True)
        values.SetName("v")
        image.GetPointData().AddArray(values)
        bridge.coprocess(float(step), step, image, "grid", (0, last) * 3)

    return hand_over, bridge.finalize


def run(arguments: argparse.Namespace, ranks: Ranks) -> None:
    """Compute, and hand over every so many steps."""
    slab = Slab(arguments.cells, ranks)
    checkpoints = Checkpoints(arguments.checkpoints, slab)
    first = checkpoints.restore()
    if first and ranks.rank == 0:
        print(f"Going on after step {first}.", flush=True)
    hand_over, end = (lambda step, slab: None), (lambda: None)
    if arguments.catalyst:
        hand_over, end = catalyst(arguments.catalyst)
    elif arguments.output:
        hand_over, end = extracting(arguments, slab)
    began, handing = time.monotonic(), 0.0
    for step in range(first + 1, arguments.steps + 1):
        slab.advance()
        if step % arguments.every == 0:
            before = time.monotonic()
            hand_over(step, slab)
            handing += time.monotonic() - before
            checkpoints.write(step)
            if ranks.rank == 0:
                print(f"step {step}, v up to {slab.v.max():.3f}", flush=True)
    ranks.wait()
    computed = time.monotonic()
    end()
    ranks.wait()
    if ranks.rank == 0:
        print(
            f"{computed - began:.2f} s of computing, of which handing over took {handing:.2f} s; "
            f"then {time.monotonic() - computed:.2f} s until all was trained."
        )
        if arguments.output:
            tell(arguments.output)


def tell(output: str) -> None:
    """Print the report of a series."""
    print("    step  state    added s  training s     bytes       raw   PSNR  largest error")
    for row in read_report(output):
        print(
            f"{row.step:8d}  {row.state:8s} {row.added_seconds:7.2f} {row.training_seconds:11.2f} "
            f"{row.bytes:9d} {row.raw_bytes:9d} {row.psnr:6.2f} {row.max_error:14.4g}"
        )


def main() -> int:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(
        prog="gray_scott", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cells", metavar="N", type=int, default=64, help="along each edge")
    parser.add_argument("--steps", metavar="N", type=int, default=1000, help="of the solver")
    parser.add_argument(
        "--every", metavar="N", type=int, default=50, help="steps from one hand-over to the next"
    )
    parser.add_argument(
        "-o", "--output", metavar="NAME.amgsrn", help="the series (none: no models)"
    )
    parser.add_argument(
        "--checkpoints",
        metavar="FOLDER",
        type=Path,
        help="keep the solver's state there, and go on from it where there is one",
    )
    parser.add_argument(
        "--catalyst",
        metavar="SCRIPT",
        help="hand over to a script of Catalyst 2 instead, in ParaView's Python",
    )
    for kind in (ExtractionConfig, NetworkConfig, TrainingConfig, StorageConfig):
        add_options(parser, kind, without=NOT_RECORDED)
    arguments = parser.parse_args()
    ranks = Ranks()
    if not 0 < 2 * ranks.count <= arguments.cells or arguments.every < 1:
        parser.error("each rank needs two layers of cells at least, and --every 1 or more")
    logging.basicConfig(format="%(message)s")
    try:
        run(arguments, ranks)
    except AmgsrnError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


# Not sys.exit(0): in pvbatch a rank would end before MPI does.
if __name__ == "__main__" and (status := main()):
    sys.exit(status)
