"""The marcher of the CPU kernels: skips what is empty, and fills whole tiles across rays."""

from __future__ import annotations

import math

import numpy as np

from amgsrn_core.field.neural_volume import NeuralVolume
from amgsrn_core.kernels import KernelLibrary
from amgsrn_core.kernels.loader import Appearance
from amgsrn_core.kernels.loader import Rays as KernelRays
from amgsrn_core.kernels.march import BLENDS, VolumeKernel
from amgsrn_core.rendering.camera import Rays
from amgsrn_core.rendering.occupancy import EmptyCells, MacroCells
from amgsrn_core.rendering.samples import Samples, axis_rays
from amgsrn_core.rendering.settings import RenderSettings
from amgsrn_core.rendering.transfer import TransferFunction

# Rays of one call, which bounds the memory that they take (about 200 bytes each).
_RAYS = 1 << 15


class NativeMarcher:
    """Marching by the CPU kernels; the twin of rendering.reference.TorchMarcher.

    Parameters
    ----------
    library : KernelLibrary
    volume : NeuralVolume
        On the CPU.
    transfer : TransferFunction
    settings : RenderSettings
    """

    backend = "native"
    device = "cpu"

    def __init__(
        self,
        library: KernelLibrary,
        volume: NeuralVolume,
        transfer: TransferFunction,
        settings: RenderSettings,
    ) -> None:
        self._geometry = volume.geometry
        self._settings = settings
        self._kept: list[np.ndarray] = []
        self._appearance: Appearance | None = None
        nothing = settings.blend == "isosurface" and not settings.isovalues
        if volume.has_values and not (nothing or transfer.is_empty):
            self._model = volume.derived(_Model, lambda: _Model(library, volume))
            self._appearance = self._make_appearance(transfer)

    def march(self, rays: Rays) -> np.ndarray:
        """Return colours float32 [N, 4], multiplied with the opacity; see Marcher."""
        image = np.zeros((len(rays), 4), dtype=np.float32)
        if self._appearance is not None:
            for start in range(0, len(rays), _RAYS):
                part = slice(start, start + _RAYS)
                image[part] = self._march(self._appearance, rays[part])
        return image

    def _march(self, appearance: Appearance, rays: Rays) -> np.ndarray:
        samples = Samples.on_rays(rays, self._geometry, self._settings)
        origins, directions = axis_rays(rays, self._geometry)
        step = samples.step
        # The kernels' t counts the rays' own steps.
        doubles = {
            "origins": origins,
            "directions": directions * step[:, None],
            "towards": rays.directions,
            "near": samples.near / step,
            "far": samples.far / step,
            "offset": samples.offset,
        }
        counts = {"first": samples.first, "samples": samples.count}
        arrays = {
            **{name: np.ascontiguousarray(a, dtype=np.float64) for name, a in doubles.items()},
            **{name: np.ascontiguousarray(a, dtype=np.int64) for name, a in counts.items()},
            "exponents": samples.exponent,
        }
        addresses = {name: array.ctypes.data for name, array in arrays.items()}
        return self._model.kernel.march(appearance, KernelRays(count=len(rays), **addresses))

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
        return Appearance(
            empty=self._address(empty, np.uint8),
            maxima=None if maxima is None else self._address(maxima, np.float32),
            step=1.0,
            table=self._address(seen.table, np.float32),
            entries=len(seen.table),
            low=low,
            high=high,
            logarithmic=transfer.logarithmic,
            blend=BLENDS[settings.blend],
            component=component,
            shade=settings.shade,
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
