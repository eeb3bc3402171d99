"""Metrics, baselines without a neural network, and plots."""
