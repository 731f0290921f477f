"""What is installed, and the names that modules have."""

from __future__ import annotations

import importlib
import types
from pathlib import Path

import pytest
from support.paths import ROOT

import amgsrn_core
import amgsrn_core.training


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
    assert "py.typed" in files


@pytest.mark.parametrize("name", ["cli", "kernels", "model", "rendering", "runs", "volume"])
def test_no_public_name_hides_a_module(name):
    package = importlib.import_module(f"amgsrn_core.{name}")
    for path in Path(package.__path__[0]).glob("[a-z]*.py"):
        found = getattr(package, path.stem, None)
        assert found is None or isinstance(found, types.ModuleType), path


def test_training_is_called_where_it_always_was():
    assert callable(amgsrn_core.train)
    assert amgsrn_core.train is amgsrn_core.runs.train
