"""Metrics, yardsticks without a network, and plots."""
