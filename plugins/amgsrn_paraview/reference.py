"""The data that a model is compared with: this rank's piece of them, and the whole."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from vtkmodules.vtkFiltersCore import vtkProbeFilter

from amgsrn_core.errors import ConfigurationError
from amgsrn_core.model import ModelIndex
from amgsrn_core.volume import Extent, FieldSummary, Volume, volume_from_array, volume_from_vtk
from amgsrn_core.volume.vtk.data import (
    ASSOCIATIONS,
    array_names,
    attributes,
    flips,
    list_arrays,
    require_grid,
    to_numpy,
)
from amgsrn_core.volume.vtk.dataset import new_array, stored_arrays
from amgsrn_paraview.datasets import VTKExtent
from amgsrn_paraview.pieces import join, summary_of, take
from amgsrn_paraview.ranks import agree, rank, ranks


@dataclass(frozen=True)
class Match:
    """Which arrays of a data set are a model's.

    Attributes
    ----------
    arrays : tuple of str
        Names in the data set.
    association : {"point", "cell"}
    members : tuple of list of int
        The model's components of each array.
    note : str
        What is not as one may expect; empty for nothing.
    """

    arrays: tuple[str, ...]
    association: str
    members: tuple[list[int], ...]
    note: str = ""

    @property
    def components(self) -> list[int]:
        """Numbers of the model's components that have a counterpart."""
        return [number for members in self.members for number in members]


def matched(dataset: Any, stored: dict[str, list[int]]) -> Match:
    """Find a model's arrays in a data set.

    An array is known by its name; where the model and the data have one array each, names may
    differ.

    Parameters
    ----------
    dataset : vtkDataSet
    stored : dict of str to list of int
        The model's arrays, and the numbers of their components.

    Raises
    ------
    ConfigurationError
        There is none.
    """
    require_grid(dataset)
    found = {each: _common(dataset, each, stored) for each in ASSOCIATIONS}
    association = max(ASSOCIATIONS, key=lambda each: len(found[each]))
    if common := found[association]:
        absent = [name for name in stored if name not in common]
        note = f"The reference has no {', '.join(absent)}." if absent else ""
        members = tuple(stored[name] for name in common)
        return Match(tuple(common), association, members, note)
    others = [(each, name) for each in ASSOCIATIONS for name in array_names(dataset, each)]
    if len(stored) == len(others) == 1:
        ((association, name),) = others
        ((own, own_members),) = stored.items()
        if _count(dataset, association, name) == len(own_members):
            note = (
                f"The model's '{own}' is compared with '{name}', the only array of the reference."
            )
            return Match((name,), association, (own_members,), note)
    listed = ", ".join(f"{name} ({_numbers(len(members))})" for name, members in stored.items())
    raise ConfigurationError(
        f"The reference has no array of the model, which has {listed}; the reference has "
        f"{list_arrays(dataset)}. Take the data that the model was trained on, or rename the array."
    )


def _common(dataset: Any, association: str, stored: dict[str, list[int]]) -> list[str]:
    present = set(array_names(dataset, association))
    return [
        name
        for name, members in stored.items()
        if name in present and _count(dataset, association, name) == len(members)
    ]


def _count(dataset: Any, association: str, name: str) -> int:
    return int(attributes(dataset, association).GetArray(name).GetNumberOfComponents())


def _numbers(count: int) -> str:
    return "a scalar" if count == 1 else f"{count} components"


@dataclass(frozen=True)
class Reference:
    """A volume of which this rank has a part; all of it where there is one rank.

    Attributes
    ----------
    volume : Volume
        The whole; values can be read of `held`.
    own, held : tuple of three slices (z, y, x), or None for everything
        Voxels that this rank answers for, and those that it has.
    summary : FieldSummary
        Of the whole.
    match : Match
    is_here : bool
        Whether this rank has anything.
    """

    volume: Volume
    own: Extent | None
    held: Extent | None
    summary: FieldSummary
    match: Match
    is_here: bool = True

    @classmethod
    def of(cls, dataset: Any, whole: VTKExtent, index: ModelIndex, label: str) -> Reference:
        """Take a data set for what a model stands for, together with the other ranks.

        Raises
        ------
        AmgsrnError
            It is no volume, or has no array of the model; on all ranks alike.
        """
        fills: Sequence[float] = () if index.missing is None else index.missing.values
        stored = stored_arrays(index.name, index.components)
        if ranks() == 1:
            match = matched(dataset, stored)
            volume = volume_from_vtk(dataset, match.arrays, match.association).masking(fills)
            return cls(volume, None, None, volume.survey(), match)
        mine: Volume | None = None

        def look() -> Any:
            nonlocal mine
            require_grid(dataset)
            if not dataset.GetNumberOfPoints():
                return None
            match = matched(dataset, stored)
            mine, piece = take(dataset, match.arrays, match.association, whole, tuple(fills))
            return match, piece

        heard = agree(look, label)
        present = [each for each in heard if each is not None]
        pieces = [piece for _, piece in present]
        own = heard[rank()]
        volume = join(mine, None if own is None else own[1], pieces, fills)
        summary, match = summary_of(pieces).without(fills), present[0][0]
        if own is None:
            return cls(volume, None, None, summary, match, is_here=False)
        return cls(volume, own[1].own, own[1].held, summary, match)

    @classmethod
    def at_points_of(cls, preview: Any, dataset: Any) -> Reference:
        """Interpolate a data set at the points of a preview, whose arrays tell the model's.

        Ranges are those of the whole data set.
        """
        stored: dict[str, list[int]] = {}
        for name in array_names(preview, "point"):
            count = _count(preview, "point", name)
            first = sum(map(len, stored.values()))
            stored[name] = list(range(first, first + count))
        match = matched(dataset, stored)
        summary = volume_from_vtk(dataset, match.arrays, match.association).survey()
        probe = vtkProbeFilter()
        probe.SetInputData(preview)
        probe.SetSourceData(dataset)
        probe.Update()
        found = probe.GetOutput()
        volume = volume_from_vtk(found, match.arrays)
        valid = to_numpy(found.GetPointData().GetArray(probe.GetValidPointMaskArrayName()))
        block = volume.read()
        known = valid.reshape(volume.dims) > 0
        whole = volume_from_array(
            block.values,
            geometry=volume.geometry,
            name=volume.name,
            components=volume.components,
            units=volume.units,
            valid=known if block.valid is None else known & block.valid,
        )
        at_points = dataclasses.replace(match, association="point")
        return cls(whole, None, None, summary, at_points)

    def add_arrays(self, dataset: Any, values: np.ndarray, suffix: str) -> None:
        """Add values [C, z, y, x] of `held` to a copy of the data set, by the arrays' names."""
        ours = values[(slice(None), *flips(self.volume.geometry))]
        first = 0
        for name, members in zip(self.match.arrays, self.match.members):
            own = ours[first : first + len(members)]
            first += len(members)
            array = new_array(own.reshape(len(members), -1).T, name + suffix)
            attributes(dataset, self.match.association).AddArray(array)
