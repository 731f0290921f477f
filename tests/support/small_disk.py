"""A small file system to fill, where the super-user may mount one."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest


def fill(disk: Path) -> Path:
    """Leave no byte of a file system; return the file that took them."""
    filler = disk / "filler"
    with open(filler, "ab", buffering=0) as file:
        for size in (4096, 1):
            with contextlib.suppress(OSError):
                while True:
                    file.write(b"x" * size)
    return filler


@contextlib.contextmanager
def mounted(place: Path, size: str) -> Iterator[Path]:
    """Make a folder with a file system of its own, of a size like "64k", or skip the test."""
    place.mkdir(exist_ok=True)
    mount = shutil.which("mount")
    options = ["-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)]
    if mount is None or subprocess.run([mount, *options], capture_output=True).returncode:
        pytest.skip("mounting a small file system needs the super-user")
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)
