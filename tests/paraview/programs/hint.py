"""Without Neural Volume, open a model as a script does, and twice as ParaView's window does."""

from __future__ import annotations

import json
import sys

import paraview.simple as pv
from session import load_plugin

load_plugin()
from amgsrn_paraview import execution  # noqa: E402

results, model = sys.argv[1:]


def read(mark: str) -> None:
    for stream in (sys.stdout, sys.stderr):
        print(f"<<{mark}>>", file=stream, flush=True)
    pv.OpenDataFile(model).UpdatePipeline()


read("script")
# In the window no Python is on the stack.
execution._called_by_python = lambda: False
read("window")
read("again")
with open(results, "w") as file:
    json.dump({"done": True}, file)
