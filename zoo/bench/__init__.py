"""python -m zoo.bench compares the zoo with the usual implementations, side by side in one process.

The sides take turns, round after round, over the same rows. A figure is the median of its rounds.
Trust the ratio: the machine's speed drifts, and all sides drift with it.
"""
