"""Where grids start."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from amgsrn_core.model.feature_grids import box_corners
from amgsrn_core.training.placement import active_share, place_grids
from amgsrn_core.training.sampling import TrainingData


def identity(count: int) -> torch.Tensor:
    return torch.eye(3, 4).repeat(count, 1, 1)


def field(n: int = 40) -> torch.Tensor:
    """Quiet but for a small blob at x = 0.5, y = -0.5, z = 0 (local coordinates)."""
    z, y, x = np.meshgrid(*[np.linspace(-1, 1, n)] * 3, indexing="ij")
    values = np.exp(-60 * ((x - 0.5) ** 2 + (y + 0.5) ** 2 + z**2))
    return torch.from_numpy(values.astype(np.float32))[None]


def test_half_of_the_grids_go_to_the_active_region() -> None:
    transforms = identity(8)
    assert place_grids(transforms, TrainingData(field(), None), "auto") == 4
    boxes = box_corners(transforms.numpy())
    assert np.allclose(boxes[4:, 0], -1) and np.allclose(boxes[4:, 7], 1)
    low, high = boxes[:4].min((0, 1)), boxes[:4].max((0, 1))
    assert (low > [0.1, -0.9, -0.4]).all() and (high < [0.9, -0.1, 0.4]).all()
    # Together they cover the blob's flanks, where the gradient is largest.
    assert (low < [0.42, -0.58, -0.08]).all() and (high > [0.58, -0.42, 0.08]).all()


def test_a_field_that_is_active_everywhere_keeps_its_grids_global() -> None:
    noise = torch.rand(1, 30, 30, 30, generator=torch.Generator().manual_seed(0))
    transforms = identity(8)
    assert place_grids(transforms, TrainingData(noise, None), "auto") == 0
    assert torch.equal(transforms, identity(8))
    assert place_grids(transforms, TrainingData(noise, None), "active") == 4


def test_global_placement_leaves_them_alone() -> None:
    transforms = identity(4)
    assert place_grids(transforms, TrainingData(field(), None), "global") == 0
    assert torch.equal(transforms, identity(4))


@pytest.mark.parametrize("shape", [(2, 2, 2), (2, 5, 40), (3, 2, 2)])
@pytest.mark.parametrize("count", [1, 2, 64])
def test_tiny_and_flat_blocks_give_usable_maps(shape: tuple[int, int, int], count: int) -> None:
    transforms = identity(count)
    data = TrainingData(torch.rand(2, *shape), None)
    place_grids(transforms, data, "active")
    assert torch.isfinite(transforms).all()
    assert (torch.linalg.det(transforms[:, :, :3]) > 0).all()


def test_masked_cells_do_not_attract_grids() -> None:
    values = field()
    values[0, 30:, 30:, :10] = torch.rand(10, 10, 10)  # garbage where nothing is valid
    cells = torch.ones(39, 39, 39, dtype=torch.bool)
    cells[28:, 28:, :12] = False
    data = TrainingData(values, cells.view(-1).nonzero()[:, 0])
    transforms = identity(8)
    place_grids(transforms, data, "auto")
    assert box_corners(transforms.numpy())[:4, :, 0].min() > 0.1  # x of the blob's side


def test_share_is_one_for_even_and_small_for_concentrated_activity() -> None:
    assert active_share(np.ones((16, 16, 16))) == pytest.approx(1)
    single = np.zeros((16, 16, 16))
    single[3, 4, 5] = 1
    assert active_share(single) == pytest.approx(1 / 512)
