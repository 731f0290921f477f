"""Builds of the kernels that exist for tests only: what this processor lacks is emulated."""

from __future__ import annotations

import platform
import shutil
import subprocess
from pathlib import Path

import pytest

from amgsrn_core.kernels import KernelLibrary
from support.paths import ROOT

SOURCES = ROOT / "amgsrn_core" / "kernels" / "src"
COMPILER = shutil.which("g++")


@pytest.fixture(scope="session")
def emulating(tmp_path_factory: pytest.TempPathFactory) -> KernelLibrary:
    """The library with one instruction set, and bfloat16 products emulated in it."""
    if COMPILER is None:
        pytest.skip("no g++ here")
    path = tmp_path_factory.mktemp("kernels") / "libemulating.so"
    flags = ["-mavx2", "-mfma"] if "avx2" in _flags() and "fma" in _flags() else []
    subprocess.run(
        [COMPILER, "-std=gnu++17", "-O2", "-shared", "-fPIC", "-Wno-psabi", "-Wall", "-Wextra"]
        + [*flags, "-Werror", "-ffp-contract=fast", "-fno-math-errno", "-fno-trapping-math"]
        + ["-DAMGSRN_GENERIC", "-DAMGSRN_ISA=generic", "-DAMGSRN_BF16_EMULATED"]
        + [str(SOURCES / name) for name in ("kernels.cpp", "library.cpp", "pool.cpp")]
        + ["-lpthread", "-o", str(path)],
        check=True,
    )
    return KernelLibrary(path)


def _flags() -> set[str]:
    """Return what the processor can do, as Linux names it."""
    info = Path("/proc/cpuinfo")
    if platform.machine() != "x86_64" or not info.exists():
        return set()
    return set(info.read_text().split())
