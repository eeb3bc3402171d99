"""Text generation from next-token probabilities: beam search and sampling."""
