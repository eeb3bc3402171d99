"""Training from Python: rows and settings as values, progress in a notebook."""
