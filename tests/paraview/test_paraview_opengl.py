"""Neural Volume's backend opengl shows in ParaView what the CPU kernels show."""

from __future__ import annotations

import re

import pytest
from test_neural_volume import (  # noqa: F401
    _plugin,
    compare_ranks,
    difference,
    drawn_by,
    models,
    picture,
)
from test_paraview_window import window  # noqa: F401

CASES = {
    "plain": 2.0,
    "lit": 3.0,
    "placed": 2.0,
    "cropped": 2.0,
    "maximum": 2.0,
    "surface": 3.0,
    "colours": 2.0,
    "translucent": 2.0,
    "uneven": 2.0,
    "bricks": 2.0,
}


def test_a_shader_draws_what_the_kernels_draw(paraview, models):  # noqa: F811
    run = paraview.run("pvpython", "neural_opengl.py", models)
    status = run.results["status"]

    def alike(first, second):
        return difference(models / f"{first}.png", models / f"{second}.png")

    for name, most in CASES.items():
        assert "native on cpu" in status[f"{name}-native"]
        assert "opengl on llvmpipe" in status[f"{name}-opengl"], name
        assert "100% refined" in status[f"{name}-opengl"]
        mean, largest = alike(f"{name}-native", f"{name}-opengl")
        assert mean <= 0.2 and largest <= most, (name, mean, largest)
        assert name == "plain" or alike(f"{name}-opengl", "plain-opengl")[0] > 0.3, name
    assert run.results["packed"] == 1
    assert "million samples/s" in status["plain-opengl"]
    assert alike("plain-opengl", "without")[0] > 2
    assert alike("hidden", "without") == (0.0, 0.0)
    assert alike("shown", "plain-opengl")[1] <= 1

    assert int(re.search(r"(\d+) x \d+ rays", status["dragged"])[1]) < 96
    mean, largest = alike("parts", "again")
    assert mean < 0.1 and largest <= 1  # with several samples per pixel
    assert alike("large-native", "large-opengl")[0] <= 0.2
    # A program on the CPU is never chosen.
    assert "native on cpu" in status["auto"] and "OpenGL" not in status["auto"]
    # Where there is a graphics processor, both are timed.
    assert "opengl on" in status["tried"] and "native on cpu" in status["slower"]
    assert re.search(r"OpenGL is not used: native takes \S+ s here", status["slower"])
    assert "OpenGL is not used: the shader does not compile with" in status["broken"]
    assert "native on cpu" in status["broken"] and "100% refined" in status["broken"]
    assert alike("broken", "unbroken") == (0.0, 0.0) and "OpenGL" not in status["unbroken"]
    assert "opengl on" in status["mended"]
    mean, largest = alike("mended", "unbroken")
    assert mean <= 0.2 and largest <= 2
    mean, largest = alike("restored", "mended")
    assert mean < 0.1 and largest <= 1


@pytest.mark.mpi
def test_ranks_draw_their_pieces(paraview, models):  # noqa: F811
    one = drawn_by(paraview, models, 1)
    compare_ranks(one, drawn_by(paraview, models, 2, backend="opengl"))


@pytest.mark.gui
def test_a_window_refines_part_by_part_and_screenshots_are_whole(window, models):  # noqa: F811
    outcome = window("gui_opengl.py", timeout=180)
    seen = outcome.results
    assert outcome.messages == []
    # Parts came one by one, and the event loop went on between them.
    assert seen["first"] == sorted(seen["first"]) and len(set(seen["first"])) > 3
    assert seen["first"][-1] == 100
    assert all("opengl on" in status for status in seen["while_dragging"])
    assert seen["after_drag"] < 100 and seen["at_shot"] < 100
    assert difference(models / "early.png", models / "late.png")[1] <= 1
    assert difference(models / "late.png", models / "native.png")[0] <= 0.2


@pytest.mark.gui
def test_so_does_a_window_without_the_compiled_plugin(paraview, window, models):  # noqa: F811
    paraview.plugin_path = ""
    outcome = window("gui_parts.py", timeout=180)
    turned = outcome.results["turned"]
    assert turned == sorted(turned) and turned[0] == 0 and turned[-1] == 1 and len(turned) > 3
    assert outcome.results["at_shot"] < 1
    assert difference(models / "early.png", models / "late.png") == (0.0, 0.0)
    assert picture(models / "late.png").std() > 5
