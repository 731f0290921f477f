"""Training of one network: fitting, checkpoints, history and observers."""

from amgsrn_core.training.history import COLUMNS, History
from amgsrn_core.training.progress import Command, Observer, Progress

__all__ = ["COLUMNS", "Command", "History", "Observer", "Progress"]
