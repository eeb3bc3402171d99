"""Tokenizers, word splitting, characters and BIO labels."""
