"""What is installed, and the names that modules have."""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
import sys
import sysconfig
import types
import venv
import zipfile
from pathlib import Path

import numpy as np
import pytest
from support.paths import ROOT

import amgsrn_core
import amgsrn_core.training
from amgsrn_core.kernels import load


def test_type_checkers_are_told_of_the_annotations(monkeypatch):
    assert (ROOT / "amgsrn_core" / "py.typed").exists()
    setuptools = pytest.importorskip("setuptools")

    from setuptools.config.pyprojecttoml import read_configuration

    data = read_configuration(ROOT / "pyproject.toml", expand=False)["tool"]["setuptools"]
    wheel = setuptools.Distribution(
        {"packages": ["amgsrn_core"], "package_data": data["package-data"]}
    )
    wheel.src_root = str(ROOT)
    build = wheel.get_command_obj("build_py")
    build.ensure_finalized()
    monkeypatch.chdir(ROOT)
    files = [name for _, _, _, names in build._get_data_files() for name in names]
    assert {"py.typed", "shader/march.glsl", "shader/page.html"} <= set(files)


@pytest.mark.parametrize("name", ["cli", "kernels", "model", "rendering", "runs", "volume"])
def test_no_public_name_hides_a_module(name):
    package = importlib.import_module(f"amgsrn_core.{name}")
    for path in Path(package.__path__[0]).glob("[a-z]*.py"):
        found = getattr(package, path.stem, None)
        assert found is None or isinstance(found, types.ModuleType), path


def test_training_is_called_where_it_always_was():
    assert callable(amgsrn_core.train)
    assert amgsrn_core.train is amgsrn_core.runs.train


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel of this checkout, made by pip; the kernels are those that are built already."""
    library = load()
    if library is None:
        pytest.skip("the CPU kernels are not built")
    folder = tmp_path_factory.mktemp("wheel")
    left_out = shutil.ignore_patterns(
        *(
            ".git",
            ".venv",
            "build",
            "quickstart",
            "artefacts",
            "shared",
            "*.egg-info",
            "__pycache__",
        )
    )
    shutil.copytree(ROOT, folder / "checkout", ignore=left_out, symlinks=True)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", str(folder), "."]
    environment = {**os.environ, "AMGSRN_BUILT_KERNELS": str(library.path)}
    made = subprocess.run(
        command, cwd=folder / "checkout", env=environment, capture_output=True, text=True
    )
    if "No matching distribution found for setuptools" in made.stderr:
        pytest.skip("pip finds no setuptools to build with")
    assert made.returncode == 0, made.stderr
    return next(folder.glob("*.whl"))


@pytest.mark.slow
def test_a_wheel_serves_every_python_and_has_all_that_paraview_loads(wheel):
    platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
    assert wheel.name == f"amgsrn-{amgsrn_core.__version__}-py3-none-{platform}.whl"
    names = set(zipfile.ZipFile(wheel).namelist())
    for name in (
        "amgsrn_core/py.typed",
        "amgsrn_paraview/trainer.py",
        "amgsrn_paraview/xml/AMGSRN.xml",
        "amgsrn_paraview/plugin/AMGSRN.py",
        "amgsrn_paraview/NeuralVolume/Plugin/Module/vtkNeuralVolumeMapper.cxx",
        f"amgsrn_core/kernels/{load().path.name}",
    ):
        assert name in names
    assert not [name for name in names if "kernels/src" in name or name.startswith("tests")]


@pytest.mark.slow
def test_an_installed_wheel_works_without_the_checkout(wheel, tmp_path):
    environment = tmp_path / "environment"
    venv.create(environment, with_pip=False)
    python = environment / "bin" / "python"
    site = Path(sysconfig.get_path("purelib", vars={"base": str(environment)}))
    zipfile.ZipFile(wheel).extractall(site)
    # What it needs comes from here, but not this checkout: it is named in files that are not read.
    own = {sysconfig.get_path(name) for name in ("purelib", "platlib")}
    own |= {str(Path(np.__file__).parents[1])}
    (site / "needs.pth").write_text("".join(f"{folder}\n" for folder in sorted(own)))
    program = """
import sys, numpy as np
import amgsrn_core
from amgsrn_core.kernels import load
from amgsrn_core.cli.paraview_launcher import paraview_environment
from amgsrn_core.volume import volume_from_array
values = np.random.default_rng(0).random((8, 9, 10), dtype=np.float32)
config = amgsrn_core.NetworkConfig(grids=2, grid_shape=(4, 4, 4))
steps = amgsrn_core.TrainingConfig(iterations=20, batch=256, device="cpu")
amgsrn_core.train(volume_from_array(values), "m.amgsrn", config, steps)
print(amgsrn_core.__file__, load().path, paraview_environment({})["PV_PLUGIN_PATH"], sep="\\n")
"""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "AMGSRN"))}

    def run(*arguments):
        command = [str(python), *arguments]
        done = subprocess.run(command, cwd=tmp_path, env=clean, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    for line in run("-c", program).splitlines()[-3:]:
        assert line.startswith(str(site)), line
    assert "grids" in run("-m", "amgsrn_core.cli", "info", "m.amgsrn")
    run("-m", "amgsrn_core.cli", "render", "m.amgsrn", "-o", "m.png", "--hw", "32,32")
    assert (tmp_path / "m.png").stat().st_size > 500
