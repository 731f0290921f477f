"""What ParaView gives to the trainer's methods arrives in the library's configurations."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest
from amgsrn_paraview.options import KINDS, OPTIONS, Configurations
from support.paths import ROOT

from amgsrn_core.config import BrickConfig, NetworkConfig, StorageConfig, TrainingConfig
from amgsrn_core.errors import ConfigurationError

ELEMENTS = {
    element.get("name"): element
    for proxy in ElementTree.parse(ROOT / "xml" / "AMGSRN.xml").iter("SourceProxy")
    if proxy.get("name") == "AMGSRNTrainer"
    for element in proxy
}


def given(element: ElementTree.Element, text: str) -> list:
    """Return what ParaView makes of the text of a property."""
    if element.tag == "StringVectorProperty":
        return [text]
    number = {"IntVectorProperty": int, "DoubleVectorProperty": float}[element.tag]
    return [number(part) for part in text.split()]


@pytest.mark.parametrize("name", sorted(OPTIONS))
def test_the_panel_s_default_is_the_library_s(name):
    option, element = OPTIONS[name], ELEMENTS[name]
    configurations = Configurations()
    values = given(element, element.get("default_values"))
    assert len(values) == int(element.get("number_of_elements"))
    configurations.assign(option, *values)
    assert configurations.of(option.kind) == option.kind()


@pytest.mark.parametrize("name", [n for n in sorted(OPTIONS) if list(ELEMENTS[n].iter("Entry"))])
def test_entries_are_the_library_s_choices(name):
    option, entries = OPTIONS[name], list(ELEMENTS[name].iter("Entry"))
    assert len(entries) == len(option.field.metadata["choices"])
    for entry in entries:
        configurations = Configurations()
        configurations.assign(option, int(entry.get("value")))
        assert getattr(configurations.of(option.kind), option.field.name) == entry.get("text")


RANGES = {
    (name, end): float(domain.get(end))
    for name in OPTIONS
    for kind in ("IntRangeDomain", "DoubleRangeDomain")
    for domain in ELEMENTS[name].iter(kind)
    for end in ("min", "max")
    if domain.get(end)
}


@pytest.mark.parametrize(("name", "end"), sorted(RANGES))
def test_the_panel_s_range_is_the_library_s(name, end):
    option, bound = OPTIONS[name], RANGES[name, end]
    count = int(ELEMENTS[name].get("number_of_elements"))
    number = int if ELEMENTS[name].tag == "IntVectorProperty" else float
    beyond = bound + (1 if number is int else 1e-9) * (1 if end == "max" else -1)
    configurations = Configurations()
    configurations.assign(option, *[number(bound)] * count)
    configurations.of(option.kind)
    configurations.assign(option, *[number(beyond)] * count)
    with pytest.raises(ConfigurationError, match="must be at"):
        configurations.of(option.kind)


def test_every_option_that_is_bounded_below_has_a_range():
    bounded = {name for name in OPTIONS if OPTIONS[name].field.metadata["minimum"] is not None}
    assert {name for name, end in RANGES if end == "min"} == bounded


@pytest.mark.parametrize("position", [-1, 3])
def test_a_choice_that_there_is_not_is_refused(position):
    configurations = Configurations()
    configurations.assign(OPTIONS["Encoder"], position)
    with pytest.raises(ConfigurationError, match=f"encoder must be one of .*, not {position}"):
        configurations.of(NetworkConfig)


def test_the_trainer_s_methods_set_the_configurations():
    pytest.importorskip("vtkmodules.vtkCommonDataModel", reason="VTK's Python modules are missing")
    from amgsrn_paraview.trainer import AMGSRNTrainer

    trainer = AMGSRNTrainer()
    assert all(callable(vars(AMGSRNTrainer)[f"Set{name}"]) for name in OPTIONS)
    before = trainer.GetMTime()
    trainer.SetGridShape(2, 3, 4)
    changed = trainer.GetMTime()
    assert changed > before
    trainer.SetGridShape(2, 3, 4)
    assert trainer.GetMTime() == changed
    trainer.SetDevice(None)
    trainer.SetMatchAspect(1)
    trainer.SetStorageType(1)
    of = trainer.configurations.of
    assert of(NetworkConfig).grid_shape == (4, 3, 2)
    assert of(TrainingConfig) == TrainingConfig(device="auto", match_aspect=True)
    assert of(StorageConfig) == StorageConfig(dtype="float16")
    assert of(BrickConfig) == BrickConfig()
    assert {option.kind for option in OPTIONS.values()} == set(KINDS)
