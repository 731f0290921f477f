"""Compressed models: smaller by far, within the error budget, and read like any other."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from support.sample_models import small_brick, small_index

from amgsrn_core import NeuralVolume, open_volume, train, volume_from_array
from amgsrn_core.cli import main
from amgsrn_core.config import BrickConfig, NetworkConfig, StorageConfig, TrainingConfig
from amgsrn_core.errors import ArchiveError, ConfigurationError
from amgsrn_core.field.macro_cells import network_cells
from amgsrn_core.model import (
    FORMAT_VERSION,
    Archive,
    load_brick,
    parameter_shapes,
    read_index,
    write_archive,
)
from amgsrn_core.model.cell_codes import coarser_cells, decode_table
from amgsrn_core.model.codec import (
    COMPRESSED,
    DIFFERENCES,
    Quantised,
    pack,
    pack_differences,
    rounded,
    unpack_differences,
    unpack_quantised,
)
from amgsrn_core.model.deflate import deflated
from amgsrn_core.networks import initial_network
from amgsrn_core.training import Command, Progress
from amgsrn_core.training.compressing import finetune
from amgsrn_core.training.compressing.compression import set_parameters, unit_steps
from amgsrn_core.training.fit import fit
from amgsrn_core.training.quality import measure
from amgsrn_core.training.sampling import prepare
from amgsrn_core.volume import GridGeometry, write_volume
from amgsrn_core.volume.block import Block

SIZE = NetworkConfig(grids=4, grid_shape=(8, 8, 8), width=16)
FAST = TrainingConfig(iterations=150, batch=2048, device="cpu")
COMPRESS = StorageConfig(compress=True, compress_finetune=0)


def waves(n: int = 20) -> np.ndarray:
    z, y, x = np.meshgrid(*[np.linspace(-1, 1, n)] * 3, indexing="ij")
    return (np.sin(3 * x + y) * np.cos(2 * z) + 0.3 * x).astype(np.float32)


def parameters(seed: int = 0) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    shapes = parameter_shapes(SIZE, 1)
    return {name: random.normal(0, 0.3, shape).astype("f4") for name, shape in shapes.items()}


def steps(size: float, values: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {
        name: np.full(value.shape[:2] if name == "feature_grids" else (1,), size)
        for name, value in values.items()
        if name != "transforms"
    }


@pytest.mark.parametrize("size", [1e-9, 1e-3, 0.1, 100.0])
def test_packed_parameters_come_back_rounded(size):
    values = parameters()
    packed = pack(values, steps(size, values))
    found = unpack_quantised(packed, parameter_shapes(SIZE, 1)).restored()
    expected = rounded(values, steps(size, values))
    assert found.keys() == values.keys()
    for name, value in found.items():
        assert value.dtype == np.float32
        np.testing.assert_array_equal(value, expected[name])
    np.testing.assert_array_equal(found["transforms"], values["transforms"])


def test_rounding_errors_are_those_of_the_steps():
    values = parameters()
    found = rounded(values, steps(0.01, values))
    for name in ("decoder.0.weight", "decoder.1.weight"):
        assert np.abs(found[name] - values[name]).max() <= 0.005 + 1e-6
    error = found["feature_grids"] - values["feature_grids"]
    # At the lowest frequency, the mean of a grid times the root of its size, the step is 0.01;
    # nowhere is it larger than sqrt(27) times that.
    means = error.mean(axis=(2, 3, 4)) * 8**1.5
    assert np.abs(means).max() <= 0.005 + 1e-5
    assert 0.01 < error.std() * np.sqrt(12) < 0.01 * np.sqrt(27)


def numbers(values: dict[str, np.ndarray], size: float) -> Quantised:
    return unpack_quantised(pack(values, steps(size, values)), parameter_shapes(SIZE, 1))


@pytest.mark.parametrize("size", [1e-9, 0.004, 0.01, 0.013, 100.0])
def test_differences_give_the_same_numbers_as_the_whole(size):
    """Also where the network that they are from has other steps, or is another one altogether."""
    random, shapes = np.random.default_rng(1), parameter_shapes(SIZE, 1)
    old = parameters()
    near = {k: v + random.normal(0, 0.01, v.shape).astype("f4") for k, v in old.items()}
    for values in (near, parameters(seed=1)):
        wanted, before = numbers(values, size), numbers(old, 0.01)
        packed = pack_differences(wanted, before)
        found = unpack_differences(packed, before, shapes).restored()
        for name, value in rounded(values, steps(size, values)).items():
            np.testing.assert_array_equal(found[name], value)
        own = len(pack(values, steps(size, values))[COMPRESSED])
        assert len(packed[DIFFERENCES]) < own + 100  # the flags
        if values is near and 0.001 < size < 1.0:
            assert len(packed[DIFFERENCES]) < 0.8 * own


def test_packing_approaches_the_numbers_entropy():
    values = parameters()
    coarse = pack(values, steps(0.3, values))[COMPRESSED]
    count = sum(v.size for n, v in values.items() if n != "transforms")
    # A normal number in steps of one to about two standard deviations has about two bits.
    assert len(coarse) < 0.3 * count + 48 * 4


def test_any_damage_to_packed_parameters_is_told_in_a_sentence():
    values, shapes = parameters(), parameter_shapes(SIZE, 1)
    intact = pack(values, steps(0.05, values))[COMPRESSED]
    random = np.random.default_rng(0)
    for length in (0, 3, 200, len(intact) // 2, len(intact) - 1):
        with pytest.raises(ArchiveError):
            unpack_quantised({COMPRESSED: intact[:length]}, shapes).restored()
    with pytest.raises(ArchiveError):
        unpack_quantised({COMPRESSED: intact}, parameter_shapes(NetworkConfig(), 1)).restored()
    before = numbers(parameters(seed=1), 0.1)
    differences = pack_differences(numbers(values, 0.05), before)[DIFFERENCES]
    for length in (0, 3, 200, len(differences) - 1):
        with pytest.raises(ArchiveError):
            unpack_differences({DIFFERENCES: differences[:length]}, before, shapes)
    for name, tensor in ((COMPRESSED, intact), (DIFFERENCES, differences)):
        refused = 0
        for position in random.integers(0, len(tensor), 200):
            damaged = tensor.copy()
            damaged[position] ^= 1 << random.integers(0, 8)
            try:
                if name == COMPRESSED:
                    found = unpack_quantised({name: damaged}, shapes).restored()
                else:
                    found = unpack_differences({name: damaged}, before, shapes).restored()
            except ArchiveError:
                refused += 1
            else:
                assert all(found[key].shape == shape for key, shape in shapes.items())
        assert refused


def write_compressed(path: Path) -> dict[str, np.ndarray]:
    index = small_index(network=SIZE).replace(storage=COMPRESS)
    values = parameters()
    brick = {**small_brick(index, mask=True), "history": np.ones((400, 2))}
    for name in values:
        brick.pop(name, None)
    write_archive(path, index, [{**brick, **pack(values, steps(0.01, values))}])
    return rounded(values, steps(0.01, values))


def test_a_file_with_packed_parameters_is_read_like_any_other(tmp_path):
    path = tmp_path / "model.amgsrn"
    expected = write_compressed(path)
    found = load_brick(path, 0, verify=True)
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value)
    assert len(found["history"]) == 50
    with Archive(path) as archive:
        raw = archive.load_brick(0, decode=False)
        assert set(raw) == {COMPRESSED, "mask", "history"}
        write_archive(tmp_path / "again.amgsrn", archive.index, [raw])
    again = load_brick(tmp_path / "again.amgsrn", 0, verify=True)
    for name, value in found.items():
        np.testing.assert_array_equal(again[name], value)


def test_only_compressed_files_need_a_newer_reader(tmp_path):
    plain = small_index().to_json()
    assert plain["storage"] == {"dtype": "float32"}
    packed = small_index().replace(storage=COMPRESS).to_json()
    assert packed["version"] == list(FORMAT_VERSION)
    assert packed["storage"]["compress"] is True


def test_a_damaged_compressed_file_is_told_in_a_sentence(tmp_path):
    path = tmp_path / "model.amgsrn"
    write_compressed(path)
    text = path.read_bytes()
    position = text.rindex(pack(parameters(), steps(0.01, parameters()))[COMPRESSED].tobytes())
    path.write_bytes(text[: position + 900] + bytes(400) + text[position + 1300 :])
    with pytest.raises(ArchiveError, match=r"cannot be used: .*\.$"):
        load_brick(path, 0, verify=True)
    with pytest.raises(ArchiveError, match=r"cannot be used: .*compressed.*\.$"):
        load_brick(path, 0)


@pytest.mark.parametrize("backend", ["torch", "auto"])
def test_training_keeps_to_the_budget_and_measures_what_it_wrote(tmp_path, backend):
    training = TrainingConfig(iterations=150, batch=2048, device="cpu", backend=backend)
    volume = volume_from_array(waves())
    plain = train(volume, tmp_path / "a.amgsrn", SIZE, training)
    packed = train(volume, tmp_path / "b.amgsrn", SIZE, training, COMPRESS)
    assert 0.0 < plain.psnr - packed.psnr <= 0.1
    assert packed.path.stat().st_size < plain.path.stat().st_size / 3
    values = NeuralVolume.open(packed.path).reconstruct_block().values[0]
    error = np.mean((values - waves()) ** 2) / np.ptp(waves()) ** 2
    assert -10 * np.log10(error) == pytest.approx(packed.psnr, abs=0.01)
    cells = load_brick(packed.path, 0)["macro_cells"]
    (brick,) = NeuralVolume.open(packed.path, device="cpu", backend=backend).bricks()
    computed = network_cells(brick.evaluator, brick.record, volume.dims)
    np.testing.assert_array_equal(cells, coarser_cells(computed))  # of what is decoded


def test_coarser_macro_cells_are_still_bounds():
    codes = np.random.default_rng(0).integers(0, 256, (2, 1, 40, 40, 40)).astype(np.uint8)
    codes[:, :, :3] = [[[[[0]]]], [[[[255]]]]]
    codes[:, :, 3:6] = [[[[[255]]]], [[[[0]]]]]
    wider = coarser_cells(codes)
    table = decode_table()
    assert (table[0][wider[0]] <= table[0][codes[0]]).all()
    assert (table[1][wider[1]] >= table[1][codes[1]]).all()
    np.testing.assert_array_equal(wider[:, :, :6], codes[:, :, :6])
    known = (codes[0] > 0) & (codes[0] < 255)
    assert (table[0][codes[0]][known] - table[0][wider[0]][known]).max() < 0.08
    assert len(deflated(wider)) < 0.7 * len(deflated(codes))


def test_bricks_are_compressed_each_for_itself(tmp_path):
    volume = volume_from_array(waves())
    training = TrainingConfig(iterations=60, batch=2048, device="cpu")
    outcome = train(
        volume, tmp_path / "m.amgsrn", SIZE, training, COMPRESS, BrickConfig(bricks=(1, 1, 2))
    )
    with Archive(outcome.path) as archive:
        for number in range(2):
            assert COMPRESSED in archive.load_brick(number, verify=True, decode=False)
    values = NeuralVolume.open(outcome.path).reconstruct_block().values[0]
    error = np.mean((values - waves()) ** 2) / np.ptp(waves()) ** 2
    assert -10 * np.log10(error) == pytest.approx(outcome.psnr, abs=0.3)
    assert json.dumps(read_index(outcome.path).to_json()["storage"]).count("compress") == 3


def test_finetuning_makes_the_file_smaller_at_the_same_budget(tmp_path):
    training = TrainingConfig(iterations=300, batch=2048, device="cpu")
    volume = volume_from_array(waves())
    plain = train(volume, tmp_path / "a.amgsrn", SIZE, training)
    sizes = []
    for iterations in (0, 600):
        storage = StorageConfig(compress=True, compress_finetune=iterations)
        outcome = train(volume, tmp_path / f"{iterations}.amgsrn", SIZE, training, storage)
        assert plain.psnr - outcome.psnr <= 0.1
        with Archive(outcome.path) as archive:
            sizes.append(len(archive.load_brick(0, decode=False)[COMPRESSED]))
    assert sizes[1] < 0.8 * sizes[0]


def test_what_is_rounded_in_groups_loses_less_than_rounding_at_once():
    values = waves()[None].copy()
    low, high = values.min((1, 2, 3)), values.max((1, 2, 3))
    data = prepare(Block(values, None), low, high, torch.device("cpu"))
    network = initial_network(SIZE, *(torch.tensor(v, dtype=torch.float32) for v in (low, high)), 0)
    fit(network, data, FAST)
    unit, before = unit_steps(network), measure(network, data).mean_square

    def error(found: finetune.Candidate) -> float:
        set_parameters(network, rounded(found.parameters, found.steps(unit)))
        return measure(network, data).mean_square

    tuning = finetune.Finetuning(network, data, FAST, unit, 900, error, before, before * 10**0.05)
    while not tuning.is_done:
        tuning.step()
    in_groups = tuning.settled
    assert in_groups.scale > tuning.shrunk.scale
    at_once = dataclasses.replace(tuning.shrunk, scale=in_groups.scale)
    assert error(in_groups) < 0.93 * error(at_once)


def test_fine_tuning_towards_another_network_makes_the_differences_small():
    """What is learned are data that differ a little from those of the other network."""
    shapes, sizes = parameter_shapes(SIZE, 1), []
    low, high = torch.tensor([-2.0]), torch.tensor([2.0])
    network = initial_network(SIZE, low, high, 0)
    for factor in (1.0, 1.05):
        block = Block(factor * waves()[None], None)
        data = prepare(block, low.numpy(), high.numpy(), torch.device("cpu"))
        fit(network, data, FAST)
        if factor == 1.0:
            coarse = {name: step * 3e-3 for name, step in unit_steps(network).items()}
            before = unpack_quantised(pack(network.state_arrays(), coarse), shapes)
    trained = network.state_arrays()
    for reference in (None, before.restored()):
        set_parameters(network, trained)
        tuning = finetune.Finetuning(
            network,
            data,
            FAST,
            unit_steps(network),
            120,
            lambda found: 1e-5,
            1e-5,
            1.02e-5,
            reference,
        )
        while not tuning.is_done:
            tuning.step()
        now = unpack_quantised(pack(tuning.shrunk.parameters, coarse), shapes)
        expected = before.requantised(now.steps)
        sizes.append({k: np.abs(n - expected[k]).mean() for k, n in now.coefficients.items()})
    for name, size in sizes[1].items():
        assert size < 0.9 * sizes[0][name], (name, size, sizes[0][name])


@pytest.mark.parametrize("last", [100, 700, 895])
def test_fine_tuning_that_was_stopped_continues_as_if_it_had_not_been(tmp_path, last):
    told: list[Progress] = []

    def stop(progress: Progress) -> Command:
        told.append(progress)
        done = progress.phase == "compressing" and progress.iteration >= 60 + last
        return Command.STOP if done else Command.CONTINUE

    volume = volume_from_array(waves())
    training = TrainingConfig(iterations=60, batch=512, device="cpu")
    storage = StorageConfig(compress=True, compress_finetune=900)
    network = NetworkConfig(grids=2, grid_shape=(4, 4, 4), width=16)
    path, other = tmp_path / "m.amgsrn", tmp_path / "other.amgsrn"
    stopped = train(volume, path, network, training, storage, observer=stop)
    assert not stopped.completed
    assert not path.exists()
    assert {progress.iterations for progress in told} == {960}
    first = []
    train(volume, path, network, training, storage, observer=lambda p: first.append(p) or go_on())
    tuned = [p.iteration for p in first if p.phase == "compressing"]
    assert tuned[1] >= 60 + last
    train(volume, other, network, training, storage)
    with Archive(path) as one, Archive(other) as two:
        a, b = (archive.load_brick(0, decode=False)[COMPRESSED] for archive in (one, two))
    np.testing.assert_array_equal(a, b)
    assert not path.with_name("m.amgsrn.parts").exists()


def go_on() -> Command:
    return Command.CONTINUE


def test_fine_tuning_pauses(tmp_path):
    phases = []

    def pause_once(progress: Progress) -> Command:
        phases.append(progress.phase)
        first = progress.phase == "compressing" and "paused" not in phases
        return Command.PAUSE if first and progress.iteration > 150 else Command.CONTINUE

    storage = StorageConfig(compress=True, compress_loss=1.0, compress_finetune=20)
    path = tmp_path / "m.amgsrn"
    outcome = train(volume_from_array(waves()), path, SIZE, FAST, storage, observer=pause_once)
    assert outcome.completed
    assert "paused" in phases
    assert phases[-1] == "saving"


def test_small_batches_are_not_for_fine_tuning(tmp_path, monkeypatch):
    """They double the files; the network before was trained with its own."""
    batches, fine = [], finetune.PointSampler

    def sampler(data, batch, seed):
        batches.append(batch)
        return fine(data, batch, seed)

    monkeypatch.setattr(finetune, "PointSampler", sampler)
    monkeypatch.setattr(finetune, "batches_for", lambda *a: batches.append(a[2].batch))
    storage = StorageConfig(compress=True, compress_finetune=3)
    for batch, expected in ((0, 65536), (500, 500)):
        training = TrainingConfig(iterations=3, batch=batch, device="cpu")
        volume = volume_from_array(waves())
        train(volume, tmp_path / f"{batch}.amgsrn", SIZE, training, storage)
        assert batches.pop() == expected and not batches


@pytest.mark.parametrize("components", [1, 2])
def test_gradients_of_both_backends_agree_in_finetuning(components):
    found = []
    for backend in ("torch", "auto"):
        values = np.stack([waves(), -(waves() ** 2)][:components])
        low, high = values.min((1, 2, 3)), values.max((1, 2, 3))
        data = prepare(Block(values, None), low, high, torch.device("cpu"))
        limits = (torch.tensor(v, dtype=torch.float32) for v in (low, high))
        network = initial_network(SIZE, *limits, 0)
        with torch.no_grad():
            network.feature_grids.mul_(1e3)
        config = TrainingConfig(batch=4096, device="cpu", backend=backend)
        tuning = finetune.Finetuning(
            network, data, config, unit_steps(network), 8, lambda found: 1.0, 0.01, 0.011
        )
        # One step of Adam only tells the signs of the gradients, some more their sizes.
        while not tuning.is_done:
            tuning.step()
        found.append(tuning.shrunk.parameters)
    for name, value in found[0].items():
        change = np.abs(value - found[1][name])
        assert np.quantile(change, 0.98) < 2e-3, name


def test_a_trained_model_is_compressed_afterwards(tmp_path, capsys):
    volume = volume_from_array(waves())
    bricks = BrickConfig(bricks=(1, 1, 2))
    plain = train(volume, tmp_path / "a.amgsrn", SIZE, FAST, None, bricks)
    small = tmp_path / "b.amgsrn"
    assert main(["compress", str(plain.path), "-o", str(small), "--device", "cpu"]) == 0
    assert "none without the data" in capsys.readouterr().out
    assert read_index(small).storage.compress_finetune == 0
    assert small.stat().st_size < plain.path.stat().st_size / 3
    values = NeuralVolume.open(small, verify=True).reconstruct_block().values[0]
    error = np.mean((values - waves()) ** 2) / np.ptp(waves()) ** 2
    assert -10 * np.log10(error) == pytest.approx(plain.psnr, abs=0.3)
    index, before = read_index(small), read_index(plain.path)
    assert 0 < before.psnr - index.psnr <= 0.1
    for old, new in zip(before.bricks, index.bricks):
        assert new.max_error > old.max_error
    assert main(["compress", str(small), "-o", str(tmp_path / "c.amgsrn")]) == 1
    assert "compressed already" in capsys.readouterr().err
    assert main(["info", str(small)]) == 0
    assert "compressed" in capsys.readouterr().out


def test_a_model_is_compressed_with_its_data_at_hand(tmp_path, capsys):
    data = tmp_path / "waves.vti"
    write_volume(data, waves(), GridGeometry.uniform((20, 20, 20)))
    bricks = BrickConfig(bricks=(1, 1, 2))
    plain = train(open_volume(data), tmp_path / "a.amgsrn", SIZE, FAST, None, bricks)
    small = tmp_path / "b.amgsrn"
    command = ["compress", str(plain.path), "-o", str(small), "--device", "cpu", "--against"]
    assert main([*command, str(data), "--compress-finetune", "300"]) == 0
    assert "about" not in capsys.readouterr().out
    values = NeuralVolume.open(small, verify=True).reconstruct_block().values[0]
    errors = values - waves()
    index = read_index(small)
    psnr = -10 * np.log10(np.mean(errors**2) / np.ptp(waves()) ** 2)
    assert index.psnr == pytest.approx(psnr, abs=0.2)  # bricks are measured before they are blended
    assert plain.psnr - index.psnr <= 0.1
    other = tmp_path / "other.vti"
    write_volume(other, waves(9), GridGeometry.uniform((9, 9, 9)))
    assert main([*command, str(other)]) == 1
    assert "name the data that it was trained on" in capsys.readouterr().err


def test_a_model_is_compressed_with_its_own_data_only(tmp_path, capsys):
    there = GridGeometry.uniform((20, 20, 20), (5.0, 0.0, 0.0), (0.5, 0.5, 0.5))
    index = small_index((20, 20, 20), network=SIZE, geometry=there)
    path, data = tmp_path / "m.amgsrn", tmp_path / "d.vti"
    state = {**small_brick(index), **parameters(), "mask": np.ones((20, 20, 20), bool)}
    state["mask"][:15] = False
    write_archive(path, index, [state])
    command = ["compress", str(path), "-o", str(tmp_path / "s.amgsrn"), "--device", "cpu"]
    command += ["--compress-finetune", "0", "--against", str(data)]
    write_volume(data, waves(), GridGeometry.uniform((20, 20, 20)))
    assert main(command) == 1
    told = capsys.readouterr().err
    assert "spans x 5 to 14.5" in told and "the volume x 0 to 19" in told
    write_volume(data, waves(), there)  # without the mask
    assert main(command) == 1
    assert "for 2,000 of the 8,000 voxels" in capsys.readouterr().err
    assert not (tmp_path / "s.amgsrn").exists()
    write_volume(data, waves(), there, valid=state["mask"])
    assert main(command) == 0


def test_a_model_that_counts_in_voxels_is_compressed_with_its_data_anywhere(tmp_path):
    index = small_index((20, 20, 20), network=SIZE)
    path, data = tmp_path / "m.amgsrn", tmp_path / "d.vti"
    write_archive(path, index, [{**small_brick(index), **parameters()}])
    write_volume(data, waves(), GridGeometry.uniform((20, 20, 20), (5.0, 0.0, 0.0)))
    command = ["compress", str(path), "-o", str(tmp_path / "s.amgsrn"), "--device", "cpu"]
    assert main([*command, "--compress-finetune", "0", "--against", str(data)]) == 0


def test_a_model_that_does_not_know_its_quality_needs_the_data(tmp_path, capsys):
    path = tmp_path / "m.amgsrn"
    index = small_index(network=SIZE)
    record = dataclasses.replace(index.bricks[0], psnr=None)
    brick = {**small_brick(index), **parameters()}
    write_archive(path, index.replace(bricks=(record,)), [brick])
    assert main(["compress", str(path), "-o", str(tmp_path / "s.amgsrn")]) == 1
    assert "name the data with --against" in capsys.readouterr().err


def test_a_hash_grid_is_refused_before_any_work(tmp_path):
    network = NetworkConfig(encoder="hash", grids=2, hash_log2_size=6)
    with pytest.raises(ConfigurationError, match="hash grid cannot be compressed"):
        train(volume_from_array(waves()), tmp_path / "m.amgsrn", network, FAST, COMPRESS)


def test_a_missing_package_is_told_before_any_work(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "constriction", None)
    with pytest.raises(ConfigurationError, match="install constriction"):
        train(volume_from_array(waves()), tmp_path / "m.amgsrn", SIZE, FAST, COMPRESS)
    assert not list(tmp_path.iterdir())


def test_a_dense_grid_of_two_components_is_compressed(tmp_path):
    network = NetworkConfig(encoder="dense", grid_shape=(8, 8, 8), width=16)
    volume = volume_from_array(np.stack([waves(), waves() ** 2]), components=("u", "v"))
    plain = train(volume, tmp_path / "a.amgsrn", network, FAST)
    storage = StorageConfig(compress=True, compress_finetune=9)
    packed = train(volume, tmp_path / "b.amgsrn", network, FAST, storage)
    assert plain.psnr - packed.psnr <= 0.1
    assert packed.path.stat().st_size < plain.path.stat().st_size / 2
