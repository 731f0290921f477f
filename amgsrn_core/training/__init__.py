"""Training: fit networks to volumes, with checkpoints, resuming, history and observers."""

from amgsrn_core.training.entry import train
from amgsrn_core.training.history import COLUMNS, History
from amgsrn_core.training.outcome import TrainingOutcome
from amgsrn_core.training.progress import Command, Observer, Progress
from amgsrn_core.training.series import train_series

__all__ = [
    "COLUMNS",
    "Command",
    "History",
    "Observer",
    "Progress",
    "TrainingOutcome",
    "train",
    "train_series",
]
