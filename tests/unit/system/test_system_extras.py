"""Packages that are not everywhere: one sentence that names what to install."""

from __future__ import annotations

import re
import sys

import pytest
from support.paths import ROOT

from amgsrn_core.errors import ConfigurationError
from amgsrn_core.system import extras


def test_a_package_is_imported():
    assert extras.require("json", "Reading") is sys.modules["json"]
    assert extras.require("xml.dom", "Reading") is sys.modules["xml.dom"]
    extras.expect("json", "Reading")


def test_a_missing_package_is_told_with_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    sentence = (
        "Training needs PyTorch, which is not installed here; install amgsrn[train] "
        "(in a checkout: scripts/setup)."
    )
    for ask in (extras.require, extras.expect):
        with pytest.raises(ConfigurationError, match=f"^{re.escape(sentence)}$"):
            ask("torch", "Training")


def test_one_that_cannot_be_imported_says_why(monkeypatch, tmp_path):
    (tmp_path / "distributed.py").write_text("import no_such_library\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "distributed", raising=False)
    with pytest.raises(ConfigurationError, match=r"cannot be imported here \(.*no_such_library"):
        extras.require("distributed", "Training on a cluster")


def test_the_extras_are_those_of_the_project():
    text = (ROOT / "pyproject.toml").read_text()
    for package, extra in extras._EXTRAS.items():
        line = re.search(rf"^{extra} = (\[.*?\])$", text, re.MULTILINE | re.DOTALL)
        assert line is not None and f'"{package}' in line[1]
