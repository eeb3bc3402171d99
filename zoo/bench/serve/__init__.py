"""What a server answers under load, and whether all of it is right."""

from zoo.bench.serve.compare import serve

__all__ = ["serve"]
