"""The torch reference marcher: every sample inside the volume, composited by nerfacc."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from nerfacc import accumulate_along_rays, render_weight_from_alpha
from torch import Tensor

from amgsrn_core.rendering.camera import Rays
from amgsrn_core.rendering.field import Field, IndexMap
from amgsrn_core.rendering.samples import Samples, axis_rays
from amgsrn_core.rendering.settings import RenderSettings
from amgsrn_core.rendering.transfer import TransferFunction

# Samples of the rays that are composited together, which take about 100 bytes each.
_BATCH_SAMPLES = 1 << 20


class TorchMarcher:
    """Dense marching on any device that torch knows; what every faster marcher is compared with.

    Parameters
    ----------
    field : Field
    transfer : TransferFunction
    settings : RenderSettings
    """

    backend = "torch"
    sampling = "exact"
    remark = ""

    def __init__(self, field: Field, transfer: TransferFunction, settings: RenderSettings) -> None:
        self.device = str(field.device)
        self._field = field
        self._settings = settings
        self._transfer = transfer
        self._appearance = Appearance(field, transfer, settings)

    def march(self, rays: Rays) -> np.ndarray:
        """Return colours float32 [N, 4], multiplied with the opacity; see Marcher."""
        image = np.zeros((len(rays), 4), dtype=np.float32)
        if self._appearance.is_empty:
            return image
        samples = Samples.on_rays(rays, self._field.geometry, self._settings)
        with torch.no_grad():
            for chosen in _batches(samples.count):
                bundle = _Bundle(rays, samples, chosen, self._field)
                image[chosen] = self._blended(bundle).cpu().numpy()
        return image

    def _blended(self, bundle: _Bundle) -> Tensor:
        is_whole = self._settings.blend == "isosurface"
        values = bundle.gathered(self._appearance.values(bundle.points(is_whole)))
        if self._settings.blend == "maximum":
            return self._appearance.maximum(values.nan_to_num(-torch.inf).amax(dim=1))
        if self._settings.blend == "isosurface":
            colours, alphas = self._surfaces(bundle, values)
        else:
            colours, alphas = self._appearance.colours(values)
            seen = alphas > 0
            rays, steps = seen.nonzero(as_tuple=True)
            distance, share = bundle.cut(rays, steps)
            share = share * bundle.exponent[rays]
            alphas[seen] = 1.0 - (1.0 - alphas[seen]) ** share
            if self._settings.shade:
                points, directions = bundle.at(rays, distance)
                colours[seen] = self._appearance.lit(colours[seen], points, directions)
        weights, transmittance = render_weight_from_alpha(alphas)
        weights = torch.where(transmittance > 1.0 - self._settings.opacity_limit, weights, 0.0)
        rgb = accumulate_along_rays(weights, values=colours)
        return torch.cat([rgb.clamp(max=1.0), accumulate_along_rays(weights)], dim=1)

    def _surfaces(self, bundle: _Bundle, values: Tensor) -> tuple[Tensor, Tensor]:
        """Return colours [n, m, 3] and opacities [n, m] of the isosurfaces that rays cross."""
        isovalues = torch.tensor(self._settings.isovalues, device=values.device)
        above = values[:, :, None] - isovalues  # [n, samples, isovalues]
        before, after = above[:, :-1], above[:, 1:]
        crossed = ((before < 0) != (after < 0)) & (before - after).isfinite()
        part = torch.where(crossed, before / (before - after), 2.0)
        part, order = part.sort(dim=2)  # along the ray
        rays, steps, places = (part <= 1.0).nonzero(as_tuple=True)
        distance = bundle.distance(rays, steps + part[rays, steps, places].double())
        inside = bundle.is_visible(rays, distance)
        rays, steps, places, distance = (t[inside] for t in (rays, steps, places, distance))
        surface = isovalues[order[rays, steps, places]]
        colour, alpha = self._appearance.surface(surface)
        if self._settings.shade:
            colour = self._appearance.lit(colour, *bundle.at(rays, distance))
        alphas = part.new_zeros(part.shape)
        colours = part.new_zeros((*part.shape, 3))
        alphas[rays, steps, places] = alpha
        colours[rays, steps, places] = colour
        return colours.flatten(1, 2), alphas.flatten(1)


class Appearance:
    """What a sample looks like: the field, the transfer function and the light, on a device."""

    def __init__(self, field: Field, transfer: TransferFunction, settings: RenderSettings) -> None:
        self._field = field
        self._settings = settings
        self._transfer = transfer
        ratio = settings.opacity_ratio(field.geometry)
        blend = settings.blend
        seen = transfer.corrected(ratio) if blend == "composite" else transfer
        self._table = torch.tensor(seen.table, device=field.device)
        self._channels = torch.arange(4, device=field.device)
        self._map = IndexMap(field.geometry, field.device)
        self._lights = torch.tensor(settings.unit_lights(), dtype=torch.float32).to(field.device)
        self.is_empty = transfer.is_empty or (blend == "isosurface" and not settings.isovalues)

    def index(self, points: Tensor) -> Tensor:
        """Map points, float64 [N, 3] in axis coordinates, to the volume's index space."""
        return self._map.index(points)

    def values(self, points: Tensor) -> Tensor:
        """Return what is seen of the field, float32 [N], at points [N, 3] in axis coordinates."""
        return self._select(self._field.values(self.index(points)))

    def colours(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """Return colours [..., 3] and opacities [...]; transparent where a value is NaN."""
        transfer = self._transfer
        low, high = transfer.low, transfer.high
        known = ~values.isnan()
        values = values.double().clamp(low, high).where(known, values.new_tensor(low).double())
        if transfer.logarithmic:
            low, high, values = np.log10(low), np.log10(high), values.log10()
        position = (values - low) * ((len(self._table) - 1) / (high - low))
        entry = position.long().clamp(0, len(self._table) - 2)
        part = (position - entry).float()[..., None]
        # Number by number: rows of four take a GPU many times as long.
        numbers = entry[..., None] * 4 + self._channels
        rgba = torch.lerp(self._table.take(numbers), self._table.take(numbers + 4), part)
        return rgba[..., :3], rgba[..., 3].where(known, rgba.new_zeros(()))

    def surface(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """Return colours and opacities of a surface, which opacity per distance does not fit."""
        return self.colours(values)

    def maximum(self, values: Tensor) -> Tensor:
        """Return colours [N, 4], multiplied with the opacity; transparent at minus infinity."""
        colours, alphas = self.colours(values)
        alphas = alphas.where(values > -torch.inf, alphas.new_zeros(()))
        return torch.cat([colours * alphas[:, None], alphas[:, None]], dim=1)

    def lit(self, colours: Tensor, points: Tensor, directions: Tensor) -> Tensor:
        """Return colours [N, 3] under the lights, by VTK's two-sided Blinn-Phong model.

        That is ``ambient * c`` plus the sum over lights of
        ``L * (diffuse * |n.l| * c + specular * |n.h|^power)``, with n along the gradient, l
        towards a light of colour L, and h halfway between l and the camera; without a gradient only
        the first term.
        """
        index = self._map.index(points)
        gradients = self._map.to_world(self._field.gradients(index, self._select), index)
        length = torch.linalg.vector_norm(gradients, dim=1, keepdim=True)
        normals = gradients / length.clamp(min=1e-30)
        settings = self._settings
        diffuse = torch.full_like(colours, settings.ambient)
        shine = torch.zeros_like(colours)
        for towards, halfway, light in self._lamps(directions):
            lit = (normals * towards).sum(dim=1, keepdim=True).abs().clamp(max=1.0)
            diffuse += settings.diffuse * lit * light
            lit = (normals * halfway).sum(dim=1, keepdim=True).abs().clamp(max=1.0)
            power = settings.specular * lit.pow(settings.specular_power)
            shine += power.where(lit > 0, power.new_zeros(())) * light
        return colours * diffuse + shine

    def _lamps(self, directions: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Yield the directions to each light, halfway from there to the camera, and its colour.

        The directions are unit vectors or 0, of shape [3] or [N, 3].
        """
        if not len(self._lights):
            yield directions, directions, directions.new_ones(3)
        for light in self._lights:
            halfway = light[:3] - directions
            length = torch.linalg.vector_norm(halfway, dim=1, keepdim=True)
            # Opposite to the camera there is no direction halfway.
            halfway = (halfway / length).where(length > 1e-6, halfway.new_zeros(()))
            yield light[:3], halfway, light[3:]

    def _select(self, values: Tensor) -> Tensor:
        component = self._settings.component
        if component == "magnitude":
            return torch.linalg.vector_norm(values, dim=1)
        return values[:, int(component)]


class _Bundle:
    """Some rays on a device, and the dense arrangement [rays, steps] of their samples."""

    def __init__(self, rays: Rays, samples: Samples, chosen: np.ndarray, field: Field) -> None:
        def on_device(array: np.ndarray) -> Tensor:
            return torch.tensor(array[chosen], device=field.device)

        origins, directions = axis_rays(rays, field.geometry)
        self._origins, self._directions = on_device(origins), on_device(directions)
        self._world_directions = on_device(rays.directions).float()
        self._near, self._far = on_device(samples.near), on_device(samples.far)
        self._start = on_device(samples.first + samples.offset)
        self._step = on_device(samples.step)
        self.exponent = on_device(samples.exponent)
        count = on_device(samples.count)
        self._used = torch.arange(int(count.max()), device=field.device) < count[:, None]

    def points(self, is_whole: bool) -> Tensor:
        """Return the samples, float64 [N, 3] in axis coordinates, of whole or of cut steps."""
        rays, steps = self._used.nonzero(as_tuple=True)
        distance = self.distance(rays, steps) if is_whole else self.cut(rays, steps)[0]
        return self.at(rays, distance)[0]

    def gathered(self, values: Tensor) -> Tensor:
        """Arrange one value for each sample as [rays, steps]; NaN where there is no sample."""
        dense = values.new_full(self._used.shape, torch.nan)
        dense[self._used] = values
        return dense

    def distance(self, rays: Tensor, steps: Tensor) -> Tensor:
        """Return t of samples given by ray and (fractional) step."""
        return (self._start[rays] + steps) * self._step[rays]

    def cut(self, rays: Tensor, steps: Tensor) -> tuple[Tensor, Tensor]:
        """Return t of samples, float64, and how much of their steps is visible, float32."""
        limits = self._near[rays], self._far[rays]
        return cut_steps(self.distance(rays, steps), self._step[rays], *limits)

    def at(self, rays: Tensor, distance: Tensor) -> tuple[Tensor, Tensor]:
        """Return points in axis coordinates and the rays' directions in the world, [N, 3]."""
        points = self._origins[rays] + distance[:, None] * self._directions[rays]
        return points, self._world_directions[rays]

    def is_visible(self, rays: Tensor, distance: Tensor) -> Tensor:
        """Return whether t is in the visible range of its ray."""
        return (distance >= self._near[rays]) & (distance < self._far[rays])


def cut_steps(distance: Tensor, step: Tensor, near: Tensor, far: Tensor) -> tuple[Tensor, Tensor]:
    """Move samples at t, float64 [N], to the middle of what of their steps [N] is visible.

    Returns that t, and how much of a step is left, float32 [N].
    """
    low, high = distance - 0.5 * step, distance + 0.5 * step
    is_cut = (low < near) | (high > far)
    low, high = low.maximum(near), high.minimum(far)
    share = ((high - low) / step).float()
    return (
        torch.where(is_cut, 0.5 * (low + high), distance),
        torch.where(is_cut, share, torch.ones_like(share)),
    )


def _batches(counts: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the numbers of rays that have samples, as many as fit into a batch."""
    chosen = np.flatnonzero(counts)
    chosen = chosen[np.argsort(-counts[chosen], kind="stable")]
    start = 0
    while start < len(chosen):
        rays = max(1, _BATCH_SAMPLES // int(counts[chosen[start]]))
        yield chosen[start : start + rays]
        start += rays
