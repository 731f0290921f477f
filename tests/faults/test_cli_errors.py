"""Whatever goes wrong in the shell ends in one sentence on standard error and a status."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from support.sample_models import write_small_model

from amgsrn_core.cli import main
from amgsrn_core.errors import TrainingError
from amgsrn_core.model import read_index
from amgsrn_core.volume import GridGeometry, write_volume

COMMAND = [sys.executable, "-m", "amgsrn_core.cli"]


def failed(capsys, *arguments: object, status: int = 1) -> str:
    """Run a command that must fail, and return its sentence."""
    capsys.readouterr()
    assert main([str(argument) for argument in arguments]) == status
    captured = capsys.readouterr()
    assert captured.out == ""
    return sentence(captured.err)


def sentence(text: str) -> str:
    """Check that a complaint is one clear sentence, and return it."""
    assert text.startswith("amgsrn: ")
    assert text.endswith(".\n")
    assert text.count("\n") == 1
    assert "Traceback" not in text
    return text


@pytest.fixture
def model(tmp_path) -> Path:
    path = tmp_path / "model.amgsrn"
    write_small_model(path)
    return path


@pytest.fixture
def volume(tmp_path) -> Path:
    path = tmp_path / "volume.nc"
    values = np.random.default_rng(0).random((6, 7, 8), dtype="f4")
    write_volume(path, values, GridGeometry.uniform((6, 7, 8)), name="density")
    return path


@pytest.fixture
def training(monkeypatch):
    """Put something else in the place of training."""

    def replace(train):
        monkeypatch.setattr("amgsrn_core.runs.train", train)

    def unreachable(*arguments, **options):
        raise AssertionError("training began")

    replace(unreachable)
    return replace


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "COMMAND"),
        (["fly"], "fly"),
        (["train"], "VOLUME"),
        (["train", "v.nc"], "--output"),
        (["train", "v.nc", "-o", "m", "--grid-shape", "3,4"], "3 whole numbers"),
        (["train", "v.nc", "-o", "m", "--grid-shape", "a,b,c"], "3 whole numbers"),
        (["train", "v.nc", "-o", "m", "--iterations", "many"], "--iterations"),
        (["train", "v.nc", "-o", "m", "--resume", "--restart"], "not allowed"),
        (["reconstruct", "m", "-o", "r.nc", "--region", "1,2,3"], "6 numbers"),
        (["info", "m", "--wrong"], "--wrong"),
    ],
)
def test_a_wrong_command_line(capsys, arguments, words):
    message = failed(capsys, *arguments, status=2)
    assert words in message
    assert "--help" in message


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--iterations", "-1", "iterations must be at least 0"),
        ("--grid-shape", "1,4,4", "grid-shape must be at least 2"),
        ("--lr", "nan", "learning-rate"),
        ("--batch", "-5", "batch must be at least 0"),
    ],
)
def test_an_option_out_of_its_range(capsys, training, tmp_path, volume, option, value, words):
    assert words in failed(capsys, "train", volume, "-o", tmp_path / "m.amgsrn", option, value)


@pytest.mark.parametrize("output", ["missing/m.amgsrn", ".", "volume.nc/m.amgsrn", "volume.nc"])
def test_an_output_that_cannot_be_written_is_found_before_training(
    capsys, training, tmp_path, volume, output
):
    before = volume.read_bytes()
    message = failed(capsys, "train", volume, "-o", tmp_path / output)
    assert "Cannot write" in message or "would replace the volume" in message
    assert volume.read_bytes() == before


def test_a_read_only_folder_is_found_before_training(capsys, training, tmp_path, volume):
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o500)
    output = folder / "m.amgsrn"
    with as_ordinary_user():
        assert "permission denied" in failed(capsys, "train", volume, "-o", output)


@contextlib.contextmanager
def as_ordinary_user():
    """Give up the super-user's right to write everywhere, for a while."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_unusable_volumes(capsys, training, tmp_path, volume):
    output = tmp_path / "m.amgsrn"
    assert "absent.nc" in failed(capsys, "train", tmp_path / "absent.nc", "-o", output)
    foreign = tmp_path / "foreign.nc"
    foreign.write_text("hello")
    assert "foreign.nc" in failed(capsys, "train", foreign, "-o", output)
    message = failed(capsys, "train", volume, "-o", output, "--variable", "heat")
    assert "heat" in message
    assert "density" in message  # the choices
    assert "time" in failed(capsys, "train", volume, "-o", output, "--time", "3")


@pytest.mark.parametrize("command", ["info", "test", "reconstruct"])
def test_unusable_models(capsys, tmp_path, model, volume, command):
    more = {
        "info": ["--verify"],
        "test": ["--against", volume],
        "reconstruct": ["-o", tmp_path / "out.nc"],
    }[command]
    absent = tmp_path / "absent.amgsrn"
    assert str(absent) in failed(capsys, command, absent, *more)
    model.write_bytes(model.read_bytes()[:-1])
    assert "only a part" in failed(capsys, command, model, *more)
    model.write_text("hello")
    assert "not a model file" in failed(capsys, command, model, *more)
    assert not (tmp_path / "out.nc").exists()


def test_a_damaged_brick_is_found_by_verify(capsys, model):
    content = bytearray(model.read_bytes())
    content[-5] ^= 1
    model.write_bytes(content)
    assert "checksum" in failed(capsys, "info", model, "--verify")


def test_reconstruct_refuses_what_it_cannot_write(capsys, tmp_path, model):
    before = model.read_bytes()
    for output in ("missing/r.nc", ".", "r.png", "model.amgsrn"):
        failed(capsys, "reconstruct", model, "-o", tmp_path / output)
    failed(capsys, "reconstruct", model, "-o", tmp_path / "r.nc", "--shape", "0,5,5")
    failed(capsys, "reconstruct", model, "-o", tmp_path / "r.nc", "--shape", "-1,5,5")
    assert "device" in failed(
        capsys, "reconstruct", model, "-o", tmp_path / "r.nc", "--device", "tpu"
    )
    assert model.read_bytes() == before
    assert not (tmp_path / "r.nc").exists()


def test_test_refuses_contradictions(capsys, tmp_path, model, volume):
    against = ["--against", volume]
    assert "psnr, ssim" in failed(capsys, "test", model, *against, "--tests", "beauty")
    assert "Cannot write" in failed(capsys, "test", model, *against, "--json", "absent/r.json")
    folder = ["--tests", "error", "--output-dir", volume / "x"]
    assert "folder" in failed(capsys, "test", model, *against, *folder)
    write_small_model(model, components=("u", "v"))
    assert "2 component" in failed(capsys, "test", model, *against)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (MemoryError(), "not enough memory"),
        (RuntimeError("CUDA out of memory. Tried to allocate 20 GiB"), "smaller --batch"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), "memory"),
        (OSError(28, "No space left on device", "m.amgsrn"), "m.amgsrn: the disk is full"),
        (ModuleNotFoundError("No module named 'torch'", name="torch"), "install amgsrn[train]"),
        (TrainingError("The loss\nis not a number."), "The loss is not a number."),
        (ZeroDivisionError("division\nby zero"), "Unexpected ZeroDivisionError: division by zero"),
        (KeyError("x"), "--debug"),
    ],
)
def test_failures_while_training(capsys, training, tmp_path, volume, error, words):
    def train(*arguments, **options):
        raise error

    training(train)
    assert words in failed(capsys, "train", volume, "-o", tmp_path / "m.amgsrn")


def test_debug_shows_the_traceback(capsys, tmp_path):
    assert main(["info", str(tmp_path / "absent"), "--debug"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_an_interrupt_before_training_is_quiet(capsys, training, tmp_path, volume):
    def train(*arguments, **options):
        raise KeyboardInterrupt

    training(train)
    failed(capsys, "train", volume, "-o", tmp_path / "m.amgsrn", status=130)


def test_a_closed_pipe_is_no_traceback(model):
    read, write = os.pipe()
    os.close(read)
    command = [*COMMAND, "info", str(model), "--json"]
    result = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True)
    os.close(write)
    assert result.stderr == ""
    assert result.returncode == 128 + signal.SIGPIPE


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
def test_a_full_disk_behind_standard_output_is_a_failure(model):
    with open("/dev/full", "w") as full:
        command = [*COMMAND, "info", str(model)]
        result = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert result.returncode == 1
    assert "the disk is full" in sentence(result.stderr)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_training_is_kept_and_continued(tmp_path, volume, number):
    output, parts = tmp_path / "m.amgsrn", tmp_path / "m.amgsrn.parts"
    small = "--grids 1 --features 1 --grid-shape 2,2,2 --layers 1 --width 4 --batch 16"
    command = [*COMMAND, "train", str(volume), "-o", str(output), *small.split()]
    command += ["--iterations", "1500"]
    process = subprocess.Popen(
        [*command, "--checkpoint-seconds", "0.01"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # See tests/faults/test_brick_faults.py: a background job ignores Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 60
    while process.poll() is None and not list(parts.rglob("checkpoint*")):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert "Traceback" not in err
    assert "amgsrn: Stopped" in err
    assert "same command again" in err
    assert out == ""
    assert not output.exists()
    if number == signal.SIGTERM:
        return  # continuing is the same
    subprocess.run(command, check=True, capture_output=True)
    assert read_index(output).training.iterations_done == 1500
    assert not parts.exists()
