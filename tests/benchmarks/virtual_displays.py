"""Start pvpython without a display many times, and count the starts that draw no picture.

    python tests/benchmarks/virtual_displays.py [STARTS [AT ONCE]]        (default: 300 4)

Each start is `amgsrn pvpython` with a program that draws a sphere and saves the picture, which has
to show something. Every failure is printed.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

PROGRAM = """
import sys
from paraview.simple import *
Show(Sphere())
Render()
SaveScreenshot(sys.argv[1], ImageResolution=[160, 120])
"""


def main() -> int:
    starts, at_once = [*map(int, sys.argv[1:]), *(300, 4)[len(sys.argv) - 1 :]]
    with tempfile.TemporaryDirectory() as name:
        (Path(name) / "draw.py").write_text(PROGRAM)
        with ThreadPoolExecutor(at_once) as pool:
            found = list(pool.map(lambda number: failure(Path(name), number), range(starts)))
    failures = [why for why in found if why]
    print("\n".join(failures))
    print(f"{len(failures)} of {starts} starts failed, {at_once} at a time")
    return 1 if failures else 0


def failure(folder: Path, number: int) -> str:
    """Return why a start failed, "" where it drew something."""
    environment = {k: v for k, v in os.environ.items() if k not in ("DISPLAY", "WAYLAND_DISPLAY")}
    picture = folder / f"{number}.bmp"
    result = subprocess.run(
        [sys.executable, "-m", "amgsrn_core.cli", "pvpython", "draw.py", picture.name],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
    )
    if result.returncode or not picture.exists():
        return f"{number}: status {result.returncode}: {result.stderr[-500:]}"
    return "" if len(set(picture.read_bytes())) > 50 else f"{number}: the picture is empty"


sys.exit(main())
