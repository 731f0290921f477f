"""Write the plugin file xml/AMGSRN.xml from plugins/proxies/*.xml and amgsrn_core/config.py.

ParaView loads one XML file as one plugin, and XML of the server manager cannot include other XML;
therefore the proxies are described in a file each and put together here.

How to add an option to the trainer:

1. Declare it with option() in a class of amgsrn_core/config.py: default, help text, range or
   choices. The command line has it then.
2. Name it in plugins/proxies/trainer.xml where the panel is to show it: <Option name="MyOption"/>
   for the field my_option. (An option that ParaView is not to have: _HIDDEN in
   plugins/amgsrn_paraview/options.py.) The trainer has the method SetMyOption by itself.
3. Run this script (.venv/bin/python scripts/generate_xml.py) and commit what it wrote.

State files hold the names of properties and the positions of choices: rename no field, and append
new choices at the end.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "plugins")]
from amgsrn_paraview.options import OPTIONS, Option  # noqa: E402

TARGET = ROOT / "xml" / "AMGSRN.xml"
SOURCES = ROOT / "plugins" / "proxies"

_HEAD = """\
<!-- Every proxy of AMGSRN for ParaView. This file is the plugin: load it with LoadPlugin, from
     Tools > Manage Plugins, or by naming its folder in PV_PLUGIN_PATH. The Python package
     amgsrn_paraview must be importable where the data are (PYTHONPATH, see the README).

     Written by scripts/generate_xml.py: change plugins/proxies or amgsrn_core/config.py. -->
"""

# What has a line for each of its parts; all else is a line of its own.
_OPENED = ("ServerManagerConfiguration", "ProxyGroup", "SourceProxy")


def generate() -> str:
    """Return the plugin file."""
    root, used = Element("ServerManagerConfiguration"), []
    for path in sorted(SOURCES.glob("*.xml")):
        root.extend(ElementTree.parse(path).getroot())
    for proxy in root.iter("SourceProxy"):
        proxy[:] = [part for element in list(proxy) for part in _expand(element, used)]
    if sorted(used) != sorted(OPTIONS):
        wrong = {name for name in [*used, *OPTIONS] if used.count(name) != 1}
        raise SystemExit(f"{SOURCES} must name each option once: {', '.join(sorted(wrong))}.")
    return _HEAD + "\n".join(_lines(root)) + "\n"


def _expand(element: Element, used: list[str]) -> Iterator[Element]:
    """Yield the property of an option, and a group's properties before their names."""
    if element.tag == "Option":
        used.append(element.attrib["name"])
        yield _property(OPTIONS[used[-1]], element.attrib)
    elif element.tag == "PropertyGroup":
        group = Element("PropertyGroup", element.attrib)
        for child in element:
            SubElement(group, "Property", name=child.attrib["name"])
            yield from _expand(child, used)
        yield group
    else:
        yield element


def _property(option: Option, panel: dict[str, str]) -> Element:
    """Return the property of an option; `panel` are the attributes of its Option."""
    default, choices = option.field.default, option.field.metadata["choices"]
    values = default[::-1] if isinstance(default, tuple) else (default,)
    if choices:
        kind, texts = "Int", [str(choices.index(default))]
    elif isinstance(default, str):
        kind, texts = "String", [default]
    else:
        kind = "Double" if isinstance(default, float) else "Int"
        texts = [_number(value) for value in values]
    element = Element(f"{kind}VectorProperty", name=option.name, command=f"Set{option.name}")
    element.set("number_of_elements", str(len(values)))
    element.set("default_values", " ".join(texts))
    element.set("animateable", "0")
    if panel.get("panel_visibility") != "default":
        element.set("panel_visibility", "advanced")
    _add_domain(element, kind, option, panel)
    documentation = f"{_help(option)} {panel.get('more', '')}"
    SubElement(element, "Documentation").text = documentation
    return element


def _add_domain(element: Element, kind: str, option: Option, panel: dict[str, str]) -> None:
    metadata = option.field.metadata
    if metadata["choices"]:
        domain = SubElement(element, "EnumerationDomain", name="enum")
        for number, text in enumerate(metadata["choices"]):
            SubElement(domain, "Entry", value=str(number), text=text)
    elif isinstance(option.field.default, bool):
        SubElement(element, "BooleanDomain", name="bool")
    elif metadata["minimum"] is not None:
        domain = SubElement(element, f"{kind}RangeDomain", name="range")
        domain.set("min", _number(metadata["minimum"]))
        if "slider" in panel:  # which ParaView makes where there are both ends
            domain.set("max", _number(metadata["maximum"]))


def _number(value: float) -> str:
    return repr(int(value) if isinstance(value, bool) or value == int(value) else value)


def _help(option: Option) -> str:
    """Return the help text as a sentence, with ParaView's order of axes and names of options."""
    names = {other.field.name: other.name for other in OPTIONS.values()}
    text = option.field.metadata["help"].replace("z, y, x", "x, y, z")
    text = re.sub(r"--([\w-]+)|`(\w+)`", lambda m: names[m[m.lastindex].replace("-", "_")], text)
    return f"{text[0].upper()}{text[1:]}."


def _lines(element: Element, indent: str = "") -> Iterator[str]:
    if element.tag in _OPENED:
        opened = ElementTree.tostring(Element(element.tag, element.attrib), encoding="unicode")
        yield indent + opened.removesuffix(" />") + ">"
        for child in element:
            yield from _lines(child, indent + "  ")
        yield f"{indent}</{element.tag}>"
        return
    for part in element.iter():
        part.tail = None
        paragraphs = [" ".join(text.split()) for text in (part.text or "").split("\n\n")]
        part.text = "\n\n".join(paragraphs).strip() or None
    yield indent + ElementTree.tostring(element, encoding="unicode")


if __name__ == "__main__":
    TARGET.write_text(generate(), encoding="utf-8")
