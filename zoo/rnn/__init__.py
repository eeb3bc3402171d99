"""Recurrent layers: a drop-in for `torch.nn.LSTM`, and what computes it."""
