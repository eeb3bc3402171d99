"""Whether attributions are right: what they call important is taken away."""

from zoo.bench.attribution.deletion import attribution

__all__ = ["attribution"]
