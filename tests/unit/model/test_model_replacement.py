"""No output takes the place of what cannot be made again: every command, every output option."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from support.paths import ROOT
from support.sample_models import small_brick, small_index, write_small_model
from support.sample_volumes import field, ramp, write_netcdf

from amgsrn_core import volume_from_array
from amgsrn_core.cli import main, parser
from amgsrn_core.config import NetworkConfig, TrainingConfig
from amgsrn_core.errors import AmgsrnError, OutputError
from amgsrn_core.model import SourceRecord, TrainingRecord, read_index, write_archive
from amgsrn_core.model.replacement import guard
from amgsrn_core.rendering.png import write_png
from amgsrn_core.runs import train
from amgsrn_core.runs.recompression import compress_model
from amgsrn_core.volume import GridGeometry, export_volume, open_volume, write_volume
from amgsrn_core.volume.replacement import FOLDER, VOLUME, Kind, comment, maker_of, what_is

SCRIPTS = ROOT / "scripts"
DIMS = (6, 7, 8)

# Options that hold a text which is no file; any other option with a text must be declared.
NO_FILES = {
    *("variable", "time", "tests", "device", "devices", "threads", "component", "data"),
    *("distance", "fill_values", "isovalues", "target_size", "arguments", "version"),
}


def commands() -> dict[str, argparse.ArgumentParser]:
    (action,) = (
        a for a in parser.build_parser()._actions if isinstance(a, argparse._SubParsersAction)
    )
    return dict(action.choices)


OUTPUTS = [
    (command, option, kind)
    for command, options in commands().items()
    for option, kind in options.paths.writes.items()
]
FILES = [entry for entry in OUTPUTS if entry[2] is not FOLDER]


@pytest.mark.parametrize("command", commands())
def test_every_option_that_may_name_a_file_is_declared(command: str) -> None:
    options = commands()[command]
    declared = {*options.paths.reads, *options.paths.writes}
    texts = {
        action.dest
        for action in options._actions
        if action.nargs != 0 and action.type is None and action.choices is None
    }
    assert texts - declared - NO_FILES == set()
    assert declared <= {action.dest for action in options._actions}


def words_for(command: str, place: Path) -> list[str]:
    """Return what a command needs beside its outputs; the files are in a folder."""
    model, volume = str(place / "model.amgsrn"), str(place / "data.nc")
    small = "--grids 1 --grid-shape 2,2,2 --layers 1 --width 4 --batch 16 --iterations 1"
    return {
        "train": [volume, "--device", "cpu", *small.split()],
        "test": [model, "--against", volume, "--device", "cpu"],
        "reconstruct": [model, "--device", "cpu"],
        "render": [model, "--device", "cpu", "--hw", "4,4", "--spp", "2"],
        "info": [model],
        "compress": [model, "--device", "cpu", "--compress-finetune", "0"],
        "import": [str(place / "original")],
        "export": [model],
        "export-web": [model],
        "jobs": [str(place / "jobs.json")],
        "bench": ["inference", "--points", "10", "--repetitions", "1"],
        "doctor": [],
        "example": ["colormap"],
    }[command]


def run(command: str, place: Path, option: str, path: Path, *more: str) -> int:
    action = next(a for a in commands()[command]._actions if a.dest == option)
    named = [action.option_strings[-1], str(path)] if action.option_strings else [str(path)]
    rest = []
    for other, kind in commands()[command].paths.writes.items():
        action = next(a for a in commands()[command]._actions if a.dest == other)
        if other != option and action.required and action.option_strings:
            rest += [action.option_strings[-1], str(place / f"other{kind.suffixes[0]}")]
    return main([command, *words_for(command, place), *named, *rest, *more])


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with a model, its data, and what else commands read."""
    write_small_model(tmp_path / "model.amgsrn")
    write_netcdf(tmp_path / "data.nc", {"density": field(ramp(*DIMS))})
    (tmp_path / "original").mkdir()
    (tmp_path / "jobs.json").write_text("[]")
    return tmp_path


def model_of(path: Path, source: str = "elsewhere.nc", **config: object) -> Path:
    index = small_index().replace(
        source=SourceRecord(source, "float32", 4), training=TrainingRecord(config=dict(config))
    )
    write_archive(path, index, [small_brick(index)])
    return path


def volume_at(path: Path, suffix: str) -> Path:
    """Write a volume of another program under any name."""
    other = path.with_name(f"foreign{suffix}")
    if suffix == ".nc":
        write_netcdf(other, {"heat": field(ramp(*DIMS))})
    else:
        write_volume(other, ramp(*DIMS), GridGeometry.uniform(DIMS))
        lines = other.read_bytes().split(b"\n")
        other.write_bytes(b"\n".join(line for line in lines if b"<!--" not in line))
    other.rename(path)
    return path


THERE = ["model", "netcdf", "classic", "vti", "vtr"]


def put(path: Path, what: str) -> Path:
    if what == "model":
        return model_of(path)
    if what == "classic":
        other = write_netcdf(path.with_name("c.nc"), {"heat": field(ramp(*DIMS))}, "NETCDF3_64BIT")
        other.rename(path)
        return path
    return volume_at(path, {"netcdf": ".nc"}.get(what, f".{what}"))


def sentence(capsys: pytest.CaptureFixture[str]) -> str:
    err = capsys.readouterr().err
    assert err.startswith("amgsrn: Cannot write ") and err.endswith(".\n") and err.count("\n") == 1
    return err


@pytest.mark.parametrize("what", THERE)
@pytest.mark.parametrize(("command", "option", "kind"), FILES)
def test_a_model_or_a_volume_is_kept(
    capsys: pytest.CaptureFixture[str],
    place: Path,
    command: str,
    option: str,
    kind: Kind,
    what: str,
) -> None:
    for suffix in (kind.suffixes[0], ""):
        target = put(place / f"out{suffix}", what)
        before = target.read_bytes()
        assert run(command, place, option, target) == 1
        assert "--force" in sentence(capsys)
        assert target.read_bytes() == before


@pytest.mark.parametrize("link", ["itself", "symbolic", "hard", "folder"])
@pytest.mark.parametrize(("command", "option", "kind"), FILES)
def test_what_a_command_reads_is_kept_even_by_force(
    capsys: pytest.CaptureFixture[str],
    place: Path,
    command: str,
    option: str,
    kind: Kind,
    link: str,
) -> None:
    names = {w for w in words_for(command, place) if os.path.isfile(w)}
    for name in names:
        before = Path(name).read_bytes()
        target = place / f"link-{Path(name).stem}{kind.suffixes[0]}"
        if link == "itself":
            target = Path(name)
        elif link == "symbolic":
            target.symlink_to(name)
        elif link == "hard":
            os.link(name, target)
        else:
            (place / "away").unlink(missing_ok=True)
            (place / "away").symlink_to(place, target_is_directory=True)
            target = place / "away" / Path(name).name
        assert run(command, place, option, target, "--force") == 1
        sentence(capsys)
        assert Path(name).read_bytes() == before


@pytest.mark.parametrize(("command", "option", "kind"), FILES)
def test_a_suffix_that_does_not_fit_is_refused_with_those_that_do(
    capsys: pytest.CaptureFixture[str], place: Path, command: str, option: str, kind: Kind
) -> None:
    wrong = ".jpg" if ".jpg" not in kind.suffixes else ".xyz"
    assert run(command, place, option, place / f"x{wrong}", "--force") == 1
    message = sentence(capsys)
    assert all(suffix in message for suffix in kind.suffixes)
    assert not (place / f"x{wrong}").exists()


@pytest.mark.parametrize(("command", "option", "kind"), OUTPUTS)
def test_nothing_is_written_into_unfinished_work(
    capsys: pytest.CaptureFixture[str], place: Path, command: str, option: str, kind: Kind
) -> None:
    parts = place / "m.amgsrn.parts"
    parts.mkdir()
    (parts / "run.json").write_text("{}")
    suffix = kind.suffixes[0] if kind.suffixes else ""
    more = [] if kind is FOLDER else ["--force"]
    assert run(command, place, option, parts / f"x{suffix}", *more) == 1
    assert "unfinished work" in sentence(capsys)


@pytest.mark.parametrize(("command", "option", "kind"), OUTPUTS)
def test_the_files_of_an_exported_volume_are_kept(
    capsys: pytest.CaptureFixture[str], place: Path, command: str, option: str, kind: Kind
) -> None:
    folder = export_volume(volume_from_array(ramp(*DIMS)), place / "exported")
    target = folder if kind is FOLDER else folder / "volume.json"
    before = (folder / "volume.json").read_bytes()
    assert run(command, place, option, target) == 1
    sentence(capsys)
    assert (folder / "volume.json").read_bytes() == before


@pytest.mark.parametrize("name", ["data.nc", "DATA"])
@pytest.mark.parametrize("suffix", [".nc", ".vti"])
def test_the_data_of_a_model_are_kept_even_by_force(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, suffix: str, name: str
) -> None:
    """Wherever they lie now, as `reconstruct ocean.amgsrn -o ocean.nc` in another folder."""
    source = tmp_path / f"ocean{suffix}"
    volume_at(source, suffix)
    index = small_index().replace(source=SourceRecord(source.name, "float32", 4 * 6 * 7 * 8))
    write_archive(tmp_path / "ocean.amgsrn", index, [small_brick(index)])
    before = source.read_bytes()
    target = source
    if name == "DATA":  # through a link of another name
        target = tmp_path / f"link{suffix}"
        target.symlink_to(source)
    command = ["reconstruct", str(tmp_path / "ocean.amgsrn"), "-o", str(target), "--device", "cpu"]
    assert main([*command, "--force"]) == 1
    assert "trained on" in sentence(capsys)
    assert source.read_bytes() == before


def test_a_volume_with_the_name_of_the_data_that_cannot_be_them_is_like_any_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tmp_path / "model.amgsrn"
    index = small_index().replace(source=SourceRecord("data.nc", "float32", 1344, ("density",)))
    write_archive(model, index, [small_brick(index)])
    other = write_netcdf(tmp_path / "data.nc", {"heat": field(ramp(*DIMS))})
    command = ["reconstruct", str(model), "-o", str(other), "--device", "cpu"]
    assert main(command) == 1
    assert "--force" in sentence(capsys)
    assert main([*command, "--force"]) == 0
    assert open_volume(other).name == "density"


@pytest.mark.parametrize("suffix", [".nc", ".vti", ".vtr"])
def test_a_reconstruction_is_replaced_by_the_next_one(tmp_path: Path, suffix: str) -> None:
    model, other = tmp_path / "a--b.amgsrn", tmp_path / "other.amgsrn"
    write_small_model(model)
    write_small_model(other, seed=1)
    # Even under the name of the data, in a folder where these are not.
    for target in (tmp_path / f"out{suffix}", tmp_path / f"data{suffix}"):
        for path in (model, model, other) if target.stem == "out" else (model, model):
            command = ["reconstruct", str(path), "-o", str(target), "--device", "cpu"]
            assert main(command) == 0
        assert maker_of(target).startswith("reconstruct of ")
        assert open_volume(target).dims == DIMS


def test_a_reconstruction_that_another_model_was_trained_on_is_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = tmp_path / "first.amgsrn", tmp_path / "second.amgsrn"
    write_small_model(first)
    back = tmp_path / "back.nc"
    assert main(["reconstruct", str(first), "-o", str(back), "--device", "cpu"]) == 0
    index = small_index().replace(source=SourceRecord("back.nc", "float32", 1344, ("density",)))
    write_archive(second, index, [small_brick(index, 1)])
    capsys.readouterr()
    command = ["reconstruct", str(second), "-o", str(back), "--device", "cpu", "--force"]
    assert main(command) == 1
    assert "trained on" in sentence(capsys)


@pytest.mark.parametrize(("command", "option", "kind"), FILES)
def test_the_same_command_again_replaces_its_own_output(
    place: Path, command: str, option: str, kind: Kind
) -> None:
    if command == "import":
        pytest.skip("a model of the original code is needed: test_original_import.py")
    if command == "train" and option == "log":
        pytest.skip("a log is appended to")
    if command in ("bench", "doctor"):
        pytest.skip("they take long, and write the JSON that others write")
    names = [f"own{kind.suffixes[0]}"]
    if kind is not VOLUME:  # whose format is that of their suffix
        names.append("own")
    for name in names:
        target = place / name
        for _ in range(2):
            assert run(command, place, option, target) == 0
            assert target.stat().st_size > 0


def test_a_test_keeps_foreign_volumes_in_its_folder(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = place / "results"
    folder.mkdir()
    command = ["test", str(place / "model.amgsrn"), "--against", str(place / "data.nc")]
    command += ["--tests", "error,histogram", "--output-dir", str(folder), "--device", "cpu"]
    volume_at(folder / "error.nc", ".nc")
    assert main(command) == 1
    assert "--force" in sentence(capsys)
    assert main([*command, "--force"]) == 0
    assert main(command) == 0
    shutil.copy(folder / "error.nc", place / "data.nc")
    command[command.index(str(place / "data.nc"))] = str(folder / "error.nc")
    before = (folder / "error.nc").read_bytes()
    capsys.readouterr()
    assert main([*command, "--force"]) == 1
    sentence(capsys)
    assert (folder / "error.nc").read_bytes() == before


SIZE = NetworkConfig(grids=1, grid_shape=(2, 2, 2), layers=1, width=4)
QUICK = TrainingConfig(iterations=1, batch=16, device="cpu")


def test_training_replaces_its_own_models_only(place: Path) -> None:
    volume, output = open_volume(place / "data.nc"), place / "m.amgsrn"
    other = TrainingConfig(iterations=2, batch=16, device="cpu")
    train(volume, output, SIZE, QUICK)
    train(volume, output, SIZE, other, restart=True)
    for foreign in (
        model_of(place / "a.amgsrn", fingerprint="of other data"),
        model_of(place / "b.amgsrn", "data.nc"),  # by another command
        volume_at(place / "c.amgsrn", ".nc"),
    ):
        before = foreign.read_bytes()
        with pytest.raises(OutputError, match="force"):
            train(volume, foreign, SIZE, QUICK, restart=True)
        assert foreign.read_bytes() == before
        train(volume, foreign, SIZE, QUICK, force=True)
        assert read_index(foreign).source.path == "data.nc"


def test_library_functions_keep_models_and_volumes(place: Path) -> None:
    model, volume = place / "model.amgsrn", place / "data.nc"
    image = np.zeros((2, 2, 3), np.uint8)
    hidden = place / "picture.png"
    shutil.copy(model, hidden)
    calls = [
        lambda: write_png(hidden, image),
        lambda: write_png(model, image),
        lambda: write_volume(volume, ramp(*DIMS), GridGeometry.uniform(DIMS)),
        lambda: compress_model(model, model, small_index().storage, force=True),
        lambda: train(open_volume(volume), volume, SIZE, QUICK, force=True),
    ]
    before = [path.read_bytes() for path in (model, volume, hidden)]
    for call in calls:
        with pytest.raises(AmgsrnError, match="Cannot write"):
            call()
    assert [path.read_bytes() for path in (model, volume, hidden)] == before
    write_png(hidden, image, force=True)
    assert hidden.read_bytes().startswith(b"\x89PNG")


def test_two_outputs_of_a_command_are_two_files(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = str(place / "model.amgsrn")
    assert main(["info", model, "--history", str(place / "x"), "--json", str(place / "x")]) == 1
    assert "twice" in sentence(capsys)


def test_an_older_model_of_a_newer_version_is_kept(place: Path) -> None:
    newer = place / "newer.amgsrn"
    content = bytearray((place / "model.amgsrn").read_bytes())
    start = content.find(b'\\"version\\":')
    assert start > 0
    place_of_number = content.find(b"[", start) + 1
    content[place_of_number : place_of_number + 1] = b"9"
    newer.write_bytes(content)
    with pytest.raises(OutputError, match="force"):
        train(open_volume(place / "data.nc"), newer, SIZE, QUICK, restart=True)


@pytest.mark.parametrize("name", ["a", "a--b", "---", "ends-"])
def test_the_mark_is_a_comment_of_xml(tmp_path: Path, name: str) -> None:
    from xml.dom import minidom

    minidom.parseString(f"<a>{comment(name)}</a>")
    path = tmp_path / "x.vti"
    path.write_text(f'<?xml version="1.0"?>\n{comment(f"test of {name}")}\n<VTKFile/>')
    assert maker_of(path).startswith("test of ")
    assert what_is(path) is not None


def test_a_training_forgets_its_own_grids_only(tmp_path: Path) -> None:
    from amgsrn_core.training.records.grid_series import forget_series

    mine = tmp_path / "m.grids" / "brick-0000"
    mine.mkdir(parents=True)
    (mine / "00000000.vtu").write_text("piece")
    (tmp_path / "m.grids" / "notes.txt").write_text("keep")
    forget_series(tmp_path / "m.amgsrn")
    assert [p.name for p in (tmp_path / "m.grids").iterdir()] == ["notes.txt"]


@pytest.mark.parametrize("script", ["gallery.py"])
def test_scripts_keep_what_they_read(place: Path, script: str) -> None:
    before = (place / "data.nc").read_bytes()
    link = place / "out.png"
    link.symlink_to(place / "data.nc")
    command = [sys.executable, str(SCRIPTS / script), str(link), str(place / "data.nc")]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 1
    assert "Cannot write" in result.stderr and "Traceback" not in result.stderr
    assert (place / "data.nc").read_bytes() == before


def test_every_script_that_writes_asks_the_guard() -> None:
    writing = ("write_png(", "SaveScreenshot(", "SaveAnimation(", "np.savez(", "replacing(")
    for path in SCRIPTS.glob("*.py"):
        text = path.read_text(encoding="utf-8")
        if any(word in text for word in writing) and path.name != "example_volume.py":
            assert "guard(" in text, f"{path.name} writes without asking what it replaces"


def test_a_model_that_is_not_there_is_the_commands_complaint(tmp_path: Path) -> None:
    guard(tmp_path / "new.nc", VOLUME, inputs=[tmp_path / "absent.amgsrn"])


def test_json_of_another_program_is_replaced_by_json(place: Path) -> None:
    target = place / "report.json"
    target.write_text(json.dumps({"mine": 1}))
    assert main(["info", str(place / "model.amgsrn"), "--json", str(target)]) == 0
    assert "mine" not in target.read_text()
