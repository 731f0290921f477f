"""Whole trainings, from a volume to a model file: plans, bricks, series, and what resumes them."""

from amgsrn_core.runs.entry import train
from amgsrn_core.runs.outcome import TrainingOutcome
from amgsrn_core.runs.series import train_series

__all__ = ["TrainingOutcome", "train", "train_series"]
