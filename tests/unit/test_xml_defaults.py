"""ParaView's XML says what the typed configurations say: defaults, ranges and choices."""

from __future__ import annotations

import ast
import dataclasses
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from amgsrn_core.config import (
    BrickConfig,
    DispatchConfig,
    NetworkConfig,
    StorageConfig,
    TrainingConfig,
)

ROOT = Path(__file__).parents[2]
XML = ElementTree.parse(ROOT / "xml" / "AMGSRN.xml").getroot()
PROXIES = {proxy.get("name"): proxy for proxy in XML.iter("SourceProxy")}
PUBLIC = (
    "AMGSRNTrainer",
    "AMGSRNReader",
    "AMGSRNReconstructionSource",
    "AMGSRNReconstruction",
)
OPTIONS = [
    *((field, re.sub("_", " ", field.name)) for field in dataclasses.fields(NetworkConfig)),
    *((field, re.sub("_", " ", field.name)) for field in dataclasses.fields(TrainingConfig)),
    *((field, "storage type") for field in dataclasses.fields(StorageConfig)),
    *((field, re.sub("_", " ", field.name)) for field in dataclasses.fields(BrickConfig)),
    *(
        (field, field.name)
        for field in dataclasses.fields(DispatchConfig)
        if field.name in ("workers", "scheduler")
    ),
]


def trainer_property(words: str) -> ElementTree.Element:
    name = "".join(word.capitalize() for word in words.split())
    found = [p for p in PROXIES["AMGSRNTrainer"] if p.get("name") == name]
    assert found, f"the trainer has no property {name}"
    return found[0]


@pytest.mark.parametrize(("field", "words"), OPTIONS, ids=[words for _, words in OPTIONS])
def test_trainer_options_are_those_of_the_configuration(field, words):
    element = trainer_property(words)
    stored = element.get("default_values")
    choices = field.metadata["choices"]
    if choices:
        entries = {int(e.get("value")): e.get("text") for e in element.iter("Entry")}
        assert [entries[i] for i in range(len(entries))] == list(choices)
        assert entries[int(stored)] == field.default
    elif isinstance(field.default, str):
        assert stored == field.default
    else:
        # ParaView's order is x, y, z, the library's z, y, x.
        default = field.default[::-1] if isinstance(field.default, tuple) else (field.default,)
        assert tuple(float(text) for text in stored.split()) == default
        assert int(element.get("number_of_elements")) == len(default)


@pytest.mark.parametrize(("field", "words"), OPTIONS, ids=[words for _, words in OPTIONS])
def test_ranges_are_those_of_the_configuration(field, words):
    element = trainer_property(words)
    domains = [*element.iter("IntRangeDomain"), *element.iter("DoubleRangeDomain")]
    low, high = field.metadata["minimum"], field.metadata["maximum"]
    if low is None and high is None:
        assert not domains
        return
    (domain,) = domains
    assert float(domain.get("min")) == low
    # Both ends make a slider of the field: an upper end far away is left to the library.
    if domain.get("max") is not None:
        assert float(domain.get("max")) == high


def test_the_trainer_has_every_option_and_no_stale_one():
    known = {"".join(word.capitalize() for word in words.split()) for _, words in OPTIONS}
    assert len(known) == len(OPTIONS)
    with_range = {
        element.get("name")
        for element in PROXIES["AMGSRNTrainer"]
        if list(element.iter("IntRangeDomain")) or list(element.iter("DoubleRangeDomain"))
    }
    assert with_range <= known


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
