"""What a training writes while it is on: boxes for ParaView, and files for TensorBoard."""

from __future__ import annotations

import importlib
import struct
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from support.small_disk import mounted

from amgsrn_core import volume_from_array
from amgsrn_core.config import BrickConfig, DispatchConfig, NetworkConfig, TrainingConfig
from amgsrn_core.errors import ConfigurationError, OutputError
from amgsrn_core.field.neural_volume import NeuralVolume
from amgsrn_core.model import BrickRecord
from amgsrn_core.runs import train
from amgsrn_core.training import Command
from amgsrn_core.training.records.grid_series import GridSeries, series_path
from amgsrn_core.training.records.scalars import ScalarFile

SIZE = NetworkConfig(grids=3, features=1, grid_shape=(4, 4, 4), layers=1, width=8)
FIT = {"iterations": 30, "batch": 200, "device": "cpu", "log_grids": 10}


def blob(n: int = 12) -> np.ndarray:
    z, y, x = np.meshgrid(*[np.linspace(-1, 1, n)] * 3, indexing="ij")
    return np.exp(-3 * (x * x + 2 * y * y + (z - 0.2) ** 2)).astype(np.float32)


def volume():
    return volume_from_array(blob(), spacing=(1.0, 2.0, 0.5), origin=(5.0, -3.0, 100.0))


def times(path: Path) -> dict[int, list[Path]]:
    found: dict[int, list[Path]] = {}
    for entry in ElementTree.parse(path).getroot().iter("DataSet"):
        piece = path.parent / entry.get("file")
        assert piece.exists()
        found.setdefault(int(entry.get("timestep")), []).append(piece)
    return found


def arrays(piece: Path) -> dict[str, np.ndarray]:
    return {
        array.get("Name"): np.array((array.text or "").split(), dtype=np.float64)
        for array in ElementTree.parse(piece).getroot().iter("DataArray")
    }


def test_the_last_boxes_are_those_of_the_model(tmp_path):
    output = tmp_path / "my model.amgsrn"
    train(volume(), output, SIZE, TrainingConfig(**FIT))
    series = times(series_path(output))
    assert sorted(series) == [0, 10, 20, 30]
    first, last = arrays(series[0][0]), arrays(series[30][0])
    assert not first["motion"].any() and (last["motion"] > 0).all()
    corners = NeuralVolume.open(output).feature_corners()[0][:, [0, 1, 3, 2, 4, 5, 7, 6]]
    np.testing.assert_allclose(last["points"].reshape(3, 8, 3), corners, rtol=1e-5)
    np.testing.assert_array_equal(last["grid"], [0, 1, 2])


def test_an_interrupted_run_writes_the_series_of_one_that_was_not(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.import_module("amgsrn_core.training.fit"), "_PATIENCE_SECONDS", 0)
    config = TrainingConfig(**FIT)

    def stop_at_15(progress):
        on = progress.phase == "training" and progress.iteration >= 15
        return Command.STOP if on else Command.CONTINUE

    whole, parts = tmp_path / "whole.amgsrn", tmp_path / "parts.amgsrn"
    train(volume(), whole, SIZE, config)
    train(volume(), parts, SIZE, config, observer=stop_at_15)
    assert sorted(times(series_path(parts))) == [0, 10]
    train(volume(), parts, SIZE, config)
    texts = [
        {number: [p.read_text() for p in pieces] for number, pieces in times(path).items()}
        for path in (series_path(whole), series_path(parts))
    ]
    assert texts[0] == texts[1]
    # A shorter run in its place, of fewer bricks, leaves nothing of it behind.
    stray = parts.with_suffix(".grids") / "brick-0007" / "00000030.vtu"
    stray.parent.mkdir()
    stray.write_text("of an eighth brick")
    other = TrainingConfig(**{**FIT, "iterations": 12})
    train(volume(), parts, SIZE, other, restart=True)
    assert sorted(times(series_path(parts))) == [0, 10, 12]


def test_flat_grids_have_no_box(tmp_path):
    whole = volume().geometry.resolve()
    series = GridSeries(tmp_path / "m.amgsrn", volume().geometry, BrickRecord(whole, whole), 0, 1)
    maps = np.tile(np.eye(3, 4), (3, 1, 1))
    maps[1, 0] = 0.0
    series.write(4, maps, maps)
    (piece,) = times(series_path(tmp_path / "m.amgsrn"))[4]
    np.testing.assert_array_equal(arrays(piece)["grid"], [0, 2])


def test_what_was_written_after_a_checkpoint_is_forgotten(tmp_path):
    whole = volume().geometry.resolve()
    series = GridSeries(tmp_path / "m.amgsrn", volume().geometry, BrickRecord(whole, whole), 0, 1)
    maps = np.tile(np.eye(3, 4), (3, 1, 1))
    for iteration in (0, 4, 8):
        series.write(iteration, maps, maps)
    series.begin(4)
    series.write(6, maps, maps)
    assert sorted(times(series_path(tmp_path / "m.amgsrn"))) == [0, 4, 6]


def test_a_time_step_of_a_series_has_a_series_of_grids_of_its_own():
    step = Path("folder/storm.amgsrn.parts/step-0003/step.amgsrn")
    assert series_path(step) == Path("folder/storm.step-0003.grids.pvd")
    assert series_path("folder/st.orm.amgsrn") == Path("folder/st.orm.grids.pvd")


def test_each_brick_has_boxes_at_each_time(tmp_path):
    output = tmp_path / "m.amgsrn"
    bricks = BrickConfig(bricks=(1, 1, 2), ghost=1)
    folder = tmp_path / "board"
    config = TrainingConfig(**FIT, tensorboard=str(folder))
    train(volume(), output, SIZE, config, bricks=bricks, dispatch=DispatchConfig(workers=1))
    series = times(series_path(output))
    assert {number: len(pieces) for number, pieces in series.items()} == dict.fromkeys(
        (0, 10, 20, 30), 2
    )
    assert [int(arrays(piece)["brick"][0]) for piece in series[30]] == [0, 1]
    for number in (0, 1):
        assert scalars(folder / "m" / f"brick-{number:04d}")


def test_tensorboard_shows_the_history(tmp_path):
    config = TrainingConfig(**FIT, tensorboard=str(tmp_path / "board"))
    outcome = train(volume(), tmp_path / "m.amgsrn", SIZE, config)
    shown = scalars(tmp_path / "board" / "m")
    for column, name in enumerate(outcome.history_columns[1:], 1):
        np.testing.assert_allclose(shown[name], outcome.history[:, [0, column]], rtol=1e-6)


def test_a_full_disk_costs_the_records_and_not_the_training(tmp_path, caplog):
    with mounted(tmp_path / "small", "16k") as small:
        (small / "filler").write_bytes(bytes(8 << 10))
        board = ScalarFile(small / "board", 0)
        for iteration in range(400):
            board.add((float(iteration), 0.1, 10.0, 0.01, 0.0))
        board.close()
        whole = volume().geometry.resolve()
        record = BrickRecord(whole, whole)
        series = GridSeries(small / "m.amgsrn", volume().geometry, record, 0, 1)
        series.write(0, np.tile(np.eye(3, 4), (64, 1, 1)), np.tile(np.eye(3, 4), (64, 1, 1)))
    messages = [record.getMessage() for record in caplog.records]
    assert [message.endswith("the disk is full.") for message in messages] == [True, True]


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "board").write_text("a file")
    config = TrainingConfig(**FIT, tensorboard=str(tmp_path / "board"))
    with pytest.raises(OutputError, match=r"Cannot write .*board"):
        train(volume(), tmp_path / "m.amgsrn", SIZE, config)


def test_without_its_package_tensorboard_is_refused_in_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    config = TrainingConfig(**FIT, tensorboard=str(tmp_path))
    with pytest.raises(ConfigurationError, match=r"install amgsrn\[tensorboard\]"):
        train(volume(), tmp_path / "m.amgsrn", SIZE, config)


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Read TensorBoard's event files: records of a length, its check, an event, and its check."""
    from tensorboardX.proto.event_pb2 import Event

    found: dict[str, list[tuple[int, float]]] = {}
    for path in sorted(folder.glob("events.*")):
        data, at = path.read_bytes(), 0
        while at < len(data):
            (size,) = struct.unpack_from("<Q", data, at)
            event = Event.FromString(data[at + 12 : at + 12 + size])
            at += 16 + size
            for value in event.summary.value:
                found.setdefault(value.tag, []).append((event.step, value.simple_value))
    return found
