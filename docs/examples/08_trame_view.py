"""A model in a web application: trame's remote view, whose pictures this computer draws.

    python docs/examples/08_trame_view.py MODEL.amgsrn [--port 8080] [--server]

Needs what docs/anywhere.md installs, and `pip install trame trame-vtk trame-vuetify`. Trame itself
reads the options: `--server` opens no browser.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from trame.app import get_server
from trame.ui.vuetify3 import SinglePageLayout
from trame.widgets import vtk as vtk_widgets
from trame.widgets import vuetify3 as v3
from vtkmodules.vtkInteractionStyle import vtkInteractorStyleTrackballCamera
from vtkmodules.vtkRenderingCore import vtkRenderer, vtkRenderWindow, vtkRenderWindowInteractor

from amgsrn_core.vtk import NeuralVolumeProp


def window_of(prop: NeuralVolumeProp) -> vtkRenderWindow:
    """Return a window without a screen that shows a model."""
    renderer, window = vtkRenderer(), vtkRenderWindow()
    renderer.SetBackground(1.0, 1.0, 1.0)
    window.SetOffScreenRendering(True)
    window.AddRenderer(renderer)
    interactor = vtkRenderWindowInteractor()
    interactor.SetRenderWindow(window)
    interactor.SetInteractorStyle(vtkInteractorStyleTrackballCamera())
    prop.attach(renderer)
    renderer.ResetCamera()
    return window


def main() -> None:
    """Serve the model until the server is stopped."""
    server = get_server(client_type="vue3")
    server.cli.add_argument("model", type=Path, help="model file (.amgsrn)")
    options: argparse.Namespace = server.cli.parse_known_args()[0]
    prop = NeuralVolumeProp(options.model)
    window = window_of(prop)

    with SinglePageLayout(server) as layout:
        layout.title.set_text(prop.model.name)
        with layout.toolbar:
            v3.VSpacer()
            v3.VSwitch(label="Light", v_model=("light", False), hide_details=True)
        with layout.content, v3.VContainer(fluid=True, classes="pa-0 fill-height"):
            view = vtk_widgets.VtkRemoteView(window)

    @server.state.change("light")
    def _show(light: bool, **_: object) -> None:
        prop.volume.GetProperty().SetShade(light)
        view.update()

    server.start()


if __name__ == "__main__":
    main()
