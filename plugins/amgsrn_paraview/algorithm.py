"""Base of every algorithm here: errors become one clear sentence in ParaView's messages."""

from __future__ import annotations

from typing import Any

from vtkmodules.util.vtkAlgorithm import VTKPythonAlgorithmBase
from vtkmodules.vtkCommonCore import vtkOutputWindow
from vtkmodules.vtkCommonDataModel import vtkDataObject, vtkImageData
from vtkmodules.vtkCommonExecutionModel import vtkStreamingDemandDrivenPipeline as Pipeline

from amgsrn_paraview.explanation import explain


class Algorithm(VTKPythonAlgorithmBase):
    """A VTK algorithm whose requests may raise.

    An error is shown once, until a property or something upstream changes, and the outputs are
    empty. The request counts as served: a failed one would be repeated with every render, and each
    filter and representation downstream would add a report of its own.
    """

    label = "AMGSRN"

    def __init__(self, **ports: Any) -> None:
        VTKPythonAlgorithmBase.__init__(self, **ports)
        self._complaint = ""
        self._complaint_time = -1
        self._remark = ""
        self.about = ""  # what was done, where that needs to be said

    def ProcessRequest(self, request: Any, inInfo: Any, outInfo: Any) -> int:
        """Serve a request of the pipeline; see vtkAlgorithm."""
        try:
            return int(VTKPythonAlgorithmBase.ProcessRequest(self, request, inInfo, outInfo))
        except Exception as error:
            self.complain(explain(error, self.label, "choose a smaller region or resolution"))
        for port in range(self.GetNumberOfOutputPorts()):
            _leave_empty(request, outInfo.GetInformationObject(port))
        return 1

    def change(self, **options: Any) -> None:
        """Set attributes by name, and be modified if one of them was another before."""
        for name, value in options.items():
            if getattr(self, name) != value:
                setattr(self, name, value)
                self.Modified()

    def GetMessage(self) -> str:
        """Return what went wrong last, or ended otherwise than asked for, or what was remarked.

        What was done goes before remarks. Empty where there is nothing to say.
        """
        return self._complaint or " ".join(filter(None, (self.about, self._remark)))

    def complain(self, sentence: str) -> None:
        """Show an error in ParaView's messages unless it was just shown for the same state."""
        if self._is_new(sentence):
            text = f"ERROR: {self.label}: {sentence}\n"
            vtkOutputWindow.GetInstance().DisplayErrorText(text)

    def warn(self, sentence: str) -> None:
        """Show in ParaView's messages what is no error, but was not asked for here."""
        if self._is_new(sentence):
            vtkOutputWindow.GetInstance().DisplayWarningText(f"{self.label}: {sentence}\n")

    def _is_new(self, sentence: str) -> bool:
        """Take note of a sentence; return whether it was not the last one, for the same state."""
        time = self.GetExecutive().GetPipelineMTime()
        is_new = (sentence, time) != (self._complaint, self._complaint_time)
        self._complaint, self._complaint_time = sentence, time
        return is_new

    def remark(self, text: str) -> None:
        """Show what is strange about the data, unless it was shown last; empty for nothing."""
        if text and text != self._remark:
            vtkOutputWindow.GetInstance().DisplayWarningText(f"Warning: {self.label}: {text}\n")
        self._remark = text

    def forget_complaint(self) -> None:
        """Take note that everything is in order again."""
        self._complaint, self._complaint_time = "", -1


def _leave_empty(request: Any, info: Any) -> None:
    """Give an output port what keeps the pipeline content: an empty data set."""
    output = info.Get(vtkDataObject.DATA_OBJECT())
    if request.Has(Pipeline.REQUEST_DATA_OBJECT()):
        if output is None:
            info.Set(vtkDataObject.DATA_OBJECT(), vtkImageData())
    elif request.Has(Pipeline.REQUEST_INFORMATION()):
        info.Set(Pipeline.WHOLE_EXTENT(), (0, -1, 0, -1, 0, -1), 6)
    elif output is not None and request.Has(Pipeline.REQUEST_DATA()):
        output.Initialize()
