"""The plugin file is the generated one, and describes what the classes behind it have."""

from __future__ import annotations

import ast
import dataclasses
import re
import runpy
import shutil
from pathlib import Path
from xml.etree import ElementTree

import pytest
from amgsrn_paraview.options import OPTIONS
from support.paths import ROOT

from amgsrn_core.rendering import RenderSettings
from amgsrn_core.rendering.marcher import BACKENDS
from amgsrn_core.rendering.settings import BLEND_MODES, SAMPLINGS

XML = ElementTree.parse(ROOT / "xml" / "AMGSRN.xml").getroot()
PLUGIN = ROOT / "plugins" / "NeuralVolume" / "Plugin"
NEURAL_VOLUME = {
    element.get("name"): element
    for element in ElementTree.parse(PLUGIN / "NeuralVolume.xml").getroot()[0][0]
}
PROXIES = {proxy.get("name"): proxy for proxy in XML.iter("SourceProxy")}
PUBLIC = (
    "AMGSRNTrainer",
    "AMGSRNReader",
    "AMGSRNReconstructionSource",
    "AMGSRNReconstruction",
    "AMGSRNSample",
    "AMGSRNIsosurface",
)
GENERATE = runpy.run_path(str(ROOT / "scripts" / "generate_xml.py"))["generate"]


def test_the_plugin_file_is_what_the_script_writes():
    written = (ROOT / "xml" / "AMGSRN.xml").read_text(encoding="utf-8")
    assert written == GENERATE(), "run scripts/generate_xml.py"


@pytest.mark.parametrize("change", ["missing", "twice"])
def test_every_option_has_its_place_in_the_panel(tmp_path, monkeypatch, change):
    shutil.copytree(ROOT / "plugins" / "proxies", tmp_path, dirs_exist_ok=True)
    option = '<Option name="Batch"/>'
    text = (tmp_path / "trainer.xml").read_text()
    assert option in text
    (tmp_path / "trainer.xml").write_text(
        text.replace(option, "" if change == "missing" else 2 * option)
    )
    monkeypatch.setitem(GENERATE.__globals__, "SOURCES", tmp_path)
    with pytest.raises(SystemExit, match="must name each option once: Batch"):
        GENERATE()


def test_time_steps_are_the_trainers_choices():
    tree = ast.parse((ROOT / "plugins" / "amgsrn_paraview" / "trainer.py").read_text())
    (names,) = (
        [name.id for name in node.targets[0].elts]
        for node in tree.body
        if isinstance(node, ast.Assign) and "ALL" in ast.unparse(node.targets[0])
    )
    (element,) = (e for e in PROXIES["AMGSRNTrainer"] if e.get("name") == "TimeSteps")
    entries = {int(e.get("value")): e.get("text").upper() for e in element.iter("Entry")}
    assert [entries[i] for i in range(len(entries))] == names
    assert entries[int(element.get("default_values"))] == "CURRENT"


def test_public_proxies_exist_under_their_python_names():
    for name in PUBLIC:
        # ParaView makes the name in Python of the label.
        assert PROXIES[name].get("label").replace(" ", "") == name
        assert PROXIES[name].get("si_class") == "vtkSIPythonSourceProxy"


@pytest.mark.parametrize("proxy", sorted(PROXIES))
def test_every_command_is_a_method_of_the_class(proxy):
    module, _, class_name = PROXIES[proxy].get("class").rpartition(".")
    path = ROOT / "plugins" / Path(*module.split(".")).with_suffix(".py")
    tree = ast.parse(path.read_text(encoding="utf-8"))
    classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    methods, pending = set(), [class_name]
    while pending:
        node = classes.get(pending.pop())
        if node is not None:
            methods |= {item.name for item in node.body if isinstance(item, ast.FunctionDef)}
            pending += [base.id for base in node.bases if isinstance(base, ast.Name)]
    if proxy == "AMGSRNTrainer":
        methods |= {f"Set{name}" for name in OPTIONS}
    inherited = {"SetInputConnection", "SetInputArrayToProcess", "GetMessage"}
    commands = {
        element.get(key)
        for element in PROXIES[proxy]
        for key in ("command", "clean_command")
        if element.get(key)
    }
    assert commands - inherited <= methods


@pytest.mark.parametrize("proxy", sorted(PROXIES))
def test_everything_is_documented(proxy):
    for element in PROXIES[proxy]:
        if element.tag.endswith("Property") and element.get("information_only") != "1":
            text = element.findtext("Documentation") or ""
            assert len(text.split()) >= 2, f"{element.get('name')} has no documentation"
            # A label of its own would be the property's name in Python.
            assert element.get("label") is None


@pytest.mark.parametrize("words", ["samples per voxel", "unit distance", "shade", "jitter"])
def test_neural_volume_s_settings_are_those_of_the_library(words):
    name = "".join(word.capitalize() for word in words.split())
    (field,) = (
        field
        for field in dataclasses.fields(RenderSettings)
        if field.name == words.replace(" ", "_")
    )
    # What is not described here is ParaView's own, off by default.
    element = NEURAL_VOLUME.get(name)
    assert float(element.get("default_values") if element is not None else 0) == field.default
    for domain in element.iter("DoubleRangeDomain") if element is not None else ():
        assert float(domain.get("min")) == field.metadata["minimum"]


def test_neural_volume_s_choices_are_those_of_the_library():
    modes = {entry.get("text").split()[0].lower() for entry in NEURAL_VOLUME["BlendMode"][0]}
    assert modes == set(BLEND_MODES)
    backends = {entry.get("value") for entry in NEURAL_VOLUME["Backend"][0]}
    assert backends == {*BACKENDS, "opengl"}  # that one is ParaView's own OpenGL
    assert NEURAL_VOLUME["Backend"].get("default_values") == "auto"
    samplings = {entry.get("value") for entry in NEURAL_VOLUME["Sampling"][0]}
    assert samplings == {"auto", *SAMPLINGS}


@pytest.mark.parametrize("name", sorted(name for name in NEURAL_VOLUME if name))
def test_neural_volume_s_properties_are_documented_and_served(name):
    element = NEURAL_VOLUME[name]
    headers = [*PLUGIN.rglob("*.h")]
    inherited = {"SetBlendMode", "SetIsosurfaceValue"}  # of vtkImageVolumeRepresentation
    method = re.sub("^[SG]et", "", element.get("command"))
    declared = rf"\b[SG]et{method}\(|Macro\({method},|\bvoid {method}\("
    assert element.get("command") in inherited or any(
        re.search(declared, header.read_text()) for header in headers
    )
    if element.get("is_internal") != "1":
        assert len((element.findtext("Documentation") or "").split()) >= 2
