"""A model's feature grids, as boxes."""

from __future__ import annotations

from typing import Any

import numpy as np
from vtkmodules.vtkCommonDataModel import vtkDataObject
from vtkmodules.vtkCommonExecutionModel import vtkStreamingDemandDrivenPipeline as Pipeline

from amgsrn_core.model.feature_grids import box_volumes
from amgsrn_paraview.model_input import ModelFilter
from amgsrn_paraview.results import fill_boxes


class AMGSRNFeatureGrids(ModelFilter):
    """Makes a box of the region of the world that each feature grid covers."""

    label = "AMGSRN Feature Grids"

    def __init__(self) -> None:
        super().__init__("vtkUnstructuredGrid")

    def RequestData(self, request: Any, inInfo: Any, outInfo: Any) -> int:
        """Make the boxes of this piece's bricks."""
        info = outInfo.GetInformationObject(0)
        output = info.Get(vtkDataObject.DATA_OBJECT())
        output.Initialize()
        if not self._source.find():
            self._source.refuse_others()
            self.forget_complaint()
            self.remark("The model is not complete; the trainer's third output has its grids.")
            return 1
        piece = info.Get(Pipeline.UPDATE_PIECE_NUMBER()) or 0
        pieces = max(1, info.Get(Pipeline.UPDATE_NUMBER_OF_PIECES()) or 1)
        model = self._model.network().at(self._source.step)
        mine = range(piece, len(model.index.bricks), pieces)
        corners, densities = model.feature_corners(mine), model.feature_densities(mine)
        brick, grid = np.indices(corners.shape[:2])
        has_box = np.isfinite(corners).all(axis=(2, 3))
        fill_boxes(
            output,
            corners[has_box],
            grid=grid[has_box].astype(np.int32),
            brick=np.array(mine, dtype=np.int32)[brick[has_box]],
            volume=box_volumes(corners[has_box]),
            density=densities[has_box],
        )
        self._note_time(output)
        self.forget_complaint()
        flat = int(has_box.size - has_box.sum())
        absent = sum(model.index.bricks[i].state != "network" for i in mine) * corners.shape[1]
        squeezed = flat - absent
        self.remark(f"{squeezed} grids are squeezed flat; they have no box." if squeezed else "")
        return 1
