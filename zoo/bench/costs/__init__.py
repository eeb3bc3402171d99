"""How the time grows with rows, units, steps and labels."""

from zoo.bench.costs.grow import costs

__all__ = ["costs"]
