"""Command-line options made from the typed configurations, and configurations made from options."""

from __future__ import annotations

import argparse
import dataclasses
import math
from typing import Any, TypeVar

from amgsrn_core.config import SIZES, options
from amgsrn_core.model import ModelIndex
from amgsrn_core.volume.open import variable_names
from amgsrn_core.volume.times import TimeStep, tell_first, time_dates

T = TypeVar("T")

# Short forms and the names under which the documentation knows an option.
_ALIASES = {"learning_rate": ("--lr",), "device": ("--devices",)}

# Zero stands for no bound there, which nobody has to ask for.
_BOUNDS = ("max_error", "max_relative_error")

_METAVARS = {
    "fill_values": "WORD|N,...",
    "scheduler": "ADDRESS|FILE",
    "log": "FILE",
    "tensorboard": "DIR",
    "target_psnr": "DB",
    "target_size": "BYTES",
    "max_seconds": "S",
}


def gives_size(arguments: argparse.Namespace) -> bool:
    """Return whether an option says how large the feature grids are."""
    return any(hasattr(arguments, name) for name in SIZES)


def add_options(parser: argparse.ArgumentParser, kind: type, without: tuple[str, ...] = ()) -> None:
    """Add an option for each field of a configuration class, with its default and range."""
    title = (kind.__doc__ or kind.__name__).strip().split("\n")[0]
    group = parser.add_argument_group(title.rstrip("."))
    for field in options(kind):
        if field.name not in without:
            add_option(group, field)


def add_option(group: Any, field: dataclasses.Field[Any]) -> None:
    """Add the option of one field."""
    default = field.default
    if isinstance(default, bool):
        help = field.metadata["help"]
        group.add_argument(f"--{field.name.replace('_', '-')}", action="store_true", help=help)
        return
    # A size that nobody says is left out of what was parsed: it may follow from a goal.
    settings: dict[str, Any] = {
        "dest": field.name,
        "default": argparse.SUPPRESS if field.name in SIZES else default,
        "help": _help(field),
        "choices": field.metadata.get("choices"),
    }
    if isinstance(default, tuple):
        settings.update(type=whole_numbers(len(default)), metavar=",".join(["N"] * len(default)))
    elif field.name in _BOUNDS:
        settings.update(type=_bound, metavar="X")
    elif isinstance(default, (int, float)):
        metavar = _METAVARS.get(field.name, "N" if isinstance(default, int) else "X")
        settings.update(type=type(default), metavar=metavar)
    elif settings["choices"] is None:
        settings["metavar"] = _METAVARS.get(field.name, "NAME")
    group.add_argument(
        f"--{field.name.replace('_', '-')}", *_ALIASES.get(field.name, ()), **settings
    )


def configuration(kind: type[T], arguments: argparse.Namespace, **more: Any) -> T:
    """Make a configuration from parsed options; the class itself checks the ranges.

    `more` are fields that have no option, or another one.
    """
    fields = [field for field in options(kind) if field.name not in more]
    values = {field.name: getattr(arguments, field.name, field.default) for field in fields}
    return kind(**values, **more)


def whole_numbers(count: int) -> Any:
    """Return an argparse type: `count` whole numbers separated by commas."""

    def convert(text: str) -> tuple[int, ...]:
        try:
            numbers = tuple(int(item) for item in text.split(","))
        except ValueError:
            numbers = ()
        if len(numbers) != count:
            raise argparse.ArgumentTypeError(
                f"{text!r} is not {count} whole numbers separated by commas"
            )
        return numbers

    return convert


def numbers(count: int) -> Any:
    """Return an argparse type: `count` numbers separated by commas."""

    def convert(text: str) -> tuple[float, ...]:
        try:
            values = tuple(float(item) for item in text.split(","))
        except ValueError:
            values = ()
        if len(values) != count:
            raise argparse.ArgumentTypeError(f"{text!r} is not {count} numbers separated by commas")
        return values

    return convert


def region(text: str) -> tuple[float, ...] | dict[str, tuple[float, float]]:
    """Return an argparse value for a region: six numbers, or ranges by the names of axes."""
    if "=" not in text:
        box: tuple[float, ...] = numbers(6)(text)
        return box
    named = {}
    for part in text.split(","):
        name, _, span = part.partition("=")
        low, colon, high = span.partition(":")
        try:
            named[name.strip()] = float(low), float(high)
        except ValueError:
            colon = ""
        if not colon or not name.strip():
            raise argparse.ArgumentTypeError(
                f"{part!r} is not NAME=LOW:HIGH, as in lon=150:250,lat=-40:40,depth=0:500"
            )
    return named


def any_numbers(text: str) -> tuple[float, ...]:
    """Return the argparse value of a list of numbers, of any length."""
    convert = numbers(text.count(",") + 1)
    values: tuple[float, ...] = convert(text)
    return values


def scale_factors(text: str) -> str | tuple[float, ...]:
    """Return an argparse value for three factors, or the word auto."""
    factors: tuple[float, ...] = numbers(3)(text) if text != "auto" else ()
    return factors or text


_COLOURS = {"white": (1.0, 1.0, 1.0), "black": (0.0, 0.0, 0.0), "grey": (0.5, 0.5, 0.5)}


def colour(text: str) -> tuple[float, ...] | None:
    """Return an argparse value for a colour: red, green, blue from 0 to 1; None for transparent."""
    if text == "transparent":
        return None
    shades: tuple[float, ...] = _COLOURS.get(text) or numbers(3)(text)
    if not all(0 <= shade <= 1 for shade in shades):
        raise argparse.ArgumentTypeError(f"{text!r} has numbers that are not between 0 and 1")
    return shades


def model_step(index: ModelIndex, wanted: TimeStep) -> int:
    """Return the step of a model that `--time` names; without it the first, which is told."""
    if wanted is None and index.time is not None and index.time.steps:
        tell_first(index.name, index.time)
    return index.step_of(wanted)


def model_dates(index: ModelIndex) -> list[str]:
    """Return the ISO date of each step of a model; empty where its times are no dates."""
    if index.time is None or not index.times:
        return []
    dates = time_dates(index.time)
    return [dates[step] for step in index.time.steps or (index.time.index,)] if dates else []


def variables(values: list[str] | None, path: str) -> tuple[str, ...] | None:
    """Return the variables of a file that `--variable` names.

    A value is one name where the file has it, or else a list with commas, in which names with
    commas are found as well.
    """
    if not values or not any("," in value or value != value.strip() for value in values):
        return names(values)
    known = variable_names(path)
    return tuple(name for value in values for name in _split(value, known)) or None


def _split(text: str, known: tuple[str, ...]) -> list[str]:
    """Return the names in a list with commas: the longest ones that are known come first."""
    parts, found = text.split(","), []
    while parts:
        for count in range(len(parts), 0, -1):
            name = ",".join(parts[:count])
            name = name if name in known else name.strip()
            if name in known or count == 1:
                found.append(name)
                del parts[:count]
                break
    return [name for name in found if name]


def names(values: list[str] | None) -> tuple[str, ...] | None:
    """Return the names of a repeatable option whose values may be lists with commas."""
    found = [name.strip() for value in values or () for name in value.split(",")]
    return tuple(name for name in found if name) or None


def _bound(text: str) -> float:
    """Return the argparse value of a bound."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"a bound has to be a number above 0, not {text}")
    return value


def _help(field: dataclasses.Field[Any]) -> str:
    default = field.default
    shown = ",".join(map(str, default)) if isinstance(default, tuple) else str(default)
    if isinstance(default, float):
        shown = f"{default:g}"
    notes = [f"default: {shown}"] if shown else []
    low, high = field.metadata.get("minimum"), field.metadata.get("maximum")
    if low is not None and high is not None:
        notes.append(f"{low} to {high}")
    elif low is not None:
        notes.append(f"at least {low}")
    noted = f" ({'; '.join(notes)})" if notes else ""
    return f"{field.metadata['help']}{noted}".replace("%", "%%")
