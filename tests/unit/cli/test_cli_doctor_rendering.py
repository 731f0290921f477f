"""The doctor's pictures and devices; what needs no CUDA is run."""

from __future__ import annotations

import json
import types

import pytest
import torch

from amgsrn_core.cli import main
from amgsrn_core.cli.doctor import command, rendering
from amgsrn_core.cli.doctor.findings import NOTE, OK, Finding
from amgsrn_core.kernels import load
from amgsrn_core.rendering.occupancy import MacroCells

MARCHERS = {"torch", "blocks"} | ({"native"} if load() is not None else set())


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(rendering, "_SIDE", 24)


def test_all_marchers_make_the_reference_s_picture_at_any_spacing():
    found = list(rendering.pictures(["cpu"]))
    assert {(p.marcher, p.spacing) for p in found} == {
        (marcher, spacing) for marcher in MARCHERS for spacing in rendering.SPACINGS
    }
    assert all(p.is_right and p.difference < 1e-5 and p.seconds > 0 for p in found)


def test_the_pictures_have_something_to_see_and_something_to_skip():
    image, _ = rendering._rendered("torch", "cpu", 1.0)
    assert image[:, 3].max() > 0.2 and (image[:, 3] == 0).any()
    marcher, _ = rendering._scene("blocks", "cpu", 1.0)
    assert 0 < marcher._occupied.float().mean() < 0.6
    assert isinstance(MacroCells.of_volume(rendering._blobs("cpu", 1.0)), MacroCells)


def test_a_wrong_picture_and_a_failure_stand_out(monkeypatch):
    rendered = rendering._rendered

    def faulty(marcher, device, spacing):
        if marcher == "blocks" and spacing < 1:
            raise RuntimeError("CUDA error: an illegal memory access was encountered\nmore")
        image, seconds = rendered(marcher, device, spacing)
        return (image * 0.5 if marcher == "blocks" else image), seconds

    monkeypatch.setattr(rendering, "_rendered", faulty)
    found = [p for p in rendering.pictures(["cpu"], (1e-6, 1.0)) if p.marcher == "blocks"]
    assert [p.is_right for p in found] == [False, False]
    rows = list(rendering.table(found))[1:]
    assert all(name.startswith("X blocks on cpu") for name, _ in rows)
    assert "illegal memory access" in rows[0][1] and "more" not in rows[0][1]


def test_the_doctor_s_report_has_the_table(monkeypatch, capsys):
    monkeypatch.setattr(command, "examine", lambda: iter([Finding("torch", OK, "2")]))
    assert main(["doctor"]) == 0
    text = capsys.readouterr().out
    assert text.count("blocks on cpu") == 3 and text.endswith("The suite can work here.\n")
    assert main(["doctor", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["pictures"]
    assert {row["marcher"] for row in rows if row["device"] == "cpu"} == MARCHERS
    assert all(row["is_right"] for row in rows)


@pytest.mark.skipif(torch.version.cuda is not None, reason="this PyTorch has CUDA")
def test_operators_that_cannot_be_built_are_one_sentence(capsys):
    assert main(["doctor", "--build"]) == 1
    assert "which has no CUDA; install a build that has" in capsys.readouterr().err


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_a_device_that_does_not_compute_is_noted_with_its_reason(monkeypatch):
    about = types.SimpleNamespace(name="GPU", major=8, minor=6, total_memory=24 << 30)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda number: about)
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: ["sm_80", "sm_90"])
    finding = rendering._check_device(0)
    assert finding.state == NOTE and "GPU, capability 8.6, 25.8 GB: There is no" in finding.detail
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: ["sm_90"])
    assert "has no code for it" in rendering._check_device(0).detail
    finding = rendering.check_nerfacc()
    assert finding.state == NOTE and "no CUDA device" in finding.detail
