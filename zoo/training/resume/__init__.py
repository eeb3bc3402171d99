"""Going on with a training: what is kept for it, what may change, and which rows have changed."""
