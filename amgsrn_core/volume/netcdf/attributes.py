"""The attributes of a NetCDF file that are true of its values wherever they are written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from amgsrn_core.volume.attributes import Attributes, Mapped, kept
from amgsrn_core.volume.netcdf.cf import REFERENCES
from amgsrn_core.volume.netcdf.references import tell, text
from amgsrn_core.volume.replacement import MARK

VALID = ("valid_min", "valid_max", "valid_range")

# How numbers are stored, and where other variables of the file are.
_OF_STORAGE = ("_FillValue", "missing_value", "scale_factor", "add_offset", "actual_range")
_LEFT = {*_OF_STORAGE, *REFERENCES, "compress", "instance_dimension", "sample_dimension"}
_PACKING = {"scale_factor", "add_offset"}

# What the records of a volume say: they are not kept twice.
_OF_COMPONENT = {"units"}
_OF_AXIS = {"units", "standard_name"}
_OF_TIME = {"units", "calendar"}


def source_attributes(
    variables: Sequence[Any], coordinates: Sequence[Any | None], time: Any | None
) -> Attributes:
    """Return the attributes of a volume's variables, its axes z, y, x, and its time coordinate."""
    group, chain = variables[0].group(), []
    while group is not None:
        chain.append(group)
        group = group.parent
    file: Mapped = {}
    for each in reversed(chain):
        file.update(_of(each, {MARK}, variables[0]))
    z, y, x = (None if each is None else _of_axis(each) for each in coordinates)
    return Attributes(
        file=file,
        components=tuple(_of(each, _OF_COMPONENT, each) for each in variables),
        axes=(z, y, x),
        time=None if time is None else _of(time, _OF_TIME, time),
    )


def _of_axis(coordinate: Any) -> Mapped:
    is_down = text(coordinate, "positive").lower() == "down"
    return _of(coordinate, _OF_AXIS | ({"positive"} if is_down else set()), coordinate)


def _of(owner: Any, known: set[str], variable: Any) -> Mapped:
    """Return the attributes of a variable or a group, without those that records have."""
    names = owner.ncattrs()
    # The valid range of packed numbers is mostly one of the stored ones.
    left = _LEFT | known | (set(VALID) if _PACKING & set(names) else set())
    found, others = kept(
        {
            name: owner.getncattr(name)
            for name in names
            if name not in left and not name.startswith("_")
        }
    )
    if others:
        tell(variable, f"The attributes {', '.join(others)} are too long, or no texts and numbers.")
    return found
