"""What each command is called and takes."""

from __future__ import annotations

import argparse
import dataclasses

from amgsrn_core.cli.arguments import (
    Parser,
    add_device,
    add_force,
    add_json,
    add_output,
    add_selection,
    add_time,
    add_variable,
    command,
)
from amgsrn_core.cli.options import (
    add_option,
    add_options,
    any_numbers,
    colour,
    numbers,
    region,
    scale_factors,
    whole_numbers,
)
from amgsrn_core.config import (
    BrickConfig,
    DataConfig,
    DispatchConfig,
    GoalConfig,
    ImportConfig,
    MeshConfig,
    NetworkConfig,
    SeriesConfig,
    StorageConfig,
    TrainingConfig,
)
from amgsrn_core.evaluation.measures import DEFAULT_TESTS, TESTS
from amgsrn_core.rendering.marcher import BACKENDS as MARCHERS
from amgsrn_core.rendering.settings import RenderSettings
from amgsrn_core.volume.examples import EXAMPLES
from amgsrn_core.volume.replacement import EVENTS, FOLDER, MODEL, PAGE, PICTURE, TABLE, VOLUME


def add_commands(commands: argparse._SubParsersAction[Parser]) -> None:
    """Add every command that is not a program of ParaView's."""
    _add_train(commands)
    _add_test(commands)
    _add_reconstruct(commands)
    _add_render(commands)
    _add_info(commands)
    _add_compress(commands)
    _add_import(commands)
    _add_export(commands)
    _add_export_web(commands)
    _add_jobs(commands)
    _add_bench(commands)
    _add_doctor(commands)
    _add_paraview_setup(commands)
    _add_example(commands)
    _add_completion(commands)


def _add_train(commands: argparse._SubParsersAction[Parser]) -> None:
    parser = command(commands, "train", "fit a model to a volume")
    parser.add_argument(
        "volume", metavar="VOLUME", help="NetCDF, .vti or .vtr file, or a mesh (.vtu, .vts, .vtm)"
    )
    add_output(parser, "MODEL.amgsrn", "the model to write", MODEL)
    parser.paths.reads += ["volume", "start", "scheduler"]
    parser.paths.writes.update(log=EVENTS, tensorboard=FOLDER)
    add_selection(
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
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="print what would be trained, with an estimate of bytes, seconds, memory and PSNR "
        "from short trials, and write nothing",
    )
    parser.paths.reads.append("parts")
    for kind in (
        GoalConfig,
        DataConfig,
        MeshConfig,
        NetworkConfig,
        TrainingConfig,
        SeriesConfig,
        StorageConfig,
        BrickConfig,
        DispatchConfig,
    ):
        add_options(parser, kind)


def _add_test(commands: argparse._SubParsersAction[Parser]) -> None:
    parser = command(commands, "test", "measure a model against the volume that it stands for")
    parser.add_argument("model", metavar="MODEL", help="model file (.amgsrn)")
    parser.add_argument(
        "--against", metavar="VOLUME", required=True, help="NetCDF, .vti or .vtr file"
    )
    add_selection(
        parser,
        "; default: what the model was trained on",
        "; default: the model's, of a series its first; all for a table of a series' steps",
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
    parser.add_argument(
        "--store",
        action="store_true",
        help="add the errors that are found in each part of the model to its file, for "
        "NeuralVolume.error_at and ParaView; training does it by itself",
    )
    parser.paths.reads += ["model", "against"]
    parser.paths.writes["output_dir"] = FOLDER
    add_device(parser)
    add_json(parser)


def _add_reconstruct(commands: argparse._SubParsersAction[Parser]) -> None:
    parser = command(commands, "reconstruct", "decode a model onto a grid")
    parser.add_argument("model", metavar="MODEL", help="model file (.amgsrn)")
    add_output(parser, "OUT", "the volume to write: .nc, .vti or .vtr", VOLUME)
    parser.paths.reads.append("model")
    parser.add_argument(
        "--shape",
        metavar="Z,Y,X",
        type=whole_numbers(3),
        help="samples along each axis (default: those of the data)",
    )
    parser.add_argument(
        "--region",
        metavar="NAME=LOW:HIGH,...",
        type=region,
        help="part to decode: by the names of the axes and in the file's numbers, as in "
        "lon=150:250,depth=0:500; or x0,x1,y0,y1,z0,z1 in world coordinates, where depths are "
        "negative (default: the whole volume)",
    )
    add_time(parser, " of a series (default: its first), or all for a .nc file of every step")
    add_device(parser)


def _add_render(commands: argparse._SubParsersAction[Parser]) -> None:
    parser = command(commands, "render", "make a picture of a model or of data")
    parser.add_argument("model", metavar="MODEL|VOLUME", help="model (.amgsrn), or a volume's file")
    add_output(parser, "OUT.png", "the picture to write", PICTURE)
    parser.paths.reads += ["model", "colormap"]
    parser.add_argument(
        "--raw",
        action="store_true",
        help="show the data instead of the model: those that it was trained on, if their file is "
        "beside it",
    )
    add_selection(
        parser,
        "; only for data",
        "; of data, or of a series (default: its first); all for a picture of each, OUT-0000.png "
        "and so on",
    )
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
        help="samples along the volume's diagonal (default: one for each voxel, 256 to 1024)",
    )
    _add_camera(parser)
    _add_look(parser)
    parser.add_argument(
        "--component",
        metavar="N",
        help="component of a vector field, from 0, or magnitude (default)",
    )
    parser.add_argument(
        "--frames", metavar="N", type=int, default=1, help="frames to draw and time (default: 1)"
    )
    parser.add_argument(
        "--turn",
        metavar="DEGREES",
        type=float,
        default=0.0,
        help="how far the camera goes round the axis that is up between frames (default: 0)",
    )
    add_options(parser, RenderSettings, without=("samples_per_voxel", "unit_distance"))
    add_device(parser, MARCHERS)
    add_json(parser)


def _add_look(parser: Parser) -> None:
    parser.add_argument(
        "--colormap",
        metavar="JSON",
        help="colours and opacities: a preset that ParaView exported, stretched over the values "
        "(default: opacities by how often each value occurs)",
    )
    parser.add_argument(
        "--range",
        metavar="LO,HI",
        type=numbers(2),
        help="values of the first and the last colour (default: the model's own range)",
    )
    parser.add_argument(
        "--background",
        metavar="COLOUR",
        type=colour,
        default="white",
        help="white, black, grey, transparent, or red,green,blue from 0 to 1 (default: white)",
    )
    parser.add_argument(
        "--no-colour-bar",
        dest="colour_bar",
        action="store_false",
        help="leave out the bar of the colours, with the name and the unit of what is shown",
    )
    parser.add_argument(
        "--unit-distance",
        metavar="X",
        type=float,
        help="distance over which the colour map's opacities apply (default: 1/256 of the diagonal "
        "of the box as it is shown)",
    )
    parser.add_argument(
        "--isovalues",
        metavar="V,...",
        type=any_numbers,
        default=(),
        help="for --blend isosurface (default: the middle of the range)",
    )


def _add_camera(parser: Parser) -> None:
    for name, default, words in (
        (
            "azimuth",
            30.0,
            "degrees round the axis that is up; 90 from positive x",
        ),
        ("polar", 60.0, "degrees from the axis that is up"),
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
        help="from the volume's centre to the camera, in world units as they are shown (default: "
        "so that the volume fills the picture)",
    )
    parser.add_argument(
        "--scale",
        metavar="X,Y,Z|auto",
        type=scale_factors,
        default="auto",
        help="factors that stretch the box along x, y, z (default: auto, 1,1,1 unless its edges "
        "differ by more than 20 : 1)",
    )
    parser.add_argument(
        "--up", choices=("z", "y"), default="z", help="axis that is up in the picture (default: z)"
    )


def _add_info(commands: argparse._SubParsersAction[Parser]) -> None:
    parser = command(commands, "info", "describe a model file")
    parser.add_argument("model", metavar="MODEL", help="model file (.amgsrn)")
    add_time(parser, " of a series (default: all of them together)")
    parser.add_argument("--verify", action="store_true", help="check every brick's checksum")
    parser.add_argument(
        "--history", metavar="FILE.csv", help="write the training history as a table"
    )
    parser.paths.reads.append("model")
    parser.paths.writes["history"] = TABLE
    add_json(parser)


def _add_compress(commands: argparse._SubParsersAction[Parser]) -> None:
    parser = command(commands, "compress", "write a trained model many times smaller")
    parser.add_argument("model", metavar="MODEL", help="model file (.amgsrn)")
    add_output(parser, "OUT.amgsrn", "the model to write", MODEL)
    parser.paths.reads += ["model", "against"]
    parser.add_argument(
        "--against",
        metavar="VOLUME",
        help="the data that it was trained on, to measure the loss against them instead of "
        "estimating it, and to learn from them again",
    )
    add_variable(parser, "; default: what the model was trained on")
    add_options(parser, StorageConfig, without=("dtype", "compress"))
    add_device(parser)


def _add_import(commands: argparse._SubParsersAction[Parser]) -> None:
    parser = command(commands, "import", "make a model file of a model of the original code")
    parser.add_argument(
        "folder", metavar="DIR", help="folder of the model or ensemble, as in SavedModels"
    )
    add_output(parser, "MODEL.amgsrn", "the model to write", MODEL)
    parser.paths.reads += ["folder", "volume"]
    parser.add_argument(
        "--volume",
        metavar="VOLUME",
        help="what it was trained on: gives names, units and where the samples lie, which the "
        "original does not store",
    )
    add_selection(parser)
    add_options(parser, ImportConfig)


def _add_export(commands: argparse._SubParsersAction[Parser]) -> None:
    parser = command(commands, "export", "write a model as the original code keeps it")
    parser.add_argument("model", metavar="MODEL", help="model file (.amgsrn)")
    parser.add_argument("folder", metavar="DIR", help="folder to make")
    parser.paths.reads.append("model")
    parser.paths.writes["folder"] = FOLDER
    add_time(parser, " of a series (default: its first)")


def _add_export_web(commands: argparse._SubParsersAction[Parser]) -> None:
    parser = command(commands, "export-web", "write a web page that draws a model (WebGL 2)")
    parser.add_argument("model", metavar="MODEL", help="model file (.amgsrn)")
    parser.paths.reads.append("model")
    add_output(parser, "PAGE.html", "the page to write", PAGE)
    add_time(parser, " of a series (default: all of them, with a slider)")


def _add_jobs(commands: argparse._SubParsersAction[Parser]) -> None:
    parser = command(commands, "jobs", "run a job file of the original code")
    parser.add_argument(
        "settings",
        metavar="SETTINGS.json",
        nargs="?",
        help="list of trainings and tests, as in the original",
    )
    parser.add_argument(
        "--schema", action="store_true", help="print what may stand in a job file (JSON Schema)"
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


def _add_bench(commands: argparse._SubParsersAction[Parser]) -> None:
    parser = command(commands, "bench", "measure how fast this machine computes")
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
    add_json(parser)
    add_options(parser, NetworkConfig)


def _add_doctor(commands: argparse._SubParsersAction[Parser]) -> None:
    parser = command(commands, "doctor", "look at this machine and say what is missing")
    parser.add_argument(
        "--build",
        action="store_true",
        help="build nerfacc's CUDA operators first, which pictures on a GPU use where they are "
        "there (takes minutes, needs nvcc)",
    )
    add_json(parser)


def _add_paraview_setup(commands: argparse._SubParsersAction[Parser]) -> None:
    parser = command(
        commands, "paraview-setup", "have a ParaView load the suite whenever it is started"
    )
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument(
        "--paraview", metavar="DIR", help="folder of a ParaView (default: the only one found)"
    )
    choice.add_argument(
        "--version", metavar="X.Y", help="the one of this version among those that are found"
    )
    parser.add_argument(
        "--build",
        action="store_true",
        help="compile Neural Volume for it first (takes minutes, CMake, a C++ compiler and "
        "ParaView's development files)",
    )
    parser.add_argument("--remove", action="store_true", help="undo it for every ParaView")
    parser.paths.reads.append("paraview")


def _add_example(commands: argparse._SubParsersAction[Parser]) -> None:
    parser = command(commands, "example", "write example files, made by formulas")
    parser.add_argument(
        "kinds",
        metavar="NAME",
        nargs="+",
        choices=(*EXAMPLES, "jobs", "colormap"),
        help=f"any of {', '.join(EXAMPLES)} (volumes), jobs (a job file for the turbulence) and "
        "colormap (a preset of ParaView)",
    )
    parser.add_argument(
        "-o", "--output", metavar="DIR", default=".", help="folder (default: the current one)"
    )
    parser.add_argument(
        "--format", choices=("nc", "vti", "vtr"), default="nc", help="of the volumes (default: nc)"
    )
    parser.paths.writes["output"] = FOLDER
    add_force(parser)


def _add_completion(commands: argparse._SubParsersAction[Parser]) -> None:
    parser = command(commands, "completion", "print what lets a shell complete with the Tab key")
    parser.add_argument(
        "shell",
        choices=("bash", "zsh", "fish"),
        help='say eval "$(amgsrn completion bash)" in the shell',
    )
