"""The command line as a whole: what it says, and the module that carries it out."""

from __future__ import annotations

import argparse
import importlib
import os
import re
from collections.abc import Sequence

import amgsrn_core
from amgsrn_core.cli.arguments import Parser, Paths, add_debug, add_force, command
from amgsrn_core.cli.commands import add_commands
from amgsrn_core.cli.failures import UsageError
from amgsrn_core.errors import OutputError
from amgsrn_core.model.replacement import guard
from amgsrn_core.volume.replacement import FOLDER
from amgsrn_core.volume.times import Nearest, names_several

_PARAVIEW = {
    "pvpython": "ParaView's Python shell",
    "pvbatch": "ParaView's batch program",
    "pvserver": "ParaView's server",
    "paraview": "ParaView itself",
}

_SCRIPT = "script"

# A module cannot be called like a word of Python, and some commands are folders of modules.
_MODULES = {
    "import": "import_model",
    "doctor": "doctor.command",
    "bench": "bench.command",
    "paraview-setup": "paraview_setup",
    "export-web": "export_web",
}


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Parse a command line; :class:`~amgsrn_core.cli.failures.UsageError` when it is wrong."""
    words = [word for word in arguments if word != "--debug"]
    if words and words[0] in (*_PARAVIEW, _SCRIPT):
        # Everything after the program's name is the program's, --help and --debug included.
        rest = list(arguments[arguments.index(words[0]) + 1 :])
        return argparse.Namespace(command=words[0], arguments=rest)
    parsed = build_parser().parse_args(_joined(arguments))
    if getattr(parsed, "time_method", "exact") == "nearest" and parsed.time is not None:
        if names_several(parsed.time):
            raise UsageError("--time-method nearest is for one time step; name several exactly.")
        parsed.time = Nearest(parsed.time)
    return parsed


def run(arguments: argparse.Namespace) -> int:
    """Carry out a parsed command line and return the exit status."""
    if arguments.command in _PARAVIEW:
        from amgsrn_core.cli.paraview_launcher import run_paraview

        return run_paraview(arguments.command, arguments.arguments)
    if arguments.command == _SCRIPT:
        from amgsrn_core.cli.script import run_script

        return run_script(arguments.arguments)
    refuse_outputs(arguments)
    name = _MODULES.get(arguments.command, arguments.command)
    module = importlib.import_module(f"amgsrn_core.cli.{name}")
    status: int = module.run(arguments)
    return status


def refuse_outputs(arguments: argparse.Namespace) -> None:
    """Raise :class:`OutputError` if an output would replace what must not be lost.

    Every option that names a file is declared as one that is read or one that is written, see
    :class:`Paths`; this looks at all of them before a command does anything.
    """
    paths: Paths = arguments.paths
    inputs = [value for name in paths.reads if (value := getattr(arguments, name))]
    taken: dict[str, str] = {}
    for name, kind in paths.writes.items():
        value = getattr(arguments, name)
        if not value or (name == "json" and value == "-"):
            continue
        place = os.path.realpath(value)
        if kind is not FOLDER and taken.setdefault(place, name) != name:
            raise OutputError(f"Cannot write {value} twice, as {taken[place]} and as {name}.")
        guard(
            value,
            kind,
            by=arguments.command,
            inputs=inputs,
            source=arguments.volume if arguments.command == "train" else "",
            force=getattr(arguments, "force", False),
        )


def _joined(arguments: Sequence[str]) -> list[str]:
    """Attach lists of numbers to their options: one with a minus in front looks like an option."""
    joined: list[str] = []
    for word in arguments:
        if joined and joined[-1].startswith("--") and re.match(r"-[\d.][^,]*,", word):
            joined[-1] = f"{joined[-1]}={word}"
        else:
            joined.append(word)
    return joined


def build_parser() -> Parser:
    """Return the parser of the whole command line."""
    parser = Parser(
        prog="amgsrn",
        description="Compact neural stand-ins for large volumes.",
        epilog="`amgsrn COMMAND --help` explains a command.",
    )
    parser.add_argument("--version", action="version", version=amgsrn_core.__version__)
    add_debug(parser, default=False)
    parser.commands = commands = parser.add_subparsers(
        dest="command", metavar="COMMAND", required=True
    )
    add_commands(commands)
    others = {
        name: f"start {text} with this suite on its paths" for name, text in _PARAVIEW.items()
    }
    others[_SCRIPT] = "run a program of the checkout by its name, or list them"
    for program, words in others.items():
        started = command(commands, program, words, add_help=False)
        started.add_argument("arguments", nargs="*", help="the program's own")  # see parse
    for each in commands.choices.values():
        if set(each.paths.writes.values()) - {FOLDER}:
            add_force(each)
    return parser
