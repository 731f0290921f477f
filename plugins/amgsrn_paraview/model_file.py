"""A model file that an algorithm holds: its index at once, its network on first use."""

from __future__ import annotations

import functools
import os
from typing import Any

from vtkmodules.vtkCommonDataModel import vtkDataObject
from vtkmodules.vtkCommonExecutionModel import vtkStreamingDemandDrivenPipeline as Pipeline

from amgsrn_core.errors import AmgsrnError, ArchiveNotFoundError, ConfigurationError
from amgsrn_core.field.carried import carried
from amgsrn_core.field.neural_volume import NeuralVolume
from amgsrn_core.field.open_models import open_model
from amgsrn_core.model import open_archive
from amgsrn_core.original import OPTIONS_FILE, imported
from amgsrn_core.system.devices import give_back_memory
from amgsrn_core.system.files import FileVersion, file_version
from amgsrn_core.volume import GridGeometry
from amgsrn_paraview import datasets, ranks
from amgsrn_paraview.datasets import VTKExtent
from amgsrn_paraview.menu import is_needed


def carry_network(dataset: Any, path: str, checksum: str, step: int) -> None:
    """Let a preview carry the network itself, if it is to be drawn without the compiled plugin.

    So it is where pictures are made, and no file has to be there.
    """
    if is_needed():
        from amgsrn_paraview import hook  # not in plain VTK

        hook.look_at_views()
        datasets.set_network(dataset, _network_bytes(path, checksum, step))


@functools.lru_cache(maxsize=1)
def _network_bytes(path: str, checksum: str, step: int) -> bytes | str:
    """Return a time step of a model file, or why there is none."""
    try:
        archive = open_archive(path)
        if archive.checksum != checksum:
            raise ArchiveNotFoundError(f"the model file {path} was replaced by another model.")
        return carried(archive, step)
    except AmgsrnError as error:
        return str(error)


FEATURE_DENSITY = "feature_density"


class ModelFile:
    """The model file last named, read again whenever it changed on the disk."""

    def __init__(self) -> None:
        self._source: tuple[str, FileVersion | None] | None = None
        self._network: NeuralVolume | None = None

    def refresh(self, path: str) -> None:
        """Read the index of a model file unless it is known already.

        Of a model of the original code, `path` is its options.json.

        Raises
        ------
        ArchiveNotFoundError, ArchiveError
            The file is not there (any more), damaged, foreign, or of a newer version.
        """
        source = path, file_version(path)
        if source == self._source and source[1] is not None:
            return
        self._source = None
        self._forget_network()
        if os.path.basename(path) == OPTIONS_FILE:
            path = imported(path)
        self._archive = open_archive(path)  # explains itself when there is no such file
        self.index, self.checksum = self._archive.index, self._archive.checksum
        self.path = os.path.abspath(path)
        self._source = source

    def network(self) -> NeuralVolume:
        """Return the model itself, shared by all who have it."""
        if self._network is None:
            ranks.share_cores()
            self._network = open_model(self._archive, verify=True)
        return self._network

    def _forget_network(self) -> None:
        if self._network is not None:
            self._network = None
            give_back_memory()

    def step(self, info: Any) -> int:
        """Return the time step that the pipeline asks an output port for, else the first."""
        wanted = Pipeline.UPDATE_TIME_STEP()
        return self.index.step_near(info.Get(wanted)) if info.Has(wanted) else 0

    def fill(
        self,
        dataset: Any,
        geometry: GridGeometry,
        extent: VTKExtent,
        step: int,
        *,
        is_preview: bool = False,
        errors: bool = False,
        density: bool = False,
    ) -> None:
        """Give a data set a step's values on a part of a grid, its time, and the model's name.

        A preview keeps within the model's range and has it for its own. All tell how to show the
        model. With `errors` also how large those are, see
        :meth:`~amgsrn_core.field.neural_volume.NeuralVolume.error_at`, with `density` the feature
        density.
        """
        datasets.set_places(dataset, geometry, extent, self.index)
        if not datasets.is_empty(extent):
            index, model = self.index, self.network().at(step)
            part, named = datasets.to_slices(extent), (index.name, index.components, index.units)
            block = model.reconstruct_block(geometry, part)
            if is_preview:
                block = datasets.clamped(block, list(zip(index.value_minimum, index.value_maximum)))
            datasets.set_arrays(dataset, block, *named)
            looks = datasets.Looks.of_model(model)
            datasets.set_look(dataset, index.geometry, looks, is_preview=is_preview)
            for suffix, rms in (("_error_max", False), ("_error_rms", True)) if errors else ():
                block = model.error_block(geometry, part, rms=rms)
                datasets.set_arrays(dataset, block, *named, suffix=suffix)
            if density:
                block = model.density_block(geometry, part)
                datasets.set_arrays(dataset, block, FEATURE_DENSITY, (FEATURE_DENSITY,))
        datasets.set_description(dataset, self.index.at(step))
        datasets.set_model(dataset, self.path, self.checksum, step)
        if is_preview:
            carry_network(dataset, self.path, self.checksum, step)
        if self.index.times:
            time = self.index.times[step]
            dataset.GetInformation().Set(vtkDataObject.DATA_TIME_STEP(), time)

    def refuse_index_space(
        self, advice: str = "apply AMGSRN Reconstruction, and ParaView's own filter to that"
    ) -> None:
        """Raise where a model is in the index space of a curvilinear grid, not in the world."""
        if self.index.coordinates is not None:
            raise ConfigurationError(
                "The model is in the index space of a curvilinear grid, and knows no places in the "
                f"world; {advice}."
            )

    def expect(self, checksum: str) -> None:
        """Raise unless the file still is the model with this checksum."""
        if checksum and checksum != self.checksum:
            raise ArchiveNotFoundError(
                f"The model file {self.path} was replaced by another model; update its source."
            )
