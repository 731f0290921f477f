"""Real volumes with masks, uneven axes and several components, from file to file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.sample_volumes import shared_file

from amgsrn_core import NeuralVolume, open_volume, train
from amgsrn_core.config import NetworkConfig, TrainingConfig
from amgsrn_core.evaluation.metrics import compare
from amgsrn_core.volume import write_volume

SIZE = NetworkConfig(grids=8, grid_shape=(8, 16, 16), width=32)
BUDGET = TrainingConfig(iterations=150, batch=8192, device="cpu")


@pytest.mark.parametrize(
    ("name", "variables", "at_least"),
    [("levitus_ocean.nc", ["temperature"], 33.0), ("katrina_wrf.nc", ["u", "v", "w"], 28.0)],
)
def test_train_compare_and_write_back(
    tmp_path: Path, name: str, variables: list[str], at_least: float
) -> None:
    volume = open_volume(shared_file(name), variables)
    outcome = train(volume, tmp_path / "m.amgsrn", SIZE, BUDGET)
    model = NeuralVolume.open(outcome.path)
    metrics = compare(volume, lambda extent: model.reconstruct_block(None, extent))
    assert metrics.psnr > at_least
    assert metrics.psnr == pytest.approx(outcome.psnr, abs=0.05)
    block = model.reconstruct_block()
    path = write_volume(
        tmp_path / "back.nc",
        [((slice(None),) * 3, block)],
        model.geometry,
        name=model.name,
        components=model.components,
        units=model.units,
        missing=model.index.missing,
    )
    back = open_volume(path, variables)
    assert back.geometry == volume.geometry
    source, again = volume.read(), back.read()
    if source.valid is None:
        assert again.valid is None
    else:
        assert again.valid is not None and np.array_equal(source.valid, again.valid)
