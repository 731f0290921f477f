"""What a network and its corrections are expected to take, against what they take."""

from __future__ import annotations

import numpy as np

from amgsrn_core.config import NetworkConfig, StorageConfig
from amgsrn_core.model.correction_codes import pack_corrections
from amgsrn_core.training.bound import Bound
from amgsrn_core.training.stored_size import network_nbytes
from amgsrn_core.training.total_bytes import TotalBytes

NETWORK = NetworkConfig(grids=2, features=1, grid_shape=(4, 4, 4), width=8, layers=1)
STORAGE = StorageConfig(max_relative_error=0.01)
WHOLE = (slice(0, 48), slice(0, 48), slice(0, 48))


def test_corrections_take_about_what_a_sample_says() -> None:
    random = np.random.default_rng(3)
    limits, span = np.array([0.5, 4.0]), np.array([10.0, 100.0])
    total = TotalBytes.of(Bound(tuple(limits), "float32"), STORAGE, span, 48**3)
    assert total is not None and total.steps == (0.1, 0.08)
    without = network_nbytes(NETWORK, 2, STORAGE)
    for scale in (0.01, 0.05, 0.5):
        errors = random.laplace(scale=scale, size=(2, 48, 48, 48))
        numbers = np.rint(errors / np.array(total.steps)[:, None, None, None]).astype(np.int32)
        packed = pack_corrections(numbers, WHOLE, 2 * limits, limits, 0 * limits)
        sample = errors.reshape(2, -1).T[::7]
        expected = total.of_network(NETWORK, sample) - without
        assert 0.8 * packed.nbytes < expected < 1.1 * packed.nbytes


def test_components_without_a_bound_take_nothing() -> None:
    total = TotalBytes.of(Bound((np.inf, 1.0), "float32"), STORAGE, np.array([1.0, 0.0]), 1000)
    assert total is not None
    errors = np.random.default_rng(0).normal(size=(100, 2))
    assert total.of_network(NETWORK, errors) == network_nbytes(NETWORK, 2, STORAGE)
    assert TotalBytes.of(None, STORAGE, np.ones(1), 1000) is None
