"""The pages are built without a warning, every one of them, and docstrings of every room."""

from __future__ import annotations

import importlib.util
import re
import subprocess

import pytest
from support.pages import PAGES, pieces
from support.paths import ROOT

MISSING = [name for name in ("sphinx", "myst_parser") if importlib.util.find_spec(name) is None]


def test_every_page_is_in_the_navigation():
    listed = set(
        re.findall(r"^(?:\.\./)?([\w-]+)$", (ROOT / "docs" / "index.md").read_text(), re.M)
    )
    pages = {path.stem for path in (ROOT / "docs").glob("*.md")} - {"index"}
    assert pages | {"README", "CONTRIBUTING", "CHANGELOG"} <= listed


def test_versions_agree():
    version = re.search(r'__version__ = "(.*)"', (ROOT / "amgsrn_core/__init__.py").read_text())[1]
    assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text()
    assert f"\n## [{version}]" in (ROOT / "CHANGELOG.md").read_text()


def test_a_model_that_two_pages_train_is_trained_alike():
    trained: dict[str, set[str]] = {}
    for page in PAGES:
        for piece in pieces(page):
            found = re.match(r"amgsrn (?:script train_model|train) .*?-o (\S+)", piece.text)
            if found and piece.kind == "shell":
                trained.setdefault(found[1], set()).add(" ".join(piece.text.split()))
    assert len(trained) > 20
    # Who follows both pages in one folder would be refused, or have another model than it says.
    assert {name: ways for name, ways in trained.items() if len(ways) > 1} == {}


@pytest.mark.slow
@pytest.mark.skipif(bool(MISSING), reason=f"needs the extra 'docs': {', '.join(MISSING)}")
def test_the_pages_are_built_without_a_warning():
    result = subprocess.run([ROOT / "scripts" / "docs"], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    built = ROOT / "build" / "docs" / "html" / "docs"
    assert "open_volume" in (built / "api" / "volume.html").read_text()
    assert (built / "examples.html").is_file()
