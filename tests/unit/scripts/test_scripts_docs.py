"""What the documentation shows is well formed; test_scripts_page_commands.py runs it."""

from __future__ import annotations

import re
import shlex

import pytest
from support.pages import PAGES

from amgsrn_core.cli.parser import parse


def blocks(page, language):
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.M | re.S)


def commands():
    for page in PAGES:
        for line in page.read_text().splitlines():
            found = re.match(r"^    (?:\S*/)?amgsrn ((?:[^#&|]|&(?!&))*)", line)
            if found:
                yield pytest.param(found[1].strip(), id=f"{page.name}: {found[1].strip()}")


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
