"""Make a film, or numbered pictures, of a camera that turns round a model, drawn as Neural Volume.

    amgsrn script orbit_movie MODEL.amgsrn -o orbit.avi --frames 100 --elevation 20

The frames of a series can go through its time steps (--time all). On several ranks:

    mpiexec -n 2 --bind-to none amgsrn pvbatch scripts/paraview/orbit_movie.py MODEL.amgsrn -o orbit
"""

from __future__ import annotations

from argparse import Namespace

import numpy as np
from _shared import UP, Camera, Scene, add_film_options, guard_film, parser, run

_LOOKS = 8


def main() -> None:
    """Make the film that the command line asks for."""
    options = parser(__file__, __doc__)
    add_film_options(options, frames=100)
    options.add_argument(
        "--turns", metavar="X", type=float, default=1.0, help="round the model; <0: clockwise"
    )
    options.add_argument(
        "--elevation", metavar="DEGREES", type=float, default=20.0, help="above its middle (20)"
    )
    options.add_argument("--zoom", metavar="X", type=float, default=1.0, help="nearer by this")
    arguments = options.parse_args()
    guard_film(arguments, "orbit_movie")
    scene = Scene(arguments)
    scene.film(orbit(scene, arguments))


def orbit(scene: Scene, arguments: Namespace) -> list[Camera]:
    """Return the cameras of a film: one distance, from which all that is visible always fits."""
    height = np.radians(np.clip(arguments.elevation, -89.0, 89.0))
    turns = 2 * np.pi * arguments.turns * np.arange(arguments.frames) / arguments.frames
    away = np.stack([np.sin(turns), -np.cos(turns), np.full(len(turns), np.tan(height))], axis=1)
    away /= np.linalg.norm(away, axis=1, keepdims=True)
    looks = [scene.fitting(each, UP) for each in away[:: max(1, len(away) // _LOOKS)]]
    centre = np.mean([focus for _, focus, _ in looks], axis=0)
    distance = max(np.linalg.norm(position - focus) for position, focus, _ in looks)
    return [Camera(centre + distance / arguments.zoom * each, centre, UP) for each in away]


if __name__ == "__main__":
    run(main)
