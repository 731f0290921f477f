"""Base of every algorithm here: errors become one clear sentence in ParaView's messages."""

from __future__ import annotations

import logging
from typing import Any

from vtkmodules.util.misc import calldata_type
from vtkmodules.util.vtkAlgorithm import VTKPythonAlgorithmBase
from vtkmodules.util.vtkConstants import VTK_STRING
from vtkmodules.vtkCommonCore import vtkOutputWindow

from amgsrn_core.errors import AmgsrnError

# What the pipeline says when a request failed, and when the grid is unknown for that reason.
_CONSEQUENCES = ("returned failure for request", "No whole extent has been set")

_log = logging.getLogger(__name__)


class Algorithm(VTKPythonAlgorithmBase):
    """A VTK algorithm whose requests may raise.

    An error is shown once, not again with every render, until a property or the input changes.
    The pipeline then sees a failed request; its own report of that, which names addresses and
    information keys, is left out.
    """

    label = "AMGSRN"

    def __init__(self, **ports: Any) -> None:
        VTKPythonAlgorithmBase.__init__(self, **ports)
        self._complaint = ""
        self._complaint_state: object = None
        self._quiet_tag: int | None = None

    def ProcessRequest(self, request: Any, inInfo: Any, outInfo: Any) -> int:
        """Serve a request of the pipeline; see vtkAlgorithm."""
        try:
            result = VTKPythonAlgorithmBase.ProcessRequest(self, request, inInfo, outInfo)
        except AmgsrnError as error:
            self.complain(str(error))
        except MemoryError:
            self.complain("There is not enough memory; choose a smaller region or resolution.")
        except Exception as error:
            _log.exception("%s failed", self.label)
            kind = type(error).__name__
            self.complain(f"An internal error occurred ({kind}: {error}); please report it.")
        else:
            return int(result)
        self._silence_pipeline()
        return 0

    def GetMessage(self) -> str:
        """Return what went wrong last, or an empty string."""
        return self._complaint

    def complain(self, sentence: str) -> None:
        """Show an error in ParaView's messages unless it was just shown for the same state."""
        state = (sentence, self.GetMTime(), self._input_time())
        if state != self._complaint_state:
            self._complaint, self._complaint_state = sentence, state
            text = f"ERROR: {self.label}: {sentence}\n"
            vtkOutputWindow.GetInstance().DisplayErrorText(text)

    def forget_complaint(self) -> None:
        """Take note that everything is in order again."""
        self._complaint, self._complaint_state = "", None
        if self._quiet_tag is not None:
            self.GetExecutive().RemoveObserver(self._quiet_tag)
            self._quiet_tag = None

    def _input_time(self) -> tuple[int, ...]:
        inputs = (
            self.GetInputDataObject(port, 0)
            for port in range(self.GetNumberOfInputPorts())
            if self.GetNumberOfInputConnections(port)
        )
        return tuple(data.GetMTime() for data in inputs if data is not None)

    def _silence_pipeline(self) -> None:
        # VTK sends an error to an object's observers instead of the output window if there are any.
        executive = self.GetExecutive()
        if self._quiet_tag is None and executive is not None:
            self._quiet_tag = executive.AddObserver("ErrorEvent", _forward_other_errors)


@calldata_type(VTK_STRING)
def _forward_other_errors(_caller: Any, _event: str, text: str) -> None:
    if not any(consequence in text for consequence in _CONSEQUENCES):
        vtkOutputWindow.GetInstance().DisplayErrorText(text)
