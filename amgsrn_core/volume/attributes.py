"""What a source says in attributes of its file, variables and axes, so that files get it back.

Units, calendars, standard names and fill values have places of their own in the volume's records;
this is all the rest. What is true of the source's file alone is left out: how numbers are packed
and stored, and the names of further variables (bounds, grid mappings, auxiliary coordinates).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from amgsrn_core.errors import ArchiveError
from amgsrn_core.system.json_fields import Fields, number_to_json
from amgsrn_core.volume.axis import Axis

Mapped = dict[str, Any]
"""Attributes by name: texts, whole numbers, numbers, or lists of one of these."""

LONGEST = 16384
"""Characters of a text, or numbers of a list, from which an attribute is too long to be kept."""

# A number that JSON lacks, as an object, since a text of the same letters is another value.
_NUMBER = "number"


@dataclass(frozen=True)
class Attributes:
    """The attributes of a volume's source.

    Parameters
    ----------
    file : dict
        Of the file (and the group of the variables).
    components : tuple of dict
        Of each component's variable.
    axes : tuple of three dict or None
        Of the coordinate variables of z, y, x; None where the source has none, and the samples are
        counted.
    time : dict, optional
        Of the time coordinate; None where the source has none.
    """

    file: Mapped = field(default_factory=dict)
    components: tuple[Mapped, ...] = ()
    axes: tuple[Mapped | None, Mapped | None, Mapped | None] = (None, None, None)
    time: Mapped | None = None

    def counts(self, number: int, axis: Axis) -> bool:
        """Tell whether the source merely counts the samples of axis 0 (z), 1 (y) or 2 (x)."""
        return self.axes[number] is None and np.array_equal(axis.coordinates, np.arange(axis.size))

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON types."""
        return {
            "file": _mapping_to_json(self.file),
            "components": [_mapping_to_json(each) for each in self.components],
            "axes": [None if each is None else _mapping_to_json(each) for each in self.axes],
            "time": None if self.time is None else _mapping_to_json(self.time),
        }

    @classmethod
    def from_json(cls, fields: Fields) -> Attributes:
        """Read :meth:`to_json`'s result; ArchiveError names what is damaged."""
        axes, components = fields.get("axes"), fields.get("components")
        if not isinstance(axes, list) or len(axes) != 3 or not isinstance(components, list):
            raise ArchiveError("'attributes' are not those of a list of components and three axes")
        z, y, x = (None if each is None else _mapping_from_json(each) for each in axes)
        time = fields.get("time")
        return cls(
            file=_mapping_from_json(fields.get("file")),
            components=tuple(map(_mapping_from_json, components)),
            axes=(z, y, x),
            time=None if time is None else _mapping_from_json(time),
        )


def kept(values: Mapping[str, Any]) -> tuple[Mapped, list[str]]:
    """Return those of some attributes that can be kept, as plain types, and the others' names."""
    found, others = {}, []
    for name, value in values.items():
        plain = _plain(value)
        if plain is None:
            others.append(name)
        else:
            found[name] = plain
    return found, others


def _plain(value: Any) -> Any:
    """Return an attribute's value in plain Python types, or None where it has none."""
    if isinstance(value, str):
        return value if len(value) <= LONGEST else None
    if isinstance(value, (list, tuple)) and all(isinstance(item, str) for item in value):
        return list(value) if sum(map(len, value)) <= LONGEST else None
    array = np.asarray(value)
    if array.dtype.kind not in "iuf" or array.ndim > 1 or not 0 < array.size <= LONGEST:
        return None
    return array.tolist()


def _mapping_to_json(values: Mapped) -> dict[str, Any]:
    return {
        name: [_to_json(item) for item in value] if isinstance(value, list) else _to_json(value)
        for name, value in values.items()
    }


def _to_json(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return {_NUMBER: number_to_json(value)}
    return value


def _mapping_from_json(values: Any) -> Mapped:
    if not isinstance(values, dict):
        raise ArchiveError("'attributes' are not named values")
    return {
        name: [_from_json(item) for item in value] if isinstance(value, list) else _from_json(value)
        for name, value in values.items()
    }


def _from_json(value: Any) -> Any:
    if isinstance(value, dict):
        return Fields(value, "attributes").number(_NUMBER)
    if isinstance(value, (str, int, float)) and not isinstance(value, bool):
        return value
    raise ArchiveError("'attributes' have a value that is neither a text nor a number")


def merged(
    records: Sequence[tuple[str, str]], attributes: Mapped | None, usual: Mapped
) -> dict[str, Any]:
    """Return the attributes of a variable: the source's, and what records of a volume say.

    Parameters
    ----------
    records : sequence of (name, text)
        What has a record of its own; an empty text is nothing.
    attributes : dict or None
        The source's others.
    usual : dict
        What is said where the source is not known (`attributes` is None).
    """
    known = usual if attributes is None else attributes
    return {**{name: text for name, text in records if text}, **known}


def axis_records(axis: Axis) -> list[tuple[str, str]]:
    """Return the attributes that the records of an axis stand for; an empty one is none."""
    return [
        ("units", axis.units),
        ("standard_name", axis.standard_name),
        ("positive", "down" if axis.negated else ""),
    ]
