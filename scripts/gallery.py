"""Make a gallery: for each volume, its model rendered beside the data with the same options.

    .venv/bin/python scripts/gallery.py OUT.png VOLUME [VOLUME ...] [--models DIR] [-- OPTION ...]

Models are trained where DIR (default: beside the picture) does not have them yet. Each row of the
picture is one volume: the network on the left, the data on the right. What stands after `--` goes
to `amgsrn render`, for example `-- --shade --azimuth 30`.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

from amgsrn_core import TrainingConfig, open_volume, train
from amgsrn_core.cli.parser import parse
from amgsrn_core.cli.render import finished, scene
from amgsrn_core.errors import AmgsrnError
from amgsrn_core.model.replacement import guard
from amgsrn_core.rendering import ProgressiveImage
from amgsrn_core.rendering.png import write_png
from amgsrn_core.volume.replacement import PICTURE

TRAINING = TrainingConfig(iterations=1500, batch=32768)


def main() -> int:
    """Train what is missing, render, and put the pictures together."""
    words = sys.argv[1:]
    end = words.index("--") if "--" in words else len(words)
    parser = argparse.ArgumentParser(description="Render models beside their data.")
    parser.add_argument("picture", type=Path)
    parser.add_argument("volumes", nargs="+", type=Path)
    parser.add_argument("--models", type=Path)
    arguments = parser.parse_args(words[:end])
    guard(arguments.picture, PICTURE, by="gallery", inputs=arguments.volumes)
    models = arguments.models or arguments.picture.parent
    models.mkdir(parents=True, exist_ok=True)
    rows = []
    for volume in arguments.volumes:
        model = models / f"{volume.stem}.amgsrn"
        if not model.exists():
            print(f"training {model}")
            train(open_volume(volume), model, training=TRAINING)
        print(f"rendering {model}")
        rows.append(np.concatenate([rendered(p, words[end + 1 :]) for p in (model, volume)], 1))
    write_png(arguments.picture, np.concatenate(rows))
    return 0


def rendered(path: Path, options: list[str]) -> np.ndarray:
    """Return the picture uint8 [height, width, 3] that `amgsrn render` makes of a file."""
    arguments = parse(["render", str(path), "-o", "unused", *options])
    seen = scene(arguments)
    image = ProgressiveImage(seen.marcher, seen.camera)
    image.advance()
    return finished(image.rgba, seen, arguments)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except AmgsrnError as error:
        sys.exit(str(error))
