"""A page shows the picture that the kernels make, asks nobody for anything, and is small."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import subprocess

import numpy as np
import pytest
from support.archive_mutations import intact_models
from support.kernel_cases import needs_kernels
from support.rendering_cases import DIMS, uneven_geometry
from support.sample_models import small_brick, small_index, write_small_model, write_two_bricks

from amgsrn_core import NetworkConfig, NeuralVolume
from amgsrn_core.cli import main
from amgsrn_core.config import StorageConfig
from amgsrn_core.errors import ConfigurationError
from amgsrn_core.model.codec import coarseness, cosine_matrix, pack
from amgsrn_core.model.open_archives import open_archive
from amgsrn_core.model.shapes import parameter_shapes
from amgsrn_core.model.writing import write_archive
from amgsrn_core.rendering import Camera, RenderSettings, look_transfer, render, suggestion
from amgsrn_core.rendering.looks import UNITS_PER_DIAGONAL
from amgsrn_core.shader.page import page
from amgsrn_core.shader.page_step import PageStep, _bounds

pytestmark = needs_kernels

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
WIDTH, HEIGHT = 64, 48

# Draws two pictures of each time step and leaves them in the page.
PROGRAM = """<script>
ready.then(() => {
  const pictures = [];
  for (let i = 0; i < model.steps.length; ++i) {
    choose(i);
    for (const lit of [false, true]) {
      $("shade").checked = lit;
      const to = target(%d, %d), pixels = new Uint8Array(4 * to.width * to.height);
      tile(to, 0, 0, to.width, to.height);
      gl.readPixels(0, 0, to.width, to.height, gl.RGBA, gl.UNSIGNED_BYTE, pixels);
      pictures.push(Array.from(pixels));
    }
  }
  work = null;
  document.body.textContent = "PICTURES" + JSON.stringify(pictures) + "END";
}).catch((error) => { document.body.textContent = String(error); });
</script>"""


def shown(path, tmp_path) -> np.ndarray:
    """Return what Chromium makes of a page, [steps, flat and lit, rows, columns, 4]."""
    probe = tmp_path / "probe.html"
    probe.write_text(path.read_text() + PROGRAM % (WIDTH, HEIGHT))
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu-sandbox"]
    command += ["--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
    command += [f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=20000"]
    command += ["--dump-dom", probe.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200)
    found = re.search(r"PICTURES(.*)END", done.stdout)
    assert found, done.stdout[-500:] + done.stderr[-500:]
    return np.reshape(json.loads(found[1]), (-1, 2, HEIGHT, WIDTH, 4))


def expected(model: NeuralVolume, shade: bool) -> np.ndarray:
    component = 0 if len(model.components) == 1 else "magnitude"
    low, high = np.reshape(model.geometry.bounds, (3, 2)).T
    diagonal = float(np.linalg.norm(high - low))
    a, p = 0.6, 1.15  # where the page's camera begins
    away = np.array([np.sin(a) * np.sin(p), -np.cos(a) * np.sin(p), np.cos(p)])
    centre, distance = (low + high) / 2, 0.5 * diagonal / np.sin(np.radians(15))
    camera = Camera.look_at(
        (centre + distance * away).tolist(),
        centre.tolist(),
        (0, 0, 1),
        width=WIDTH,
        height=HEIGHT,
    )
    settings = RenderSettings(
        unit_distance=diagonal / UNITS_PER_DIAGONAL, component=component, shade=shade
    )
    return 255 * render(model, camera, look_transfer(suggestion(model, component)), settings)


def write_wide(path) -> None:
    """Write a compressed model whose features take two texels each."""
    network = NetworkConfig(grids=2, features=6, grid_shape=(3, 4, 5), layers=2, width=8)
    index = small_index(DIMS, network=network).replace(storage=StorageConfig(compress=True))
    brick = small_brick(index, seed=5)
    values = {name: brick.pop(name) for name in parameter_shapes(network, 1)}
    steps = {name: np.full(1, 0.05) for name in values if name != "transforms"}
    steps["feature_grids"] = np.random.default_rng(1).uniform(0.02, 0.1, (2, 6))
    write_archive(path, index, [{**brick, **pack(values, steps)}])


@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium")
@pytest.mark.parametrize("kind", ["plain", "vectors", "compressed", "differences", "wide"])
def test_chromium_shows_what_the_kernels_make(tmp_path, kind):
    path, html = tmp_path / "model.amgsrn", tmp_path / "page.html"
    if kind == "plain":
        write_small_model(path, seed=3, dims=DIMS, geometry=uneven_geometry())
    elif kind == "vectors":
        write_two_bricks(path, seed=4, dims=DIMS, components=("u", "v"), mask=True)
    elif kind == "wide":
        write_wide(path)
    else:
        path.write_bytes(intact_models(tmp_path)[kind])
    assert main(["export-web", str(path), "-o", str(html)]) == 0
    model = NeuralVolume.open(path, device="cpu")
    pictures = shown(html, tmp_path)
    assert len(pictures) == model.series.steps
    for step, both in enumerate(pictures):
        for picture, shade in zip(both, (False, True)):
            truth = expected(model.at(step), shade)
            assert truth.max() > 20
            difference = np.abs(picture - truth)
            # Eight bits round by a half at most, features have 16 bits, and rays that graze a
            # voxel without a value hit it or not.
            is_whole = kind not in ("vectors", "compressed")
            most = difference.max() if is_whole else np.percentile(difference, 99.8)
            assert difference.mean() < 0.1 and most <= (4.0 if shade else 2.0)


@pytest.mark.parametrize("kind", ["compressed", "differences"])
def test_quantised_numbers_of_a_page_are_the_features(tmp_path, kind):
    path = tmp_path / "model.amgsrn"
    path.write_bytes(intact_models(tmp_path)[kind])
    model, load = NeuralVolume.open(path, device="cpu"), open_archive(path).load_quantised
    look = suggestion(model)
    for volume in map(model.at, range(model.series.steps)):
        step = PageStep.of(volume, look, RenderSettings(), load)
        plain = PageStep.of(volume, look, RenderSettings(), None)
        size = int(np.prod(step.description["shapes"]["features"]))
        halves = joined(plain.arrays["features"], size).astype(np.uint16).view(np.float16)
        decoded = features_of(step)
        assert np.abs(decoded).max() > 0.1
        np.testing.assert_allclose(decoded.ravel(), halves, rtol=1e-3, atol=1e-6)


def joined(planes: np.ndarray, count: int) -> np.ndarray:
    parts = planes.reshape(-1, count).astype(np.int64)
    return sum(part << 8 * i for i, part in enumerate(parts))


def features_of(step: PageStep) -> np.ndarray:
    """Return the texture [z, y, x, channels] that a page makes of a compressed model."""
    texels = np.zeros(step.description["shapes"]["features"])
    grids = step.description["grids"]
    counts = [len(g["corners"]) * g["features"] * int(np.prod(g["shape"])) for g in grids]
    codes, widths = joined(step.arrays["features"], sum(counts)), step.arrays["steps"]
    for grid in grids:
        rows = len(grid["corners"]) * grid["features"]  # a texel holds all features
        size = int(np.prod(grid["shape"]))
        own, codes = codes[: rows * size].reshape(size, rows).T, codes[rows * size :]
        own = np.where(own % 2, -(own + 1) // 2, own // 2)
        z, y, x = np.indices(grid["shape"])
        placed = np.zeros((rows, size))
        placed[:, np.argsort((z + y + x).ravel(), kind="stable")] = own
        placed = placed.reshape(rows, *grid["shape"]) * coarseness(tuple(grid["shape"]))
        placed = placed * widths[:rows, None, None, None]
        widths = widths[rows:]
        for axis, n in enumerate(grid["shape"], start=1):
            placed = np.moveaxis(np.tensordot(placed, cosine_matrix(n), (axis, 0)), -1, axis)
        for row, values in enumerate(placed):
            x, y, z = np.add(grid["corners"][row // grid["features"]], 1)
            d, h, w = values.shape
            texels[z : z + d, y : y + h, x : x + w, row % grid["features"]] = values
    return texels


def test_a_page_is_one_file_that_asks_nobody(tmp_path):
    path, html = tmp_path / "model.amgsrn", tmp_path / "page.html"
    write_small_model(path, seed=3, dims=DIMS)
    assert main(["export-web", str(path), "-o", str(html)]) == 0
    text = html.read_text()
    assert len(text) < 100_000
    assert not re.search(r"https?:|//cdn|import\s|src=|fetch\(|%\w+%", text.split("PAYLOAD = ")[0])
    program = re.sub(r'PAYLOAD = "[^"]*"', "", text)
    assert not re.search(r"https?:|\bfetch\(|XMLHttpRequest|WebSocket|\bsrc=", program)
    assert main(["export-web", str(path), "-o", str(tmp_path / "page.txt")]) != 0


def test_a_name_is_text_and_nothing_else():
    name = "</title><b onclick=\"x\">'%payload%' \udcff"
    index = small_index(DIMS).replace(name=name)
    text = page(NeuralVolume(index, [small_brick(index)]))
    shown = "&lt;/title&gt;&lt;b onclick=&quot;x&quot;&gt;&#x27;%payload%&#x27; \\udcff"
    assert text.count(shown) == 2 and text.count("</title>") == 1
    text.encode()  # can be written


@pytest.mark.filterwarnings("error")
def test_what_a_page_cannot_show_is_refused():
    index = small_index(DIMS)
    nothing, large = small_brick(index), small_brick(index)
    nothing["mask"] = np.zeros(DIMS, dtype=bool)
    large["feature_grids"] *= 1e6
    for brick, why in ((nothing, "no voxel of the model has a value"), (large, "end at 65504")):
        with pytest.raises(ConfigurationError, match=why):
            page(NeuralVolume(index, [brick]))


def test_open_cells_reach_beyond_the_range_of_the_model():
    own = 0.0, 10.0
    for low, high in (([-np.inf, 4.0], [np.inf, 5.0]), ([-np.inf] * 2, [np.inf] * 2)):
        least, most = np.reshape(low, (1, 1, 2)), np.reshape(high, (1, 1, 2))
        codes, zero, full = _bounds(least, most, own)
        assert zero < own[0] and full > own[1]
        assert codes[:, 0, 0, 0].tolist() == [0, 255]
    assert _bounds(np.full((1, 1, 1), 4.0), np.full((1, 1, 1), 5.0), own)[1:] == (4.0, 5.0)


def test_a_model_is_replaced_by_a_page_only_by_force(tmp_path, capsys):
    path, html = tmp_path / "model.amgsrn", tmp_path / "page.html"
    write_small_model(path, dims=DIMS)
    before = path.read_bytes()
    html.write_bytes(before)
    command = ["export-web", str(path), "-o", str(html)]
    assert main(command) == 1 and html.read_bytes() == before
    assert "--force replaces it" in capsys.readouterr().err
    assert main([*command, "--force"]) == 0
    assert html.read_text().startswith("<!doctype html>")


def test_a_page_by_hand_is_replaced_only_by_force(tmp_path, capsys):
    path, html = tmp_path / "model.amgsrn", tmp_path / "index.html"
    write_small_model(path, dims=DIMS)
    command = ["export-web", str(path), "-o", str(html)]
    for text in ("<!doctype html>\n<title>Mine</title>", "notes"):
        html.write_text(text)
        assert main(command) == 1 and html.read_text() == text
        assert "not an earlier output of this export-web" in capsys.readouterr().err
    assert main([*command, "--force"]) == 0
    assert main(command) == 0  # its own


def test_values_that_float32_does_not_hold_are_refused(tmp_path):
    index = dataclasses.replace(small_index(DIMS), value_minimum=(1e9,), value_maximum=(1e9 + 1.0,))
    with pytest.raises(ConfigurationError, match="float32"):
        page(NeuralVolume(index, [small_brick(index)]))
