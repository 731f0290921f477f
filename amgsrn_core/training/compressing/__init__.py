"""Fine-tuning on quantised numbers, for models that are stored entropy-coded."""
