"""Training in other processes: jobs, their workers, and the interpreter that runs them."""

from amgsrn_core.jobs.extractor import SeriesExtractor
from amgsrn_core.jobs.job import TrainingJob
from amgsrn_core.jobs.live import PREVIEW_POINTS, LiveResult
from amgsrn_core.jobs.status import JobStatus
from amgsrn_core.system.interpreter import worker_python

__all__ = [
    "PREVIEW_POINTS",
    "JobStatus",
    "LiveResult",
    "SeriesExtractor",
    "TrainingJob",
    "worker_python",
]
