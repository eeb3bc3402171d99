"""Tokenizers, canonical text, word splitting, characters and span labels."""
