"""``scripts/test-gpu`` says so where there is no GPU, and what it writes is complete."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch
from support.paths import ROOT

TESTS = """<testsuites><testsuite name="pytest">
<testcase classname="tests.unit.test_cuda" name="test_a" time="1.5" />
<testcase classname="tests.unit.test_cuda" name="test_b" time="0.1">{more}</testcase>
</testsuite></testsuites>"""


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_without_a_gpu_it_fails_and_says_so():
    if not (ROOT / ".venv").exists():
        pytest.skip("scripts/test-gpu needs .venv")
    result = subprocess.run([ROOT / "scripts" / "test-gpu"], capture_output=True, text=True)
    assert result.returncode != 0
    assert "no GPU here" in result.stderr and "nothing was tested" in result.stderr


@pytest.mark.parametrize(
    ("more", "is_right", "status"),
    [
        ('<skipped message="not built" />', True, 0),
        ('<failure message="assert 1 == 2" />', True, 1),
        ("", False, 1),
    ],
)
def test_the_report_has_every_test_and_picture(tmp_path, more, is_right, status):
    (tmp_path / "tests.xml").write_text(TESTS.format(more=more))
    doctor = {"healthy": True, "pictures": [{"marcher": "blocks", "is_right": is_right}]}
    (tmp_path / "doctor.json").write_text(json.dumps(doctor))
    program = [sys.executable, ROOT / "scripts" / "gpu_report.py", tmp_path, tmp_path / "r.json"]
    result = subprocess.run(program, capture_output=True, text=True)
    assert result.returncode == status, result.stderr
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["doctor"] == doctor and len(report["tests"]) == 2
    assert report["tests"][1].get("reason", "") in more


def test_nothing_tested_is_not_right(tmp_path):
    program = [sys.executable, ROOT / "scripts" / "gpu_report.py", tmp_path, tmp_path / "r.json"]
    assert subprocess.run(program, capture_output=True).returncode == 1
