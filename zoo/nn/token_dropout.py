"""Dropout of whole tokens: some ids of a batch become UNK in training."""

from __future__ import annotations

import torch
from torch import Tensor

from zoo.text.special_ids import EOS, UNK


def words(ids: Tensor, p: float, training: bool = True) -> Tensor:
    """Ids with `share` of the tokens turned into UNK, in training; PAD, BOS and EOS stay."""
    if not (training and p):
        return ids
    dropped = torch.rand(ids.shape, device=ids.device) < p
    return ids.masked_fill(dropped & (ids > EOS), UNK)


def some(ids: Tensor, chosen: Tensor, p: float, training: bool = True) -> Tensor:
    """Ids with `share` of those that are `chosen`, (vocabulary,) bool, turned into UNK, in
    training."""
    if not (training and p):
        return ids
    return ids.masked_fill(chosen[ids] & (torch.rand(ids.shape, device=ids.device) < p), UNK)
