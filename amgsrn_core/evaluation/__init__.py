"""How far a model is from data: metrics, and whether the two belong together."""
