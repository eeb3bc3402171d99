"""Explanations: why an answer was given, and what the LSTM did while it was found."""
