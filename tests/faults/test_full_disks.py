"""A disk that fills up, or turns read-only, costs nothing that was trained."""

from __future__ import annotations

import errno
import logging
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from support.brick_runs import BRICKS, DISPATCH, NETWORK, same, train_waves, waves, write_waves
from support.small_disk import fill, mounted

from amgsrn_core import volume_from_array
from amgsrn_core.cli import main
from amgsrn_core.config import NetworkConfig, SeriesConfig, StorageConfig, TrainingConfig
from amgsrn_core.errors import ConfigurationError, NoRoomError
from amgsrn_core.model import BrickRecord, read_index
from amgsrn_core.runs import TrainingOutcome, train, train_series
from amgsrn_core.runs.space import checkpoint_bytes, model_bytes
from amgsrn_core.system.output import failure
from amgsrn_core.system.spare import forget_elsewhere, keep_elsewhere, kept_elsewhere
from amgsrn_core.training import Command, Progress
from amgsrn_core.training.checkpoint import Checkpoint, CheckpointFile
from amgsrn_core.volume import open_volume
from amgsrn_core.volume.volume import Volume

SIZE = NetworkConfig(grids=2, grid_shape=(6, 6, 6), width=16)
QUICK = TrainingConfig(iterations=30, batch=128, device="cpu", checkpoint_seconds=1e-6)
COMPRESS = StorageConfig(compress=True, compress_finetune=10)


def saddle(scale: float = 1.0) -> Volume:
    z, y, x = np.meshgrid(*[np.linspace(-1, 1, 12)] * 3, indexing="ij")
    return volume_from_array((scale * x * y + z).astype(np.float32), name="saddle")


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where this test's work is kept that finds no room: in this process, and in workers."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return folder


@pytest.fixture(autouse=True)
def single_thread() -> Iterator[None]:
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with mounted(tmp_path / "disk", "512k") as place:
        yield place


Train = Callable[..., TrainingOutcome]


def single(output: Path, **more: object) -> TrainingOutcome:
    return train(saddle(), output, SIZE, QUICK, **more)


def compressed(output: Path, **more: object) -> TrainingOutcome:
    return train(saddle(), output, SIZE, QUICK, COMPRESS, **more)


def series(output: Path, **more: object) -> TrainingOutcome:
    steps, options = [saddle(), saddle(0.5)], SeriesConfig(warm_iterations=10)
    return train_series(steps, output, SIZE, QUICK, series=options, **more)


def bricks(output: Path, **more: object) -> TrainingOutcome:
    volume = volume_from_array(waves(), name="wave")
    return train(volume, output, NETWORK, QUICK, None, BRICKS, DISPATCH, **more)


KINDS = pytest.mark.parametrize("run", [single, compressed, series, bricks])


class At:
    """Does something once, when the training has come to a phase; notes how far it was."""

    def __init__(
        self, phase: str, act: Callable[[], object], when: Callable[[Progress], bool] | None = None
    ) -> None:
        self._phase, self._act = phase, act
        self._when = when or (lambda progress: True)
        self.acted = False
        self.heard: list[int] = []

    def __call__(self, progress: Progress) -> Command:
        if progress.phase == "training":
            self.heard.append(progress.iteration)
        if progress.phase == self._phase and self._when(progress) and not self.acted:
            self._act()
            self.acted = True
        return Command.CONTINUE


@KINDS
def test_a_disk_that_is_too_small_is_noticed_before_the_training(
    tmp_path: Path, run: Train
) -> None:
    with mounted(tmp_path / "tiny", "16k") as tiny:
        seen = At("training", lambda: None)
        with pytest.raises(NoRoomError, match=r"needs .* left; make room"):
            run(tiny / "m.amgsrn", observer=seen)
        assert not seen.acted
        assert [path.name for path in tiny.iterdir()] in ([], ["m.amgsrn.parts"])


@KINDS
def test_a_disk_that_is_full_when_the_model_is_complete(
    disk: Path, tmp_path: Path, elsewhere: Path, run: Train
) -> None:
    """It is finished on another disk, and nothing is trained again."""
    output, parts = disk / "m.amgsrn", disk / "m.amgsrn.parts"
    when = (lambda progress: progress.iterations == 1) if run is series else None
    with pytest.raises(NoRoomError) as caught:
        run(output, observer=At("saving", lambda: fill(disk), when))
    assert "the disk is full" in str(caught.value) and str(caught.value).count("\n") == 0
    assert "run the same command again" in str(caught.value)
    assert not output.exists()
    heard: list[int] = []

    def listen(progress: Progress) -> Command:
        if progress.phase == "training":
            heard.append(progress.iteration if progress.bricks is None else progress.bricks.done)
        return Command.CONTINUE

    other = tmp_path / "other.amgsrn"
    assert run(other, parts=parts, observer=listen).completed
    if run in (single, compressed):
        assert set(heard) == {30}
    if run is bricks:
        assert set(heard) <= {4}
    assert not list(elsewhere.rglob("*.*"))
    run(tmp_path / "undisturbed.amgsrn")
    assert same(other, tmp_path / "undisturbed.amgsrn")


@KINDS
def test_a_disk_that_is_full_all_the_time(
    disk: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, run: Train
) -> None:
    output = disk / "m.amgsrn"
    with pytest.raises(NoRoomError):
        run(output, observer=At("training", lambda: fill(disk)))
    assert not output.exists()
    (disk / "filler").unlink()
    assert run(output).completed
    run(tmp_path / "undisturbed.amgsrn")
    assert same(output, tmp_path / "undisturbed.amgsrn")
    assert not (disk / "m.amgsrn.parts").exists()


def test_a_run_that_is_stopped_on_a_full_disk_goes_on_from_there(
    disk: Path, tmp_path: Path, elsewhere: Path, caplog: pytest.LogCaptureFixture
) -> None:
    output = disk / "m.amgsrn"

    def stop(progress: Progress) -> Command:
        if progress.phase == "training":
            fill(disk)
            return Command.STOP if progress.iteration == 30 else Command.CONTINUE
        return Command.CONTINUE

    assert not single(output, observer=stop).completed
    assert list(elsewhere.rglob("*.safetensors"))
    assert "without a checkpoint there" in caplog.text and str(elsewhere) in caplog.text
    (disk / "filler").unlink()
    seen = At("training", lambda: None)
    assert single(output, observer=seen).completed
    assert seen.heard[0] == 30
    assert not list(elsewhere.rglob("*.safetensors"))


@pytest.mark.parametrize("run", [single, bricks])
def test_what_is_complete_is_finished_from_a_read_only_disk(
    disk: Path, tmp_path: Path, run: Train
) -> None:
    with pytest.raises(NoRoomError):
        run(disk / "m.amgsrn", observer=At("saving", lambda: fill(disk)))
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    with pytest.raises(NoRoomError, match="read-only"):
        run(disk / "m.amgsrn")
    other = tmp_path / "other.amgsrn"
    assert run(other, parts=disk / "m.amgsrn.parts").completed
    run(tmp_path / "undisturbed.amgsrn")
    assert same(other, tmp_path / "undisturbed.amgsrn")


def test_space_that_gets_short_is_told_in_time(
    disk: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("amgsrn_core.training.fit._PATIENCE_SECONDS", 0.0)

    def leave_little() -> None:
        filler = fill(disk)
        os.truncate(filler, filler.stat().st_size - (40 << 10))

    observer = At("training", leave_little)
    config = TrainingConfig(iterations=300, batch=2048, device="cpu", checkpoint_seconds=1e-6)
    assert train(saddle(), disk / "m.amgsrn", SIZE, config, observer=observer).completed
    assert caplog.text.count("make room before it is full") == 1


def test_the_command_finishes_elsewhere(
    disk: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The sentence of the failure names the options that go on."""
    source, output = write_waves(tmp_path / "wave.nc"), disk / "m.amgsrn"
    options = [
        "--grids",
        "2",
        "--grid-shape",
        "5,5,5",
        "--layers",
        "1",
        "--width",
        "16",
        "--batch",
        "128",
        "--devices",
        "cpu",
    ]
    command = ["train", str(source), *options, "--iterations", "20"]
    with pytest.raises(NoRoomError) as caught:
        train(
            open_volume(source),
            output,
            NetworkConfig(grids=2, grid_shape=(5, 5, 5), layers=1, width=16),
            TrainingConfig(iterations=20, batch=128, device="cpu"),
            observer=At("saving", lambda: fill(disk)),
        )
    parts = f"--parts {disk / 'm.amgsrn.parts'}"
    assert parts in str(caught.value)
    other = tmp_path / "other.amgsrn"
    assert main([*command, "-o", str(other), *parts.split()]) == 0
    assert read_index(other).training.iterations_done == 20


@pytest.mark.parametrize("name", ["data", "data.parts"])
def test_a_folder_with_other_things_is_no_folder_of_parts(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    folder.mkdir()
    (folder / "mine.txt").write_text("keep")
    with pytest.raises(ConfigurationError, match="no folder of unfinished work"):
        single(tmp_path / "m.amgsrn", parts=folder)
    assert (folder / "mine.txt").exists()


def test_a_compressed_model_is_kept(
    disk: Path, tmp_path: Path, elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    single(tmp_path / "m.amgsrn")
    fill(disk)
    command = ["compress", str(tmp_path / "m.amgsrn"), "-o", str(disk / "c.amgsrn")]
    (disk / "c.amgsrn").touch()
    assert main([*command, "--device", "cpu"]) == 1
    message = capsys.readouterr().err
    (kept,) = elsewhere.rglob("*.amgsrn")
    assert str(kept) in message
    assert read_index(kept).storage.compress


def test_a_picture_is_kept(
    disk: Path, tmp_path: Path, elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    single(tmp_path / "m.amgsrn")
    (disk / "p.png").touch()
    fill(disk)
    command = ["render", str(tmp_path / "m.amgsrn"), "-o", str(disk / "p.png"), "--hw", "99,99"]
    assert main([*command, "--spp", "2", "--device", "cpu"]) == 1
    (kept,) = elsewhere.rglob("*.png")
    assert str(kept) in capsys.readouterr().err
    assert kept.read_bytes().startswith(b"\x89PNG")


def test_without_room_on_any_disk_a_finished_training_waits(
    disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("amgsrn_core.system.spare.roots", lambda: (str(disk),))
    said: list[str] = []

    def observe(progress: Progress) -> Command:
        said.append(progress.phase)
        if progress.phase == "training" and "measuring" not in said:
            fill(disk)
        if said.count("saving") == 2:
            (disk / "filler").unlink()
        return Command.CONTINUE

    config = TrainingConfig(iterations=30, batch=128, device="cpu", checkpoint_seconds=0)
    assert train(saddle(), disk / "m.amgsrn", SIZE, config, observer=observe).completed
    assert said.count("saving") == 2 and "Waiting for room" in caplog.text
    single(tmp_path / "undisturbed.amgsrn")
    assert same(disk / "m.amgsrn", tmp_path / "undisturbed.amgsrn")


def test_a_restart_begins_anew_whatever_is_kept_elsewhere(disk: Path, elsewhere: Path) -> None:
    with pytest.raises(NoRoomError):
        single(disk / "m.amgsrn", observer=At("training", lambda: fill(disk)))
    assert list(elsewhere.rglob("*.*"))
    (disk / "filler").unlink()
    config = TrainingConfig(iterations=30, batch=128, device="cpu", checkpoint_seconds=0)
    found: list[Path] = []
    seen = At("training", lambda: found.extend(elsewhere.rglob("*.safetensors")))
    assert train(saddle(), disk / "m.amgsrn", SIZE, config, restart=True, observer=seen).completed
    assert seen.acted and not found


def test_a_checkpoint_elsewhere_of_another_run_is_not_continued(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.safetensors"

    def write(at: Path) -> None:
        CheckpointFile(at, "another run").save(Checkpoint({}, {"iteration": 9}))

    assert keep_elsewhere(path, write) is not None
    assert CheckpointFile(path, "this run").load() is None
    CheckpointFile(path, "this run").save(Checkpoint({}, {"iteration": 3}))
    loaded = CheckpointFile(path, "this run").load()
    assert loaded is not None and loaded.numbers["iteration"] == 3
    forget_elsewhere(path)
    assert not kept_elsewhere(path)


def test_a_folder_that_somebody_else_prepared_is_not_used(tmp_path: Path, elsewhere: Path) -> None:
    trap = tmp_path / "trap"
    trap.mkdir()
    (elsewhere / f".amgsrn-{os.getuid()}").symlink_to(trap)
    place = keep_elsewhere(tmp_path / "m.amgsrn", lambda path: path.write_text("x"))
    assert not list(trap.iterdir())
    assert place is None or trap not in place.parents
    forget_elsewhere(tmp_path / "m.amgsrn")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS])
def test_a_quota_and_a_read_only_disk_are_full_disks(number: int) -> None:
    assert isinstance(failure("m", OSError(number, os.strerror(number))), NoRoomError)
    # As the safetensors library tells it.
    wrapped = RuntimeError(f"I/O error: something (os error {number})")
    assert isinstance(failure("m", wrapped), NoRoomError)
    assert not isinstance(failure("m", OSError(errno.EACCES, "no")), NoRoomError)


@pytest.mark.parametrize(
    ("network", "storage"),
    [
        (SIZE, StorageConfig()),
        (SIZE, StorageConfig(dtype="float16")),
        (SIZE, COMPRESS),
        (NetworkConfig(encoder="dense", grid_shape=(8, 8, 8)), StorageConfig()),
        (NetworkConfig(encoder="hash", grids=3, hash_log2_size=8), StorageConfig()),
        (NetworkConfig(), StorageConfig()),
    ],
)
def test_the_bounds_hold(tmp_path: Path, network: NetworkConfig, storage: StorageConfig) -> None:
    volume, output = saddle(), tmp_path / "m.amgsrn"
    config = TrainingConfig(iterations=5, batch=128, device="cpu", checkpoint_seconds=1e-6)
    sizes: list[int] = []

    def look(progress: Progress) -> Command:
        found = (tmp_path / "m.amgsrn.parts").rglob("checkpoint*")
        sizes.append(sum(path.stat().st_size for path in found))
        return Command.CONTINUE

    train(volume, output, network, config, storage, observer=look)
    whole = volume.geometry.resolve()
    model = model_bytes(volume, [(BrickRecord(whole, whole), network)], config, storage)
    assert model.least <= output.stat().st_size <= model.most
    checkpoint = checkpoint_bytes(volume, network, config, storage)
    assert checkpoint.least <= max(sizes) <= checkpoint.most
    # Close enough to mean something.
    assert model.most <= 2 * output.stat().st_size + 8192 or storage.compress


def test_a_full_disk_ends_the_run_where_bricks_find_no_other_place(
    disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on another computer, whose temporary folder nobody here could look into."""
    # Long enough for the others to be at it when the first bricks are done.
    source, quick = write_waves(tmp_path / "wave.nc"), {"iterations": 3000, "batch": 256}
    output = disk / "m.amgsrn"
    observer = At("training", lambda: fill(disk), lambda p: p.bricks is not None and p.bricks.done)
    with monkeypatch.context() as patch:
        patch.setattr("socket.gethostname", lambda: "another")
        with pytest.raises(NoRoomError, match="of 4 bricks are done and kept in"):
            train_waves(source, output, observer=observer, retries=0, **quick)
    (disk / "filler").unlink()
    assert train_waves(source, output, **quick).completed
    train_waves(source, tmp_path / "undisturbed.amgsrn", **quick)
    assert same(output, tmp_path / "undisturbed.amgsrn")


@pytest.fixture(autouse=True)
def quiet() -> None:
    logging.getLogger("amgsrn_core").setLevel(logging.WARNING)
