"""The doctor says what draws models by the shader, and survives a driver that does not."""

from __future__ import annotations

import json
import subprocess

import pytest

from amgsrn_core.cli.doctor import opengl
from amgsrn_core.cli.doctor.findings import NOTE, OK
from amgsrn_core.shader.offscreen import ContextError, OffscreenContext


@pytest.fixture(autouse=True)
def fresh():
    opengl.probed.cache_clear()
    yield
    opengl.probed.cache_clear()


def test_it_draws_a_network_and_compares_it():
    try:
        OffscreenContext().close()
    except ContextError as error:
        pytest.skip(str(error))
    (finding,) = opengl.check_opengl()
    assert finding.state == OK
    assert "million samples/s" in finding.detail and "levels of 255 off" in finding.detail


@pytest.mark.parametrize(
    ("output", "errors", "words"),
    [
        ("", "Segmentation fault\n", "Segmentation fault"),
        (json.dumps({"failure": "There is no libEGL.so.1"}), "", "libEGL"),
    ],
)
def test_what_draws_nothing_is_a_note_with_a_remedy(monkeypatch, output, errors, words):
    done = subprocess.CompletedProcess([], -11, output, errors)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: done)
    (finding,) = opengl.check_opengl()
    assert finding.state == NOTE and words in finding.detail
    assert finding.remedy


def test_a_wrong_picture_is_a_note(monkeypatch):
    found = {"renderer": "X", "is_software": False, "samples_per_second": 3e8, "difference": 40.0}
    done = subprocess.CompletedProcess([], 0, json.dumps(found), "")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: done)
    (finding,) = opengl.check_opengl()
    assert finding.state == NOTE and "a GPU" in finding.detail and "300" in finding.detail
