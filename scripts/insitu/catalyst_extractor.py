"""A pipeline of ParaView's Catalyst 2 that makes a series of models of what a simulation computes.

The simulation names this file as its script. What it hands over has to be an image or a rectilinear
grid, of which each rank may have a piece. The options below come with the script (`args` in
Catalyst's node), or where the simulation gives none, in the environment variable AMGSRN_EXTRACT:

    AMGSRN_EXTRACT="-o run.amgsrn --seconds-per-step 5" simulation ...
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from typing import Any

import numpy as np
from amgsrn_paraview import ranks
from amgsrn_paraview.pieces import take
from paraview import catalyst
from paraview.simple import TrivialProducer

from amgsrn_core import SeriesExtractor
from amgsrn_core.cli.options import add_options, configuration, gives_size
from amgsrn_core.config import ExtractionConfig, NetworkConfig, StorageConfig, TrainingConfig
from amgsrn_core.errors import VolumeError
from amgsrn_core.jobs.extractor import NOT_RECORDED

CHANNEL = "grid"


def requested() -> argparse.Namespace:
    """Return what the simulation or the environment asks for."""
    parser = argparse.ArgumentParser(
        prog="catalyst_extractor",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("-o", "--output", metavar="NAME.amgsrn", required=True, help="the series")
    parser.add_argument("--array", metavar="NAME", help="the point or cell array (one: that one)")
    parser.add_argument("--channel", default=CHANNEL, help=f"of the simulation ({CHANNEL})")
    for kind in (ExtractionConfig, NetworkConfig, TrainingConfig, StorageConfig):
        add_options(parser, kind, without=NOT_RECORDED)
    words = catalyst.get_args() or shlex.split(os.environ.get("AMGSRN_EXTRACT", ""))
    if __name__ == "__main__":
        parser.parse_args(sys.argv[1:])  # --help
        parser.error("a simulation runs this, which is instrumented for Catalyst")
    return parser.parse_args(words)


arguments = requested()
options = catalyst.Options()  # ParaView's own, which it looks for under this name
producer = TrivialProducer(registrationName=arguments.channel)
extractor: SeriesExtractor | None = None


def catalyst_execute(info: Any) -> None:
    """Hand this rank's piece of a time step over."""
    global extractor
    producer.UpdatePipeline()
    dataset = grid_of(producer.GetClientSideObject().GetOutputDataObject(0))
    name, association = array_of(dataset)
    each = np.array(ranks.share(dataset.GetExtent()))
    whole = np.where(np.arange(6) % 2, each.max(axis=0), each.min(axis=0))
    volume, piece = take(dataset, (name,), association, tuple(whole.tolist()))
    if extractor is None:
        extractor = SeriesExtractor(
            arguments.output,
            piece.geometry,
            name=name,
            components=volume.components,
            rank=ranks.rank(),
            ranks=ranks.ranks(),
            network=configuration(NetworkConfig, arguments) if gives_size(arguments) else None,
            training=configuration(TrainingConfig, arguments),
            storage=configuration(StorageConfig, arguments),
            extraction=configuration(ExtractionConfig, arguments),
        )
    block = volume.read()
    values = block.values if block.valid is None else with_nan(block.values, block.valid)
    extractor.put(info.cycle, info.time, values, piece.own, piece.held)


def catalyst_finalize() -> None:
    """Return when all of this rank's steps are trained."""
    if extractor is not None:
        extractor.close()


def grid_of(data: Any) -> Any:
    """Return the image or rectilinear grid that a rank has, perhaps as the only part of a set."""
    found = [data]
    if data.IsA("vtkDataObjectTree") or data.IsA("vtkCompositeDataSet"):
        iterator = data.NewIterator()
        found = []
        while not iterator.IsDoneWithTraversal():
            found.append(iterator.GetCurrentDataObject())
            iterator.GoToNextItem()
    grids = [each for each in found if each.IsA("vtkImageData") or each.IsA("vtkRectilinearGrid")]
    if len(grids) != 1:
        kinds = ", ".join(each.GetClassName() for each in found) or "nothing"
        raise VolumeError(f"Each rank must hand over one image or rectilinear grid, not {kinds}.")
    return grids[0]


def array_of(dataset: Any) -> tuple[str, str]:
    """Return the name of the array that is asked for, or of the only one, and what it is of."""
    known = [
        (data.GetArrayName(number), association)
        for association, data in (
            ("point", dataset.GetPointData()),
            ("cell", dataset.GetCellData()),
        )
        for number in range(data.GetNumberOfArrays())
        if data.GetArrayName(number) != "vtkGhostType"
    ]
    fitting = [each for each in known if arguments.array in (None, each[0])]
    if len(fitting) != 1:
        names = ", ".join(name for name, _ in known) or "none"
        raise VolumeError(f"Name one of the arrays with --array; the simulation has: {names}.")
    return fitting[0]


def with_nan(values: Any, valid: Any) -> Any:
    """Return values [C, z, y, x] with NaN where there is none."""
    values = values.copy()
    values[:, ~valid] = float("nan")
    return values
