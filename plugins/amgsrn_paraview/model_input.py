"""An input port whose data carry a model, and nothing else that matters."""

from __future__ import annotations

from typing import Any

from vtkmodules.vtkCommonDataModel import vtkDataObject
from vtkmodules.vtkCommonExecutionModel import vtkStreamingDemandDrivenPipeline as Pipeline

from amgsrn_core.errors import ConfigurationError
from amgsrn_paraview import datasets
from amgsrn_paraview.algorithm import Algorithm
from amgsrn_paraview.model_file import ModelFile
from amgsrn_paraview.ranks import rank, ranks


class ModelInput:
    """The model that an algorithm's input names in its field data.

    Attributes
    ----------
    step : int
        The time step that the input shows.
    """

    def __init__(self, algorithm: Algorithm, model: ModelFile, port: int = 0) -> None:
        self._algorithm, self._model, self._port = algorithm, model, port
        self.step = 0

    def update(self) -> None:
        """Let the input make its data now, before the pipeline asks for them."""
        self._algorithm.GetInputAlgorithm(self._port, 0).UpdatePiece(rank(), ranks(), 0)

    def ask(self, requests: Any) -> None:
        """Ask for nothing but what the input has."""
        info = requests[self._port].GetInformationObject(0)
        data = info.Get(vtkDataObject.DATA_OBJECT())
        info.Set(Pipeline.UPDATE_EXTENT(), data.GetExtent(), 6)
        info.Set(Pipeline.UPDATE_PIECE_NUMBER(), rank())
        info.Set(Pipeline.UPDATE_NUMBER_OF_PIECES(), ranks())
        info.Set(Pipeline.UPDATE_NUMBER_OF_GHOST_LEVELS(), 0)

    def find(self) -> bool:
        """Read the model's index; False where the input carries none."""
        data = self._algorithm.GetInputDataObject(self._port, 0)
        model = None if data is None else datasets.get_model(data)
        if model is not None:
            path, checksum, self.step = model
            self._model.refresh(path)
            self._model.expect(checksum)
        return model is not None

    def refuse_others(self) -> None:
        """Raise where no model is to come, neither now nor when a training is complete."""
        if not datasets.is_in_training(self._algorithm.GetInputDataObject(self._port, 0)):
            raise ConfigurationError(
                "The input carries no model; use the output of AMGSRN Reader, or of AMGSRN Trainer "
                "when its training is complete."
            )


class ModelFilter(Algorithm):
    """A filter that makes something of a model, each rank a piece of it.

    Parameters
    ----------
    output : str
        Class of the data set that it makes.
    ports : int, default: 1
        How many inputs there are.
    model_port : int, default: 0
        Which of them carries the model.
    """

    def __init__(self, output: str, ports: int = 1, model_port: int = 0) -> None:
        super().__init__(
            nInputPorts=ports, inputType="vtkDataSet", nOutputPorts=1, outputType=output
        )
        self._model = ModelFile()
        self._source = ModelInput(self, self._model, model_port)

    def RequestInformation(self, request: Any, inInfo: Any, outInfo: Any) -> int:
        """Let the model's source make what it is going to be asked for."""
        self._source.update()
        outInfo.GetInformationObject(0).Set(self.CAN_HANDLE_PIECE_REQUEST(), 1)
        return 1

    def RequestUpdateExtent(self, request: Any, inInfo: Any, outInfo: Any) -> int:
        """Ask the model's input for nothing but what it has: only its field data matter."""
        self._source.ask(inInfo)
        return 1

    def _note_time(self, output: Any) -> None:
        """Say of an output which time of the model's it is of, where it has times."""
        times = self._model.index.times
        if times:
            output.GetInformation().Set(vtkDataObject.DATA_TIME_STEP(), times[self._source.step])
