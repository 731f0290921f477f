"""What a training writes for people to look at while it is on: grids for ParaView, TensorBoard."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import TYPE_CHECKING

from amgsrn_core.config import TrainingConfig
from amgsrn_core.system.extras import require
from amgsrn_core.system.run_folder import records_base
from amgsrn_core.training.records.grid_series import GridSeries
from amgsrn_core.training.records.scalars import ScalarFile

if TYPE_CHECKING:
    from torch import Tensor

    from amgsrn_core.model import BrickRecord
    from amgsrn_core.volume.geometry import GridGeometry


def with_usable_records(training: TrainingConfig) -> TrainingConfig:
    """Make sure that records can be written, from any process' working folder.

    Raises
    ------
    ConfigurationError
        TensorBoard's files are asked for, and their writer is not installed.
    """
    if not training.tensorboard:
        return training
    require("tensorboardX", "The option tensorboard")
    return dataclasses.replace(training, tensorboard=os.path.abspath(training.tensorboard))


class Records:
    """Follows the training of one brick.

    Parameters
    ----------
    training : TrainingConfig
        Its `log_grids` and `tensorboard` say what is wanted.
    output : path
        The model file that the training is going to write.
    geometry : GridGeometry
        Of the volume.
    record : BrickRecord
    number : int, optional
        Of the brick, where there are several.
    """

    def __init__(
        self,
        training: TrainingConfig,
        output: str | os.PathLike[str],
        geometry: GridGeometry,
        record: BrickRecord,
        number: int | None = None,
    ) -> None:
        self._series: GridSeries | None = None
        self._scalars: Path | None = None
        self._writer: ScalarFile | None = None
        if training.log_grids:
            every = training.log_grids
            self._series = GridSeries(output, geometry, record, number or 0, every)
        if training.tensorboard:
            self._scalars = Path(training.tensorboard) / records_base(output).name
            if number is not None:
                self._scalars /= f"brick-{number:04d}"

    def begin(self, iteration: int, transforms: Tensor, start: Tensor) -> None:
        """Note that training begins, or goes on, after an iteration."""
        if self._series is not None:
            self._series.begin(iteration)
            if iteration == 0:
                self._series.write(0, transforms.detach().cpu().numpy(), start.cpu().numpy())
        if self._scalars is not None:
            self._writer = ScalarFile(self._scalars, iteration)

    def step(self, iteration: int, transforms: Tensor, start: Tensor, *, last: bool) -> None:
        """Note that an iteration is done, the maps [G, 3, 4] being these now and at the start."""
        series = self._series
        if series is not None and (last or iteration % series.every == 0):
            series.write(iteration, transforms.detach().cpu().numpy(), start.cpu().numpy())

    def row(self, row: tuple[float, ...]) -> None:
        """Note a row of the history."""
        if self._writer is not None:
            self._writer.add(row)

    def close(self) -> None:
        """Complete all files."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
