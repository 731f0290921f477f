"""``amgsrn example``: files to try the commands of the pages on."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from amgsrn_core.cli.report import print_rows, size
from amgsrn_core.errors import ConfigurationError
from amgsrn_core.model.replacement import guard
from amgsrn_core.original.jobs import EXAMPLE_JOBS
from amgsrn_core.system.output import json_text, replacing
from amgsrn_core.volume.replacement import JSON, VOLUME

# A preset as ParaView exports them: what is low is blue and hardly seen, what is high is red.
_COLORMAP = [
    {
        "Name": "Blue to red",
        "ColorSpace": "RGB",
        "RGBPoints": [0, 0.1, 0.2, 0.6, 0.5, 0.95, 0.9, 0.7, 1, 0.7, 0.1, 0.1],
        "Points": [0, 0, 0.5, 0, 0.4, 0.02, 0.5, 0, 1, 0.6, 0.5, 0],
    }
]
JSON_EXAMPLES: dict[str, Any] = {"jobs": EXAMPLE_JOBS, "colormap": _COLORMAP}


def run(arguments: argparse.Namespace) -> int:
    """Write what is asked for into a folder."""
    from amgsrn_core.volume.examples import write_example

    if arguments.format != "nc" and "ocean" in arguments.kinds:
        raise ConfigurationError("The ocean's axes, times and names need NetCDF: --format nc.")
    folder = Path(arguments.output)
    folder.mkdir(parents=True, exist_ok=True)
    for name in arguments.kinds:
        content = JSON_EXAMPLES.get(name)
        suffix, kind = (arguments.format, VOLUME) if content is None else ("json", JSON)
        target = folder / f"{name}.{suffix}"
        guard(target, kind, by="example", force=arguments.force)
        if content is None:
            write_example(name, target)
        else:
            with replacing(target) as temporary:
                temporary.write_text(json_text(content, indent=2) + "\n", encoding="utf-8")
        print_rows([("written", f"{target} ({size(os.path.getsize(target))})")])
    return 0
