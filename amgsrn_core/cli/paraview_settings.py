"""Which plugins ParaView's window loads when it starts: a line of its settings for each program.

The settings are a file of Qt's, sections of lines `key=value`, and the line's value is a list of
plugins in XML (pqPluginManager, vtkPVPluginTracker of ParaView).
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from amgsrn_core.errors import AmgsrnError
from amgsrn_core.system.files import replace_text

_SECTION = "[PluginsList]"
# Qt writes what is not a letter, a digit or one of these by its number, and "/" as "\".
_PLAIN = re.compile(r"[A-Za-z0-9_.\-/]")
_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}
_UNESCAPED = {value[1]: key for key, value in _ESCAPES.items()}


@dataclass(frozen=True)
class Plugin:
    """A plugin that ParaView loads when it starts."""

    name: str
    path: Path


def settings_folder() -> Path:
    """Return the folder of ParaView's settings."""
    if sys.platform == "win32":
        return Path(os.environ.get("APPDATA") or Path.home() / "AppData" / "Roaming") / "ParaView"
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "ParaView"


def settings_file(version: str) -> Path:
    """Return the file of a version of ParaView; from 6.0 on they share one."""
    number = "" if int(version.split(".")[0]) >= 6 else version
    return settings_folder() / f"ParaView{number}.ini"


def set_plugins(path: Path, program: Path, plugins: Sequence[Plugin], ours: Iterable[str]) -> bool:
    """Have a program load plugins when it starts, besides those that it loads already.

    Parameters
    ----------
    path : Path
        The settings.
    program : Path
        ParaView's window.
    plugins : sequence of Plugin
        None to load none of ours any more.
    ours : iterable of str
        Names of plugins that are replaced.

    Returns
    -------
    bool
        Whether the file was changed.

    Raises
    ------
    AmgsrnError
        The settings cannot be understood, or not be written.
    """
    text = path.read_text(encoding="utf-8", errors="surrogateescape") if path.exists() else ""
    lines, key = text.splitlines(), _key(program)
    place = next((i for i, line in enumerate(lines) if line.startswith(f"{key}=")), None)
    present = "" if place is None else lines[place].partition("=")[2]
    others = [each for each in _listed(present, path) if each.get("name") not in set(ours)]
    root = ElementTree.Element("Plugins")
    root.extend(others)
    for plugin in plugins:
        fields = {"name": plugin.name, "filename": str(plugin.path), "auto_load": "1"}
        ElementTree.SubElement(root, "Plugin", fields)
    line = [f"{key}={_quoted(ElementTree.tostring(root, encoding='unicode'))}"] * bool(len(root))
    if place is not None:
        lines[place : place + 1] = line
    elif line:
        if _SECTION not in lines:
            lines += [*([""] if lines else []), _SECTION]
        lines[lines.index(_SECTION) + 1 : lines.index(_SECTION) + 1] = line
    changed = "".join(f"{each}\n" for each in lines)
    if changed.splitlines() == text.splitlines():
        return False
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_text(path, changed)
    except OSError as error:
        raise AmgsrnError(
            f"ParaView's settings {path} cannot be written ({error.strerror}): free the folder, or "
            "name another one with XDG_CONFIG_HOME, for ParaView, too."
        ) from error
    return True


def programs_in(path: Path) -> list[Path]:
    """Return the programs whose plugins some settings list."""
    lines = path.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    keys = [line.partition("=")[0] for line in lines if line.startswith("Local%3A")]
    return [Path(_unkeyed(key).partition(":")[2]) for key in keys]


def _listed(value: str, path: Path) -> list[ElementTree.Element]:
    """Return the plugins of a line."""
    text = _unquoted(value)
    try:
        return list(ElementTree.fromstring(text)) if text.strip() else []
    except ElementTree.ParseError as error:
        raise AmgsrnError(
            f"The list of plugins in {path} cannot be understood ({error}): load a plugin in "
            "Tools > Manage Plugins, which writes it anew, and run this again."
        ) from error


def _key(program: Path) -> str:
    text = f"Local:{program.as_posix()}"
    encoded = (c if _PLAIN.match(c) else _by_number(c) for c in text)
    return "".join(encoded).replace("/", "\\")


def _by_number(character: str) -> str:
    number = ord(character)
    return f"%{number:02X}" if number < 256 else f"%U{number:04X}"


def _unkeyed(key: str) -> str:
    pattern = r"%U([0-9A-Fa-f]{4})|%([0-9A-Fa-f]{2})"
    text = key.replace("\\", "/")
    return re.sub(pattern, lambda found: chr(int(found[1] or found[2], 16)), text)


def _quoted(text: str) -> str:
    """Return a text as Qt 5 and 6 read it: what is not ASCII stands there by its number."""
    result, after_number = "", False
    for character in text:
        is_digit = character in "0123456789abcdefABCDEF"
        if ord(character) > 126 or (after_number and is_digit):
            result, after_number = f"{result}\\x{ord(character):x}", True
        else:
            result, after_number = result + _ESCAPES.get(character, character), False
    return f'"{result}"'


def _unquoted(value: str) -> str:
    def plain(found: re.Match[str]) -> str:
        return chr(int(found[1], 16)) if found[1] else _UNESCAPED.get(found[2], found[2])

    text = value.strip()
    if text.startswith('"') and text.endswith('"') and len(text) > 1:
        text = text[1:-1]
    return re.sub(r"\\x([0-9a-fA-F]+)|\\(.)", plain, text)
