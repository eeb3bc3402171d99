"""Dropout of whole tokens: some ids of a batch become UNK in training."""

from __future__ import annotations

import torch
from torch import Tensor

from zoo.text.special_ids import EOS, UNK


def words(ids: Tensor, p: float, training: bool = True) -> Tensor:
    """In training, replace each id by UNK with probability `p`; PAD, BOS and EOS stay."""
    if not (training and p):
        return ids
    dropped = torch.rand(ids.shape, device=ids.device) < p
    return ids.masked_fill(dropped & (ids > EOS), UNK)


def some(ids: Tensor, chosen: Tensor, p: float, training: bool = True) -> Tensor:
    """In training, replace each `chosen` id by UNK with probability `p`.

    chosen: (vocabulary,) bool.
    """
    if not (training and p):
        return ids
    return ids.masked_fill(chosen[ids] & (torch.rand(ids.shape, device=ids.device) < p), UNK)
