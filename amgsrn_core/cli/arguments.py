"""Parsers that know which options name files, and the options that several commands have."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from typing import Any, NoReturn

from amgsrn_core.cli.failures import UsageError
from amgsrn_core.config import BACKENDS
from amgsrn_core.errors import did_you_mean
from amgsrn_core.rendering.marcher import BACKENDS as MARCHERS
from amgsrn_core.volume.open import TIME_METHODS
from amgsrn_core.volume.replacement import JSON, Kind

_BACKEND_WORDS: dict[tuple[str, ...], str] = {
    BACKENDS: "the CPU kernels (native), PyTorch (torch), PyTorch with tiny-cuda-nn's decoder "
    "(tcnn)",
    MARCHERS: "the CPU kernels (native), PyTorch that skips empty space (blocks), the same with "
    "nerfacc on CUDA (nerfacc), PyTorch at every sample (torch)",
}


@dataclasses.dataclass
class Paths:
    """Which options of a command name files: what they hold are names of arguments.

    Attributes
    ----------
    reads : list of str
        What must not be replaced.
    writes : dict of str to Kind
        What is written.
    """

    reads: list[str] = dataclasses.field(default_factory=list)
    writes: dict[str, Kind] = dataclasses.field(default_factory=dict)


class Parser(argparse.ArgumentParser):
    """Reports a wrong command line as an error like any other, in one sentence."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.paths = Paths()
        self.commands: argparse._SubParsersAction[Parser] | None = None
        self._words: list[str] = []
        self.set_defaults(paths=self.paths)

    def error(self, message: str) -> NoReturn:
        """Raise what is wrong with the command line, and what may be meant."""
        if message.endswith("expected one argument"):
            message += " (one that begins with a dash as --OPTION=-VALUE)"
        message += "" if message.endswith("?") else self._meant()
        way = " See" if message.endswith("?") else "; see"
        raise UsageError(f"{message}{way} `{self.prog} --help`.")

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse, and remember the words for :meth:`error`."""
        self._words = list(args or ())
        return super().parse_known_args(args, namespace)

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        try:
            super()._check_value(action, value)
        except argparse.ArgumentError as error:
            error.message += did_you_mean(str(value), map(str, action.choices or ()))
            raise

    def _meant(self) -> str:
        """Return what the first option that there is not may stand for."""
        for word in self._words:
            if self.commands is not None and word in self.commands.choices:
                return self.commands.choices[word].meant(self._words)
        return self.meant(self._words)

    def meant(self, words: Sequence[str]) -> str:
        """Return the end of a sentence on the first of these words that is no option, if any is."""
        known = self._option_string_actions
        for name in (word.partition("=")[0] for word in words):
            if name.startswith("--") and not any(option.startswith(name) for option in known):
                return did_you_mean(name, known)
        return ""


def command(
    commands: argparse._SubParsersAction[Parser], name: str, words: str, add_help: bool = True
) -> Parser:
    """Add a command, and return its parser."""
    parser = commands.add_parser(
        name, help=words, description=f"{words[0].upper()}{words[1:]}.", add_help=add_help
    )
    add_debug(parser, default=argparse.SUPPRESS)
    return parser


def add_debug(parser: argparse.ArgumentParser, default: object) -> None:
    """Add what shows tracebacks."""
    parser.add_argument(
        "--debug", action="store_true", default=default, help="show tracebacks and log messages"
    )


def add_output(parser: Parser, metavar: str, words: str, kind: Kind) -> None:
    """Add the file that a command writes."""
    parser.add_argument("-o", "--output", metavar=metavar, required=True, help=words)
    parser.paths.writes["output"] = kind


def add_force(parser: Parser) -> None:
    """Add what replaces files that others made."""
    parser.add_argument(
        "--force",
        action="store_true",
        help="replace a model or a volume that this command did not make; what it reads, and the "
        "data of a model, are never replaced",
    )


def add_selection(
    parser: argparse.ArgumentParser, default: str = "", time: str | None = None
) -> None:
    """Add which variables and which time step of a file."""
    add_variable(parser, default)
    add_time(parser, default if time is None else time)


def add_variable(parser: argparse.ArgumentParser, default: str) -> None:
    """Add which variables of a file."""
    parser.add_argument(
        "--variable",
        metavar="NAME",
        action="append",
        help="variable to use; several (repeat it, or A,B,C) become the components of one field; "
        "a name may have commas itself"
        f"{default or '; may be left out where the file holds only one'}",
    )


def add_time(parser: argparse.ArgumentParser, words: str) -> None:
    """Add which time step of a file."""
    parser.add_argument(
        "--time",
        metavar="STEP",
        help=f"time step: index, ISO date, or t=VALUE in the file's units{words}",
    )
    parser.add_argument(
        "--time-method",
        choices=TIME_METHODS,
        default="exact",
        help="whether the step nearest to a date or value will do (default: exact)",
    )


def add_device(parser: argparse.ArgumentParser, backends: tuple[str, ...] = BACKENDS) -> None:
    """Add where to compute, and what computes."""
    parser.add_argument(
        "--device",
        "--devices",
        metavar="NAME",
        default="auto",
        help="auto, cpu, cuda, cuda:N or mps (default: auto)",
    )
    parser.add_argument(
        "--backend",
        choices=backends,
        default="auto",
        help=f"what computes: {_BACKEND_WORDS[backends]}, or the fastest that works "
        "(default: auto)",
    )


def add_json(parser: Parser) -> None:
    """Add the report for programs."""
    parser.paths.writes["json"] = JSON
    parser.add_argument(
        "--json",
        metavar="FILE",
        nargs="?",
        const="-",
        help="write the results as JSON to FILE, or to standard output instead of the text (-)",
    )
