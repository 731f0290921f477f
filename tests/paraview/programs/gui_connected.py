"""In a window that was started without any variable: what is there, and how a model is opened."""

from __future__ import annotations

import json
import os
import traceback
from pathlib import Path

import paraview.simple as pv
from paraview import servermanager

HOME = Path.home()
seen: dict = {"error": ""}
try:
    seen["variables"] = [
        name for name in os.environ if name.startswith(("PYTHON", "PV_PLUGIN", "AMGSRN"))
    ]
    proxies = servermanager.ProxyManager().SMProxyManager
    seen["trainer"] = proxies.HasDefinition("filters", "AMGSRNTrainer")
    seen["neural_volume"] = proxies.HasDefinition("representations", "NeuralVolumeRepresentation")
    view = pv.GetActiveViewOrCreate("RenderView")
    display = pv.Show(pv.OpenDataFile(str(HOME / "model.amgsrn")), view)
    view.ResetCamera()
    pv.Render()
    seen["representation"] = str(display.Representation)
    pv.SaveScreenshot(str(HOME / "picture.png"), view)
except Exception:
    seen["error"] = traceback.format_exc()
(HOME / "seen.json").write_text(json.dumps(seen))
os._exit(0)
