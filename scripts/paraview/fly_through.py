"""Make a film, or numbered pictures, of a flight through a model, drawn as Neural Volume.

    amgsrn script fly_through MODEL.amgsrn -o flight.avi --frames 200

The way goes smoothly through points that are given in parts of the model's box, and the camera
looks along it:

    amgsrn script fly_through M.amgsrn -o flight --via=-0.5,0.5,0.6 --via 0.5,0.4,0.5 --via 1,1,1
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from _shared import UP, Camera, Scene, add_film_options, guard_film, parser, run
from vtkmodules.vtkCommonComputationalGeometry import vtkParametricSpline
from vtkmodules.vtkCommonCore import vtkPoints

from amgsrn_core.cli.options import numbers
from amgsrn_core.errors import ConfigurationError

WAY = ((-0.9, -0.6, 0.9), (0.0, 0.1, 0.65), (0.35, 0.3, 0.55), (0.6, 0.65, 0.5))
_AHEAD = 0.08  # of the way: where the camera looks


def main() -> None:
    """Make the film that the command line asks for."""
    options = parser(__file__, __doc__)
    add_film_options(options, frames=200, opacity=0.3)
    options.add_argument(
        "--via",
        metavar="X,Y,Z",
        type=numbers(3),
        action="append",
        help="a point of the way in parts of the box, 0 to 1 inside; again for each point",
    )
    arguments = options.parse_args()
    if arguments.via and len(arguments.via) < 2:
        raise ConfigurationError("A way needs two points at least; give --via again.")
    guard_film(arguments, "fly_through")
    scene = Scene(arguments)
    scene.film(flight(scene.box, np.array(arguments.via or WAY), arguments.frames))


def flight(box: np.ndarray, via: np.ndarray, frames: int) -> Iterator[Camera]:
    """Yield the cameras of a film along a way."""
    points = vtkPoints()
    for point in box[:, 0] + via * (box[:, 1] - box[:, 0]):
        points.InsertNextPoint(point)
    spline = vtkParametricSpline()
    spline.SetPoints(points)
    for number in range(frames):
        at = (1 - _AHEAD) * number / max(1, frames - 1)
        position, ahead = _point(spline, at), _point(spline, at + _AHEAD)
        yield Camera(position, ahead, UP)


def _point(spline: vtkParametricSpline, at: float) -> np.ndarray:
    point = [0.0] * 3
    spline.Evaluate([at, 0.0, 0.0], point, [0.0] * 9)
    return np.array(point)


if __name__ == "__main__":
    run(main)
