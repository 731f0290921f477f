"""The floor plan holds: rooms import only those below them, and nothing goes round in circles.

docs/architecture.md has the plan and why it is so.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.paths import ROOT

PACKAGE = "amgsrn_core"

ROOMS = re.findall(r"^\| `(\w+)` \|", (ROOT / "docs" / "architecture.md").read_text(), re.M)
"""From the ground up: each may import those before it. The page's table is the order."""

_LONGEST, _MOST_POSITIONAL = 60, 6

# C functions, and struct.pack, have no keywords.
_WITHOUT_KEYWORDS = ("call", "pack")


def sources() -> dict[str, Path]:
    """Return the path of every module of the package, by its dotted name."""
    paths = sorted((ROOT / PACKAGE).rglob("*.py"))
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in paths]
    return {name.removesuffix(".__init__"): path for name, path in zip(names, paths)}


def imports(path: Path, modules: dict[str, Path]) -> set[str]:
    """Return the package's modules that a file imports, in functions and for types as well."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            found.update(name if name in modules else node.module for name in names)
        elif isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
    return {name for name in found if name in modules}


def graph() -> dict[str, set[str]]:
    """Return what each module imports of the package."""
    modules = sources()
    return {name: imports(path, modules) for name, path in modules.items()}


def room(module: str) -> str:
    """Return the room of a module; "" for the package itself."""
    return [*module.split("."), ""][1]


def circle(edges: dict[str, set[str]]) -> list[str]:
    """Return nodes that lead round in a circle, the first one again at the end; [] for none."""
    done: set[str] = set()

    def visit(node: str, way: list[str]) -> list[str]:
        if node in way:
            return [*way[way.index(node) :], node]
        if node in done:
            return []
        for other in sorted(edges[node]):
            if found := visit(other, [*way, node]):
                return found
        done.add(node)
        return []

    return next((found for node in sorted(edges) if (found := visit(node, []))), [])


def test_every_module_lies_in_a_room():
    loose = {room(name) for name in sources()} - {""}
    assert loose == set(ROOMS)
    assert len(ROOMS) == len(set(ROOMS))
    files = {path.stem for path in (ROOT / PACKAGE).glob("*.py")}
    assert files == {"__init__", "config", "errors"}


def test_rooms_import_only_what_is_below_them():
    up = [
        f"{name} -> {other}"
        for name, others in graph().items()
        for other in sorted(others)
        if name != PACKAGE
        and (other == PACKAGE or ROOMS.index(room(other)) > ROOMS.index(room(name)))
        and not _is_version(name, other)
    ]
    assert up == []


def _is_version(name: str, other: str) -> bool:
    """Tell whether a module asks the package for nothing but its version."""
    if other != PACKAGE:
        return False
    tree = ast.parse(sources()[name].read_text())
    taken = {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module == PACKAGE
        for alias in node.names
    }
    return taken <= {"__version__"}


def test_no_import_goes_round_in_a_circle():
    assert circle(graph()) == []


def test_a_circle_is_found():
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]


def test_the_library_never_imports_paraview():
    for path in sources().values():
        for node in ast.walk(ast.parse(path.read_text())):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            assert not any(name.split(".")[0] in ("paraview", "amgsrn_paraview") for name in names)


def _functions(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Yield names of functions and their lines, without the docstring."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            assert node.end_lineno is not None
            lines = node.end_lineno - node.lineno + 1
            if ast.get_docstring(node) is not None:
                lines -= node.body[0].end_lineno - node.body[0].lineno + 1
            yield node.name, lines


@pytest.mark.parametrize("folder", [PACKAGE, "plugins/amgsrn_paraview"])
def test_functions_are_short_and_calls_name_their_arguments(folder):
    found = []
    for path in sorted((ROOT / folder).rglob("*.py")):
        tree, where = ast.parse(path.read_text()), path.relative_to(ROOT)
        found += [f"{where}: {name} has {n} lines" for name, n in _functions(tree) if n > _LONGEST]
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and len(node.args) > _MOST_POSITIONAL:
                name = ast.unparse(node.func)
                if name.split(".")[-1] not in _WITHOUT_KEYWORDS:
                    found.append(f"{where}:{node.lineno}: {name} gets {len(node.args)}")
    assert found == []
