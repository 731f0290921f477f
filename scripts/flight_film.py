"""Fly through a model: a picture of each step of the way, and what it took.

    amgsrn script flight_film MODEL -o FOLDER [--frames N] [--json FILE] [-- OPTION ...]

The camera comes from outside, passes through the volume along a bent line, and leaves it. Pictures
fly.0000.png ... go into FOLDER. What stands after `--` goes to `amgsrn render`, for example
`-- --hw 120,160 --cache-memory 100 --shade`; pictures are made of decoded blocks. The report has of
each picture the seconds until there was a first one and until it was finished, decoded blocks, and
the megabytes that the process had in memory.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from amgsrn_core.cli.parser import parse
from amgsrn_core.cli.render import Scene, finished, scene
from amgsrn_core.errors import AmgsrnError
from amgsrn_core.model import read_index
from amgsrn_core.model.replacement import guard
from amgsrn_core.rendering import Camera, ProgressiveImage
from amgsrn_core.rendering.png import write_png
from amgsrn_core.volume.replacement import FOLDER

# A first picture is to be there after so many seconds, if it can be.
_SOON = 0.1


def main() -> int:
    """Draw the pictures, and report."""
    words = sys.argv[1:]
    end = words.index("--") if "--" in words else len(words)
    parser = argparse.ArgumentParser(description="Fly through a model.")
    parser.add_argument("model", type=Path)
    parser.add_argument("-o", "--output", metavar="FOLDER", type=Path, required=True)
    parser.add_argument("--frames", type=int, default=200)
    parser.add_argument("--json", metavar="FILE", type=Path)
    arguments = parser.parse_args(words[:end])
    if arguments.frames < 1:
        parser.error("--frames must be at least 1")
    guard(arguments.output, FOLDER, by="flight_film", inputs=[arguments.model])
    arguments.output.mkdir(parents=True, exist_ok=True)
    wanted = ["render", str(arguments.model), "-o", "unused", "--sampling", "cached"]
    options = parse([*wanted, *words[end + 1 :]])
    seen = scene(options)
    bounds = np.reshape(read_index(arguments.model).geometry.bounds, (3, 2))
    frames = []
    for number in range(arguments.frames):
        camera = way(bounds, number / max(arguments.frames - 1, 1), seen.camera)
        rgba, frame = drawn(seen, camera)
        write_png(
            arguments.output / f"fly.{number:04d}.png", finished(rgba, seen, options), force=True
        )
        frames.append({**frame, "megabytes": resident()})
        print(f"{number}: {frames[-1]}", flush=True)
    if arguments.json is not None:
        arguments.json.write_text(json.dumps({"frames": frames}, indent=1))
    return 0


def way(bounds: np.ndarray, part: float, like: Camera) -> Camera:
    """Return the camera at a part of the way, 0 to 1, with the size of another one."""
    centre, length = bounds.mean(axis=1), np.ptp(bounds, axis=1)

    def place(at: float) -> np.ndarray:
        bend = 0.15 * math.sin(2 * math.pi * at)
        return np.asarray(centre + length * [1.6 * (at - 0.5), bend, 0.5 * bend])

    eye = place(part)
    towards = place(part + 0.05)
    return Camera.look_at(
        eye.tolist(), towards.tolist(), (0, 0, 1), width=like.width, height=like.height,
        view_angle=60.0, near=1e-4 * float(length.max()), far=10 * float(length.max()),
    )  # fmt: skip


def drawn(seen: Scene, camera: Camera) -> tuple[np.ndarray, dict[str, Any]]:
    """Return a picture and what it took."""
    marcher = seen.marcher
    blocks, samples = (getattr(marcher, name, 0) for name in ("blocks", "samples"))
    start = time.perf_counter()
    image = ProgressiveImage(marcher, camera)
    image.advance(_SOON)
    first = time.perf_counter() - start
    image.advance()
    return image.rgba, {
        "first_seconds": first,
        "seconds": time.perf_counter() - start,
        "blocks": getattr(marcher, "blocks", 0) - blocks,
        "samples": getattr(marcher, "samples", 0) - samples,
        "status": getattr(marcher, "status", ""),
        "remark": marcher.remark,
    }


def resident() -> float | None:
    """Return the megabytes that this process has in memory; None where nobody tells."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) * 1.024e-3


if __name__ == "__main__":
    try:
        sys.exit(main())
    except AmgsrnError as error:
        sys.exit(str(error))
