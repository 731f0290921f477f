"""What the documentation shows works: Python runs, commands parse, links lead somewhere."""

from __future__ import annotations

import re
import shlex

import pytest
from support.paths import ROOT
from support.pictures import content, read_png

from amgsrn_core.cli.parser import parse

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(page, language):
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.M | re.S)


def commands():
    for page in PAGES:
        for line in page.read_text().splitlines():
            found = re.match(r"^    (?:\S*/)?amgsrn ((?:[^#&|]|&(?!&))*)", line)
            if found:
                yield pytest.param(found[1].strip(), id=f"{page.name}: {found[1].strip()}")


def test_the_python_examples_run_one_after_the_other(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    namespace = {}
    for page in ("python.md", "file-format.md", "rendering.md"):
        for source in blocks(ROOT / "docs" / page, "python"):
            exec(compile(source, page, "exec"), namespace)
    shown = capsys.readouterr().out
    assert "elsewhere.amgsrn" in shown
    assert (tmp_path / "wave_back.nc").is_file()
    assert content(read_png(tmp_path / "wave.png"))[0] > 0.05


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_python_block_compiles(page):
    for source in blocks(page, "python"):
        compile(source, page.name, "exec")


@pytest.mark.parametrize("command", list(commands()))
def test_every_command_is_one_that_the_command_line_knows(command):
    parse(shlex.split(command))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files(page):
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), target
