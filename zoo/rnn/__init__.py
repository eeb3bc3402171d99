"""Recurrent layers: a drop-in for `torch.nn.LSTM` and the engines that compute it."""
