"""What a training is going to write, told before it starts."""

from __future__ import annotations

import dataclasses
import logging
import re

import numpy as np
import pytest

from amgsrn_core import volume_from_array
from amgsrn_core.config import NetworkConfig, StorageConfig, TrainingConfig
from amgsrn_core.runs import train, train_series
from amgsrn_core.runs.space import network_bytes, warn_of_size

Z, Y, X = np.meshgrid(*[np.linspace(-1, 1, 24)] * 3, indexing="ij")
VOLUME = volume_from_array((X * Y + Z).astype("f4"), name="saddle")  # 55,296 bytes
TRAINING = TrainingConfig(iterations=2, batch=64, device="cpu")


def advised(text: str, network: NetworkConfig) -> NetworkConfig:
    """Return the network with the options that a warning names."""
    given = dict(re.findall(r"--([a-z0-9-]+) ([0-9,]+)", text))
    values = {name.replace("-", "_"): tuple(map(int, v.split(","))) for name, v in given.items()}
    values = {name: v if name == "grid_shape" else v[0] for name, v in values.items()}
    return dataclasses.replace(network, **values)


@pytest.mark.parametrize(
    "network",
    [
        NetworkConfig(),
        NetworkConfig(grid_shape=(64, 8, 16), width=32),
        NetworkConfig(encoder="dense"),
        NetworkConfig(encoder="hash"),
    ],
    ids=["default", "uneven", "dense", "hash"],
)
@pytest.mark.parametrize("count", [1, 2])
def test_a_network_larger_than_its_data_is_told_with_one_that_fits(network, count, caplog):
    warn_of_size(VOLUME, network, count, StorageConfig())
    assert "larger" in caplog.text and "its data (55.3 kB); --" in caplog.text
    fitting = advised(caplog.text, network)
    assert count * network_bytes(fitting, 1, StorageConfig()) <= 55296 / 4
    caplog.clear()
    warn_of_size(VOLUME, fitting, count, StorageConfig())
    assert caplog.text == ""


def test_what_fits_no_network_is_told(caplog):
    warn_of_size(volume_from_array(np.stack([np.eye(3)] * 2)), NetworkConfig(), 1, StorageConfig())
    assert "it is too small to be worth a model" in caplog.text


def test_the_warning_comes_before_the_training_and_once(tmp_path, caplog):
    network = NetworkConfig(grids=2, grid_shape=(16, 16, 16), width=16)
    for fit, what in ((train, VOLUME), (train_series, [VOLUME, VOLUME])):
        caplog.clear()
        output = tmp_path / f"{fit.__name__}.amgsrn"
        with caplog.at_level(logging.WARNING):
            for _ in range(2):  # the second finds the model complete
                fit(what, output, network, TRAINING)
        assert caplog.text.count("is going to be larger") == 1
        small = dataclasses.replace(network, grid_shape=(8, 8, 8))
        caplog.clear()
        fit(what, tmp_path / f"{fit.__name__}-small.amgsrn", small, TRAINING)
        assert caplog.text == ""
