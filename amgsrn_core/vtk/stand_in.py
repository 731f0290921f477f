"""A model drawn in the place of a volume that somebody else owns."""

from __future__ import annotations

import dataclasses
import os
from typing import Any

import numpy as np
from vtkmodules.vtkCommonDataModel import vtkPlaneCollection

from amgsrn_core.errors import ConfigurationError
from amgsrn_core.field.neural_volume import NeuralVolume
from amgsrn_core.rendering.settings import Bounds, RenderSettings
from amgsrn_core.vtk import scene
from amgsrn_core.vtk.network_volume import NetworkVolume


class StandIn(NetworkVolume):
    """Draws a model where a vtkVolume would be drawn, which is hidden meanwhile.

    What is seen follows that volume in every frame: its property, matrix and visibility, its
    mapper's blend mode, cropping and clipping planes. Where the network cannot be drawn, it shows
    what it has itself, and `status` says why.

    Parameters
    ----------
    model : NeuralVolume or path
        Of a series, one time step.
    original : vtkVolume
        It stays in its renderer.
    settings : RenderSettings, optional
        What VTK's objects do not say. A crop box and clip planes, in the model's coordinates,
        bound the part that is drawn, beside those of the volume's mapper.
    **options
        See :class:`NetworkVolume`.

    Examples
    --------
    >>> stand_in = StandIn(model, volume)  # doctest: +SKIP
    >>> stand_in.attach(renderer)  # doctest: +SKIP
    """

    def __init__(
        self,
        model: NeuralVolume | str | os.PathLike[str],
        original: Any,
        settings: RenderSettings | None = None,
        **options: Any,
    ) -> None:
        self.original, self._hides, self._no_planes = original, False, vtkPlaneCollection()
        super().__init__(model, settings or RenderSettings(), **options)
        self.volume.VisibilityOff()

    def begin(self, renderer: Any) -> None:
        """Prepare a frame; called at a renderer's StartEvent."""
        original, mapper = self.original, self.original.GetMapper()
        shows = bool(self.is_network and original.GetVisibility() and mapper is not None)
        self.volume.SetVisibility(shows)
        if not shows:
            return
        try:
            self._follow(mapper)
        except ConfigurationError as error:
            self.status = f"A preview is shown: {error}"
            self.volume.VisibilityOff()
            return
        super().begin(renderer)
        self._hides = self.is_network
        (original if self._hides else self.volume).VisibilityOff()

    def end(self, renderer: Any) -> None:
        """Let the original be seen by everyone else; called at a renderer's EndEvent."""
        if self._hides:
            self._hides = False
            self.original.VisibilityOn()
        super().end(renderer)

    def _follow(self, theirs: Any) -> None:
        """Take on what the original's mapper and the original say."""
        mode = theirs.GetBlendMode()
        if mode not in scene.BLEND_MODES:
            known = ", ".join(scene.BLEND_MODES.values())
            raise ConfigurationError(
                f"the network is blended in one of these ways, not in VTK's mode {mode}: {known}."
            )
        self.volume.SetProperty(self.original.GetProperty())
        self.volume.SetUserMatrix(self.original.GetMatrix())
        mapper = self.volume.GetMapper()
        mapper.SetBlendMode(mode)
        mapper.SetCropping(theirs.GetCropping())
        mapper.SetCroppingRegionFlags(theirs.GetCroppingRegionFlags())
        mapper.SetCroppingRegionPlanes(theirs.GetCroppingRegionPlanes())
        # Both share them: none is an empty collection of our own.
        mapper.SetClippingPlanes(theirs.GetClippingPlanes() or self._no_planes)
        if hasattr(theirs, "GetUseJittering"):
            mapper.SetUseJittering(theirs.GetUseJittering())

    def _seen_settings(self, renderer: Any, placement: scene.Placement) -> RenderSettings:
        seen = super()._seen_settings(renderer, placement)
        if self._settings.crop is None and not self._settings.clip_planes:
            return seen
        part = self._settings.scaled(placement.scale)
        return dataclasses.replace(
            seen,
            crop=_common(seen.crop, part.crop),
            clip_planes=(*part.clip_planes, *seen.clip_planes),
        )

    def _bounds(self) -> tuple[float, ...]:
        return self._settings.crop or super()._bounds()


def _common(one: Bounds | None, other: Bounds | None) -> Bounds | None:
    """Return what is in both boxes, where None bounds nothing."""
    if one is None or other is None:
        return one or other
    low = np.maximum(one[::2], other[::2])
    high = np.minimum(one[1::2], other[1::2])
    x0, x1, y0, y1, z0, z1 = np.stack([low, high], axis=1).ravel().tolist()
    return x0, x1, y0, y1, z0, z1
