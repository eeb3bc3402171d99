"""Text to ids and back: tokenizers, words, spans of labels."""
