"""In ParaView's window: what the menus offer, and what is said when Apply cannot do its work."""

from __future__ import annotations

import paraview.simple as pv
from window import MENU, Window, play

window = Window()
seen: dict = {}
pv.Show(pv.Wavelet(WholeExtent=[-6, 6, -6, 6, -6, 6]))
pv.Render()


def scenario():
    yield 0.5
    seen["in_menus"] = {
        f"{menu}/{proxy}": bool(window.find(MENU.format(menu, proxy)))
        for menu, proxy in (
            ("Filters", "AMGSRNTrainer"),
            ("Filters", "AMGSRNReconstruction"),
            ("Sources", "AMGSRNReconstructionSource"),
            ("Sources", "AMGSRNReader"),
            ("Filters", "Contour"),
            ("Filters", "NoSuchFilter"),
        )
    }
    window.choose("Filters", "AMGSRNTrainer")
    yield lambda: pv.FindSource("AMGSRNTrainer1")
    yield 0.3
    window.type("OutputFile/FileChooser/FileLineEdit", "/nowhere/model.amgsrn")
    window.press("Accept")
    yield lambda: pv.FindSource("AMGSRNTrainer1").SMProxy.GetClientSideObject().GetMessage()
    # Renderings and requests for information must not repeat it.
    view = pv.GetActiveView()
    for angle in range(3):
        view.CameraPosition = [50, 10 * angle, 50]
        pv.Render()
        yield 0.3
    window.photograph("gui-error")
    # A source that nobody has named a file for yet has nothing to complain about.
    window.choose("Sources", "AMGSRNReconstructionSource")
    yield lambda: pv.FindSource("AMGSRNReconstructionSource1")
    yield 0.5
    window.photograph("gui-reconstruction")


heart = play(window, scenario(), seen, patience=30)
