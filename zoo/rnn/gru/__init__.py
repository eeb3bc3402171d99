"""The GRU: a drop-in for `torch.nn.GRU`, its fused engine and its readable reference."""
