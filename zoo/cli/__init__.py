"""The modes of `python -m zoo.run`, and what they print."""
