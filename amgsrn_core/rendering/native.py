"""The marcher of the CPU kernels: skips what is empty, and fills whole tiles across rays."""

from __future__ import annotations

import ctypes
import math

import numpy as np

from amgsrn_core.errors import ConfigurationError
from amgsrn_core.field.neural_volume import NeuralVolume
from amgsrn_core.kernels import KernelLibrary
from amgsrn_core.kernels.loader import Appearance, View
from amgsrn_core.kernels.march import BLENDS, VolumeKernel
from amgsrn_core.rendering.boxes import Boxes
from amgsrn_core.rendering.camera import Camera, PixelRays
from amgsrn_core.rendering.occupancy import EmptyCells, MacroCells
from amgsrn_core.rendering.samples import Samples, reach_of
from amgsrn_core.rendering.settings import RenderSettings
from amgsrn_core.rendering.transfer import TransferFunction
from amgsrn_core.volume.geometry import GridGeometry


class NativeMarcher:
    """Marching by the CPU kernels; the twin of rendering.reference.TorchMarcher.

    Parameters
    ----------
    library : KernelLibrary
    volume : NeuralVolume
        On the CPU.
    transfer : TransferFunction
    settings : RenderSettings

    Attributes
    ----------
    samples, blocks : int
        What was evaluated and decoded so far.
    """

    backend = "native"
    device = "cpu"
    sampling = "exact"
    remark = ""
    blocks = 0

    def __init__(
        self,
        library: KernelLibrary,
        volume: NeuralVolume,
        transfer: TransferFunction,
        settings: RenderSettings,
    ) -> None:
        self._geometry = volume.geometry
        self._settings = settings
        self.samples = 0
        self._kept: list[np.ndarray] = []
        self._appearance: Appearance | None = None
        self._viewed: tuple[Camera, np.ndarray | None, View, object] | None = None
        nothing = settings.blend == "isosurface" and not settings.isovalues
        if volume.has_values and not (nothing or transfer.is_empty):
            self._model = volume.derived(_Model, lambda: _Model(library, volume))
            self._appearance = self._make_appearance(transfer)

    def march(self, rays: PixelRays) -> np.ndarray:
        """Return colours float32 [N, 4], multiplied with the opacity; see Marcher."""
        colours = np.zeros((len(rays), 4), dtype=np.float32)
        self.paint(rays, colours)
        return colours

    def paint(self, rays: PixelRays, rgba: np.ndarray) -> None:
        """Write the colours of rays to a picture.

        Parameters
        ----------
        rays : PixelRays
        rgba : float32 array [height, width, 4] or [N, 4]
            A transparent picture, or one colour for each ray.
        """
        if self._appearance is None or not len(rays):
            return
        try:
            self._colour(self._appearance, rays, rgba)
        except OverflowError as error:
            Samples.on_rays(rays, self._geometry, self._settings)  # says how many there are
            raise ConfigurationError(str(error)) from error

    def _colour(self, appearance: Appearance, rays: PixelRays, rgba: np.ndarray) -> None:
        self.samples += self._model.kernel.march(appearance, *self._seen(rays), rgba)

    def _seen(self, rays: PixelRays) -> tuple[View, np.ndarray | None]:
        """Return a picture's view, which is worked out once for all its rays, and their pixels.

        None stands for whole rows, which the view then names.
        """
        camera, depth = rays.camera, rays.depth
        seen = self._viewed
        if seen is None or seen[0] is not camera or seen[1] is not depth:
            view, kept = view_argument(camera, depth, self._geometry, self._settings)
            cover = self._model.boxes.cover(view, camera, self._occupied)
            view.cover = cover.ctypes.data
            self._viewed = seen = camera, depth, view, (kept, cover)
            self._begin_picture()
        view = seen[2]
        if isinstance(rays.pixels, range):
            view.rows[:] = rays.pixels.start // camera.width, rays.pixels.stop // camera.width
            return view, None
        pixels = np.ascontiguousarray(rays.pixels, dtype=np.int64)
        if pixels.min() < 0 or pixels.max() >= view.width * view.height:
            raise IndexError(f"The picture has the pixels 0 to {view.width * view.height - 1}.")
        return view, pixels

    def _begin_picture(self) -> None:
        """Note that another picture begins."""

    def _make_appearance(self, transfer: TransferFunction) -> Appearance:
        settings = self._settings
        seen = transfer
        if settings.blend == "composite":
            seen = transfer.corrected(settings.opacity_ratio(self._geometry))
        low, high = transfer.low, transfer.high
        if transfer.logarithmic:
            low, high = math.log10(low), math.log10(high)
        component = -1 if settings.component == "magnitude" else int(settings.component)
        empty, maxima = self._model.empty.of(transfer, settings)
        self._occupied = self._model.boxes.occupied(empty)
        return Appearance(
            empty=self._address(np.pad(empty.ravel(), (0, 3)), np.uint8),
            maxima=None if maxima is None else self._address(maxima, np.float32),
            table=self._address(seen.table, np.float32),
            shown=self._address(np.cumsum([0, *(seen.table[:, 3] > 0)]), np.int32),
            entries=len(seen.table),
            low=low,
            high=high,
            logarithmic=transfer.logarithmic,
            blend=BLENDS[settings.blend],
            component=component,
            shade=settings.shade,
            cubic=settings.interpolation == "cubic",
            isovalues=self._address(np.array(settings.isovalues), np.float32),
            isovalue_count=len(settings.isovalues),
            ambient=settings.ambient,
            diffuse=settings.diffuse,
            specular=settings.specular,
            specular_power=settings.specular_power,
            transmittance_limit=1.0 - settings.opacity_limit,
            lights=self._address(settings.unit_lights(), np.float32),
            light_count=len(settings.lights),
        )

    def _address(self, array: np.ndarray, kind: type[np.generic]) -> int:
        kept = np.ascontiguousarray(array, dtype=kind)
        self._kept.append(kept)
        return int(kept.ctypes.data)


def view_argument(
    camera: Camera, depth: np.ndarray | None, geometry: GridGeometry, settings: RenderSettings
) -> tuple[View, object]:
    """Return the kernels' description of a view, and what it points to.

    The rays that the kernels make of it are those of :meth:`Camera.rays` and
    :class:`~amgsrn_core.rendering.samples.Samples`.

    Parameters
    ----------
    camera : Camera
    depth : float32 array [height * width] or None
    geometry : GridGeometry
    settings : RenderSettings
    """

    def doubles(*numbers: float) -> ctypes.Array:
        return (ctypes.c_double * len(numbers))(*numbers)

    planes = np.ascontiguousarray(settings.clip_planes, dtype=np.float64)
    opaque = None if depth is None else np.ascontiguousarray(depth, dtype=np.float32).ravel()
    if opaque is not None and len(opaque) != camera.width * camera.height:
        raise ConfigurationError(
            f"depth must have one number for each of the {camera.width} x {camera.height} pixels, "
            f"not {len(opaque)}."
        )
    ends = [(axis.coordinates[0], axis.coordinates[-1]) for axis in reversed(geometry.axes)]
    view = View(
        width=camera.width,
        height=camera.height,
        clip_to_world=doubles(*camera.clip_to_world.ravel()),
        is_parallel=camera.eye is None,
        is_turned=not geometry.is_aligned,
        jitter=settings.jitter,
        seed=settings.seed,
        eye=doubles(*(np.zeros(3) if camera.eye is None else camera.eye)),
        depth=None if opaque is None else opaque.ctypes.data,
        to_axes=doubles(*np.linalg.inv(geometry.direction).ravel()),
        axes_origin=doubles(*geometry.origin),
        box=doubles(*np.ravel(ends)),
        crop=doubles(*(settings.crop or (-math.inf, math.inf) * 3)),
        planes=planes.ctypes.data,
        plane_count=len(planes),
        spacing=doubles(*geometry.spacing),
        samples_per_voxel=settings.samples_per_voxel,
        mean_step=settings.step(geometry),
        reach=reach_of(settings),
    )
    return view, (planes, opaque)


class _Model:
    """What of a model stays the same for every transfer function: networks and macro-cells."""

    def __init__(self, library: KernelLibrary, volume: NeuralVolume) -> None:
        geometry = volume.geometry
        borders = MacroCells.of_volume(volume).borders(geometry)
        coordinates = [axis.coordinates for axis in reversed(geometry.axes)]
        inverse = np.linalg.inv(geometry.direction)
        bricks = list(volume.bricks())
        self.empty = EmptyCells.of_volume(volume)
        self.kernel = VolumeKernel(library, coordinates, borders, bricks, volume.blend, inverse)
        self.boxes = Boxes(library, geometry, borders)
