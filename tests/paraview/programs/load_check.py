"""Load Neural Volume alone, and ask it what ParaView asks from 6.1 on."""

from __future__ import annotations

import contextlib
import ctypes

import paraview.simple as pv
from paraview.servermanager import ProxyManager
from session import arguments, save

(path,) = arguments()
with contextlib.suppress(RuntimeError):
    pv.LoadPlugin(path, remote=False)
display = ProxyManager().GetPrototypeProxy("representations", "UniformGridRepresentation")
check = ctypes.PyDLL(path).pv_plugin_on_load_check
check.restype = ctypes.c_bool
save(
    version=[pv.GetParaViewVersion().major, pv.GetParaViewVersion().minor],
    loaded=display.GetProperty("NeuralShade") is not None,
    complete=check(),
)
