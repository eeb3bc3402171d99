"""A training, from settings and rows to a model folder."""
