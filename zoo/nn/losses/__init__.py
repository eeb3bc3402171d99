"""Losses: the cross entropy of an output layer over a large vocabulary, and R-Drop."""
