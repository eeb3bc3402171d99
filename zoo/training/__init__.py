"""Training: from settings and rows to a model folder."""
