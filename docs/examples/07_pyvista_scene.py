"""A model in PyVista beside its meshes.

    python docs/examples/07_pyvista_scene.py MODEL.amgsrn [PICTURE.png]

Needs what docs/anywhere.md installs, and neither PyTorch nor a compiler.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pyvista

from amgsrn_core.rendering.png import write_png
from amgsrn_core.vtk import add_neural_volume


def main(model: Path, picture: Path) -> None:
    """Draw the model in its box, with a slice of its values, and write the picture."""
    plotter = pyvista.Plotter(off_screen=True, window_size=(480, 360))
    plotter.set_background("white")
    prop = add_neural_volume(plotter, model)
    values = pyvista.wrap(prop.model.to_vtk())
    plotter.add_mesh(values.outline(), color="black")
    low = values.bounds[4] + 0.02 * (values.bounds[5] - values.bounds[4])
    floor = values.slice("z", origin=(*values.center[:2], low))
    plotter.add_mesh(floor, cmap="bone_r", opacity=1.0, show_scalar_bar=False)
    plotter.camera_position = "yz"
    plotter.camera.azimuth, plotter.camera.elevation = 35, 25
    plotter.reset_camera()
    write_png(picture, plotter.screenshot(return_img=True))
    print(prop.status)


if __name__ == "__main__":
    shown = Path(sys.argv[2]) if len(sys.argv) > 2 else Path(__file__).with_suffix(".png")
    main(Path(sys.argv[1]), shown)
