"""Gradients between backward and update: rows of embeddings, and clipping."""
