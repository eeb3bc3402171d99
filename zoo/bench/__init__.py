"""python -m zoo.bench: ours against the usual way, side by side in one process.

The sides take turns, round after round, over the same rows; a figure is the median of its rounds.
Trust the ratio: the machine's speed drifts, and all sides drift with it.
"""
