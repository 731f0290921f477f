"""Write a model as data of any resolution: .vti, .vtr where axes are uneven, .pvd for series.

    amgsrn script reconstruct_model MODEL.amgsrn -o data.vti --factor 2
    amgsrn script reconstruct_model SERIES.amgsrn -o data.pvd --time all

On several ranks, each of which evaluates a part:

    mpiexec -n 4 --bind-to none amgsrn pvbatch scripts/paraview/reconstruct_model.py \\
        MODEL.amgsrn -o data.pvti
"""

from __future__ import annotations

from pathlib import Path

import paraview.simple as pv
from _shared import model_index, parser, run

from amgsrn_core.cli.options import numbers, whole_numbers
from amgsrn_core.errors import ConfigurationError, OutputError
from amgsrn_core.model.replacement import guard
from amgsrn_core.volume.replacement import Kind

DATA = Kind("data", (".vti", ".vtr", ".pvti", ".pvtr", ".pvd"))


def main() -> None:
    """Write the data that the command line asks for."""
    options = parser(__file__, __doc__)
    options.add_argument("model", metavar="MODEL.amgsrn")
    options.add_argument("-o", "--output", metavar="FILE", type=Path, required=True)
    options.add_argument(
        "--factor", metavar="X", type=float, default=1.0, help="samples per voxel of the data (1)"
    )
    options.add_argument(
        "--samples", metavar="X,Y,Z", type=whole_numbers(3), help="along each axis, instead"
    )
    options.add_argument(
        "--region", metavar="X0,X1,Y0,Y1,Z0,Z1", type=numbers(6), help="a box of the world"
    )
    options.add_argument(
        "--errors", action="store_true", help="with arrays of the errors that the model knows"
    )
    options.add_argument("--time", metavar="all|N", default="0", help="of a series: the step")
    arguments = options.parse_args()
    output, index = arguments.output, model_index(arguments.model)
    suffix = ".vti" if index.geometry.is_uniform else ".vtr"
    fitting = (suffix, f".p{suffix[1:]}", ".pvd")
    if output.suffix.lower() not in fitting:
        raise ConfigurationError(
            f"What this model makes is written as {' or '.join(fitting)}, not {output.name}."
        )
    guard(output, DATA, by="reconstruct_model", inputs=[arguments.model])
    source = pv.AMGSRNReconstructionSource(
        FileName=arguments.model,
        ScaleFactor=arguments.factor,
        ErrorArrays=int(arguments.errors),
    )
    if arguments.samples:
        source.Dimensions = list(arguments.samples)
    if arguments.region:
        source.Region, source.WorldBounds = "World Bounds", list(arguments.region)
    if arguments.time == "all":
        if output.suffix != ".pvd":
            raise ConfigurationError("All time steps are written as .pvd.")
        pv.SaveData(str(output), source, WriteTimeSteps=1)
    else:
        step = int(arguments.time) if arguments.time.isdigit() else -1
        index.check_step(step)
        times = index.times[step : step + 1]
        source.UpdatePipeline(*times)
        if times:  # what is saved is what the scene's time is
            pv.GetAnimationScene().AnimationTime = times[0]
        pv.SaveData(str(output), source)
    if not output.exists():
        raise OutputError(f"ParaView could not write {output}; its messages say why.")


if __name__ == "__main__":
    run(main)
