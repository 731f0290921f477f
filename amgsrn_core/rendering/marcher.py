"""Marchers: what turns rays into colours, and which implementation does it here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

from amgsrn_core.errors import ConfigurationError
from amgsrn_core.model.records import VALUED_STATES

if TYPE_CHECKING:
    from amgsrn_core.field.neural_volume import NeuralVolume
    from amgsrn_core.rendering.camera import PixelRays
    from amgsrn_core.rendering.settings import RenderSettings
    from amgsrn_core.rendering.transfer import TransferFunction
    from amgsrn_core.volume.geometry import GridGeometry

BACKENDS = ("auto", "torch", "blocks", "native", "nerfacc")
"""The dense reference, blocks of steps in PyTorch, the CPU kernels, blocks with nerfacc on CUDA, or
(`auto`) the fastest that works on the volume's device. Blocks composite; other blend modes without
the kernels are the reference's."""


class Marcher(Protocol):
    """Marches rays through one volume with one transfer function and one set of settings.

    Attributes
    ----------
    backend : str
        The implementation's name, for people.
    device : str
        Where it computes: "cpu", "cuda:0".
    sampling : str
        "exact", or "cached": what it interpolates are decoded blocks.
    remark : str
        A sentence on what the picture is not that was asked for, or "".
    """

    backend: str
    device: str
    sampling: str
    remark: str

    def march(self, rays: PixelRays) -> np.ndarray:
        """Return the colours of rays.

        Each ray's result depends on nothing but the ray.

        Parameters
        ----------
        rays : PixelRays
            N of them, in any order.

        Returns
        -------
        float32 array [N, 4]
            Red, green, blue, each multiplied with the opacity, and the opacity; 0 to 1.
        """


def make_marcher(
    volume: NeuralVolume,
    transfer: TransferFunction,
    settings: RenderSettings,
    backend: str = "auto",
) -> Marcher:
    """Return a marcher for a model; cheap enough to call for every change of the settings.

    Parameters
    ----------
    volume : NeuralVolume
    transfer : TransferFunction
    settings : RenderSettings
    backend : {"auto", "torch", "blocks", "native", "nerfacc"}, default: "auto"

    Raises
    ------
    ConfigurationError
        There is no such backend, or none that works on the volume's device, or the volume has no
        such component.
    """
    if backend not in BACKENDS:
        raise ConfigurationError(f"backend must be one of {', '.join(BACKENDS)}, not {backend!r}.")
    settings.require_component(len(volume.components))
    if volume.device.type == "mps":
        raise ConfigurationError(
            "Rendering needs double precision, which the device mps lacks; use device cpu or auto."
        )
    # PyTorch is imported when something is rendered.
    from amgsrn_core.kernels.backend import native_library
    from amgsrn_core.rendering.units import in_view_units

    volume, transfer, settings = in_view_units(volume, transfer, settings)
    library = None
    if backend in ("auto", "torch", "native"):
        library = native_library(backend, volume.device, volume.index.network.encoder)
    because = _exact_because(volume, settings, library is not None)
    marcher: Marcher
    if library is None:
        marcher = _torch_marcher(volume, transfer, settings, backend)
    elif settings.sampling == "exact" or because:
        from amgsrn_core.rendering.native import NativeMarcher

        marcher = NativeMarcher(library, volume, transfer, settings)
    else:
        from amgsrn_core.rendering.cached import CachedMarcher

        marcher = CachedMarcher(library, volume, transfer, settings)
    marcher.remark = because or _unused(settings)
    return marcher


def _exact_because(volume: NeuralVolume, settings: RenderSettings, has_kernels: bool) -> str:
    """Return why decoded blocks that are asked for are not to be had, as a sentence, or ""."""
    if settings.sampling != "cached":
        return ""
    if not has_kernels:
        return "Decoded blocks need the CPU kernels, so sampling is exact."
    if any(brick.state not in VALUED_STATES for brick in volume.index.bricks):
        return "Decoded blocks need values in all bricks of a model, so sampling is exact."
    if not volume.is_whole_near(settings.crop, decoded_margin(volume.geometry, settings)):
        return (
            "Decoded blocks need the bricks round what is shown, too, some of which are not in "
            "this process, so sampling is exact."
        )
    return ""


def decoded_margin(geometry: GridGeometry, settings: RenderSettings) -> float:
    """Return how many voxels beyond what is shown decoded blocks are interpolated from."""
    if settings.sampling != "cached":
        return 0.0
    from amgsrn_core.kernels.working_set import lattice_levels

    coarsest = lattice_levels(geometry.dims[::-1], settings.cells_per_voxel)[-1].spacing
    return coarsest * (2 if settings.interpolation == "cubic" else 1)


def _unused(settings: RenderSettings) -> str:
    """Return which settings of decoded blocks change nothing, as a sentence, or ""."""
    if settings.sampling == "cached":
        return ""
    defaults = type(settings)()
    names = [
        name
        for name in ("cells_per_voxel", "interpolation", "cache_memory")
        if getattr(settings, name) != getattr(defaults, name)
    ]
    if not names:
        return ""
    return (
        f"Sampling is exact, so {' and '.join(names)} change{'s' * (len(names) == 1)} nothing; "
        "sampling cached uses decoded blocks."
    )


def _torch_marcher(
    volume: NeuralVolume, transfer: TransferFunction, settings: RenderSettings, backend: str
) -> Marcher:
    """Return the marcher of a device without the kernels."""
    from amgsrn_core.rendering.field import NeuralField
    from amgsrn_core.rendering.reference import TorchMarcher

    field = NeuralField.of_volume(volume)
    has_operators = backend in ("auto", "nerfacc") and _has_operators(volume)
    if backend == "nerfacc" and not has_operators:
        raise ConfigurationError(
            f"nerfacc's CUDA operators are not there for the device {volume.device}; build them "
            "with `amgsrn doctor --build`, or use backend auto."
        )
    if backend == "torch" or settings.blend != "composite":
        return TorchMarcher(field, transfer, settings)
    from amgsrn_core.rendering.occupancy import MacroCells

    cells = MacroCells.of_volume(volume)
    if has_operators:
        from amgsrn_core.rendering.nerfacc_marcher import NerfaccMarcher

        return NerfaccMarcher(field, cells, transfer, settings)
    from amgsrn_core.rendering.blocks import BlockMarcher

    return BlockMarcher(field, cells, transfer, settings)


def _has_operators(volume: NeuralVolume) -> bool:
    """Return whether nerfacc's operators can march through a volume."""
    if volume.device.type != "cuda":
        return False
    from amgsrn_core.rendering import nerfacc_operators

    return nerfacc_operators.load()
