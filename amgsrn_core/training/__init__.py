"""Training: fit networks to volumes, with checkpoints, resuming, history and observers."""

from amgsrn_core.training.fit import FitResult, fit
from amgsrn_core.training.history import COLUMNS, History
from amgsrn_core.training.progress import Command, Observer, Progress
from amgsrn_core.training.train import TrainingOutcome, train

__all__ = [
    "COLUMNS",
    "Command",
    "FitResult",
    "History",
    "Observer",
    "Progress",
    "TrainingOutcome",
    "fit",
    "train",
]
