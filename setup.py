"""Build the CPU kernels with CMake where `pip wheel .` runs; pyproject.toml says all the rest.

The library has a plain C interface: one wheel serves every Python of a kind of machine. Without a
C++ compiler the package is built without it, and PyTorch computes; AMGSRN_REQUIRE_KERNELS=1 makes
that an error, and AMGSRN_BUILT_KERNELS=FILE takes a library that is built already. An editable
installation takes it from the checkout's build folder instead.
"""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from setuptools import Distribution, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
PLUGIN = "plugins/NeuralVolume"
log = logging.getLogger(__name__)


class BuildWithKernels(build_py):
    """Adds to the modules what is not Python: the library, and ParaView's plugin files."""

    def run(self) -> None:
        """Copy the modules, then build the kernels beside them."""
        super().run()
        if not getattr(self, "editable_mode", False):
            build_kernels(Path(self.build_lib) / "amgsrn_core" / "kernels")
            copy_plugins(Path(self.build_lib) / "amgsrn_paraview")


def build_kernels(target: Path) -> None:
    """Bring the kernels into a folder; warn where they cannot be compiled."""
    built = os.environ.get("AMGSRN_BUILT_KERNELS")
    if built:
        shutil.copy2(built, target)
        return
    with tempfile.TemporaryDirectory() as folder:
        options = ["-DCMAKE_BUILD_TYPE=Release", "-DAMGSRN_BUILD_plugins_NeuralVolume=OFF"]
        for command in (
            ["cmake", "-S", str(ROOT), "-B", folder, *options],
            ["cmake", "--build", folder, "--target", "amgsrn_kernels", "--parallel"],
        ):
            if shutil.which("cmake") is None or subprocess.run(command, check=False).returncode:
                failed = f"The CPU kernels cannot be built here ({' '.join(command)})"
                if os.environ.get("AMGSRN_REQUIRE_KERNELS") == "1":
                    raise SystemExit(f"{failed}.")
                log.warning("%s: the package is made without them.", failed)
                return
        for library in Path(folder, "amgsrn_core", "kernels").glob("libamgsrn_kernels.*"):
            if library.suffix in (".so", ".dylib", ".dll"):
                shutil.copy2(library, target)


def copy_plugins(target: Path) -> None:
    """Bring what ParaView loads, and the sources of Neural Volume, into the plugin's package."""
    for name, folder in (("xml/AMGSRN.xml", "xml"), ("plugins/AMGSRN.py", "plugin")):
        (target / folder).mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, target / folder)
    shutil.copytree(ROOT / PLUGIN, target / "NeuralVolume", dirs_exist_ok=True)


class PlatformWheel(bdist_wheel):
    """A wheel that fits this kind of machine, and any Python there."""

    def get_tag(self) -> tuple[str, str, str]:
        """Return the tags of Python, its interface and the platform."""
        return "py3", "none", super().get_tag()[2]


class PlatformDistribution(Distribution):
    """A distribution whose wheel fits this kind of machine only."""

    def has_ext_modules(self) -> bool:
        """Return whether something is compiled."""
        return True


setup(
    cmdclass={"build_py": BuildWithKernels, "bdist_wheel": PlatformWheel},
    distclass=PlatformDistribution,
    setup_requires=[] if shutil.which("cmake") else ["cmake>=3.18"],
)
