"""The macro-cells of a whole model, and which of them a transfer function shows."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from amgsrn_core.field.macro_cells import network_cells
from amgsrn_core.field.neural_volume import NeuralVolume
from amgsrn_core.model.cell_codes import cell_edge, cell_numbers, decode_table
from amgsrn_core.rendering.settings import RenderSettings
from amgsrn_core.rendering.transfer import TransferFunction
from amgsrn_core.volume.geometry import GridGeometry

# Empty cells further than this from anything visible are not told apart.
_FARTHEST = 32

# Of how many looks it is kept what they leave empty: a rough picture and a sharp one share it.
_KEPT = 4


@dataclass(frozen=True, eq=False)
class MacroCells:
    """Bounds of the field in boxes that fill the volume's index space.

    Attributes
    ----------
    edge : int
        Edge of a cell in voxels; cell i covers the indices from i * edge to (i + 1) * edge, the
        last ones less.
    minima, maxima : float32 array [C + 1, z, y, x]
        Of each component and, last, of the magnitude. In a cell without any value the minimum is
        infinite and the maximum minus infinity.
    """

    edge: int
    minima: np.ndarray
    maxima: np.ndarray

    @classmethod
    def of_volume(cls, volume: NeuralVolume) -> MacroCells:
        """Return a model's macro-cells: those of its file, computed where it has none."""
        return volume.derived(cls, lambda: _assembled(volume))

    @classmethod
    def of_components(cls, edge: int, minima: np.ndarray, maxima: np.ndarray) -> MacroCells:
        """Add the magnitude to bounds [C, z, y, x] of the components."""
        empty = (minima > maxima).any(axis=0)
        largest = np.maximum(np.abs(minima), np.abs(maxima))
        smallest = np.maximum(0, np.maximum(minima, -maxima))
        # Rounding must not narrow the bounds.
        high = np.sqrt(np.square(largest.astype(np.float64)).sum(axis=0)) * (1 + 1e-6)
        low = np.sqrt(np.square(smallest.astype(np.float64)).sum(axis=0)) * (1 - 1e-6)
        low[empty], high[empty] = np.inf, -np.inf
        return cls(
            edge,
            np.concatenate([minima, low[None]]).astype(np.float32),
            np.concatenate([maxima, high[None]]).astype(np.float32),
        )

    def bounds(self, component: int | str) -> tuple[np.ndarray, np.ndarray]:
        """Return minima and maxima [z, y, x] of a component, or of the "magnitude"."""
        number = -1 if component == "magnitude" else int(component)
        return self.minima[number], self.maxima[number]

    def borders(self, geometry: GridGeometry) -> list[np.ndarray]:
        """Return where cells begin and end in index space along x, y, z, float64 [cells + 1]."""
        return [
            np.minimum(np.arange(count + 1) * self.edge, n - 1).astype(np.float64)
            for count, n in zip(self.minima.shape[:0:-1], reversed(geometry.dims))
        ]

    def occupied(self, transfer: TransferFunction, component: int | str = 0) -> np.ndarray:
        """Return which cells, bool [z, y, x], may show anything under a transfer function."""
        return transfer.shows(*self.bounds(component))


class EmptyCells:
    """Which macro-cells a marcher may leap over, for any transfer function."""

    def __init__(self, volume: NeuralVolume) -> None:
        self._kept: dict[object, tuple[np.ndarray, np.ndarray | None]] = {}
        self._cells = MacroCells.of_volume(volume)
        geometry = volume.geometry
        coordinates = [axis.coordinates for axis in reversed(geometry.axes)]
        borders = self._cells.borders(geometry)
        sizes = [np.diff(np.interp(b, np.arange(len(c)), c)) for b, c in zip(borders, coordinates)]
        # Macro-cells that a step of one voxel may cross; a step is that far along one axis at most.
        self._crossed = max(float(h / size.min()) for h, size in zip(geometry.spacing, sizes))

    @classmethod
    def of_volume(cls, volume: NeuralVolume) -> EmptyCells:
        """Return those of a model, always the same ones."""
        return volume.derived(cls, lambda: cls(volume))

    def of(
        self, transfer: TransferFunction, settings: RenderSettings
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Return how far away what may be seen is, and upper bounds where maxima are sought.

        Returns
        -------
        uint8 array [z, y, x]
            0 where something may be seen; n: not in this cell, nor in any that is less than n
            cells away.
        float32 array [z, y, x] or None
            For blending maxima alone.
        """
        reach = 0
        if settings.blend == "isosurface":
            # A surface lies between two samples: what matters are the values of both cells.
            reach = math.ceil(self._crossed / settings.samples_per_voxel)
        table = transfer.low, transfer.high, transfer.logarithmic, transfer.table[:, 3].tobytes()
        key = settings.blend, settings.component, settings.isovalues, reach, table
        found = self._kept.pop(key, None) or self._found(transfer, settings, reach)
        self._kept[key] = found
        while len(self._kept) > _KEPT:
            del self._kept[next(iter(self._kept))]
        return found

    def _found(
        self, transfer: TransferFunction, settings: RenderSettings, reach: int
    ) -> tuple[np.ndarray, np.ndarray | None]:
        low, high = self._cells.bounds(settings.component)
        if settings.blend == "maximum":
            return _distances(low <= high), high
        if settings.blend == "isosurface":
            reach = min(reach, max(low.shape))
            low, high = -_spread(-low, reach), _spread(high, reach)
            crossed = [(low <= value) & (high >= value) for value in settings.isovalues]
            return _distances(np.any(crossed, axis=0)), None
        return _distances(transfer.shows(low, high)), None


def _assembled(volume: NeuralVolume) -> MacroCells:
    """Put the bricks' cells together: where they overlap, each of their values may occur."""
    index = volume.index
    edge = min(cell_edge(record) for record in index.bricks)
    shape = [max(-(-(n - 1) // edge), 1) for n in index.dims]
    table = decode_table()
    minima = np.full((len(index.components), *shape), np.inf, dtype=np.float32)
    maxima = -minima
    for brick in volume.bricks():
        record, codes = brick.record, brick.cells
        if codes is None:
            codes = network_cells(brick.evaluator, record, index.dims, brick.valid)
        low, high = (
            np.array(values, dtype=np.float64)[:, None, None, None]
            for values in index.value_range(record)
        )
        span = np.where(high > low, high - low, 1.0)
        ratio = cell_edge(record) // edge
        fine_cells, own_cells = [], []
        for (start, stop), size in zip(cell_numbers(record, index.dims), shape):
            fine = np.arange(start * ratio, min(stop * ratio, size))
            fine_cells.append(slice(fine[0], fine[-1] + 1))
            own_cells.append(fine // ratio - start)
        z, y, x = own_cells
        part = codes[:, :, z[:, None, None], y[:, None], x]
        place = (slice(None), *fine_cells)
        minima[place] = np.minimum(minima[place], _outwards(table[0][part[0]] * span + low, -1))
        maxima[place] = np.maximum(maxima[place], _outwards(table[1][part[1]] * span + low, 1))
    return MacroCells.of_components(edge, minima, maxima)


def _outwards(values: np.ndarray, sign: int) -> np.ndarray:
    """Round to float32 without narrowing a bound."""
    return np.nextafter(values.astype(np.float32), np.float32(sign * np.inf))


def _distances(visible: np.ndarray) -> np.ndarray:
    """Return uint8: 0 where cells are visible, else how many cells away the nearest one is."""
    near = visible
    distance = np.where(visible, 0, _FARTHEST).astype(np.uint8)
    for away in range(1, min(_FARTHEST, max(visible.shape))):
        wider = _spread(near, 1)
        distance[wider & ~near] = away
        near = wider
        if near.all():
            break
    return distance


def _spread(values: np.ndarray, reach: int) -> np.ndarray:
    """Return the maximum over all cells up to `reach` away, [z, y, x]."""
    for axis in range(3):
        done = 0
        while done < reach:
            shift = min(done + 1, reach - done) if done else 1
            values = _wider(values, shift, axis)
            done += shift
    return values


def _wider(values: np.ndarray, shift: int, axis: int) -> np.ndarray:
    """Return the maximum of each cell and those `shift` away to either side along an axis."""
    wide = values.copy()
    here, there = np.moveaxis(wide, axis, 0), np.moveaxis(values, axis, 0)
    np.maximum(here[shift:], there[:-shift], out=here[shift:])
    np.maximum(here[:-shift], there[shift:], out=here[:-shift])
    return wide
