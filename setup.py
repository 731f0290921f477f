"""Build the CPU kernels with CMake where `pip install .` runs; pyproject.toml says all the rest.

Without cmake or a C++ compiler the package is installed without them, and PyTorch computes. An
editable installation takes them from the checkout's build folder instead.
"""

from __future__ import annotations

import logging
import shutil
import subprocess
import tempfile
from pathlib import Path

from setuptools import Distribution, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
log = logging.getLogger(__name__)


class BuildWithKernels(build_py):
    """Adds the library to the modules."""

    def run(self) -> None:
        """Copy the modules, then build the kernels beside them."""
        super().run()
        if not getattr(self, "editable_mode", False):
            build_kernels(Path(self.build_lib) / "amgsrn_core" / "kernels")


def build_kernels(target: Path) -> None:
    """Compile the kernels into a folder; warn where that does not work."""
    if shutil.which("cmake") is None:
        log.warning("cmake was not found: installing without the CPU kernels")
        return
    with tempfile.TemporaryDirectory() as folder:
        options = ["-DCMAKE_BUILD_TYPE=Release", "-DAMGSRN_BUILD_plugins_NeuralVolume=OFF"]
        commands = (
            ["cmake", "-S", str(ROOT), "-B", folder, *options],
            ["cmake", "--build", folder, "--target", "amgsrn_kernels"],
        )
        for command in commands:
            if subprocess.run(command, check=False).returncode:
                log.warning("%s failed: installing without the CPU kernels", " ".join(command))
                return
        for library in Path(folder, "amgsrn_core", "kernels").glob("libamgsrn_kernels.*"):
            shutil.copy2(library, target)


class PlatformDistribution(Distribution):
    """A distribution whose wheel fits this kind of machine only."""

    def has_ext_modules(self) -> bool:
        """Return whether something is compiled."""
        return True


setup(cmdclass={"build_py": BuildWithKernels}, distclass=PlatformDistribution)
