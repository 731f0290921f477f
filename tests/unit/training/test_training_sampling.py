"""Training points, targets and what masks do to them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from amgsrn_core.networks.interpolation import cubic_targets, linear_targets
from amgsrn_core.training.sampling import PointSampler, TrainingData, prepare
from amgsrn_core.volume.block import Block

CPU = torch.device("cpu")
shapes = st.tuples(*[st.integers(2, 7)] * 3)


def ramp(shape: tuple[int, int, int]) -> torch.Tensor:
    """A linear field and its double, which every interpolation must reproduce exactly."""
    z, y, x = np.meshgrid(*[np.arange(n, dtype=np.float32) for n in shape], indexing="ij")
    field = 0.5 * x - 2.0 * y + 3.0 * z
    return torch.from_numpy(np.stack([field, 2.0 * field]))


@settings(deadline=None, max_examples=30)
@given(shapes, st.integers(0, 1000))
def test_both_interpolations_reproduce_a_linear_field_up_to_the_faces(
    shape: tuple[int, int, int], seed: int
) -> None:
    values = ramp(shape)
    last = torch.tensor([shape[2] - 1.0, shape[1] - 1.0, shape[0] - 1.0])
    index = torch.rand(200, 3, generator=torch.Generator().manual_seed(seed)) * last
    index[0], index[1] = 0.0, last
    expected = 0.5 * index[:, 0] - 2.0 * index[:, 1] + 3.0 * index[:, 2]
    expected = torch.stack([expected, 2.0 * expected], 1)
    assert torch.allclose(cubic_targets(values, index), expected, atol=1e-3)
    assert torch.allclose(linear_targets(values, index * (2.0 / last) - 1.0), expected, atol=1e-3)


@settings(deadline=None, max_examples=20)
@given(shapes)
def test_both_interpolations_pass_through_the_voxels(shape: tuple[int, int, int]) -> None:
    values = torch.rand(1, *shape)
    z, y, x = np.indices(shape)
    index = torch.from_numpy(np.stack([x, y, z], -1).reshape(-1, 3).astype(np.float32))
    last = torch.tensor([shape[2] - 1.0, shape[1] - 1.0, shape[0] - 1.0])
    assert torch.allclose(cubic_targets(values, index)[:, 0], values.reshape(-1), atol=1e-5)
    linear = linear_targets(values, index * (2.0 / last) - 1.0)[:, 0]
    assert torch.allclose(linear, values.reshape(-1), atol=1e-5)


def test_cubic_is_nearer_to_a_smooth_field_than_linear() -> None:
    n = 16
    z, y, x = np.meshgrid(*[np.linspace(-1, 1, n)] * 3, indexing="ij")
    values = torch.from_numpy(np.sin(3 * x + y) * np.cos(2 * z))[None].float()
    local = torch.rand(5000, 3) * 2 - 1
    truth = torch.sin(3 * local[:, 0] + local[:, 1]) * torch.cos(2 * local[:, 2])
    index = (local + 1) / 2 * (n - 1)
    cubic = (cubic_targets(values, index)[:, 0] - truth).square().mean()
    linear = (linear_targets(values, local)[:, 0] - truth).square().mean()
    assert cubic < 0.05 * linear


def test_large_batches_are_interpolated_in_parts_with_the_same_result() -> None:
    values = torch.rand(2, 9, 8, 7)
    index = torch.rand(20_000, 3) * torch.tensor([6.0, 7.0, 8.0])
    whole = cubic_targets(values, index)
    assert torch.equal(whole[9000:9100], cubic_targets(values, index[9000:9100]))


@settings(deadline=None, max_examples=30)
@given(shapes, st.integers(1, 600), st.integers(0, 2**31 - 1))
def test_points_lie_inside_and_cover_the_cells_evenly(
    shape: tuple[int, int, int], batch: int, seed: int
) -> None:
    data = TrainingData(torch.zeros(1, *shape), None)
    index, local = PointSampler(data, batch, seed).draw(5)
    last = torch.tensor([shape[2] - 1.0, shape[1] - 1.0, shape[0] - 1.0])
    assert (index >= 0).all() and (index <= last).all()
    assert (local >= -1).all() and (local <= 1).all()
    cells = index.floor().minimum(last - 1).long()
    nx, ny, nz = data.cell_shape
    number = cells[:, 0] + nx * (cells[:, 1] + ny * cells[:, 2])
    counts = torch.bincount(number, minlength=nx * ny * nz)
    # One point per stratum: no cell may get more than its share and the two neighbours' rests.
    assert counts.max() <= batch / (nx * ny * nz) + 2


def test_a_batch_depends_on_seed_and_number_alone() -> None:
    data = TrainingData(torch.zeros(1, 6, 6, 6), None)
    first, again = PointSampler(data, 50, seed=1), PointSampler(data, 50, seed=1)
    first.draw(0)
    assert torch.equal(first.draw(7)[0], again.draw(7)[0])
    assert not torch.equal(first.draw(7)[0], first.draw(8)[0])
    assert not torch.equal(first.draw(7)[0], PointSampler(data, 50, seed=2).draw(7)[0])


def masked_block() -> Block:
    """A field of 5 with a hole of which only the corner (0, 0, 0) region is known."""
    values = np.full((1, 8, 8, 8), 5.0, np.float32)
    values[0, 0, 0, 0] = 9.0
    valid = np.zeros((8, 8, 8), bool)
    valid[:3, :3, :3] = True
    values[:, ~valid] = 0.0
    return Block(values, valid)


def test_masked_voxels_take_no_part() -> None:
    block = masked_block()
    data = prepare(block, np.array([5.0]), np.array([9.0]), CPU)
    sampler = PointSampler(data, 3000, seed=0)
    index, local = sampler.draw(0)
    assert index.max() <= 3.0  # cells that touch a valid voxel
    for targets in (cubic_targets(data.values, index), linear_targets(data.values, local)):
        # Every voxel that is used says "5" (0 normalised) but the one corner; a 0 from the hole
        # would be -1.25.
        assert targets.min() > -0.1
    far = index.min(1).values > 1.5
    assert targets[far].abs().max() < 1e-6


def test_values_are_normalised_and_a_constant_component_is_zero() -> None:
    values = np.stack([np.linspace(10, 30, 27), np.full(27, 4.0)]).reshape(2, 3, 3, 3)
    block = Block(values.astype(np.float32), None)
    data = prepare(block, np.array([10.0, 4.0]), np.array([30.0, 4.0]), CPU)
    assert data.values[0].min() == 0 and data.values[0].max() == pytest.approx(1)
    assert (data.values[1] == 0).all()
