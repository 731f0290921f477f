"""Draw two volumes side by side, as slices above and as volume renderings below, in one PNG.

    amgsrn pvpython scripts/comparison_picture.py LEFT.npz RIGHT.npz OUT.png

Runs inside ParaView. The inputs come from comparison_images.py; both columns share the colours and
the opacities of the left one.
"""

from __future__ import annotations

import os
import sys

import numpy as np
from paraview import simple
from vtkmodules.util.numpy_support import numpy_to_vtk
from vtkmodules.vtkCommonDataModel import vtkImageData

from amgsrn_core.errors import AmgsrnError
from amgsrn_core.model.replacement import guard
from amgsrn_core.volume.replacement import PARAVIEW_PICTURE

# ParaView 6.1 dropped the second word of "Viridis (matplotlib)", and printf's way of formats.
_OLD = simple.GetParaViewVersion() < (6, 1)
COLOURS = "Viridis (matplotlib)" if _OLD else "Viridis"
NUMBERS = "%.4g" if _OLD else "{:.4g}"
VIEW_SIZE = (640, 520)
BACKGROUND = (1.0, 1.0, 1.0)
INK = (0.15, 0.15, 0.2)
NO_DATA = (0.82, 0.82, 0.82)
ARRAY = "value"


def main(left: str, right: str, target: str) -> None:
    """Draw both volumes and write the picture."""
    guard(target, PARAVIEW_PICTURE, by="comparison_picture", inputs=[left, right])
    simple._DisableFirstRenderCameraReset()
    images = [Image(path) for path in (left, right)]
    colours, opacities = transfer_functions(images[0])
    rows = [[slice_view(image, colours) for image in images]]
    rows.append([volume_view(image, colours, opacities) for image in images])
    save(rows, target)


class Image:
    """One prepared volume as a ParaView source."""

    def __init__(self, path: str) -> None:
        with np.load(path) as stored:
            self.values = stored["values"]
            self.spacing = tuple(float(step) for step in stored["spacing"])
            self.range = tuple(float(value) for value in stored["range"])
            self.opaque = [tuple(float(n) for n in point) for point in stored["opacities"]]
            self.title = str(stored["title"])
            self.quantity = str(stored["quantity"])
            self.slice = int(stored["slice"])
            self.slice_title = str(stored["slice_title"])

    def source(self, values: np.ndarray) -> object:
        """Return a pipeline source whose point array is `values` [z, y, x]."""
        data = vtkImageData()
        data.SetDimensions(*values.shape[::-1])
        data.SetSpacing(*self.spacing)
        array = numpy_to_vtk(np.ascontiguousarray(values).ravel(), deep=True)
        array.SetName(ARRAY)
        data.GetPointData().SetScalars(array)
        producer = simple.TrivialProducer()
        producer.GetClientSideObject().SetOutput(data)
        producer.UpdatePipeline()
        return producer

    @property
    def size(self) -> np.ndarray:
        """Sides of the drawn box along x, y, z."""
        return (np.array(self.values.shape[::-1]) - 1) * self.spacing


def transfer_functions(image: Image) -> tuple[object, object]:
    """Return the colours and the opacities for the values of `image`."""
    low, high = image.range
    colours = simple.GetColorTransferFunction(ARRAY)
    colours.ApplyPreset(COLOURS, True)
    colours.RescaleTransferFunction(low, high)
    colours.NanColor = NO_DATA
    opacities = simple.GetOpacityTransferFunction(ARRAY)
    opacities.Points = [
        number for value, opacity in image.opaque for number in (value, opacity, 0.5, 0.0)
    ]
    return colours, opacities


def slice_view(image: Image, colours: object) -> object:
    """Show one x-y plane, seen from above."""
    view = new_view()
    # One value per pixel: interpolation would smear the edge of missing values over its neighbours.
    plane = image.source(image.values[image.slice : image.slice + 1])
    display = simple.Show(plane, view)
    display.Representation = "Surface"
    colour(display, colours, image)
    display.Ambient, display.Diffuse, display.Specular = 1.0, 0.0, 0.0
    label(view, image.title, 22, "Upper Center")
    label(view, image.slice_title, 15, "Lower Center")
    width, height, _ = image.size
    view.CameraParallelProjection = 1
    view.CameraFocalPoint = [width / 2, height / 2, 0.0]
    view.CameraPosition = [width / 2, height / 2, 10 * max(width, height)]
    view.CameraViewUp = [0.0, 1.0, 0.0]
    aspect = VIEW_SIZE[0] / VIEW_SIZE[1]
    view.CameraParallelScale = 0.62 * max(height, width / aspect)
    return view


def volume_view(image: Image, colours: object, opacities: object) -> object:
    """Show the volume rendered, seen from the south-east and above."""
    low, high = image.range
    view = new_view()
    # Missing values become a value below the range, which the opacities leave out.
    blank = low - 0.1 * (high - low)
    source = image.source(np.where(np.isnan(image.values), np.float32(blank), image.values))
    display = simple.Show(source, view)
    display.Representation = "Volume"
    colour(display, colours, image)
    legend(view, colours, image)
    display.ScalarOpacityFunction = opacities
    display.ScalarOpacityUnitDistance = float(np.linalg.norm(image.size)) / 60
    display.Shade = 1
    box = simple.Show(simple.Outline(Input=source), view)
    box.DiffuseColor = box.AmbientColor = INK
    centre = image.size / 2
    direction = np.array([0.55, -0.75, 0.55])
    view.CameraFocalPoint = centre.tolist()
    view.CameraPosition = (centre + 3 * np.linalg.norm(image.size) * direction).tolist()
    view.CameraViewUp = [0.0, 0.0, 1.0]
    simple.ResetCamera(view)
    # Leaves the lower edge to the legend.
    lift = 0.09 * float(np.linalg.norm(image.size))
    view.CameraFocalPoint = [*view.CameraFocalPoint[:2], view.CameraFocalPoint[2] - lift]
    view.CameraPosition = [*view.CameraPosition[:2], view.CameraPosition[2] - lift]
    return view


def new_view() -> object:
    """Return an empty view in the picture's style."""
    view = simple.CreateView("RenderView")
    view.UseColorPaletteForBackground = 0
    view.Background = BACKGROUND
    view.OrientationAxesVisibility = 0
    view.ViewSize = VIEW_SIZE
    return view


def colour(display: object, colours: object, image: Image) -> None:
    """Colour a representation by the array."""
    simple.ColorBy(display, ("POINTS", ARRAY))
    # ColorBy rescales to the data's own range; both columns have to share one.
    colours.RescaleTransferFunction(*image.range)
    display.LookupTable = colours


def legend(view: object, colours: object, image: Image) -> None:
    """Put the legend of the colours at the bottom of a view."""
    bar = simple.GetScalarBar(colours, view)
    bar.Title = image.quantity
    bar.ComponentTitle = ""
    bar.TitleColor = bar.LabelColor = INK
    bar.TitleFontSize = bar.LabelFontSize = 13
    bar.AutomaticLabelFormat = 0
    bar.LabelFormat = bar.RangeLabelFormat = NUMBERS
    bar.Orientation = "Horizontal"
    bar.WindowLocation = "Lower Center"
    bar.ScalarBarLength = 0.5
    bar.Visibility = 1


def label(view: object, text: str, size: int, place: str) -> None:
    """Write a line of text into a view."""
    display = simple.Show(simple.Text(Text=text), view)
    display.FontSize = size
    display.Color = INK
    display.WindowLocation = place


def save(rows: list[list[object]], target: str) -> None:
    """Write the views as one picture, through a temporary file beside it."""
    layout = simple.CreateLayout("comparison")
    lower = layout.SplitVertical(0, 0.5)
    for cell, row in zip((lower, lower + 1), rows):
        first = layout.SplitHorizontal(cell, 0.5)
        simple.AssignViewToLayout(view=row[0], layout=layout, hint=first)
        simple.AssignViewToLayout(view=row[1], layout=layout, hint=first + 1)
    layout.SetSize(2 * VIEW_SIZE[0], 2 * VIEW_SIZE[1])
    stem, extension = os.path.splitext(target)
    temporary = f"{stem}.partial{extension}"
    simple.SaveScreenshot(
        temporary, layout, ImageResolution=[2 * VIEW_SIZE[0], 2 * VIEW_SIZE[1]], CompressionLevel=9
    )
    os.replace(temporary, target)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except AmgsrnError as error:
        sys.exit(str(error))
