"""Training in other processes: jobs, their workers, and the interpreter that runs them."""

from amgsrn_core.dispatch.interpreter import worker_python
from amgsrn_core.dispatch.job import TrainingJob
from amgsrn_core.dispatch.live import PREVIEW_POINTS, LiveResult
from amgsrn_core.dispatch.status import JobStatus

__all__ = ["PREVIEW_POINTS", "JobStatus", "LiveResult", "TrainingJob", "worker_python"]
