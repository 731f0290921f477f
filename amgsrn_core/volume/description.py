"""What there is to know of a field beside its values, as JSON that travels with them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from amgsrn_core.system.json_fields import Fields
from amgsrn_core.volume.attributes import Attributes
from amgsrn_core.volume.geometry import GridGeometry
from amgsrn_core.volume.volume import MissingValues, TimeAxis


class Described(Protocol):
    """A volume or a model, as far as it is described here."""

    @property
    def name(self) -> str:
        """Name of the array."""

    @property
    def components(self) -> tuple[str, ...]:
        """Name of each component."""

    @property
    def units(self) -> tuple[str, ...]:
        """Units of each component."""

    @property
    def geometry(self) -> GridGeometry:
        """Where the samples lie."""

    @property
    def missing(self) -> MissingValues | None:
        """How missing values are marked."""

    @property
    def time(self) -> TimeAxis | None:
        """The time steps."""

    @property
    def attributes(self) -> Attributes | None:
        """The source's other attributes."""


@dataclass(frozen=True)
class Description:
    """A field without its values; the attributes are those of a :class:`Described`."""

    name: str
    components: tuple[str, ...]
    units: tuple[str, ...]
    geometry: GridGeometry
    missing: MissingValues | None = None
    time: TimeAxis | None = None
    attributes: Attributes | None = None

    @classmethod
    def from_json(cls, values: Any) -> Description:
        """Read what :func:`describe` returned.

        Raises
        ------
        ArchiveError, VolumeError
            It is damaged.
        """
        fields = Fields(values, "description")
        missing, time = fields.optional_child("missing"), fields.optional_child("time")
        attributes = fields.optional_child("attributes")
        return cls(
            name=fields.text("name"),
            components=fields.texts("components"),
            units=fields.texts("units"),
            geometry=GridGeometry.from_json(fields.mapping("geometry")),
            missing=None if missing is None else MissingValues.from_json(missing),
            time=None if time is None else TimeAxis.from_json(time),
            attributes=None if attributes is None else Attributes.from_json(attributes),
        )


def describe(field: Described) -> dict[str, Any]:
    """Return what is known of a volume or a model, as plain JSON types."""
    return {
        "name": field.name,
        "components": list(field.components),
        "units": list(field.units),
        "geometry": field.geometry.to_json(),
        "missing": None if field.missing is None else field.missing.to_json(),
        "time": None if field.time is None else field.time.to_json(),
        "attributes": None if field.attributes is None else field.attributes.to_json(),
    }
