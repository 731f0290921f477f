"""How the pages are built: every page of docs/, and the docstrings of every room.

scripts/docs runs it. The source folder is the checkout, so that links work here as they do there.
"""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from amgsrn_core import __version__  # noqa: E402

project = "AMGSRN for ParaView"
release = version = __version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
root_doc = "docs/index"
include_patterns = ["docs/**", "README.md", "CONTRIBUTING.md", "CHANGELOG.md"]
exclude_patterns = [".*", "build", "quickstart", "artefacts", "tests", "plugins", "amgsrn_core"]
myst_heading_anchors = 3
autodoc_member_order = "bysource"
napoleon_google_docstring = napoleon_use_param = napoleon_use_rtype = False
napoleon_use_ivar = True
# A type in a docstring is a word for people, "path" or "dtype", and also the name of a property.
suppress_warnings = ["ref.python"]
html_theme = "alabaster"
html_theme_options = {"page_width": "1100px", "fixed_sidebar": True}
html_show_copyright = html_copy_source = False

_API = ROOT / "docs" / "api"


def rooms() -> list[str]:
    """Return the rooms of the package, from the ground up, as docs/architecture.md has them."""
    text = (ROOT / "docs" / "architecture.md").read_text()
    return re.findall(r"^\| `(\w+)` \|", text, re.M)


def modules(room: str) -> list[str]:
    """Return the dotted names of the modules of a room, the room itself first."""
    folder = ROOT / "amgsrn_core" / room
    paths = sorted(folder.rglob("*.py")) if folder.is_dir() else [folder.with_suffix(".py")]
    names = (".".join(path.relative_to(ROOT).with_suffix("").parts) for path in paths)
    return sorted(name.removesuffix(".__init__") for name in names if not name.endswith("__main__"))


def write_pages(_app: object) -> None:
    """Write a page for each room into docs/api, which is no part of the checkout."""
    shutil.rmtree(_API, ignore_errors=True)
    _API.mkdir()
    for room in rooms():
        lines = _heading(room, "=")
        for name in modules(room):
            lines += [*_heading(name, "-"), f".. automodule:: {name}"]
            # A package only hands on what its modules define.
            is_package = (ROOT / name.replace(".", "/")).is_dir()
            lines += ["" if is_package else "   :members:", ""]
        (_API / f"{room}.rst").write_text("\n".join(lines))


def _heading(text: str, line: str) -> list[str]:
    return [text, line * len(text), ""]


def setup(app: object) -> None:
    """Have the pages written before Sphinx looks for them."""
    app.connect("builder-inited", write_pages)  # type: ignore[attr-defined]
