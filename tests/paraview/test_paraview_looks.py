"""What ParaView shows of a model where nobody says how; and the scripts of the pages."""

from __future__ import annotations

import re

import numpy as np
import pytest
from conftest import covered, executable, finish, missing
from support.paths import ROOT

from amgsrn_core import NetworkConfig, TrainingConfig, train, volume_from_array
from amgsrn_core.cli.paraview_launcher import neural_volume
from amgsrn_core.model import read_index
from amgsrn_core.rendering import display_scale
from amgsrn_core.volume import Axis, GridGeometry, write_volume


@pytest.fixture(scope="module", autouse=True)
def _plugin():
    if neural_volume() is None:
        missing("The compiled plugin (Debian, Ubuntu: paraview-dev)")


def blob(name, depth=3000):
    """Return a warm blob in cold water, in degrees by degrees by metres."""
    z, y, x = np.meshgrid(*[np.linspace(-1, 1, n) for n in (8, 20, 26)], indexing="ij")
    values = 2 + 20 * np.exp(-4 * (x**2 + y**2 + 0.5 * z**2))
    sides = ("z", depth, "m"), ("y", 40, "degrees_north"), ("x", 60, "degrees_east")
    axes = [Axis(n, np.linspace(0, side, size), u) for (n, side, u), size in zip(sides, z.shape)]
    return volume_from_array(
        values.astype(np.float32), name=name, units="degC", geometry=GridGeometry(tuple(axes))
    )


def trained(path, name):
    network = NetworkConfig(grids=4, grid_shape=(6, 10, 12), width=16)
    train(blob(name), path, network, TrainingConfig(iterations=200, batch=2048, device="cpu"))
    return path


def test_the_first_view_of_a_model_shows_its_data(paraview, tmp_path):
    path = trained(tmp_path / "uneven.amgsrn", "density")
    index = read_index(path)
    (look,) = index.looks
    run = paraview.run("pvpython", "first_look.py", tmp_path)
    seen = run.results
    assert run.messages == []
    assert seen["representation"] == "Neural Volume"
    assert tuple(seen["scale"]) == display_scale(index.geometry) == (1, 1, 0.01)
    # The model's own range, not the preview's.
    assert seen["range"] == [index.value_minimum[0], index.value_maximum[0]]
    assert seen["array"] == ["POINTS", "density"]
    values, opacities = (list(column) for column in zip(*look.opacities))
    assert np.allclose(seen["opacities"], [values, opacities])
    assert seen["unit_distance"] == pytest.approx(np.linalg.norm([60, 40, 30]) / 256)
    assert seen["title"] == ["density (degC)", ""]
    share, colours = covered(tmp_path / "first.png")
    assert 0.3 < share < 0.9
    assert colours > 20
    # The camera is where what these opacities show fills the picture; else where the box does.
    near, far = seen["distances"]["suggested"], seen["distances"]["even"]
    assert near < 0.8 * far
    assert seen["distances"]["again"] == pytest.approx(near)
    assert seen["distances"]["beside a box"] == pytest.approx(far)
    assert seen["even"] == [[values[0], values[-1]], [0, 1]]
    assert np.allclose(seen["again"], [values, opacities])
    assert f"surface at {(seen['range'][0] + seen['range'][1]) / 2:g}" in seen["status"]
    assert covered(tmp_path / "surface.png")[0] > 0.03
    # (ParaView stretches a function over the values whenever they are shown anew.)
    assert seen["second"] == seen["loaded"]
    assert seen["second"][1] == [0, 1, 0]
    assert seen["loaded_scale"] == [1, 1, 1]


def scripts():
    for page in ("README.md", "docs/neural-volume.md", "docs/paraview.md", "docs/errors.md"):
        for source in re.findall(r"^```python\n(.*?)^```", (ROOT / page).read_text(), re.M | re.S):
            if "SaveScreenshot" in source:
                yield pytest.param(source, id=page)


@pytest.mark.parametrize("source", list(scripts()))
def test_a_page_s_script_makes_a_picture(paraview, tmp_path, source):
    for name in set(re.findall(r'OpenDataFile\("(\w+)\.amgsrn"\)', source)):
        trained(tmp_path / f"{name}.amgsrn", name if name != "ocean" else "temperature")
    for name in set(re.findall(r'OpenDataFile\("(\w+)\.vti"\)', source)):
        volume = blob("speed", depth=30)
        block = [(volume.geometry.resolve(), volume.read())]
        write_volume(tmp_path / f"{name}.vti", block, volume.geometry, name="speed")
        source = re.sub(r"Iterations = \d+", "Iterations = 100", source)
    (tmp_path / "script.py").write_text(source)
    environment = {"PV_PLUGIN_PATH": paraview.plugin_path, "PWD": str(tmp_path)}
    command = f"cd '{tmp_path}' && exec '{executable('pvpython')}' script.py"
    run = finish(paraview.start(["sh", "-c", command], environment), 150)
    assert run.returncode == 0, run.stdout + run.stderr
    assert run.messages == []
    pictures = re.findall(r'SaveScreenshot\("([^"]+)"', source)
    assert pictures
    for picture in pictures:
        share, colours = covered(tmp_path / picture)
        assert 0.05 < share < 0.95
        assert colours > 20
