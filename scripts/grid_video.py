"""Show how feature grids moved over a volume while a model was trained with --log-grids.

amgsrn pvpython scripts/grid_video.py MODEL.amgsrn|NAME.grids.pvd VOLUME -o FOLDER|FILE.avi

Writes a picture grids.0000.png ... for each time into FOLDER, or a film in a format that this
ParaView writes (.avi, .ogv). The volume may be whatever `amgsrn train` reads.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import paraview.simple as pv
from amgsrn_paraview import datasets

from amgsrn_core.cli.options import scale_factors
from amgsrn_core.errors import AmgsrnError
from amgsrn_core.model import LookRecord
from amgsrn_core.model.replacement import guard
from amgsrn_core.rendering.looks import UNITS_PER_DIAGONAL, suggested
from amgsrn_core.rendering.proportions import display_scale, told
from amgsrn_core.training.records.grid_series import series_path
from amgsrn_core.volume import open_volume
from amgsrn_core.volume.replacement import FILM, FOLDER


def main() -> int:
    """Draw what the command line asks for."""
    parser = argparse.ArgumentParser(description="Show how feature grids moved over a volume.")
    parser.add_argument("series", metavar="MODEL.amgsrn|NAME.grids.pvd")
    parser.add_argument("volume", metavar="VOLUME")
    parser.add_argument("-o", "--output", metavar="FOLDER|FILE.avi", type=Path, required=True)
    parser.add_argument("--variable", metavar="NAME", help="where the file holds several")
    parser.add_argument("--color", choices=("grid", "brick", "density", "motion"), default="grid")
    parser.add_argument(
        "--scale",
        metavar="X,Y,Z|auto",
        type=scale_factors,
        default="auto",
        help="factors that stretch the box along x, y, z",
    )
    parser.add_argument("--size", metavar="W,H", default="960,720")
    parser.add_argument("--rate", metavar="N", type=int, default=10, help="pictures per second")
    arguments = parser.parse_args()
    suffix = arguments.output.suffix.lower()
    if suffix and suffix not in FILM.suffixes:
        known = " or ".join(FILM.suffixes)
        parser.error(f"a film is {known}, not {suffix}; anything else is a folder")
    series = Path(arguments.series)
    if series.suffix != ".pvd":
        series = series_path(series)
    if not series.exists():
        print(f"There is no {series}; train with --log-grids EVERY to get it.", file=sys.stderr)
        return 1
    try:
        kind = FILM if suffix else FOLDER
        guard(arguments.output, kind, by="grid_video", inputs=[series, arguments.volume])
        volume = open_volume(arguments.volume, arguments.variable)
        width, height = (int(text) for text in arguments.size.split(","))
        scale = display_scale(volume.geometry, arguments.scale)
        if arguments.scale == "auto" and scale != (1.0, 1.0, 1.0):
            print(told(volume.geometry, scale), file=sys.stderr)
        view = new_view([width, height])
        scene(view, str(series), volume, arguments.color, scale)
    except (AmgsrnError, ValueError) as error:
        print(f"{error}", file=sys.stderr)
        return 1
    saved = save(view, arguments.output, arguments.rate)
    if not saved:
        print(
            f"ParaView cannot write {arguments.output}; name a folder for pictures.",
            file=sys.stderr,
        )
    pv.Disconnect()  # ParaView 5.11 crashes where a program exits while views are there
    return 0 if saved else 1


def save(view: Any, target: Path, rate: int) -> bool:
    """Write pictures into a folder, or a film; return whether that worked."""
    if target.suffix.lower() in FILM.suffixes:
        return bool(pv.SaveAnimation(str(target), view, FrameRate=rate)) and target.exists()
    target.mkdir(parents=True, exist_ok=True)
    return bool(pv.SaveAnimation(str(target / "grids.png"), view, FrameRate=rate))


def new_view(size: list[int]) -> Any:
    """Return an empty view on white."""
    pv._DisableFirstRenderCameraReset()
    view = pv.CreateView("RenderView")
    view.ViewSize, view.Background, view.UseColorPaletteForBackground = size, [1, 1, 1], 0
    view.OrientationAxesVisibility = 0
    return view


def scene(view: Any, series: str, volume: Any, color: str, scale: Sequence[float]) -> None:
    """Show the volume and the boxes in a view, whose times then are those of the series."""
    dataset = datasets.new_dataset(volume.geometry)
    datasets.set_geometry(dataset, volume.geometry, datasets.whole_extent(volume.geometry))
    block = volume.read()
    datasets.set_arrays(dataset, block, volume.name, volume.components)
    data = pv.TrivialProducer(registrationName="volume")
    data.GetClientSideObject().SetOutput(dataset)
    data.UpdatePipeline()
    values = block.values[0] if block.valid is None else block.values[0][block.valid]
    look = suggested(values, float(values.min()), float(values.max()))
    outline = pv.Show(pv.Outline(Input=data), view)
    outline.DiffuseColor, outline.Scale = [0.3, 0.3, 0.3], list(scale)
    boxes = pv.PVDReader(FileName=series)
    boxes.UpdatePipeline()
    shown = pv.Show(boxes, view)
    shown.SetRepresentationType("Wireframe")
    shown.LineWidth, shown.Scale = 2.0, list(scale)
    pv.ColorBy(shown, ("CELLS", color))
    shown.RescaleTransferFunctionToDataRangeOverTime()
    times = pv.AnnotateTimeFilter(Input=boxes, Format="iteration {time:.0f}")
    pv.Show(times, view).Color = [0.0, 0.0, 0.0]
    camera = pv.GetActiveCamera()
    pv.ResetCamera(view)
    camera.Azimuth(30)
    camera.Elevation(25)
    pv.ResetCamera(view)
    show_volume(data, view, look, scale)  # last: ParaView takes its box as if it had no scale
    pv.GetAnimationScene().UpdateAnimationUsingDataTimeSteps()


def show_volume(data: Any, view: Any, look: LookRecord, scale: Sequence[float]) -> None:
    """Show the volume itself where ParaView can, else a slice of it."""
    name = data.PointData.keys()[0]
    shown = pv.Show(data, view)
    kinds = shown.GetProperty("RepresentationTypesInfo").GetData()
    if "Volume" not in kinds:
        pv.Hide(data, view)
        shown = pv.Show(pv.Slice(Input=data), view)
    else:
        shown.SetRepresentationType("Volume")
        sides = np.ptp(np.reshape(data.GetDataInformation().GetBounds(), (3, 2)), axis=1)
        shown.ScalarOpacityUnitDistance = np.linalg.norm(sides * scale) / UNITS_PER_DIAGONAL
    shown.Scale = list(scale)
    pv.ColorBy(shown, ("POINTS", name))
    pv.GetColorTransferFunction(name).RescaleTransferFunction(look.low, look.high)
    # Half of it: the boxes are to be seen through the volume.
    pv.GetOpacityTransferFunction(name).Points = [
        number for value, opacity in look.opacities for number in (value, 0.5 * opacity, 0.5, 0.0)
    ]


if __name__ == "__main__":
    sys.exit(main())
