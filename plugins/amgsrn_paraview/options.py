"""The options of the library that are properties of the trainer: their names and their values.

``scripts/generate_xml.py`` describes the same properties to ParaView.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from amgsrn_core.config import (
    BrickConfig,
    DataConfig,
    DispatchConfig,
    GoalConfig,
    MeshConfig,
    NetworkConfig,
    SeriesConfig,
    StorageConfig,
    TrainingConfig,
    options,
)

T = TypeVar("T")

KINDS = (
    GoalConfig,
    NetworkConfig,
    TrainingConfig,
    StorageConfig,
    BrickConfig,
    DispatchConfig,
    SeriesConfig,
    DataConfig,
    MeshConfig,
)

# Where a field's name says too little beside the others' properties.
_NAMES = {"dtype": "StorageType"}

# For runs of days on clusters, which the command line starts.
_HIDDEN = ("retries", "stall_minutes", "log")


@dataclass(frozen=True)
class Option:
    """A property of the trainer that is a field of a configuration."""

    kind: type
    field: dataclasses.Field[Any]

    @property
    def name(self) -> str:
        """The property's name; the method that ParaView calls is Set with the name."""
        words = self.field.name.split("_")
        return _NAMES.get(self.field.name, "".join(word.capitalize() for word in words))

    def value(self, *given: Any) -> Any:
        """Return as the field's what ParaView gives to the method.

        A choice is its position among the choices, and a triple is in the order x, y, z. What is
        out of range is left to the configuration to refuse.
        """
        default, choices = self.field.default, self.field.metadata["choices"]
        if isinstance(default, tuple):
            return given[::-1]
        (value,) = given
        if choices:
            return choices[value] if 0 <= value < len(choices) else value
        if isinstance(default, bool):
            return bool(value)
        return value or default if isinstance(default, str) else value


OPTIONS = {
    option.name: option
    for kind in KINDS
    for option in (Option(kind, field) for field in options(kind))
    if option.field.name not in _HIDDEN
}


class Configurations:
    """What was set, as the library's configurations."""

    def __init__(self) -> None:
        self._values: dict[type, dict[str, Any]] = {kind: {} for kind in KINDS}

    def of(self, kind: type[T]) -> T:
        """Return one configuration.

        Raises
        ------
        ConfigurationError
            A value is out of range.
        """
        return kind(**self._values[kind])

    def assign(self, option: Option, *given: Any) -> bool:
        """Set an option to what ParaView gives; return whether that is anything new."""
        values, value = self._values[option.kind], option.value(*given)
        is_new = option.field.name not in values or values[option.field.name] != value
        values[option.field.name] = value
        return is_new


def sets_options(algorithm: type[T]) -> type[T]:
    """Give a class of algorithms, which has `configurations`, a method for each option.

    They are ordinary methods of the class, as ParaView's wrapping looks for.
    """
    for option in OPTIONS.values():
        setattr(algorithm, f"Set{option.name}", _setter(option))
    return algorithm


def _setter(option: Option) -> Callable[..., None]:
    def set_option(self: Any, *given: Any) -> None:
        if self.configurations.assign(option, *given):
            self.Modified()

    set_option.__name__ = f"Set{option.name}"
    set_option.__doc__ = f"Set the property {option.name}: {option.field.metadata['help']}."
    return set_option
