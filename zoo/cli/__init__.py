"""The modes of `python -m zoo.run` and their output."""
