"""Write surfaces of constant value of a model, for other programs: .vtp, .stl, .ply, .vtk.

    amgsrn script export_isosurface MODEL.amgsrn -o surface.stl --parts 0.5
    amgsrn script export_isosurface MODEL.amgsrn -o surface.vtp --values 0.2,0.4 --tolerance 0.25

Formats of ParaView (.vtp, .vtk) keep normals and the model's components at the surface.
"""

from __future__ import annotations

from pathlib import Path

import paraview.simple as pv
from _shared import model_index, parser, run

from amgsrn_core.cli.options import any_numbers
from amgsrn_core.errors import ConfigurationError, OutputError
from amgsrn_core.model.replacement import guard
from amgsrn_core.volume.replacement import Kind

SURFACE = Kind("a surface", (".vtp", ".pvtp", ".stl", ".ply", ".vtk"))


def main() -> None:
    """Write the surfaces that the command line asks for."""
    options = parser(__file__, __doc__)
    options.add_argument("model", metavar="MODEL.amgsrn")
    options.add_argument("-o", "--output", metavar="FILE", type=Path, required=True)
    which = options.add_mutually_exclusive_group()
    which.add_argument("--values", metavar="X,...", type=any_numbers, help="of the surfaces")
    which.add_argument(
        "--parts",
        metavar="X,...",
        type=any_numbers,
        default=(0.5,),
        help="of the range, 0 its least and 1 its greatest value (0.5)",
    )
    options.add_argument(
        "--tolerance", metavar="X", type=float, default=0.5, help="in voxels of the data (0.5)"
    )
    options.add_argument(
        "--component", metavar="N", type=int, default=0, help="from 0; -1: the magnitude"
    )
    options.add_argument("--time", metavar="N", type=int, default=0, help="of a series: the step")
    arguments = options.parse_args()
    output = arguments.output
    if output.suffix.lower() not in SURFACE.suffixes:
        raise ConfigurationError(f"A surface is {', '.join(SURFACE.suffixes)}, not {output.name}.")
    index = model_index(arguments.model)
    index.check_step(arguments.time)
    guard(output, SURFACE, by="export_isosurface", inputs=[arguments.model])
    model = pv.AMGSRNReader(FileName=arguments.model)
    surface = pv.AMGSRNIsosurface(
        Input=model, Tolerance=arguments.tolerance, Component=arguments.component
    )
    values = arguments.values
    if values is None:
        if arguments.component < 0:
            raise ConfigurationError("Give --values: the range of a magnitude is not known.")
        lows, highs = index.value_minimum, index.value_maximum
        if arguments.component >= len(lows):
            raise ConfigurationError(f"The model has {len(lows)} component(s).")
        low, high = lows[arguments.component], highs[arguments.component]
        values = [low + part * (high - low) for part in arguments.parts]
    surface.Isovalues = list(values)
    surface.UpdatePipeline(*(index.times[arguments.time : arguments.time + 1]))
    surface.UpdatePropertyInformation()
    if surface.Message:
        print(surface.Message)
    triangles = surface.GetDataInformation().GetNumberOfCells()
    if not triangles:
        lows, highs = index.value_minimum, index.value_maximum
        known = ", ".join(f"{low:g} to {high:g}" for low, high in zip(lows, highs))
        raise ConfigurationError(
            f"There is no such surface, and nothing was written; the data's values are {known}."
        )
    pv.SaveData(str(output), surface)
    if not output.exists():
        raise OutputError(f"ParaView could not write {output}.")
    print(f"{output}: {triangles} triangles")


if __name__ == "__main__":
    run(main)
