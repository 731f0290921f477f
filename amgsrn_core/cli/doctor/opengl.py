"""What draws models by a shader here: a graphics processor, or a program on the CPU."""

from __future__ import annotations

import functools
import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

from amgsrn_core.cli.doctor.findings import NOTE, OK, Finding
from amgsrn_core.cli.report import figure

_SECONDS = 60.0

# In levels of 255.
_TOLERANCE = 2.0

_INSTALL = "Install OpenGL without a window (Debian, Ubuntu): apt-get install libegl1 libegl-mesa0"
_DRIVER = "Look at the graphics driver, see docs/anywhere.md: python -m amgsrn_core.shader.probe"


def check_opengl() -> Iterator[Finding]:
    """Say who OpenGL's renderer is, how fast it draws a network, and whether it is right."""
    found = probed()
    if "failure" in found:
        yield Finding("opengl", NOTE, f"draws nothing: {found['failure']}", found["remedy"])
        return
    speed = f"{figure(found['samples_per_second'] / 1e6, digits=3)} million samples/s"
    difference = found["difference"]
    right = "not compared" if difference is None else f"{difference:.2g} levels of 255 off"
    kind = "on the CPU, where the kernels are faster" if found["is_software"] else "a GPU"
    detail = f"{found['renderer']} ({kind}), {speed}, {right}"
    if difference is not None and difference > _TOLERANCE:
        yield Finding("opengl", NOTE, detail, _DRIVER)
    else:
        yield Finding("opengl", OK, detail)


@functools.lru_cache(maxsize=1)
def probed() -> dict[str, Any]:
    """Return what `amgsrn_core.shader.probe` says, or its `failure` with a `remedy`."""
    command = [sys.executable, "-m", "amgsrn_core.shader.probe"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS)
    except (OSError, subprocess.TimeoutExpired):
        return {"failure": f"no picture within {_SECONDS:g} s", "remedy": _DRIVER}
    try:
        found: dict[str, Any] = json.loads(done.stdout)
    except ValueError:
        lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        return {"failure": lines[-1], "remedy": _DRIVER}
    return {"remedy": _INSTALL, **found}
