"""Load the plugin in the way that is asked for, and note what that took and brought."""

from __future__ import annotations

import inspect
import sys
import time

import paraview.simple as pv
import session

way, path = session.arguments()
if way == "python" and not hasattr(inspect, "getargspec"):
    # ParaView 5.11 with Python 3.11 cannot load Python plugins for want of this function.
    inspect.getargspec = inspect.getfullargspec
before = set(sys.modules)
seconds = time.process_time()
if way != "path":
    pv.LoadPlugin(path, remote=False)
seconds = time.process_time() - seconds
names = ("AMGSRNTrainer", "AMGSRNReader", "AMGSRNReconstruction", "AMGSRNReconstructionSource")
imported = sorted({name.partition(".")[0] for name in set(sys.modules) - before})
proxies = [name for name in names if hasattr(pv, name)]
reader = pv.AMGSRNReconstructionSource()
session.save(
    seconds=seconds, proxies=proxies, imported=imported, label=reader.SMProxy.GetXMLLabel()
)
