"""Where the feature grids are while they are trained: a ParaView time series of boxes.

`NAME.grids.pvd` beside the model lists the pieces, one for each brick and time, in `NAME.grids`.
Its times are iterations. Formats: https://docs.vtk.org/en/latest/vtk_file_formats/ (XML, ASCII).
"""

from __future__ import annotations

import contextlib
import html
import logging
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from amgsrn_core.errors import OutputError
from amgsrn_core.model.feature_grids import box_corners, box_densities
from amgsrn_core.system.output import reason, replacing
from amgsrn_core.system.run_folder import records_base

if TYPE_CHECKING:
    from amgsrn_core.model import BrickRecord
    from amgsrn_core.volume.geometry import GridGeometry

_log = logging.getLogger(__name__)

# From corners that run through x fastest to VTK's order of a hexahedron's corners.
_HEXAHEDRON = [0, 1, 3, 2, 4, 5, 7, 6]
_VTK_HEXAHEDRON = 12


def series_path(output: str | os.PathLike[str]) -> Path:
    """Return the file of a model's time series, ``NAME.grids.pvd``."""
    base = records_base(output)
    return base.with_name(f"{base.name}.grids.pvd")


def forget_series(output: str | os.PathLike[str]) -> None:
    """Remove the time series of an earlier run with the same output, and nothing else."""
    pieces = list(_folder(output).glob("brick-*/*.vtu"))
    for path in (series_path(output), *pieces):
        with contextlib.suppress(OSError):
            path.unlink()
    for folder in (*{path.parent for path in pieces}, _folder(output)):
        with contextlib.suppress(OSError):  # there are other files in it
            folder.rmdir()


class GridSeries:
    """The part of one brick in a time series.

    Parameters
    ----------
    output : path
        The model file that the training is going to write.
    geometry : GridGeometry
        Of the volume.
    record : BrickRecord
    number : int
        Of the brick.
    every : int
        Iterations from one time to the next.
    """

    def __init__(
        self,
        output: str | os.PathLike[str],
        geometry: GridGeometry,
        record: BrickRecord,
        number: int,
        every: int,
    ) -> None:
        self._output, self._geometry = Path(output), geometry
        self._first = np.array([s.start for s in reversed(record.ghosted)], dtype=np.float64)
        self._last = np.array([s.stop - 1 for s in reversed(record.ghosted)], dtype=np.float64)
        self._number, self.every = number, every
        self._pieces = _folder(output) / f"brick-{number:04d}"

    def begin(self, iteration: int) -> None:
        """Remove pieces that a run wrote after the state that it continues from."""
        for piece in self._pieces.glob("*.vtu"):
            if int(piece.stem) > iteration:
                with contextlib.suppress(OSError):
                    piece.unlink()

    def write(self, iteration: int, transforms: np.ndarray, start: np.ndarray) -> None:
        """Add a time, and bring the index up to date; a full disk costs only that.

        Parameters
        ----------
        iteration : int
        transforms : array [G, 3, 4]
            The grids' maps from brick-local coordinates.
        start : array [G, 3, 4]
            What they were when the training began.
        """
        try:
            self._pieces.mkdir(parents=True, exist_ok=True)
            with replacing(self._pieces / f"{iteration:08d}.vtu") as temporary:
                temporary.write_text(self._piece(transforms, start), encoding="ascii")
            self._write_index()
        except (OSError, OutputError) as error:
            _log.warning("Going on without a time of %s: %s.", self._index, reason(error))

    @property
    def _index(self) -> Path:
        return series_path(self._output)

    def _piece(self, transforms: np.ndarray, start: np.ndarray) -> str:
        local = box_corners(transforms)
        index = self._first + (local + 1.0) * 0.5 * (self._last - self._first)
        corners = self._geometry.index_to_world(index.reshape(-1, 3)).reshape(-1, 8, 3)
        shown = np.isfinite(corners).all(axis=(1, 2))
        change = np.asarray(transforms, dtype=np.float64) - start
        grids = np.arange(len(transforms))
        return box_file(
            corners[shown],
            {
                "grid": grids[shown],
                "brick": np.full(shown.sum(), self._number),
                "density": box_densities(transforms)[shown],
                "motion": np.sqrt(np.mean(change**2, axis=(1, 2)))[shown],
            },
        )

    def _write_index(self) -> None:
        """List all bricks' pieces; the last of several writers at a time lists them all."""
        listed: list[Path] = []
        while (there := sorted(_folder(self._output).glob("brick-*/*.vtu"))) != listed:
            listed = there
            with replacing(self._index) as temporary:
                temporary.write_text(_index_file(listed, self._index.parent), encoding="utf-8")


def box_file(corners: np.ndarray, cell_data: dict[str, np.ndarray]) -> str:
    """Return boxes as the text of a .vtu file.

    Parameters
    ----------
    corners : array [N, 8, 3]
        x fastest, z slowest, in the world.
    cell_data : dict of array [N]
    """
    count = len(corners)
    points = corners[:, _HEXAHEDRON].reshape(-1, 3)
    arrays = [_array(name, values) for name, values in cell_data.items()]
    return "\n".join(
        [
            '<?xml version="1.0"?>',
            '<VTKFile type="UnstructuredGrid" version="0.1" byte_order="LittleEndian">',
            f'<UnstructuredGrid><Piece NumberOfPoints="{8 * count}" NumberOfCells="{count}">',
            '<CellData Scalars="grid">',
            *arrays,
            "</CellData>",
            "<Points>",
            _array("points", points),
            "</Points>",
            "<Cells>",
            _array("connectivity", np.arange(8 * count)),
            _array("offsets", np.arange(8, 8 * count + 1, 8)),
            _array("types", np.full(count, _VTK_HEXAHEDRON)),
            "</Cells>",
            "</Piece></UnstructuredGrid></VTKFile>",
            "",
        ]
    )


def _folder(output: str | os.PathLike[str]) -> Path:
    return series_path(output).with_suffix("")


def _array(name: str, values: np.ndarray) -> str:
    kind = "Float64" if values.dtype.kind == "f" else "Int64"
    components = values.shape[1] if values.ndim == 2 else 1
    text = " ".join(map(repr, values.ravel().tolist()))
    return (
        f'<DataArray type="{kind}" Name="{name}" NumberOfComponents="{components}" '
        f'format="ascii">{text}</DataArray>'
    )


def _index_file(pieces: Iterable[Path], parent: Path) -> str:
    lines = ['<?xml version="1.0"?>', '<VTKFile type="Collection" version="0.1">', "<Collection>"]
    for piece in sorted(pieces, key=lambda path: (int(path.stem), path.parent.name)):
        name = html.escape(piece.relative_to(parent).as_posix())
        brick = int(piece.parent.name.rpartition("-")[2])
        lines.append(f'<DataSet timestep="{int(piece.stem)}" part="{brick}" file="{name}"/>')
    return "\n".join([*lines, "</Collection>", "</VTKFile>", ""])
