"""The marcher of decoded blocks: networks are asked once per lattice point, not once per sample."""

from __future__ import annotations

import math
import weakref

import numpy as np

from amgsrn_core.field.neural_volume import NeuralVolume
from amgsrn_core.kernels import KernelLibrary
from amgsrn_core.kernels.loader import Appearance, FullError
from amgsrn_core.kernels.working_set import BlockStore
from amgsrn_core.rendering.camera import Camera, PixelRays
from amgsrn_core.rendering.native import NativeMarcher
from amgsrn_core.rendering.occupancy import MacroCells
from amgsrn_core.rendering.painting import RestartPicture
from amgsrn_core.rendering.settings import RenderSettings
from amgsrn_core.rendering.transfer import TransferFunction
from amgsrn_core.system.memory import physical_memory
from amgsrn_core.volume.geometry import GridGeometry

# Unless told otherwise, blocks may take this share of the machine's memory, and no more than that.
_SHARE, _MOST = 1 / 8, 1 << 30

# A cell of the lattice is at least so many pixels wide, where there is a coarser level.
_CELL_PIXELS = 1.0


class CachedMarcher(NativeMarcher):
    """Marching through blocks that are decoded when a ray first needs them, and kept.

    See docs/rendering.md, "Decoded blocks". The reference is rendering.lattice.

    Parameters
    ----------
    library : KernelLibrary
    volume : NeuralVolume
        On the CPU, whole.
    transfer : TransferFunction
    settings : RenderSettings

    Raises
    ------
    ConfigurationError
        There is no room for the blocks of any picture.
    """

    sampling = "cached"

    def __init__(
        self,
        library: KernelLibrary,
        volume: NeuralVolume,
        transfer: TransferFunction,
        settings: RenderSettings,
    ) -> None:
        self._level, self._frame, self._is_begun = 0, -1, False
        super().__init__(library, volume, transfer, settings)
        if self._appearance is not None:
            self._store = store_of(volume, settings)

    @property
    def status(self) -> str:
        """The finest level, blocks, memory and the share that was decoded, for people."""
        if self._appearance is None:
            return "nothing to decode"
        store = self._store
        level = store.levels[self._level]
        total = math.prod(level.blocks)
        filled = int(store.argument.filled)
        cells = f"{1 / level.spacing:g} cell{'' if level.spacing == 1 else 's'} per voxel"
        return (
            f"{cells}, {filled} blocks, {store.nbytes / 1e6:.3g} MB, "
            f"{min(1.0, filled / total):.0%} decoded"
        )

    def forget(self) -> None:
        """Begin anew, with nothing decoded."""
        if self._appearance is not None:
            with self._store.busy:
                self._store.clear()

    def _colour(self, appearance: Appearance, rays: PixelRays, rgba: np.ndarray) -> None:
        """Decode what is missing and march; a coarser level takes over where there is no room."""
        (view, pixels), store = self._seen(rays), self._store
        with store.busy:
            while True:
                if self._frame != store.argument.frame:  # also where others drew in between
                    self._frame = store.begin_frame()
                store.begins[:] = self._begins(rays.camera)
                before = int(store.argument.decoded), int(store.argument.samples)
                try:
                    self._model.kernel.march_blocks(appearance, view, store.argument, pixels, rgba)
                except FullError:
                    self._level += 1
                    self._frame = store.begin_frame()
                    if self._is_begun:
                        self._is_begun = False
                        raise RestartPicture from None
                    continue
                finally:
                    self.blocks += int(store.argument.decoded) - before[0]
                    self.samples += int(store.argument.samples) - before[1]
                _make_room(store, _memory(self._settings))
                self._is_begun = True
                self.remark = self._told()
                return

    def _told(self) -> str:
        """Return what the picture is not as it might be, as a sentence, or ""."""
        said = []
        if self._level or self._store.left_out:
            memory = _memory(self._settings) / 1e6
            spacing = self._store.levels[self._level].spacing
            said.append(
                f"{memory:.4g} MB do not hold the decoded blocks of this picture, so it is drawn "
                f"with one lattice point every {spacing:g} voxels; cache_memory sets more."
            )
        if self._store.argument.broken:
            said.append(
                f"{self._store.argument.broken} decoded values are far outside the model's range, "
                "or no numbers, and are drawn as an end of it; sampling exact shows them."
            )
        return " ".join(said)

    def _begin_picture(self) -> None:
        """Begin at the finest level, and with blocks of others to be replaced."""
        self._level, self._frame, self._is_begun = 0, -1, False

    def _begins(self, camera: Camera) -> np.ndarray:
        spacings = [level.spacing for level in self._store.levels]
        begins = level_begins(spacings, camera, self._geometry, self._settings)
        begins[: self._level + 1] = -np.inf
        return begins


def level_begins(
    spacings: list[float], camera: Camera, geometry: GridGeometry, settings: RenderSettings
) -> np.ndarray:
    """Return from which sample k on each level is used, float64 [levels], ascending.

    It is the finest one whose cells are no smaller than a pixel at that distance, which says
    nothing of what was decoded before: pictures do not depend on it.

    Parameters
    ----------
    spacings : list of float
        Voxels from a lattice point to the next, the finest level first.
    camera : Camera
    geometry : GridGeometry
    settings : RenderSettings
    """
    limits = np.array([-np.inf, *spacings[:-1]]) / _CELL_PIXELS
    pixel = camera.pixel_length
    if camera.eye is not None:
        # At k a voxel along the ray is (k + 1/2) * pixel / samples_per_voxel of a pixel's width.
        return np.asarray(limits * settings.samples_per_voxel / pixel - 0.5)
    return np.where(pixel / min(geometry.spacing) > limits, -np.inf, np.inf)


_stores: list[weakref.ref[BlockStore]] = []


def store_of(volume: NeuralVolume, settings: RenderSettings) -> BlockStore:
    """Return a field's blocks, the same ones as long as memory and detail stay the same."""
    key = BlockStore, settings.cache_memory, settings.cells_per_voxel

    def make() -> BlockStore:
        cells = MacroCells.of_volume(volume)
        low, high = _value_bounds(volume, cells)
        return BlockStore(
            volume.geometry.dims[::-1],
            low,
            high,
            cell_edge=cells.edge,
            cells_per_voxel=settings.cells_per_voxel,
            memory=_memory(settings),
        )

    store = volume.derived(key, make)
    _stores[:] = [ref for ref in _stores if ref() not in (None, store)]
    _stores.append(weakref.ref(store))
    return store


def _value_bounds(volume: NeuralVolume, cells: MacroCells) -> tuple[np.ndarray, np.ndarray]:
    """Return between which values float32 [C] the networks' lie.

    The bounds of macro-cells are open where a network leaves its range by much; there it is assumed
    to leave it by no more than its length.
    """
    low, high = (np.array(bound, dtype=np.float64) for bound in volume.index.own_range)
    span = high - low
    for number, (least, most) in enumerate(zip(cells.minima[:-1], cells.maxima[:-1])):
        known = least <= most
        ends = least[known & np.isfinite(least)], most[known & np.isfinite(most)]
        if np.isneginf(least[known]).any():
            low[number] -= span[number]
        if np.isposinf(most[known]).any():
            high[number] += span[number]
        low[number] = ends[0].min(initial=low[number])
        high[number] = ends[1].max(initial=high[number])
    return low.astype(np.float32), high.astype(np.float32)


def _make_room(store: BlockStore, memory: int) -> None:
    """Let blocks of other fields go, the longest unused first, until all fit into the memory."""
    stores = [kept for ref in _stores if (kept := ref()) is not None and kept is not store]
    total = store.nbytes + sum(other.nbytes for other in stores)
    for other in stores:
        if total <= memory:
            break
        if other.argument.filled and other.busy.acquire(blocking=False):
            total -= other.nbytes
            other.clear()
            total += other.nbytes
            other.busy.release()


def _memory(settings: RenderSettings) -> int:
    """Return the bytes that blocks may take."""
    return int(1e6 * settings.cache_memory) or min(int(_SHARE * physical_memory()), _MOST)
