"""The marcher of decoded blocks: networks are asked once per lattice point, not once per sample."""

from __future__ import annotations

import math
import weakref

import numpy as np

from amgsrn_core.field.neural_volume import NeuralVolume
from amgsrn_core.kernels import KernelLibrary
from amgsrn_core.kernels.loader import Appearance, FullError
from amgsrn_core.kernels.working_set import BlockStore, LatticeLevel
from amgsrn_core.rendering.camera import Camera, PixelRays
from amgsrn_core.rendering.native import NativeMarcher
from amgsrn_core.rendering.occupancy import MacroCells
from amgsrn_core.rendering.painting import Decoded, Decoding, NoRoomError, RestartPicture
from amgsrn_core.rendering.settings import RenderSettings
from amgsrn_core.rendering.transfer import TransferFunction
from amgsrn_core.system.memory import physical_memory
from amgsrn_core.volume.geometry import GridGeometry

# Unless told otherwise, blocks may take this share of the machine's memory, and no more than that.
_SHARE, _MOST = 1 / 8, 1 << 30

# A cell of the lattice is at least so many pixels wide, where there is a coarser level.
_CELL_PIXELS = 1.0

# Half a step of a picture's colours, and at how many points a level's errors are looked for.
_STEP, _PROBES = 0.5 / 255, 512


class CachedMarcher(NativeMarcher):
    """Marching through blocks that are decoded when a ray first needs them, and kept.

    See docs/rendering.md, "Decoded blocks". The reference is rendering.lattice.

    Parameters
    ----------
    library : KernelLibrary
    volume : NeuralVolume
        On the CPU. What is shown of it, and decoded_margin voxels round it, lack no brick.
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
        self._smooth = self._coarser = self._fallen = 0
        self._frame, self._is_begun = -1, False
        self._beside: BlockStore | None = None
        super().__init__(library, volume, transfer, settings)
        if self._appearance is not None:
            self._store, self._memory = store_of(volume, settings), _memory(settings)
            self._smooth = _smooth_levels(volume, self._store, transfer, settings)
            self._tolerances = tolerances(transfer, volume.geometry, settings)

    @property
    def status(self) -> str:
        """The finest level, blocks, memory and the share that was decoded, for people."""
        return "nothing to decode" if self.decoded is None else str(self.decoded)

    @property
    def decoded(self) -> Decoded | None:
        """The blocks that there are; None where nothing is to be seen."""
        if self._appearance is None:
            return None
        store = self._store
        level = store.levels[self._level]
        filled = int(store.argument.filled)
        return Decoded(level.spacing, filled, store.nbytes, math.prod(level.blocks))

    def coarsen(self, levels: int) -> int:
        """Draw from now on so many levels coarser than it should be, or as coarse as can be.

        Returns
        -------
        int
            How many levels coarser that is.
        """
        if self._appearance is not None:
            self._coarser = max(0, min(levels, len(self._store.levels) - 1 - self._smooth))
            self._begin_picture()
        return self._coarser

    @property
    def _level(self) -> int:
        """The finest level in use."""
        wanted = self._smooth + self._coarser + self._fallen
        return min(wanted, len(self._store.levels) - 1)

    def stay_beside(self, shown: Decoding) -> None:
        """Take no memory from now on that another marcher's blocks are in.

        Where there is no other, NoRoomError of rendering.painting ends a picture.

        Parameters
        ----------
        shown : Decoding
            Of another time step, whose picture is shown.
        """
        self._beside = getattr(shown, "_store", None)

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
                store.limit(None if self._beside is None else self._room_beside(self._beside))
                store.argument.tolerances = self._tolerances.ctypes.data
                before = int(store.argument.decoded), int(store.argument.samples)
                try:
                    self._model.kernel.march_blocks(appearance, view, store.argument, pixels, rgba)
                except FullError:
                    if self._beside is not None:
                        raise NoRoomError from None
                    self._fallen += 1
                    self._frame = store.begin_frame()
                    if self._is_begun:
                        self._is_begun = False
                        raise RestartPicture from None
                    continue
                finally:
                    self.blocks += int(store.argument.decoded) - before[0]
                    self.samples += int(store.argument.samples) - before[1]
                _make_room(store, self._memory, self._beside)
                self._is_begun = True
                self.remark = self._told()
                return

    def _room_beside(self, shown: BlockStore) -> int:
        """Return the bytes that more blocks may take beside those that are shown."""
        memory = self._memory
        # It takes about as much again; what was seen before either has to go.
        wanted = max(0, shown.nbytes - self._store.nbytes)
        _make_room(self._store, memory - wanted, shown)
        return memory - sum(store.nbytes for store in {self._store, *_living()})

    def _told(self) -> str:
        """Return what the picture is not as it might be, as a sentence, or ""."""
        said = []
        # Levels that were left out are not missed where coarser ones show all.
        if self._fallen or (self._store.left_out and not self._smooth):
            memory = self._memory / 1e6
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
        self._fallen, self._frame, self._is_begun = 0, -1, False

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


def _smooth_levels(
    volume: NeuralVolume, store: BlockStore, transfer: TransferFunction, settings: RenderSettings
) -> int:
    """Return how many of the finest levels show nothing that the next coarser one does not.

    That is so where the error of linear interpolation, times the steepest slope of what is seen of
    a sample, is no step of a picture. Light and surfaces show every ripple, so there all levels do.
    """
    if settings.shade or settings.blend == "isosurface":
        return 0
    slope = float(_drawn(transfer, volume.geometry, settings).slopes().max())
    key = level_errors, settings.cells_per_voxel, len(store.levels)
    errors = volume.derived(key, lambda: level_errors(volume, store.levels))
    if settings.component == "magnitude":
        seen = np.linalg.norm(errors, axis=1)
    else:
        seen = errors[:, int(settings.component)]
    rough = np.flatnonzero(seen * slope > _STEP)
    return max(0, int(rough[0]) - 1) if len(rough) else len(store.levels) - 1


def tolerances(
    transfer: TransferFunction, geometry: GridGeometry, settings: RenderSettings
) -> np.ndarray:
    """Return by how much values may be off without being seen to be, float32 [n + 1].

    The first is of values below the first entry of the transfer function, the second of those from
    there to the next entry, and so on. With light the smallest error shows, unless nothing does.
    """
    table = _drawn(transfer, geometry, settings)
    slopes = np.concatenate([[0.0], table.slopes(), [0.0]])
    if settings.shade:
        opacity = np.pad(table.table[:, 3], 1, mode="edge")
        return np.where(np.maximum(opacity[1:], opacity[:-1]) > 0, -1, np.inf).astype(np.float32)
    steep = slopes > 0
    found = np.divide(_STEP, slopes, out=np.full(len(slopes), np.inf), where=steep)
    return found.astype(np.float32)


def _drawn(
    transfer: TransferFunction, geometry: GridGeometry, settings: RenderSettings
) -> TransferFunction:
    """Return the function with the opacities of samples."""
    if settings.blend != "composite":
        return transfer
    return transfer.corrected(settings.opacity_ratio(geometry))


def level_errors(volume: NeuralVolume, levels: list[LatticeLevel]) -> np.ndarray:
    """Return what linear interpolation on each level errs by, float64 [levels, C].

    A cell's function errs by an eighth of the second differences along its axes; of these it is the
    99 % quantile at points that are always the same ones. Values are those of the networks.

    Parameters
    ----------
    volume : NeuralVolume
    levels : list of LatticeLevel
    """
    low, high = volume.whole_box  # in all of which there are values
    unit = np.random.default_rng(0).random((_PROBES, 3))
    errors = np.zeros((len(levels), len(volume.components)))
    for number, level in enumerate(levels):
        step = np.minimum(level.spacing, 0.5 * (high - low))
        centre = low + step + unit * (high - low - 2 * step)
        beside = [centre + sign * step * axis for axis in np.eye(3) for sign in (-1, 1)]
        points = volume.geometry.index_to_world(np.concatenate([centre, *beside]))
        values = volume.sample(points, corrected=False).reshape(7, _PROBES, -1).astype(np.float64)
        bent = np.abs(values[1::2] + values[2::2] - 2 * values[0]).sum(axis=0) / 8
        known = bent[np.isfinite(bent).all(axis=1)]
        if len(known):
            errors[number] = np.quantile(known, 0.99, axis=0)
    return errors


_stores: list[weakref.ref[BlockStore]] = []


def store_of(volume: NeuralVolume, settings: RenderSettings) -> BlockStore:
    """Return a field's blocks, the same ones as long as memory and detail stay the same."""
    key = BlockStore, _memory(settings), settings.cells_per_voxel

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
            whole=np.stack(volume.whole_box, axis=1),
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


def _living() -> list[BlockStore]:
    """Return the blocks of all fields, the longest unused first."""
    return [kept for ref in _stores if (kept := ref()) is not None]


def _make_room(store: BlockStore, memory: int, shown: BlockStore | None = None) -> None:
    """Let blocks of others than these go, the longest unused first, until all fit."""
    stores = [kept for kept in _living() if kept is not store]
    total = store.nbytes + sum(other.nbytes for other in stores)
    for other in stores:
        if total <= memory:
            break
        if other is not shown and other.argument.filled and other.busy.acquire(blocking=False):
            total -= other.nbytes
            other.clear()
            total += other.nbytes
            other.busy.release()


def _memory(settings: RenderSettings) -> int:
    """Return the bytes that blocks may take in this process."""
    memory = int(1e6 * settings.cache_memory) or min(int(_SHARE * physical_memory()), _MOST)
    return memory // settings.sharers
