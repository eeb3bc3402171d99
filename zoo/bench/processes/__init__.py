"""What several processes bring to a training, on one machine or over a slow link."""

from zoo.bench.processes.compare import processes

__all__ = ["processes"]
