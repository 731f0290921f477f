"""What machine this is: its processor, its programs and their versions."""

from __future__ import annotations

import platform
import re
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

from amgsrn_core.cli import paraview_launcher
from amgsrn_core.errors import AmgsrnError
from amgsrn_core.system.cores import available_cores


def machine(paraview: str | None = None) -> dict[str, Any]:
    """Describe this machine, for reports whose figures depend on it.

    ParaView is asked for its version, unless the caller has that already.
    """
    return {
        "processor": processor(),
        "cores": available_cores(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "torch": version_of("torch"),
        "paraview": paraview or paraview_version(),
    }


def processor() -> str:
    """Return what the processor is called."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    found = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return found[1] if found else (platform.processor() or platform.machine())


def paraview_version() -> str | None:
    """Return the version of the ParaView that is found; None without any."""
    try:
        pvpython = paraview_launcher.find_program("pvpython")
    except AmgsrnError:
        return None
    text = output_of([str(pvpython), "--version"])
    found = re.search(r"\d+\.\d+(\.\d+)?", text or "")
    return found[0] if found else None


def version_of(package: str) -> str | None:
    """Return the version of a package that is installed; None where it is not."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def output_of(command: list[str]) -> str | None:
    """Return what a short command prints, or None when it fails."""
    try:
        result = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return result.stdout
