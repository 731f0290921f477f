"""Meshes on their way to the trainer: sampled on a lattice, by all ranks together."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from vtkmodules.vtkCommonDataModel import vtkDataObject
from vtkmodules.vtkParallelCore import vtkMultiProcessController

from amgsrn_core.config import DataConfig, MeshConfig
from amgsrn_core.field.open_models import open_model
from amgsrn_core.model import open_archive
from amgsrn_core.volume.vtk.mesh import (
    Mesh,
    MeshRecord,
    hide_fills,
    is_spherical,
    leaves,
    prepared,
)
from amgsrn_core.volume.vtk.mesh_sampling import (
    Agreement,
    Lattice,
    agreement,
    lattice_of,
    lattice_values,
    note_sampling,
    sampled,
    told,
)
from amgsrn_core.volume.vtk.shared_points import keys_within, shared_once
from amgsrn_paraview.handover import FILL_VALUES
from amgsrn_paraview.ranks import agree, rank, ranks

_SPHERE = (
    "The grid's layers are spheres. (If ParaView has it of a NetCDF file, open that as NetCDF "
    "volume (AMGSRN), or untick Spherical Coordinates of ParaView's own reader.)"
)

Read = Callable[[], Any]
"""Returns the data set, or this rank's part of it."""


@dataclasses.dataclass(frozen=True)
class Wanted:
    """What is to be sampled, and how."""

    arrays: tuple[str, ...]
    association: str
    mesh: MeshConfig
    data: DataConfig


class Sampler:
    """Samples meshes; every rank has one, and calls the same methods.

    Attributes
    ----------
    text : str
        What was done, and what it has cost.
    notes : list of str
        What is strange about the mesh.
    fill_notes : list of str
        What there is to say of numbers that look like fill values.
    dims : tuple of int (z, y, x) or None
        Of the lattice, once there is one.
    """

    def __init__(self) -> None:
        self.forget()
        self._key: tuple[Any, ...] = ()

    def forget(self) -> None:
        """Begin anew, with another lattice."""
        self.text, self.notes, self.fill_notes = "", list[str](), list[str]()
        self._lattice: Lattice | None = None
        self._image: Any = None
        self._network: tuple[Any, str] = (None, "")
        self._steps: list[float] = []

    @property
    def dims(self) -> tuple[int, int, int] | None:
        """The lattice's dimensions."""
        return None if self._lattice is None else self._lattice.dims

    def present(self, dataset: Any, wanted: Wanted) -> Any:
        """Return a data set as an image, the same one again as long as nothing has changed.

        Raises
        ------
        AmgsrnError
            On every rank, if it cannot be sampled.
        """
        key = (wanted, *(leaf.GetMTime() for leaf in leaves(dataset)))
        if all(_on_each_rank(lambda: key == self._key and self._image is not None)):
            return self._image
        self.forget()
        self._image = self.step(lambda: dataset, wanted)
        self._key = key
        return self._image

    def step(self, read: Read, wanted: Wanted) -> Any:
        """Return the next time step of a mesh as an image, all on the lattice of the first one.

        Raises
        ------
        AmgsrnError
            On every rank, if one cannot read it, or if it cannot be sampled.
        """
        dataset, mesh = self._prepare(read, wanted)
        is_first = self._lattice is None
        if self._lattice is None:
            self._lattice = lattice_of(mesh, wanted.mesh.sampling_dimensions)
        elif self._lattice.misses(mesh.record.size):
            self._remark("Some of the mesh is outside the lattice, which is the first time step's.")
        controller = vtkMultiProcessController.GetGlobalController() if ranks() > 1 else None
        image = sampled(mesh, self._lattice, controller)
        back = self._compared(mesh, lattice_values(image, mesh.arrays))
        self._steps.append(back.psnr)
        if is_first:
            self.text = told(mesh, self._lattice, image, back)
            if any(_on_each_rank(lambda: any(map(is_spherical, leaves(mesh.dataset))))):
                self._remark(_SPHERE)
        note_sampling(image, self.text)
        info, key = dataset.GetInformation(), vtkDataObject.DATA_TIME_STEP()
        if info.Has(key):
            image.GetInformation().Set(key, info.Get(key))
        return image

    def measure(self, model: tuple[str, str, int], dataset: Any, wanted: Wanted) -> None:
        """Add to the text how good a model is at the mesh's own points."""
        lattice = self._lattice
        key = (model, wanted, *(leaf.GetMTime() for leaf in leaves(dataset)))
        same = all(_on_each_rank(lambda: key == self._network[0]))
        if same or lattice is None:
            return
        _, mesh = self._prepare(lambda: dataset, wanted)
        path, _, step = model
        network = open_model(open_archive(path)).at(step)
        low, high = np.array(lattice.bounds).T
        found = self._compared(mesh, lambda points: network.sample(np.clip(points, low, high)))
        self._network = key, f" The network there: {found}."

    def message(self) -> str:
        """Return all there is to say of sampling and network."""
        several = ""
        if len(self._steps) > 1:
            several = f" Of all {len(self._steps)} time steps the lowest PSNR is "
            several += f"{min(self._steps):.1f} dB."
        return self.text + several + self._network[1]

    def _prepare(self, read: Read, wanted: Wanted) -> tuple[Any, Mesh]:
        """Return this rank's part of a data set, and as a mesh that knows of all parts."""
        dataset, mesh = None, None

        def look() -> MeshRecord:
            nonlocal dataset, mesh
            dataset = read()
            fills = wanted.data.fill_numbers
            mesh = prepared(dataset, wanted.arrays, wanted.association, fills)
            return mesh.record

        records = _on_each_rank(look)
        record = functools.reduce(MeshRecord.merged, records)
        assert mesh is not None
        mesh = dataclasses.replace(mesh, record=record)
        self.fill_notes = hide_fills(mesh, wanted.data, FILL_VALUES)
        if ranks() > 1 and wanted.association == "point":
            whole = mesh
            boxes = [each.size.bounds for number, each in enumerate(records) if number != rank()]
            every = _on_each_rank(lambda: keys_within(whole, list(filter(None, boxes))))
            mesh = shared_once(mesh, every, rank())
        if record.lacking and record.lacking < record.blocks:
            self._remark(
                f"{record.lacking} of {record.blocks} blocks lack "
                f"'{', '.join(wanted.arrays)}' and are left out, as if there were nothing."
            )
        return dataset, mesh

    def _compared(self, mesh: Mesh, values: Callable[[np.ndarray], np.ndarray]) -> Agreement:
        every = _on_each_rank(lambda: agreement(mesh, values))
        return functools.reduce(Agreement.merged, every)

    def _remark(self, sentence: str) -> None:
        if sentence not in self.notes:
            self.notes.append(sentence)


def _on_each_rank(work: Callable[[], Any]) -> list[Any]:
    """Return what came of something on every rank; an error of one is one of all."""
    return agree(work, "AMGSRN Trainer")
