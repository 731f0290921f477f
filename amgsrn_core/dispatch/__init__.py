"""Training in other processes: jobs, their workers, and the interpreter that runs them."""

from amgsrn_core.dispatch.interpreter import worker_python
from amgsrn_core.dispatch.job import LiveResult, TrainingJob
from amgsrn_core.dispatch.status import JobStatus

__all__ = ["JobStatus", "LiveResult", "TrainingJob", "worker_python"]
