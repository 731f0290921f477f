"""Train a model of whatever ParaView reads, with the options of `amgsrn train`.

    amgsrn script train_model data.vti -o model.amgsrn --iterations 2000
    amgsrn script train_model steps.pvd -o series.amgsrn --array temperature --time all

On several ranks, each of which trains the bricks of its own piece:

    mpiexec -n 4 --bind-to none amgsrn pvbatch scripts/paraview/train_model.py \\
        data.pvti -o model.amgsrn --bricks 2,2,1
"""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Any

import paraview.simple as pv
from _shared import open_data, parser, run
from amgsrn_paraview.options import KINDS, OPTIONS

from amgsrn_core.cli.options import add_options
from amgsrn_core.errors import ConfigurationError, TrainingError, VolumeError


def main() -> None:
    """Train what the command line asks for."""
    options = parser(__file__, __doc__)
    options.add_argument("data", metavar="DATA", nargs="+", help="a file, or those of a series")
    options.add_argument("-o", "--output", metavar="MODEL.amgsrn", type=Path, required=True)
    options.add_argument("--array", metavar="NAME", help="of points or cells (the only one)")
    options.add_argument(
        "--time", metavar="all|N", default="0", help="all time steps, or one of them, from 0"
    )
    options.add_argument(
        "--restart", action="store_true", help="replace a model that was trained here before"
    )
    for kind in KINDS:
        add_options(options, kind)
    arguments = options.parse_args()
    source = open_data(arguments.data)
    trainer = pv.AMGSRNTrainer(
        Input=source,
        Array=array_of(source, arguments.array),
        OutputFile=str(arguments.output),
        Restart=int(arguments.restart),
    )
    set_options(trainer, arguments)
    times = list(getattr(source, "TimestepValues", None) or [])
    if arguments.time == "all":
        trainer.TimeSteps = "All"
        trainer.UpdatePipeline()
    else:
        step = int(arguments.time) if arguments.time.isdigit() else -1
        if not 0 <= step < max(1, len(times)):
            raise ConfigurationError(f"There is no time step {arguments.time} of {len(times)}.")
        trainer.UpdatePipeline(*times[step : step + 1])
    trainer.UpdatePropertyInformation()
    if trainer.State != "done":
        raise TrainingError(trainer.Message or f"The training is {trainer.State}.")
    if trainer.Message:
        print(trainer.Message)
    print(f"{trainer.ModelFile}: {trainer.Progress}")


def array_of(source: Any, name: str | None) -> list[str]:
    """Return the array that is asked for, or the only one, as ParaView names it."""
    known = [("POINTS", each) for each in source.PointData.keys()]  # noqa: SIM118 -- no dictionary
    known += [("CELLS", each) for each in source.CellData.keys()]  # noqa: SIM118
    fitting = [each for each in known if name in (None, each[1])]
    if len(fitting) != 1:
        listed = ", ".join(each for _, each in known) or "none"
        raise VolumeError(f"Name one of the arrays with --array; the data have: {listed}.")
    return list(fitting[0])


def set_options(trainer: Any, arguments: Namespace) -> None:
    """Set the trainer's properties to the options that were given."""
    for option in OPTIONS.values():
        field = option.field
        value = getattr(arguments, field.name, field.default)
        if value == field.default:
            continue
        choices = field.metadata["choices"]
        if isinstance(value, tuple):
            value = list(value[::-1])  # x, y, z in ParaView
        elif choices:
            value = choices.index(value)
        elif isinstance(value, bool):
            value = int(value)
        setattr(trainer, option.name, value)


if __name__ == "__main__":
    run(main)
