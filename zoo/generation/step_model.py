"""The interface between a model and generation: next-token log-probabilities, step by step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from zoo.generation.config import GenerationConfig


@dataclass(frozen=True)
class Hypothesis:
    """A finished text."""

    ids: list[int]  # without BOS and EOS
    log_probability: float  # of all tokens, with EOS
    score: float  # log-probability / length ** length_penalty; the ranking key


class StepModel(Protocol):
    """A model with its state over a batch of texts, each with several prefixes."""

    ends_itself: bool  # whether the model predicts EOS, or writes until its limit

    def step(self, ids: Tensor) -> Tensor:
        """Read the last tokens (texts, prefixes); return next-token log-probabilities.

        The result is (texts, prefixes, vocabulary).
        """

    def reorder(self, texts: Tensor, prefixes: Tensor) -> None:
        """Keep only texts (kept,), in ascending order, and their prefixes (kept, width)."""


def hypothesis(ids: list[int], log_probability: float, config: GenerationConfig) -> Hypothesis:
    """Return a finished text with its score. `ids` are without BOS and EOS."""
    score = log_probability / (len(ids) + 1) ** config.length_penalty
    return Hypothesis(ids, log_probability, score)


def bounded(
    log_probabilities: Tensor, end: int, written: int, limits: Tensor, least: int, ends: bool = True
) -> Tensor:
    """Apply the length bounds to log-probabilities (texts, prefixes, vocabulary).

    `written` is the number of tokens so far, `limits` (texts,) the maximum of each text. Before
    `least` tokens `end` gets -inf, unless no other token is possible. At a text's limit every
    other token gets -inf. Without `ends` the model predicts no end: at the limit `end` gets
    log-probability 0.
    """
    full = (limits <= written).view(-1, 1, 1)
    at_end = torch.arange(log_probabilities.size(-1), device=full.device) == end
    forbidden = full & ~at_end
    if written < least:  # a text without another possible token may still end
        others = log_probabilities.masked_fill(at_end, -torch.inf).isfinite().any(-1, keepdim=True)
        forbidden = forbidden | (~full & at_end & others)
    elif not bool(full.any()):
        return log_probabilities
    bound = log_probabilities.masked_fill(forbidden, -torch.inf)
    return bound if ends else bound.masked_fill(full & at_end, 0)
