"""Lay out reference, network, error and training history side by side, with linked cameras.

    amgsrn pvpython scripts/compare_layout.py MODEL.amgsrn VOLUME -o PICTURE.png

Draws a finished model beside its data, and the histogram of its errors instead of the history. In
ParaView's window it is a macro (Macros > Import new macro): choose an AMGSRN Trainer, whose history
then grows while it trains, or an AMGSRN Compare in the pipeline, and press it.
"""

from __future__ import annotations

import argparse
import math
import sys
from typing import Any

import paraview.simple as pv
from vtkmodules.vtkRenderingFreeType import vtkFreeTypeTools

SIGNED = "Cool to Warm"
LIVE_SHARE = 0.05  # of the data's range, which colours the errors of a training
ROWS = 6  # vtkDataObject.ROW


def main() -> int:
    """Draw what the command line asks for."""
    from amgsrn_core.errors import AmgsrnError
    from amgsrn_core.model.replacement import guard
    from amgsrn_core.volume.replacement import PARAVIEW_PICTURE

    parser = argparse.ArgumentParser(
        description="Lay out a reference, a model, its errors and their histogram."
    )
    parser.add_argument("model", metavar="MODEL.amgsrn")
    parser.add_argument("volume", metavar="VOLUME", help="the data, in a format of ParaView's")
    parser.add_argument("-o", "--output", metavar="PICTURE.png", required=True)
    parser.add_argument("--axis", choices="xyz", default="z", help="what slices are across")
    parser.add_argument("--volume-rendering", action="store_true", help="instead of slices")
    parser.add_argument("--size", metavar="W,H", default="1280,960")
    arguments = parser.parse_args()
    try:
        size = [int(text) for text in arguments.size.split(",")]
        inputs = [arguments.model, arguments.volume]
        guard(arguments.output, PARAVIEW_PICTURE, by="compare_layout", inputs=inputs)
    except (AmgsrnError, ValueError) as error:
        print(f"{error}", file=sys.stderr)
        return 1
    model = pv.AMGSRNReader(FileName=arguments.model)
    reference = pv.OpenDataFile(arguments.volume)
    compare = pv.AMGSRNCompare(Input=model, Reference=reference)
    compare.UpdatePipeline()
    compare.UpdatePropertyInformation()
    if not compare[0].GetDataInformation().GetNumberOfPoints():
        print(compare.Message, file=sys.stderr)
        return 1
    layout = build(compare, axis=arguments.axis, slices=not arguments.volume_rendering)
    layout.SetSize(*size)
    pv.SaveScreenshot(arguments.output, layout, ImageResolution=size)
    print(f"{arguments.output}: {size[0]} x {size[1]} pixels")
    pv.Disconnect()  # ParaView 5.11 crashes where a program exits while views are there
    return 0


def build(source: Any, axis: str = "z", *, slices: bool = True) -> Any:
    """Make the layout of an AMGSRN Trainer, or of an AMGSRN Compare; return it."""
    trainer = source if source.GetXMLName() == "AMGSRNTrainer" else None
    if trainer is not None:
        compare = pv.AMGSRNCompare(Input=trainer, Reference=trainer.Input)
    else:
        compare, of_model = source, source.Input
        trainer = of_model if of_model.GetXMLName() == "AMGSRNTrainer" else None
    compare.UpdatePipeline()
    # A model in training has no more than its preview.
    model = compare.Input if trainer else pv.AMGSRNReconstruction(Input=compare.Input)
    model.UpdatePipeline()
    association, name = chosen(compare)
    layout = pv.CreateLayout("Reference, network, error, history")
    views = [pv.CreateView("RenderView") for _ in range(3)]
    chart = pv.CreateView("XYChartView")
    place(layout, [*views, chart])
    kinds = ("Reference", "Network", "Error")
    shown = [
        # Errors fill their volume evenly: from outside there would be nothing to see.
        show(view, data, title, axis if slices or title == "Error" else "")
        for view, data, title in zip(views, (compare.Reference, model, compare), kinds)
    ]
    low, high = limits(compare.Reference, association, name)
    colour(shown[0], views[0], (association, name), low, high)
    colour(shown[1], views[1], ("POINTS", name), low, high)
    # What is large at the beginning of a training soon is small.
    error = f"{name}_error"
    ends = (low - high, high - low) if trainer else limits(compare, association, error)
    largest = (LIVE_SHARE if trainer else 1.0) * max(map(abs, ends)) or 1.0
    pv.GetColorTransferFunction(error).ApplyPreset(SIGNED, True)
    colour(shown[2], views[2], (association, error), -largest, largest)
    # The texts of the other views turned it off for all; charts' texts are torn without it.
    vtkFreeTypeTools.GetInstance().ScaleToPowerTwoOn()
    plot(chart, trainer, compare)
    look(views, axis, slices)
    return layout


def chosen(compare: Any) -> tuple[str, str]:
    """Return association and name of the first array that is compared."""
    for association, data in (("POINTS", compare.PointData), ("CELLS", compare.CellData)):
        for name in list(data.keys()):  # which has no iterator of its own
            if name.endswith("_error"):
                return association, name.removesuffix("_error")
    from amgsrn_core.errors import ConfigurationError

    raise ConfigurationError(f"There are no errors to show. {compare.Message}")


def place(layout: Any, views: list[Any]) -> None:
    """Put four views into two rows."""
    lower = layout.SplitVertical(0, 0.5)
    cells = [layout.SplitHorizontal(row, 0.5) for row in (lower, lower + 1)]
    for view, cell in zip(views, (cells[0], cells[0] + 1, cells[1], cells[1] + 1)):
        pv.AssignViewToLayout(view=view, layout=layout, hint=cell)


def show(view: Any, data: Any, title: str, axis: str) -> Any:
    """Show data, or a slice through their middle, under a title."""
    label = pv.Show(pv.Text(Text=title), view)
    label.FontSize, label.WindowLocation = 16, "Upper Center"
    pv.Show(pv.Outline(Input=data), view)
    if not axis:
        shown = pv.Show(data, view)
        kinds = shown.GetProperty("RepresentationTypesInfo").GetData()
        shown.SetRepresentationType("Volume" if "Volume" in kinds else "Surface")
        sides = data.GetDataInformation().GetBounds()
        diagonal = math.dist(sides[::2], sides[1::2])
        shown.ScalarOpacityUnitDistance = diagonal / 60  # alike in all views
        return shown
    cut = pv.Slice(Input=data)
    bounds = data.GetDataInformation().GetBounds()
    cut.SliceType.Origin = [(low + high) / 2 for low, high in zip(bounds[::2], bounds[1::2])]
    cut.SliceType.Normal = [float(axis == letter) for letter in "xyz"]
    return pv.Show(cut, view)


def limits(source: Any, association: str, name: str) -> tuple[float, float]:
    """Return the range of an array, or of its magnitude."""
    array = (source.PointData if association == "POINTS" else source.CellData)[name]
    low, high = array.GetRange(-1 if array.GetNumberOfComponents() > 1 else 0)
    return low, high


def colour(shown: Any, view: Any, array: tuple[str, str], low: float, high: float) -> None:
    """Colour by an array; arrays of one name share their colours."""
    pv.ColorBy(shown, array)
    shown.SetScalarBarVisibility(view, True)
    for function in (pv.GetColorTransferFunction, pv.GetOpacityTransferFunction):
        function(array[1]).RescaleTransferFunction(low, high)


def plot(chart: Any, trainer: Any, compare: Any) -> None:
    """Plot the PSNR as it grows with the iterations, or how often each error occurs."""
    if trainer is not None:
        pv.Show(trainer[1], chart)
        chart.ChartTitle = "Training history"
        chart.LeftAxisTitle, chart.BottomAxisTitle = "PSNR (dB)", "iteration"
        return
    table = compare[2]
    shown = pv.Show(table, chart, "XYChartRepresentation")
    rows = table.GetDataInformation().GetAttributeInformation(ROWS)
    names = [rows.GetArrayInformation(i).GetName() for i in range(rows.GetNumberOfArrays())]
    shown.UseIndexForXAxis, shown.XArrayName = 0, "ErrorPercent"
    shown.SeriesVisibility = [name for name in names if name.endswith("_count")]
    chart.ChartTitle = "How often each error occurs"
    chart.LeftAxisTitle, chart.BottomAxisTitle = "samples", "error (% of the range)"


def look(views: list[Any], axis: str, slices: bool) -> None:
    """Look at all views alike, now and later."""
    first, *others = views
    camera = first.GetActiveCamera()
    pv.ResetCamera(first)
    focus, distance = camera.GetFocalPoint(), camera.GetDistance()
    away = [float(axis == letter) for letter in "xyz"] if slices else [0.55, -0.75, 0.55]
    camera.SetPosition(*(f + distance * a for f, a in zip(focus, away)))
    camera.SetViewUp(*((0.0, 0.0, 1.0) if axis != "z" or not slices else (0.0, 1.0, 0.0)))
    pv.ResetCamera(first)
    for number, view in enumerate(others):
        view.CameraPosition, view.CameraFocalPoint = first.CameraPosition, first.CameraFocalPoint
        view.CameraViewUp = first.CameraViewUp
        view.CameraParallelScale = first.CameraParallelScale
        pv.AddCameraLink(first, view, f"AMGSRN comparison {number + 1}")
    pv.RenderAllViews()


def from_window() -> None:
    """Build the layout of what is chosen in ParaView's pipeline, or say why there is none.

    The sentence appears among ParaView's messages: a script that exits would end ParaView with it.
    """
    from amgsrn_core.errors import AmgsrnError, ConfigurationError

    source = pv.GetActiveSource()
    try:
        if source is None or source.GetXMLName() not in ("AMGSRNTrainer", "AMGSRNCompare"):
            raise ConfigurationError(
                "Choose an AMGSRN Trainer or an AMGSRN Compare in the pipeline first."
            )
        build(source)
    except AmgsrnError as error:
        print(f"{error}", file=sys.stderr)


if __name__ == "__vtkconsole__":  # as macros are called in ParaView's window
    from_window()
elif __name__ == "__main__":
    sys.exit(main())
