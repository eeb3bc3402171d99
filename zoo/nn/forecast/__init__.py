"""Layers of a forecast: the decoder of future segments, and heads for points and distributions."""
