"""The torch reference of encoder, decoder, gradient and feature density: pure functions.

Every faster implementation has these signatures and is compared with them in tests. Formulas are
those of Wurster et al., "Adaptively Placed Multi-Grid Scene Representation Networks for
Large-Scale Data Visualization", IEEE TVCG 2024 (VIS 2023), sections 3 and 4.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as functional
from torch import Tensor

from amgsrn_core.networks.products import products

# The paper's soft box exp(-1/2 sum local^20): nearly 1 inside [-1,1]^3, nearly 0 outside.
DENSITY_POWER = 20
# float32 overflows at |t|^20 > 1e38; beyond 8 the density is exactly 0 anyway, and clamping first
# keeps inf * 0 out of the gradient.
DENSITY_CLAMP = 8.0


def transform_points(points: Tensor, transforms: Tensor) -> Tensor:
    """Map points into the local coordinates of every grid.

    Parameters
    ----------
    points : Tensor [N, 3]
        Columns x, y, z.
    transforms : Tensor [G, 3, 4]
        Affine maps; row i gives local coordinate i as ``A[i, :3] . point + A[i, 3]``.

    Returns
    -------
    Tensor [G, N, 3]
    """
    by_grid = points.device.type == "cpu"
    with products():
        return (_mapped_by_grid if by_grid else _mapped_at_once)(points, transforms)


def _mapped_by_grid(points: Tensor, transforms: Tensor) -> Tensor:
    linear, shift = transforms[:, :, :3], transforms[:, None, :, 3]
    return torch.baddbmm(shift, points.expand(len(transforms), -1, -1), linear.transpose(1, 2))


def _mapped_at_once(points: Tensor, transforms: Tensor) -> Tensor:
    """Return the same by one product for all grids.

    Its gradient by the transforms, a sum over all points, is one as well, which libraries divide
    among a GPU's processors; they do not do that in a product for each grid.
    """
    with_one = torch.cat([points, torch.ones_like(points[:, :1])], 1)
    local = with_one @ transforms.flatten(0, 1).t()
    return local.view(len(points), len(transforms), 3).transpose(0, 1)


def encode(points: Tensor, feature_grids: Tensor, transforms: Tensor) -> Tensor:
    """Sample every feature grid trilinearly at the points.

    Samples sit on the corners of a grid's [-1, 1]^3. Outside lie zeros: a point up to one cell
    outside still gets a partial weight, one further away gets 0.

    Parameters
    ----------
    points : Tensor [N, 3]
        Brick-local coordinates x, y, z; the brick is [-1, 1]^3.
    feature_grids : Tensor [G, C, D, H, W]
        D, H, W run along z, y, x.
    transforms : Tensor [G, 3, 4]
        From brick-local to grid-local coordinates.

    Returns
    -------
    Tensor [N, G * C]
        Grid-major, then channel.
    """
    local = transform_points(points, transforms)
    sampled = functional.grid_sample(
        feature_grids,
        local[:, None, None],
        mode="bilinear",
        padding_mode="zeros",
        align_corners=True,
    )
    grids, channels = feature_grids.shape[:2]
    return sampled.reshape(grids * channels, len(points)).t()


def decode(
    features: Tensor, weights: Sequence[Tensor], biases: Sequence[Tensor] | None = None
) -> Tensor:
    """Apply the decoder: an MLP with ReLU between its layers and a linear output.

    Parameters
    ----------
    features : Tensor [N, G * C]
    weights : sequence of Tensor [out, in]
    biases : sequence of Tensor [out], optional
        Of every layer; only some imported networks have any.

    Returns
    -------
    Tensor [N, outputs]
        Normalised values: 0 is the field's minimum, 1 its maximum.
    """
    added: Sequence[Tensor | None] = biases or [None] * len(weights)
    for weight, bias in zip(weights[:-1], added):
        features = functional.relu(functional.linear(features, weight, bias))
    return functional.linear(features, weights[-1], added[-1])


def values_and_gradients(
    points: Tensor, feature_grids: Tensor, transforms: Tensor, weights: Sequence[Tensor]
) -> tuple[Tensor, Tensor]:
    """Evaluate a network together with its gradient by the points.

    The field is piecewise smooth: on a face of a grid's cell, and where a neuron begins to
    answer, the gradient is that of one side.

    Parameters
    ----------
    points : Tensor [N, 3]
        Brick-local coordinates x, y, z.
    feature_grids : Tensor [G, C, D, H, W]
    transforms : Tensor [G, 3, 4]
    weights : sequence of Tensor [out, in]

    Returns
    -------
    values : Tensor [N, outputs]
    gradients : Tensor [N, outputs, 3]
        Change of each value along local x, y, z.
    """
    return differentiated(lambda p: decode(encode(p, feature_grids, transforms), weights), points)


def differentiated(evaluate: Callable[[Tensor], Tensor], points: Tensor) -> tuple[Tensor, Tensor]:
    """Return a field's values [N, outputs] at points [N, 3], and gradients [N, outputs, 3]."""
    with torch.inference_mode(False), torch.enable_grad(), products():
        points = points.detach().clone().requires_grad_()
        values = evaluate(points)
        gradients = [
            torch.autograd.grad(values[:, output].sum(), points, retain_graph=True)[0]
            for output in range(values.shape[1])
        ]
    return values.detach(), torch.stack(gradients, dim=1)


def feature_density(points: Tensor, transforms: Tensor) -> Tensor:
    """Return how much grid resolution there is at the points (the paper's equation for rho).

    rho(x) = sum_g det(A_g) / (2 pi)^1.5 * exp(-1/2 * sum_axes local_g(x)^20)

    Parameters
    ----------
    points : Tensor [N, 3]
    transforms : Tensor [G, 3, 4]

    Returns
    -------
    Tensor [N]
    """
    local = transform_points(points, transforms).clamp(-DENSITY_CLAMP, DENSITY_CLAMP)
    box = torch.exp(-0.5 * local.pow(DENSITY_POWER).sum(-1))
    scale = _determinants(transforms[:, :, :3]) / (2.0 * math.pi) ** 1.5
    with products():
        return scale @ box


def _determinants(matrices: Tensor) -> Tensor:
    """Return the determinants [G] of matrices [G, 3, 3]."""
    if matrices.device.type == "cpu":
        return torch.linalg.det(matrices)
    # Elsewhere that is a factorisation by a library, which not every device has.
    return triple_products(matrices)


def triple_products(matrices: Tensor) -> Tensor:
    """Return the determinants [G] of matrices [G, 3, 3], as products of their rows."""
    x, y, z = matrices.unbind(1)
    return (torch.linalg.cross(x, y) * z).sum(1)
