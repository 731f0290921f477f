"""Compare a model with the data that it stands for: tables of its quality, and the errors as data.

    amgsrn script compare_model MODEL.amgsrn data.vti -o comparison

FOLDER has quality.csv (PSNR and errors of components, bricks and time steps), histogram.csv (of the
errors) and errors.vti or errors.vtr (the data with the errors as arrays).
"""

from __future__ import annotations

import csv
from pathlib import Path

import paraview.simple as pv
from _shared import model_index, open_data, parser, run

from amgsrn_core.errors import OutputError, VolumeError
from amgsrn_core.model.replacement import guard
from amgsrn_core.volume.replacement import FOLDER


def main() -> None:
    """Write the comparison that the command line asks for."""
    options = parser(__file__, __doc__)
    options.add_argument("model", metavar="MODEL.amgsrn")
    options.add_argument("data", metavar="DATA", nargs="+", help="a file, or those of a series")
    options.add_argument("-o", "--output", metavar="FOLDER", type=Path, required=True)
    options.add_argument("--ssim", action="store_true", help="structural similarity as well")
    options.add_argument(
        "--time", metavar="all|N", default="0", help="of a series: the step, or a table of all"
    )
    arguments = options.parse_args()
    index, output = model_index(arguments.model), arguments.output
    guard(output, FOLDER, by="compare_model", inputs=[arguments.model, *arguments.data])
    model = pv.AMGSRNReader(FileName=arguments.model)
    comparison = pv.AMGSRNCompare(
        Input=model, Reference=open_data(arguments.data), SSIM=int(arguments.ssim)
    )
    times: list[float] = []
    if arguments.time == "all":
        comparison.TimeSteps = "All"
    else:
        step = int(arguments.time) if arguments.time.isdigit() else -1
        index.check_step(step)
        times = list(index.times[step : step + 1])
    comparison.UpdatePipeline(*times)
    comparison.UpdatePropertyInformation()
    if comparison.Message:
        print(comparison.Message)
    if not comparison.GetDataInformation().GetNumberOfPoints():
        raise VolumeError("The model cannot be compared with these data; nothing was written.")
    if times:  # what is saved is what the scene's time is
        pv.GetAnimationScene().AnimationTime = times[0]
    output.mkdir(parents=True, exist_ok=True)
    kind = comparison.GetDataInformation().GetDataSetTypeAsString()
    suffix = ".vti" if kind == "vtkImageData" else ".vtr"
    names = f"errors{suffix}", "quality.csv", "histogram.csv"
    for port, name in enumerate(names):
        pv.SaveData(str(output / name), pv.OutputPort(comparison, port))
        if not (output / name).exists():
            raise OutputError(f"ParaView could not write {output / name}.")
    tell(output / names[1])


def tell(table: Path) -> None:
    """Print a table."""
    with open(table, newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    widths = [max(map(len, column)) for column in zip(*rows)]
    for row in rows:
        print("  ".join(text.rjust(width) for text, width in zip(row, widths)))


if __name__ == "__main__":
    run(main)
