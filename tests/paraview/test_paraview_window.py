"""ParaView's window: menus, Apply, live training beside a free event loop, buttons, messages."""

from __future__ import annotations

import json
import re
import shutil
import struct
import zlib

import numpy as np
import pytest
from conftest import ARTEFACTS, PROGRAMS, executable, finish
from support.paths import ROOT
from support.sample_models import write_small_model
from test_neural_volume import difference
from vtkmodules.util.numpy_support import numpy_to_vtk
from vtkmodules.vtkCommonDataModel import vtkImageData
from vtkmodules.vtkIOXML import vtkXMLImageDataWriter

from amgsrn_core import NeuralVolume
from amgsrn_core.model import read_index
from amgsrn_core.volume import write_volume

pytestmark = pytest.mark.gui


@pytest.fixture
def window(paraview, screen, tmp_path):
    """Run a program in ParaView's window; return what it saw and keep its pictures."""

    def run(script, timeout, **variables):
        settings = tmp_path / "config" / "ParaView"
        settings.mkdir(parents=True)
        welcome = "[General]\nGeneralSettings.ShowWelcomeDialog=false\n"
        for version in ("5.11.0", "5.11.1", "5.11.2", "5.13.2", ""):  # none since 6.0
            (settings / f"ParaView{version}.ini").write_text(welcome)
        pictures = tmp_path / "pictures"
        pictures.mkdir()
        macros = settings / "Macros"  # where Import new macro copies them
        macros.mkdir()
        shutil.copy(ROOT / "scripts" / "compare_layout.py", macros)
        environment = {
            "AMGSRN_TEST_RESULTS": str(tmp_path / "window.json"),
            "AMGSRN_TEST_PICTURE": str(screen[1]),
            "AMGSRN_TEST_PICTURES": str(pictures),
            # The plugin comes with the folder that PV_PLUGIN_PATH names, and with nothing else.
            "PV_PLUGIN_PATH": paraview.plugin_path,
            "PYTHONPATH": f"{paraview.environment['PYTHONPATH']}:{PROGRAMS}",
            **variables,
        }
        command = [executable("paraview"), f"--script={PROGRAMS / script}"]
        try:
            outcome = finish(paraview.start(command, environment), timeout)
        finally:
            ARTEFACTS.mkdir(exist_ok=True)
            for dump in sorted(pictures.glob("*.xwd")):
                (ARTEFACTS / f"{dump.stem}.png").write_bytes(png_of_dump(dump.read_bytes()))
        assert outcome.returncode == 0, outcome.stdout + outcome.stderr
        outcome.results = json.loads((tmp_path / "window.json").read_text())
        assert outcome.results["error"] == ""
        return outcome

    return run


def test_training_is_live_and_can_be_steered(window, tmp_path):
    outcome = window("gui_training.py", timeout=180)
    seen = outcome.results
    assert outcome.messages == []
    assert seen["array"] == ["POINTS", "RTData"]
    assert seen["more_arrays"] == []

    # Apply came back long before the many iterations were done, with something to look at.
    assert seen["state_after_apply"] in ("starting", "training")
    assert seen["points_after_apply"] == 25**3
    # The network sharpened in view while the event loop went on beating.
    assert len(seen["updates"]) >= 4
    values = [update["values"] for update in seen["updates"]]
    assert len(set(values)) == len(values)
    # It is shown at once, in colours, without the boxes of the grids; a line tells how far it is.
    assert seen["shown_as"] == "Neural Volume"
    assert seen["coloured_by"] == ["POINTS", "RTData"]
    assert not seen["grids_shown"]
    # Beside it the history plots itself, and the picture is still the view that is chosen.
    assert seen["views"] == ["RenderView", "XYChartView"]
    assert seen["chosen"] == "RenderView"
    assert seen["in_one_layout"]
    assert seen["chart"] == ["Training history", "AMGSRNHistoryChart"]
    assert seen["curve"] > 50
    assert re.search(r"^'?\d+/200000(, [\d.]+ dB)?, \d+ s left", seen["progress"])
    assert re.search(r"Complete: [\d.]+ kB, [\d.]+ dB, [\d.]+ : 1", seen["completed"])
    assert all(update["boxes"] == 4 for update in seen["updates"])
    assert seen["updates"][-1]["rows"] >= 1
    assert seen["beats_while_training"] > 20
    for phase in ("training", "pause", "stop", "finishing"):
        assert seen["gaps"][phase] < 4.0, phase  # two views are drawn, perhaps beside other work

    before, after, state = seen["while_paused"]
    assert (before, state) == (after, "paused")
    before, after, state = seen["after_stop"]
    assert (before, state) == (after, "stopped")
    assert seen["resumed_at"] >= before

    # Other settings and another file: the new model came to its end, and travels down the pipeline.
    assert seen["model"] == str(tmp_path / "short.amgsrn")
    assert read_index(tmp_path / "short.amgsrn").training.iterations_done == 150
    assert seen["reconstruction"] == [0, 48, 0, 48, 0, 48]
    # Deleting the filter ends the interest in its worker.
    assert not seen["lease_renewed_after_delete"]


def test_menus_and_one_message_for_one_error(window):
    outcome = window("gui_errors.py", timeout=120)
    seen = outcome.results
    assert seen["in_menus"] == {
        "Filters/AMGSRNTrainer": True,
        "Filters/AMGSRNReconstruction": True,
        "Sources/AMGSRNReconstructionSource": True,
        "Sources/AMGSRNReader": False,
        "Filters/Contour": True,
        "Filters/NoSuchFilter": False,
    }
    sentence = "ERROR: AMGSRN Trainer: Cannot write /nowhere/model.amgsrn: the folder /nowhere "
    assert [line[: len(sentence)] for line in outcome.messages] == [sentence]


def test_the_macro_of_the_comparison(window, tmp_path):
    write_small_model(tmp_path / "m.amgsrn")
    model = NeuralVolume.open(tmp_path / "m.amgsrn", device="cpu")
    values = model.to_numpy() + np.random.default_rng(0).normal(0, 0.1, model.geometry.dims)
    write_volume(tmp_path / "v.vti", values.astype("f4"), model.geometry, name="density")
    outcome = window("gui_macro.py", timeout=180)
    seen = outcome.results
    # Where there is nothing to compare it says so, once, and ParaView goes on.
    assert seen["more views where refused"] == 0
    assert (outcome.stdout + outcome.stderr).count("Choose an AMGSRN Trainer or") == 1
    for source, title in (
        ("training", "Training history"),
        ("compare", "How often each error occurs"),
    ):
        laid_out = seen[source]
        assert laid_out["kinds"] == ["RenderView"] * 3 + ["XYChartView"]
        assert laid_out["title"] == title
        assert sorted(laid_out["coloured"])[1] > 1000  # the curve of the errors is black
        first, second, third = laid_out["cameras"]
        np.testing.assert_allclose([second, third], [first, first])
    assert min(seen["training"]["coloured"]) > 100


def test_the_tour_of_the_readme(window, tmp_path):
    """From a file in the menus to its model, and back; undo and redo of a filter on models."""
    write_two_arrays(tmp_path / "data.vti")
    outcome = window("gui_tour.py", timeout=120)
    seen = outcome.results
    assert outcome.messages == []
    assert seen["opened"] == "XMLImageDataReader"
    assert (seen["offered"], seen["array"]) == ("first", "second")
    assert (seen["preview"], seen["model"]) == ("Neural Volume", "Neural Volume")
    assert seen["curve"] > 50

    def apart(one, other):
        return difference(tmp_path / f"{one}.png", tmp_path / f"{other}.png")[0]

    # The network itself, its values on the grid and the data look alike, and fill the view.
    for name in ("model", "reconstruction", "data"):
        assert apart(name, "nothing") > 10, name
    assert apart("model", "reconstruction") < 0.5
    assert apart("reconstruction", "data") < 0.5
    # Undone, the surface is gone and the model is back in its place.
    assert seen["points"] > 100
    assert seen["redone"] and seen["gone"] and seen["shown again"]
    assert apart("surface", "before") > 5
    assert apart("undone", "before") < 0.1


def write_two_arrays(path):
    """Write image data with the arrays `first`, of zeros, and `second`, a smooth field."""
    z, y, x = np.mgrid[:17, :17, :17] / 16
    image = vtkImageData()
    image.SetDimensions(17, 17, 17)
    field = np.sin(4 * x) * np.cos(3 * y) + np.exp(-8 * ((y - 0.5) ** 2 + (z - 0.4) ** 2))
    for name, values in (("first", 0 * x), ("second", field)):
        array = numpy_to_vtk(values.astype("f4").ravel(), deep=True)
        array.SetName(name)
        image.GetPointData().AddArray(array)
    writer = vtkXMLImageDataWriter()
    writer.SetFileName(str(path))
    writer.SetInputData(image)
    writer.Write()


def png_of_dump(dump):
    """Turn the picture of a virtual screen (X window dump, 32 bits per pixel) into a PNG."""
    header = struct.unpack(">25I", dump[:100])
    size, width, height, order, line, colours = (header[i] for i in (0, 4, 5, 7, 12, 19))
    pixels = np.frombuffer(dump, np.uint8, line * height, size + 12 * colours)
    pixels = pixels.reshape(height, line)[:, : 4 * width].reshape(height, width, 4)
    colour = pixels[..., 2::-1] if order == 0 else pixels[..., 1:]
    rows = np.zeros((height, 1 + 3 * width), np.uint8)  # each row begins with its filter: none
    rows[:, 1:] = colour.reshape(height, -1)

    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    about = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = [
        chunk(b"IHDR", about),
        chunk(b"IDAT", zlib.compress(rows.tobytes())),
        chunk(b"IEND", b""),
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)
