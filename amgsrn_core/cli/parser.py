"""The subcommands, their options, and the modules that carry them out."""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import os
import re
from collections.abc import Sequence
from typing import Any, NoReturn

import amgsrn_core
from amgsrn_core.cli.failures import UsageError
from amgsrn_core.cli.options import (
    add_option,
    add_options,
    any_numbers,
    numbers,
    time_step,
    whole_numbers,
)
from amgsrn_core.config import (
    BACKENDS,
    BrickConfig,
    DataConfig,
    DispatchConfig,
    ImportConfig,
    NetworkConfig,
    SeriesConfig,
    StorageConfig,
    TrainingConfig,
)
from amgsrn_core.errors import OutputError
from amgsrn_core.model.replacement import guard
from amgsrn_core.rendering.marcher import BACKENDS as MARCHERS
from amgsrn_core.rendering.settings import RenderSettings
from amgsrn_core.volume.replacement import EVENTS, FOLDER, JSON, MODEL, PICTURE, TABLE, VOLUME, Kind

TESTS = (
    "psnr",
    "ssim",
    "error",
    "histogram",
    "throughput",
    "feature-density",
    "feature-locations",
)
DEFAULT_TESTS = ("psnr", "ssim")

_BACKEND_WORDS: dict[tuple[str, ...], str] = {
    BACKENDS: "the CPU kernels (native), PyTorch (torch), PyTorch with tiny-cuda-nn's decoder "
    "(tcnn)",
    MARCHERS: "the CPU kernels (native), PyTorch that skips empty space (blocks), the same with "
    "nerfacc on CUDA (nerfacc), PyTorch at every sample (torch)",
}

_PARAVIEW = {
    "pvpython": "ParaView's Python shell",
    "pvbatch": "ParaView's batch program",
    "pvserver": "ParaView's server",
    "paraview": "ParaView itself",
}

# A module cannot be called like a word of Python.
_MODULES = {"import": "import_model"}


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Parse a command line; :class:`~amgsrn_core.cli.failures.UsageError` when it is wrong."""
    words = [word for word in arguments if word != "--debug"]
    if words and words[0] in _PARAVIEW:
        # Everything after the program's name is the program's, --help and --debug included.
        rest = list(arguments[arguments.index(words[0]) + 1 :])
        return argparse.Namespace(command=words[0], arguments=rest)
    return build_parser().parse_args(_joined(arguments))


def run(arguments: argparse.Namespace) -> int:
    """Carry out a parsed command line and return the exit status."""
    if arguments.command in _PARAVIEW:
        from amgsrn_core.cli.paraview_launcher import run_paraview

        return run_paraview(arguments.command, arguments.arguments)
    refuse_outputs(arguments)
    if arguments.command == "doctor":
        from amgsrn_core.cli.doctor import doctor

        return doctor(json=arguments.json, build=arguments.build)
    name = _MODULES.get(arguments.command, arguments.command)
    module = importlib.import_module(f"amgsrn_core.cli.{name}")
    status: int = module.run(arguments)
    return status


def refuse_outputs(arguments: argparse.Namespace) -> None:
    """Raise :class:`OutputError` if an output would replace what must not be lost.

    Every option that names a file is declared as one that is read or one that is written, see
    :class:`Paths`; this looks at all of them before a command does anything.
    """
    paths: Paths = arguments.paths
    inputs = [value for name in paths.reads if (value := getattr(arguments, name))]
    taken: dict[str, str] = {}
    for name, kind in paths.writes.items():
        value = getattr(arguments, name)
        if not value or (name == "json" and value == "-"):
            continue
        place = os.path.realpath(value)
        if kind is not FOLDER and taken.setdefault(place, name) != name:
            raise OutputError(f"Cannot write {value} twice, as {taken[place]} and as {name}.")
        guard(
            value,
            kind,
            by=arguments.command,
            inputs=inputs,
            source=arguments.volume if arguments.command == "train" else "",
            force=getattr(arguments, "force", False),
        )


@dataclasses.dataclass
class Paths:
    """Which options of a command name files: what they hold are names of arguments.

    Attributes
    ----------
    reads : list of str
        What must not be replaced.
    writes : dict of str to Kind
        What is written.
    """

    reads: list[str] = dataclasses.field(default_factory=list)
    writes: dict[str, Kind] = dataclasses.field(default_factory=dict)


class _Parser(argparse.ArgumentParser):
    """Reports a wrong command line as an error like any other, in one sentence."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.paths = Paths()
        self.set_defaults(paths=self.paths)

    def error(self, message: str) -> NoReturn:
        if message.endswith("expected one argument"):
            message += " (one that begins with a dash as --OPTION=-VALUE)"
        raise UsageError(f"{message}; see `{self.prog} --help`.")


def _joined(arguments: Sequence[str]) -> list[str]:
    """Attach lists of numbers to their options: one with a minus in front looks like an option."""
    joined: list[str] = []
    for word in arguments:
        if joined and joined[-1].startswith("--") and re.match(r"-[\d.][^,]*,", word):
            joined[-1] = f"{joined[-1]}={word}"
        else:
            joined.append(word)
    return joined


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    parser = _Parser(
        prog="amgsrn",
        description="Compact neural stand-ins for large volumes.",
        epilog="`amgsrn COMMAND --help` explains a command.",
    )
    parser.add_argument("--version", action="version", version=amgsrn_core.__version__)
    _add_debug(parser, default=False)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    _add_train(commands)
    _add_test(commands)
    _add_reconstruct(commands)
    _add_render(commands)
    _add_info(commands)
    _add_compress(commands)
    _add_import(commands)
    _add_export(commands)
    _add_jobs(commands)
    _add_bench(commands)
    _add_doctor(commands)
    for program, words in _PARAVIEW.items():
        _command(commands, program, f"start {words} with this suite on its paths", add_help=False)
    for command in commands.choices.values():
        if set(command.paths.writes.values()) - {FOLDER}:
            _add_force(command)
    return parser


def _add_train(commands: argparse._SubParsersAction[_Parser]) -> None:
    parser = _command(commands, "train", "fit a model to a volume")
    parser.add_argument("volume", metavar="VOLUME", help="NetCDF, .vti or .vtr file")
    _add_output(parser, "MODEL.amgsrn", "the model to write", MODEL)
    parser.paths.reads += ["volume", "start", "scheduler"]
    parser.paths.writes.update(log=EVENTS, tensorboard=FOLDER)
    _add_selection(
        parser,
        time="; for a series all, FIRST:END (indices as in Python), or steps with commas",
    )
    parser.add_argument(
        "--start",
        metavar="MODEL",
        help="start from the networks of this model, of the same size, instead of random ones",
    )
    ways = parser.add_mutually_exclusive_group()
    ways.add_argument(
        "--resume",
        action="store_true",
        help="continue an unfinished run with the same output and options (this is the default)",
    )
    ways.add_argument(
        "--restart", action="store_true", help="discard an unfinished run and begin anew"
    )
    parser.add_argument(
        "--parts",
        metavar="DIR",
        help="folder of the unfinished work (default: MODEL.amgsrn.parts); finishes a run at "
        "another output, where its disk is full",
    )
    parser.paths.reads.append("parts")
    for kind in (
        DataConfig,
        NetworkConfig,
        TrainingConfig,
        SeriesConfig,
        StorageConfig,
        BrickConfig,
        DispatchConfig,
    ):
        add_options(parser, kind)


def _add_test(commands: argparse._SubParsersAction[_Parser]) -> None:
    parser = _command(commands, "test", "measure a model against the volume that it stands for")
    parser.add_argument("model", metavar="MODEL", help="model file (.amgsrn)")
    parser.add_argument(
        "--against", metavar="VOLUME", required=True, help="NetCDF, .vti or .vtr file"
    )
    _add_selection(
        parser,
        "; default: what the model was trained on",
        "; default: the model's, of a series its first",
    )
    parser.add_argument(
        "--anyway",
        action="store_true",
        help="also measure where less than half of the volume's voxels have a value in the model, "
        "so that it hardly is the model of this volume",
    )
    parser.add_argument(
        "--tests",
        metavar="NAME,...",
        action="append",
        help=f"any of {', '.join(TESTS)} (default: {','.join(DEFAULT_TESTS)})",
    )
    parser.add_argument(
        "--output-dir",
        metavar="DIR",
        help="folder for the volumes and tables that tests write (default: MODEL-test)",
    )
    parser.paths.reads += ["model", "against"]
    parser.paths.writes["output_dir"] = FOLDER
    _add_device(parser)
    _add_json(parser)


def _add_reconstruct(commands: argparse._SubParsersAction[_Parser]) -> None:
    parser = _command(commands, "reconstruct", "decode a model onto a grid")
    parser.add_argument("model", metavar="MODEL", help="model file (.amgsrn)")
    _add_output(parser, "OUT", "the volume to write: .nc, .vti or .vtr", VOLUME)
    parser.paths.reads.append("model")
    parser.add_argument(
        "--shape",
        metavar="Z,Y,X",
        type=whole_numbers(3),
        help="samples along each axis (default: those of the data)",
    )
    parser.add_argument(
        "--region",
        metavar="x0,x1,y0,y1,z0,z1",
        type=numbers(6),
        help="box in world coordinates (default: the whole volume)",
    )
    _add_time(parser, " of a series (default: its first), or all for a .nc file of every step")
    _add_device(parser)


def _add_render(commands: argparse._SubParsersAction[_Parser]) -> None:
    parser = _command(commands, "render", "make a picture of a model or of data")
    parser.add_argument("model", metavar="MODEL|VOLUME", help="model (.amgsrn), or a volume's file")
    _add_output(parser, "OUT.png", "the picture to write", PICTURE)
    parser.paths.reads += ["model", "colormap"]
    parser.add_argument(
        "--raw",
        action="store_true",
        help="show the data instead of the model: those that it was trained on, if their file is "
        "beside it",
    )
    _add_selection(parser, "; only for data", "; of data, or of a series (default: its first)")
    parser.add_argument(
        "--hw",
        metavar="H,W",
        type=whole_numbers(2),
        default=(512, 512),
        help="height and width of the picture (default: 512,512)",
    )
    parser.add_argument(
        "--spp",
        metavar="N",
        type=int,
        default=256,
        help="samples along the volume's diagonal (default: 256)",
    )
    for name, default, words in (
        ("azimuth", 0.0, "degrees round the y axis, 0 from positive z, 90 from positive x"),
        ("polar", 90.0, "degrees from the positive y axis"),
    ):
        parser.add_argument(
            f"--{name}",
            metavar="D",
            type=float,
            default=default,
            help=f"{words} (default: {default:g})",
        )
    parser.add_argument(
        "--distance",
        metavar="R",
        type=float,
        help="from the volume's centre to the camera, in world units (default: 1.8 times the "
        "volume's longest edge)",
    )
    parser.add_argument(
        "--colormap",
        metavar="JSON",
        help="colours and opacities: a preset that ParaView exported, stretched over the values",
    )
    parser.add_argument(
        "--unit-distance",
        metavar="X",
        type=float,
        help="world distance over which the colour map's opacities apply (default: 1/256 of the "
        "volume's diagonal)",
    )
    parser.add_argument(
        "--isovalues", metavar="V,...", type=any_numbers, default=(), help="for --blend isosurface"
    )
    parser.add_argument(
        "--component",
        metavar="N",
        help="component of a vector field, from 0, or magnitude (default)",
    )
    parser.add_argument(
        "--frames", metavar="N", type=int, default=1, help="frames to time (default: 1)"
    )
    add_options(parser, RenderSettings, without=("samples_per_voxel", "unit_distance"))
    _add_device(parser, MARCHERS)
    _add_json(parser)


def _add_info(commands: argparse._SubParsersAction[_Parser]) -> None:
    parser = _command(commands, "info", "describe a model file")
    parser.add_argument("model", metavar="MODEL", help="model file (.amgsrn)")
    _add_time(parser, " of a series (default: all of them together)")
    parser.add_argument("--verify", action="store_true", help="check every brick's checksum")
    parser.add_argument(
        "--history", metavar="FILE.csv", help="write the training history as a table"
    )
    parser.paths.reads.append("model")
    parser.paths.writes["history"] = TABLE
    _add_json(parser)


def _add_compress(commands: argparse._SubParsersAction[_Parser]) -> None:
    parser = _command(commands, "compress", "write a trained model many times smaller")
    parser.add_argument("model", metavar="MODEL", help="model file (.amgsrn)")
    _add_output(parser, "OUT.amgsrn", "the model to write", MODEL)
    parser.paths.reads += ["model", "against"]
    parser.add_argument(
        "--against",
        metavar="VOLUME",
        help="the data that it was trained on, to measure the loss against them instead of "
        "estimating it, and to learn from them again",
    )
    _add_variable(parser, "; default: what the model was trained on")
    add_options(parser, StorageConfig, without=("dtype", "compress"))
    _add_device(parser)


def _add_import(commands: argparse._SubParsersAction[_Parser]) -> None:
    parser = _command(commands, "import", "make a model file of a model of the original code")
    parser.add_argument(
        "folder", metavar="DIR", help="folder of the model or ensemble, as in SavedModels"
    )
    _add_output(parser, "MODEL.amgsrn", "the model to write", MODEL)
    parser.paths.reads += ["folder", "volume"]
    parser.add_argument(
        "--volume",
        metavar="VOLUME",
        help="what it was trained on: gives names, units and where the samples lie, which the "
        "original does not store",
    )
    _add_selection(parser)
    add_options(parser, ImportConfig)


def _add_export(commands: argparse._SubParsersAction[_Parser]) -> None:
    parser = _command(commands, "export", "write a model as the original code keeps it")
    parser.add_argument("model", metavar="MODEL", help="model file (.amgsrn)")
    parser.add_argument("folder", metavar="DIR", help="folder to make")
    parser.paths.reads.append("model")
    parser.paths.writes["folder"] = FOLDER
    _add_time(parser, " of a series (default: its first)")


def _add_jobs(commands: argparse._SubParsersAction[_Parser]) -> None:
    parser = _command(commands, "jobs", "run a job file of the original code")
    parser.add_argument(
        "settings", metavar="SETTINGS.json", help="list of trainings and tests, as in the original"
    )
    parser.add_argument(
        "--devices",
        metavar="NAME,...",
        default="all",
        help="devices that run jobs side by side: cpu, numbers of CUDA devices, or all of those "
        "(default: all, or cpu where there are none)",
    )
    parser.add_argument(
        "--data-devices",
        choices=("same", "cpu"),
        default="same",
        help="where data are kept while training: on the same device, or in the computer's memory",
    )
    for name, folder, words in (
        ("data", "Data", "the volumes; also beside the job file"),
        ("models", "SavedModels", "models and logs"),
        ("output-dir", "Output", "what tests write"),
    ):
        parser.add_argument(
            f"--{name}",
            metavar="DIR",
            default=folder,
            help=f"folder of {words} (default: {folder})",
        )
    parser.add_argument(
        "--retries",
        metavar="N",
        type=int,
        default=1,
        help="how often a job that failed is tried again (default: 1)",
    )
    parser.add_argument("--dry-run", action="store_true", help="print the plan only")
    # What the jobs write and read is looked after by the commands that they are.
    parser.paths.reads.append("settings")
    parser.paths.writes.update(models=FOLDER, output_dir=FOLDER)


def _add_bench(commands: argparse._SubParsersAction[_Parser]) -> None:
    parser = _command(commands, "bench", "measure how fast this machine computes")
    parser.add_argument("what", choices=("inference", "training", "render"), help="what to measure")
    parser.add_argument(
        "--points",
        metavar="N",
        type=int,
        help="points per measurement (default: 2^20 for inference, 100000 for training)",
    )
    parser.add_argument(
        "--repetitions",
        metavar="N",
        type=int,
        default=5,
        help="measurements of each backend, taken in turn (default: 5)",
    )
    parser.add_argument(
        "--model",
        metavar="MODEL",
        help="for render: a model to render (default: one that is quickly fitted to blobs)",
    )
    parser.add_argument(
        "--threads",
        metavar="N,...",
        help="numbers of threads (default: 1 and all cores)",
    )
    parser.paths.reads.append("model")
    precision = {field.name: field for field in dataclasses.fields(TrainingConfig)}["precision"]
    add_option(parser, precision)
    _add_json(parser)
    add_options(parser, NetworkConfig)


def _add_doctor(commands: argparse._SubParsersAction[_Parser]) -> None:
    parser = _command(commands, "doctor", "look at this machine and say what is missing")
    parser.add_argument(
        "--build",
        action="store_true",
        help="build nerfacc's CUDA operators first, which pictures on a GPU use where they are "
        "there (takes minutes, needs nvcc)",
    )
    _add_json(parser)


def _command(
    commands: argparse._SubParsersAction[_Parser], name: str, words: str, add_help: bool = True
) -> _Parser:
    parser = commands.add_parser(
        name, help=words, description=f"{words[0].upper()}{words[1:]}.", add_help=add_help
    )
    _add_debug(parser, default=argparse.SUPPRESS)
    return parser


def _add_debug(parser: argparse.ArgumentParser, default: object) -> None:
    parser.add_argument(
        "--debug", action="store_true", default=default, help="show tracebacks and log messages"
    )


def _add_output(parser: _Parser, metavar: str, words: str, kind: Kind) -> None:
    parser.add_argument("-o", "--output", metavar=metavar, required=True, help=words)
    parser.paths.writes["output"] = kind


def _add_force(parser: _Parser) -> None:
    parser.add_argument(
        "--force",
        action="store_true",
        help="replace a model or a volume that this command did not make; what it reads, and the "
        "data of a model, are never replaced",
    )


def _add_selection(
    parser: argparse.ArgumentParser, default: str = "", time: str | None = None
) -> None:
    _add_variable(parser, default)
    _add_time(parser, default if time is None else time)


def _add_variable(parser: argparse.ArgumentParser, default: str) -> None:
    parser.add_argument(
        "--variable",
        metavar="NAME",
        action="append",
        help="variable to use; several (repeat it, or A,B,C) become the components of one field; "
        "a name may have commas itself"
        f"{default or '; may be left out where the file holds only one'}",
    )


def _add_time(parser: argparse.ArgumentParser, words: str) -> None:
    parser.add_argument(
        "--time",
        metavar="STEP",
        type=time_step,
        help=f"time step: index, value with a decimal point, or ISO date{words}",
    )


def _add_device(parser: argparse.ArgumentParser, backends: tuple[str, ...] = BACKENDS) -> None:
    parser.add_argument(
        "--device",
        "--devices",
        metavar="NAME",
        default="auto",
        help="auto, cpu, cuda, cuda:N or mps (default: auto)",
    )
    parser.add_argument(
        "--backend",
        choices=backends,
        default="auto",
        help=f"what computes: {_BACKEND_WORDS[backends]}, or the fastest that works "
        "(default: auto)",
    )


def _add_json(parser: _Parser) -> None:
    parser.paths.writes["json"] = JSON
    parser.add_argument(
        "--json",
        metavar="FILE",
        nargs="?",
        const="-",
        help="write the results as JSON to FILE, or to standard output instead of the text (-)",
    )
