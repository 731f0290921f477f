"""Train a model of one volume, measure it, reconstruct it, and let ParaView draw both.

Every step is a command that a user could have typed; it is shown before it runs.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from comparison_images import save_image
from example_volume import VARIABLE, fetch_example

from amgsrn_core.cli.doctor.machine import machine
from amgsrn_core.config import to_json
from amgsrn_core.errors import AmgsrnError
from amgsrn_core.model import ModelIndex, read_index
from amgsrn_core.model.replacement import guard
from amgsrn_core.system.output import replacing
from amgsrn_core.system.run_folder import parts_folder
from amgsrn_core.volume import Volume, open_volume
from amgsrn_core.volume.replacement import JSON, MODEL, PICTURE, VOLUME

HERE = Path(__file__).resolve().parent
AMGSRN = Path(sys.executable).with_name("amgsrn")

TRAINING_SECONDS = 90
# The model gets a tenth of the volume's bytes, or less where the seconds are not enough for that.
STORED_TYPE = "float16"


def main() -> int:
    """Run all steps; return the exit status."""
    options = _arguments()
    try:
        return quickstart(options)
    except AmgsrnError as error:
        print(f"quickstart: {error}", file=sys.stderr)
        return 1
    except StepError as error:
        print(f"quickstart: {error}", file=sys.stderr)
        return error.status
    except KeyboardInterrupt:
        print("quickstart: interrupted", file=sys.stderr)
        return 130


def quickstart(options: argparse.Namespace) -> int:
    """Make everything that belongs into the output folder."""
    folder: Path = options.output
    folder.mkdir(parents=True, exist_ok=True)
    times = Stopwatch()
    if options.file is None:
        source, variable = folder / "mni152_t1.nc", VARIABLE
        with times.measure("volume"):
            fetch_example(source)
    else:
        source, variable = options.file, options.variable
    volume = open_volume(source, variable)
    model, reconstruction = folder / "model.amgsrn", folder / "reconstruction.nc"
    metrics, picture = folder / "metrics.json", folder / "comparison.png"
    report_file = folder / "report.json"
    # Before anything is removed: the folder may hold what is not of the quick start.
    for path, kind, by in (
        *((model, MODEL, "train"), (reconstruction, VOLUME, "reconstruct")),
        *((path, JSON, "quickstart") for path in (metrics, report_file, folder / "settings.json")),
        (picture, PICTURE, "quickstart"),
    ):
        own = (folder / "settings.json").is_file() and kind is MODEL
        guard(path, kind, by=by, inputs=[source], source=str(source), force=own)

    choice = ["--variable", variable] if variable else []
    with times.measure("planning"):
        plan, unfinished = plan_training(options, source, model)
    # A model of another volume that an earlier quick start made in this folder is replaced.
    restart = ["--force"] if unfinished else ["--restart", "--force"]
    with times.measure("training"):
        _amgsrn("train", source, "-o", model, *choice, *plan, *restart)
    with times.measure("test"):
        _amgsrn("test", model, "--against", source, "--json", metrics)
    with times.measure("reconstruction"):
        _amgsrn("reconstruct", model, "-o", reconstruction)
    measured = json.loads(metrics.read_text(encoding="utf-8"))
    metrics.unlink()
    index = read_index(model)
    with times.measure("picture"):
        draw(volume, source, reconstruction, model, measured, picture)

    report = summarise(index, source, model, measured, times.seconds)
    with replacing(report_file) as temporary:
        temporary.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    _say_result(report, folder)
    return 0


def plan_training(options: argparse.Namespace, source: Path, model: Path) -> tuple[list[str], bool]:
    """Return the options of the training, and whether unfinished work with them can go on."""
    folder = options.output
    state = source.stat()
    wanted = [
        *(str(source.resolve()), state.st_size, state.st_mtime),
        *(options.variable, options.iterations, options.batch),
    ]
    record = folder / "settings.json"
    if parts_folder(model).is_dir() and record.is_file():
        known = json.loads(record.read_text(encoding="utf-8"))
        if known["wanted"] == wanted:
            return known["plan"], True
    for name in ("report.json", "comparison.png", "reconstruction.nc"):
        (folder / name).unlink(missing_ok=True)
    plan = ["--dtype", STORED_TYPE]
    if options.iterations:
        plan += ["--iterations", str(options.iterations)]
    else:
        plan += ["--max-seconds", str(TRAINING_SECONDS)]
    if options.batch:
        plan += ["--batch", str(options.batch)]
    record.write_text(json.dumps({"wanted": wanted, "plan": plan}), encoding="utf-8")
    return plan, False


def draw(
    volume: Volume,
    source: Path,
    reconstruction: Path,
    model: Path,
    measured: dict[str, Any],
    target: Path,
) -> None:
    """Let ParaView draw the original and the reconstruction side by side."""
    with tempfile.TemporaryDirectory() as name:
        left, right = Path(name, "original.npz"), Path(name, "network.npz")
        look = save_image(volume, left, _original(volume, source), None)
        size, file = model.stat().st_size, source.stat().st_size
        ratios = f"{volume.source_nbytes / size:.3g} : 1 (file {file / size:.3g} : 1)"
        title = f"Network, {_bytes(size)}, {measured['psnr']:.1f} dB, {ratios}"
        save_image(open_volume(reconstruction), right, title, look)
        _amgsrn("pvpython", HERE / "comparison_picture.py", left, right, target)


def _original(volume: Volume, source: Path) -> str:
    raw, file = _bytes(volume.source_nbytes), _bytes(source.stat().st_size)
    return f"Original, {raw}, in a file of {file}"


def summarise(
    index: ModelIndex,
    source: Path,
    model: Path,
    measured: dict[str, Any],
    seconds: dict[str, float],
) -> dict[str, Any]:
    """Return the report: what was measured, on which volume, on which machine."""
    size = model.stat().st_size
    return {
        "psnr": measured["psnr"],
        "ssim": measured["ssim"],
        "max_error": measured["max_error"],
        "bytes": size,
        "compression_ratio": index.source.bytes / size,
        "file_ratio": source.stat().st_size / size,
        "seconds": {**seconds, "total": round(sum(seconds.values()), 1)},
        "volume": {
            "file": source.name,
            "variable": index.name,
            "dims": list(index.dims),
            "dtype": index.source.dtype,
            "bytes": index.source.bytes,
        },
        "training": {**index.training.config, "network": to_json(index.network)},
        "machine": machine(),
        "metrics": measured,
    }


class StepError(Exception):
    """A command of the quick start failed; it has said why itself."""

    def __init__(self, command: str, status: int) -> None:
        super().__init__(f"this step failed: {command}")
        self.status = status


class Stopwatch:
    """Seconds per step, in the order in which they were taken."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._step = ""
        self._start = 0.0

    def measure(self, step: str) -> Stopwatch:
        """Name the step that the following ``with`` block is."""
        self._step = step
        return self

    def __enter__(self) -> None:
        self._start = time.monotonic()

    def __exit__(self, *_: object) -> None:
        self.seconds[self._step] = round(time.monotonic() - self._start, 1)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/quickstart",
        description="Train a model of a volume and show it beside the original.",
    )
    parser.add_argument("file", nargs="?", type=Path, help="NetCDF, .vti or .vtr; default: example")
    parser.add_argument("variable", nargs="?", help="which variable of the file")
    parser.add_argument("--output", type=Path, default=Path("quickstart"), help="folder to write")
    parser.add_argument(
        "--iterations",
        type=int,
        help=f"training steps (default: what takes {TRAINING_SECONDS} s here)",
    )
    parser.add_argument("--batch", type=int, help="random points per step")
    return parser.parse_args()


def _amgsrn(*arguments: str | Path) -> None:
    command = [str(AMGSRN), *(str(argument) for argument in arguments)]
    shown = shlex.join(["amgsrn", *command[1:]])
    print(f"\n$ {shown}", file=sys.stderr, flush=True)
    with subprocess.Popen(command) as process:
        status = None
        while status is None:
            try:
                status = process.wait()
            except KeyboardInterrupt:
                continue  # The command got the signal too, and is saving its work.
    if status:
        raise StepError(shown, status if status > 0 else 128 - status)


def _bytes(number: int) -> str:
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if number >= size:
            return f"{number / size:.3g} {unit}"
    return f"{number} bytes"


def _say_result(report: dict[str, Any], folder: Path) -> None:
    path = os.path.relpath(folder)
    print(
        f"\nPSNR {report['psnr']:.2f} dB, SSIM {report['ssim']:.4f}, "
        f"largest error {report['max_error']:.4g}; "
        f"{_bytes(report['volume']['bytes'])} -> {_bytes(report['bytes'])} "
        f"({report['compression_ratio']:.1f} : 1, against the file {report['file_ratio']:.1f} : 1) "
        f"in {report['seconds']['total']:.0f} s.\n"
        f"{path}/comparison.png shows both, {path}/report.json has the figures.\n"
        f"Look at it yourself:  .venv/bin/amgsrn paraview {path}/model.amgsrn"
    )


if __name__ == "__main__":
    sys.exit(main())
