"""The kernels' gradient of the density loss is autograd's."""

from __future__ import annotations

import pytest
import torch
from support.kernel_cases import arrays, library, needs_kernels, points

from amgsrn_core.kernels.training import GradientKernel
from amgsrn_core.training.motion import density_loss

pytestmark = needs_kernels
__all__ = ["library"]

GRIDS = 5


def maps(spread: float) -> torch.Tensor:
    """Maps of positive volume around the identity, one of them far smaller than the brick."""
    random = torch.Generator().manual_seed(3)
    made = torch.eye(3, 4) + spread * torch.randn(GRIDS, 3, 4, generator=random)
    made[2] *= 30.0
    made[torch.linalg.det(made[:, :, :3]) < 0, 0] *= -1.0
    return made


def some_errors(count: int) -> torch.Tensor:
    """Squared errors over many orders of magnitude, some of them zero."""
    errors = 1e-3 * torch.rand(count, generator=torch.Generator().manual_seed(4)) ** 8
    errors[::50] = 0.0
    return errors


def native(kernels, transforms, at, errors, parts: int = 3) -> torch.Tensor:
    kernel = GradientKernel(kernels, (GRIDS, 2, 2, 2, 2), parts)
    mean = errors.double().mean().item()
    return torch.from_numpy(kernel.density_gradient(*arrays(transforms, at, errors), mean))


def reference(transforms, at, errors) -> torch.Tensor:
    values = transforms.double().requires_grad_()
    density_loss(at.double(), values, errors.double()).backward()
    return values.grad


@pytest.mark.parametrize("spread", [0.05, 0.4])
@pytest.mark.parametrize("count", [1, 64, 3001])
def test_the_gradient_is_autograds(library, spread, count):
    # Some points are outside of every grid, some beyond the density's clamp.
    at, errors = points(count, reach=1.3), some_errors(count)
    if count == 1:
        at, errors = torch.tensor([[0.3, -0.2, 0.6]]), torch.tensor([1e-4])
    transforms = maps(spread)
    expected = reference(transforms, at, errors)
    got = native(library, transforms, at, errors)
    assert expected.norm() > 0
    for gradient, wanted in zip(got.double(), expected):
        assert (gradient - wanted).norm() <= 1e-4 * wanted.norm() + 1e-7 * expected.norm()


@pytest.mark.parametrize("parts", [1, 2, 7])
def test_the_result_depends_on_the_parts_alone(library, parts):
    at, errors, transforms = points(2000), some_errors(2000), maps(0.2)
    alone = native(library, transforms, at, errors, parts=1)
    first = native(library, transforms, at, errors, parts)
    assert torch.equal(first, native(library, transforms, at, errors, parts))
    torch.testing.assert_close(first, alone, rtol=1e-5, atol=1e-6 * alone.abs().max().item())


def test_a_lost_error_is_not_hidden(library):
    errors = some_errors(100)
    errors[7] = torch.nan
    assert native(library, maps(0.2), points(100), errors).isnan().any()


def test_wrong_arguments_are_errors_not_crashes(library):
    with pytest.raises(ValueError, match=r"errors.*\[5\]"):
        native(library, maps(0.2), points(5), torch.ones(4))
    with pytest.raises(ValueError, match="transforms"):
        native(library, torch.ones(2, 3, 4), points(5), torch.ones(5))
