"""A model in scenes of VTK shows what the native marcher shows, and leaves nothing behind.

The same scenes are drawn by the VTK beside ParaView and by PyPI's newest, without PyTorch.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from support.kernel_cases import needs_kernels
from support.paths import ROOT
from support.rendering_cases import DIMS, uneven_geometry
from support.sample_models import write_small_model, write_two_bricks

from amgsrn_core.shader.offscreen import ContextError, OffscreenContext

pytestmark = needs_kernels

ENVIRONMENT = ROOT / "build" / "vtk-wheel"
PACKAGES = ["vtk", "pyvista", "numpy", "netCDF4", "safetensors", "constriction"]

# Windows of 8 bits round and truncate: mean and maximum in levels of 255. What is lit, and the
# edges of surfaces, may differ by more.
MEAN, MEAN_INSIDE, MOST, MOST_LIT = 0.2, 0.5, 2.0, 3.0


@pytest.fixture(scope="module")
def paths(tmp_path_factory) -> list[Path]:
    folder = tmp_path_factory.mktemp("models")
    paths = [folder / f"{name}.amgsrn" for name in ("model", "bricks", "uneven", "long")]
    write_small_model(paths[0], seed=3, dims=DIMS)
    write_two_bricks(paths[1], seed=4, dims=DIMS, mask=True)
    write_small_model(paths[2], seed=5, geometry=uneven_geometry(), dims=DIMS)
    write_small_model(paths[3], seed=6, dims=(3, 4, 2100), mask=True)  # no texture is that long
    return paths


def beside_paraview() -> Path:
    """Return the Python whose VTK is ParaView's; it needs a display."""
    if importlib.util.find_spec("vtkmodules") is None:
        pytest.skip("there is no VTK here")
    if not os.environ.get("DISPLAY"):
        pytest.skip("no X display: scripts/test starts one")
    return Path(sys.executable)


def of_the_wheel() -> Path:
    """Return the Python of an environment with PyPI's VTK, which is made once."""
    try:
        OffscreenContext().close()
    except ContextError as error:
        pytest.skip(str(error))
    python, done = ENVIRONMENT / "bin" / "python", ENVIRONMENT / "done"
    if not done.exists():
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        subprocess.run([sys.executable, "-m", "venv", "--clear", ENVIRONMENT], check=True)
        install = [python, "-m", "pip", "install", "--quiet", *PACKAGES]
        made = subprocess.run(install, capture_output=True, text=True, env=environment)
        if made.returncode:
            pytest.skip(f"no wheel of VTK can be had: {made.stderr[-300:]}")
        done.touch()
    return python


@pytest.fixture(scope="module", params=[beside_paraview, of_the_wheel], ids=["beside", "wheel"])
def found(request, paths, tmp_path_factory) -> dict:
    python = request.param()
    result = tmp_path_factory.mktemp("scenes") / "result.json"
    environment = dict(os.environ, PYTHONPATH=str(ROOT), LC_ALL="C.UTF-8")
    if request.param is of_the_wheel:
        environment.pop("DISPLAY", None)  # EGL
    program = ROOT / "tests" / "support" / "vtk_scenes.py"
    command = [python, program, *paths, result]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    # OpenGL's errors are reported by VTK; one refused model and no display are warned of.
    assert "ERR|" not in done.stderr and "Traceback" not in done.stderr, done.stderr[-3000:]
    return json.loads(result.read_text())


SCENES = {
    "composite": MOST,
    "bricks": MOST,
    "uneven": MOST,
    "lit": MOST_LIT,
    "maximum": MOST,
    "surface": MOST_LIT,
    "lights": MOST_LIT,
    "parallel": MOST,
    "moved": MOST_LIT,
    "cropped": MOST,
    "clipped": MOST,
    "near": MOST,
}


@pytest.mark.parametrize("scene", SCENES)
def test_scenes_show_what_the_native_marcher_shows(found, scene):
    mean, most, seen, status = found["pictures"][scene]
    assert "network, drawn by" in status
    assert seen > 20, "the model is not to be seen"
    assert mean < (MEAN_INSIDE if scene == "near" else MEAN) and most <= SCENES[scene], (mean, most)


def test_neither_pytorch_nor_paraview_is_needed(found):
    assert found["modules"] == []


def test_frames_leave_nothing_behind(found):
    traces = found["traces"]
    for frame in ("neural", "in parts"):
        assert traces[f"{frame}: units"] == []
        assert traces[frame]["error"] == 0
        changed = {name for name, value in traces[frame].items() if value != traces["plain"][name]}
        assert changed <= {"active texture"}  # how many units a volume takes
    assert traces["again"] and traces["hidden as before"] and traces["detached as before"]


def test_fewer_rays_while_the_window_is_moved(found):
    traces = found["traces"]
    assert traces["moving pixels"] > 1 and traces["moving"] > 0
    assert traces["still again"] == 0


def test_the_property_of_the_volume_counts(found):
    assert found["traces"]["other opacity"] > 20


def test_models_that_were_removed_leave_no_textures_and_are_gone(found):
    growth = found["growth"]
    assert growth["props"] <= 1
    assert growth["textures"][-1] <= growth["textures"][0]


def test_a_model_stands_in_for_somebody_else_s_volume(found):
    seen = found["stood in"]
    mean, most = seen["picture"]
    assert mean < MEAN and most <= MOST_LIT, seen
    assert seen["seen"] > 20 and seen["part"] > 20 and seen["again"] == 0
    assert seen["visible"] and seen["peeling"]
    # A blend mode that the network does not know is the volume's own business.
    assert seen["other blend"] == 0
    assert "not in VTK's mode 3" in seen["status"]


def test_what_cannot_be_drawn_shows_a_preview_and_says_why(found):
    refused = found["refused"]
    assert "A preview is shown" in refused["status"] and "2048 along an axis" in refused["status"]
    assert refused["difference"] > 5


@pytest.mark.parametrize("case", ["flat", "up", "nan"])
def test_where_nothing_is_to_be_seen_nothing_is_drawn(found, case):
    status, difference = found["unseen"][case]
    assert status == "the camera sees nothing of it" and difference == 0


def test_what_comes_back_is_drawn_again(found):
    assert found["unseen"]["again"] == 0 and found["unseen"]["another context"] == 0


def test_a_blend_mode_that_networks_lack_is_told(found):
    status, difference = found["unseen"]["average"]
    assert "Blend mode average intensity is drawn as composite" in status and difference > 20


@pytest.mark.parametrize(
    "case, why",
    [
        ("size", "is more than the 4 along an edge"),
        ("shader", "the shader does not compile with"),
        ("surprise", "drawing the network failed (ZeroDivisionError"),
    ],
)
def test_whatever_goes_wrong_a_preview_is_shown_until_there_is_another_model(found, case, why):
    trouble = found["troubles"][case]
    assert trouble["status"].startswith("A preview is shown:") and why in trouble["status"]
    assert trouble["preview"] > 5
    assert trouble["then"].startswith("network, drawn by") and trouble["differs"] > 0


@pytest.mark.parametrize("case", ["whole", "lit, jittered", "beside", "near", "parallel"])
def test_pictures_in_parts_are_those_that_are_drawn_at_once(found, case):
    assert found["parts"][case] == 0


def test_pictures_in_parts_with_several_samples_per_pixel(found):
    assert found["parts"]["samples"] <= 1


def test_a_picture_may_come_in_many_frames(found):
    frames = found["parts"]["frames"]
    progress, differences = frames["progress"], frames["differences"]
    assert len(progress) > 5 and progress == sorted(progress) and progress[-1] == 1
    assert differences[0] < 30, "a coarse picture comes first"
    assert differences[-1] == 0 and differences[0] > differences[-2]
    assert frames["kept"] == 0 and "refined" not in frames["refined"]


def test_a_kept_picture_follows_what_is_opaque(found):
    frames = found["parts"]["frames"]
    assert frames["moved"] < 0.5 and frames["moved differs"] == 0


def test_an_event_loop_draws_frame_by_frame_and_screenshots_are_whole(found):
    loop = found["loop"]
    if loop is None:
        pytest.skip("no window without a display")
    first, last = loop["begun"], loop["after"]
    frames = loop["frames"][first:last]
    assert frames[0][0] and not frames[1][0]  # dragged, and still
    progress = [done for is_moving, done in frames if not is_moving]
    assert len(progress) > 5 and progress == sorted(progress) and progress[-1] == 1
    assert loop["unfinished"] < 0.5 and loop["difference"] <= 1


def test_wrong_settings_are_refused_at_once_and_change_nothing(paths):
    pytest.importorskip("vtkmodules")
    from amgsrn_core import NeuralVolume
    from amgsrn_core.errors import AmgsrnError, ConfigurationError
    from amgsrn_core.rendering import RenderSettings
    from amgsrn_core.vtk import NeuralVolumeProp

    wrong = RenderSettings(component=7)
    with pytest.raises(ConfigurationError, match="there is no component 7"):
        NeuralVolumeProp(paths[0], settings=wrong)
    for seconds in (0.0, -1.0, float("nan")):
        with pytest.raises(ConfigurationError, match="moving_seconds"):
            NeuralVolumeProp(paths[0], moving_seconds=seconds)
    prop = NeuralVolumeProp(paths[0])
    model, settings = prop.model, prop.settings
    with pytest.raises(ConfigurationError, match="there is no component 7"):
        prop.settings = wrong
    with pytest.raises(AmgsrnError, match="no model file"):
        prop.model = paths[0].with_name("none.amgsrn")
    assert prop.model is model and prop.settings is settings and prop.is_network
    prop.model = paths[2]  # a file is opened, as at the beginning
    assert isinstance(prop.model, NeuralVolume)


def test_pyvista(found):
    shown = found["pyvista"]
    if shown is None:
        pytest.skip("no PyVista beside this VTK")
    assert "network, drawn by" in shown["status"]
    assert shown["seen"] > 20
    assert 0 < shown["ssaa"] < 10


def test_numbers_of_a_matrix_are_taken_apart():
    pytest.importorskip("vtkmodules")
    from amgsrn_core.vtk.scene import Placement

    turn = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = turn @ np.diag([2.0, 3.0, 0.5]), (1, 2, 3)
    placement = Placement.of(matrix)
    assert placement.scale == (2.0, 3.0, 0.5)
    assert np.allclose(placement.matrix() @ np.diag([2.0, 3.0, 0.5, 1.0]), matrix)
    a, b, c, d = placement.plane(np.array([1.0, 0.0, 0.0]), np.array([5.0, 0.0, 0.0]))
    point = np.array([0.3, -0.7, 0.2])
    assert np.isclose((a, b, c) @ point + d, (matrix[:3, :3] @ (point / (2, 3, 0.5)))[0] + 1 - 5)
