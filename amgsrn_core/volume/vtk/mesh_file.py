"""Meshes in VTK's XML files as volumes: .vtu, .vts, .vtm and the like, read whole and sampled."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from amgsrn_core.config import DataConfig, MeshConfig
from amgsrn_core.errors import VolumeError, VolumeNotFoundError
from amgsrn_core.volume.masking import OPTION
from amgsrn_core.volume.times import TimeStep, select_time
from amgsrn_core.volume.volume import Volume
from amgsrn_core.volume.vtk.data import import_vtk, volume_from_vtk
from amgsrn_core.volume.vtk.layout import laid_out_copy
from amgsrn_core.volume.vtk.mesh import hide_fills, leaves, prepared
from amgsrn_core.volume.vtk.mesh_sampling import (
    agreement,
    lattice_of,
    lattice_values,
    note_sampling,
    sampled,
    told,
)
from amgsrn_core.volume.vtk.reader import choose_arrays, present_arrays, quiet
from amgsrn_core.volume.vtk.xml import read_outline

logger = logging.getLogger(__name__)

READERS = {
    "StructuredGrid": "vtkXMLStructuredGridReader",
    "PStructuredGrid": "vtkXMLPStructuredGridReader",
    "UnstructuredGrid": "vtkXMLUnstructuredGridReader",
    "PUnstructuredGrid": "vtkXMLPUnstructuredGridReader",
    "vtkMultiBlockDataSet": "vtkXMLMultiBlockDataReader",
    "vtkPartitionedDataSet": "vtkXMLPartitionedDataSetReader",
    "vtkPartitionedDataSetCollection": "vtkXMLPartitionedDataSetCollectionReader",
    "vtkOverlappingAMR": "vtkXMLUniformGridAMRReader",
}


def open_mesh_file(
    path: Path,
    kind: str,
    arrays: tuple[str, ...] | None = None,
    time: TimeStep = None,
    config: MeshConfig | None = None,
) -> Volume:
    """Read a mesh and sample it, or take a structured grid sample by sample.

    See :func:`amgsrn_core.open_volume`. What was done is logged.
    """
    config = config or MeshConfig()
    dataset = _read(path, kind)
    names, association = choose_arrays(path, present_arrays(leaves(dataset)), arrays)
    if config.curvilinear == "index" and dataset.IsA("vtkStructuredGrid"):
        volume = volume_from_vtk(dataset, names, association)
    else:
        mesh = prepared(dataset, names, association)
        lattice = lattice_of(mesh, config.sampling_dimensions)
        for note in hide_fills(mesh, DataConfig(fill_values="none"), OPTION):
            logger.warning("%s", note)
        image = sampled(mesh, lattice)
        text = told(mesh, lattice, image, agreement(mesh, lattice_values(image, names)))
        record = mesh.record
        if record.lacking:
            text += f" {record.lacking} of {record.blocks} blocks lack the arrays and are left out."
        logger.warning("%s: %s", path, text)
        note_sampling(image, text)
        volume = volume_from_vtk(image, names)
    volume.arrays = names
    volume.source, volume.time = str(path), select_time(volume.name, None, time)
    return volume


def mesh_names(path: Path, kind: str) -> tuple[str, ...]:
    """Return the names of the arrays of a mesh in a file."""
    present = present_arrays(leaves(_read(path, kind)))
    return tuple(dict.fromkeys(name for names in present.values() for name in names))


def _read(path: Path, kind: str) -> Any:
    read_outline(path)  # whose complaints are clearer than those of VTK
    if kind not in ("StructuredGrid", "UnstructuredGrid"):
        _require_pieces(path)
    dataset = _output(path, kind, str(path))
    if dataset is None and (copy := laid_out_copy(path)) is not None:
        dataset = _output(path, kind, copy.name)
    if dataset is None:
        raise VolumeError(f"'{path}' cannot be read; it is damaged or holds no points.")
    return dataset


def _output(path: Path, kind: str, name: str) -> Any:
    """Return what VTK reads of a file; None if it cannot."""
    with quiet():
        reader = getattr(import_vtk("vtkIOXML"), READERS[kind])()
        reader.SetFileName(name)
        reader.Update()
        dataset = reader.GetOutputDataObject(0)
    is_bad = reader.GetErrorCode() or dataset is None
    return None if is_bad or not any(d.GetNumberOfPoints() for d in leaves(dataset)) else dataset


def _require_pieces(path: Path) -> None:
    """Raise where a file that other files are named in names one that is not there.

    VTK leaves its place empty, without a word.
    """
    for element in ElementTree.parse(path).iter():
        named = element.get("file") or element.get("Source")
        if named and not (path.parent / named).is_file():
            raise VolumeNotFoundError(
                f"There is no file '{path.parent / named}', which '{path}' names; copy the pieces "
                "together with it."
            )
