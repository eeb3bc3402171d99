"""What a search asks of a model: log-probabilities of the next token, one step after the other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from zoo.generation.config import GenerationConfig


@dataclass(frozen=True)
class Hypothesis:
    """One text that was found."""

    ids: list[int]  # without BOS and EOS
    log_probability: float  # of all its tokens, EOS included
    score: float  # what it is ranked by


class StepModel(Protocol):
    """A model in the middle of writing several texts, with several prefixes of each."""

    ends_itself: bool  # whether the model ends its texts itself, or writes on until it is stopped

    def step(self, ids: Tensor) -> Tensor:
        """Last tokens (texts, prefixes) -> log-probabilities (texts, prefixes, vocabulary)."""

    def reorder(self, texts: Tensor, prefixes: Tensor) -> None:
        """Go on with texts (kept,) alone, ascending, and of each with prefixes (kept, width)."""


def hypothesis(ids: list[int], log_probability: float, config: GenerationConfig) -> Hypothesis:
    """A text that has ended, with its score."""
    score = log_probability / (len(ids) + 1) ** config.length_penalty
    return Hypothesis(ids, log_probability, score)


def bounded(
    log_probabilities: Tensor, end: int, written: int, limits: Tensor, least: int, ends: bool = True
) -> Tensor:
    """Log-probabilities (texts, prefixes, vocabulary) when `written` tokens are there: -inf for
    `end` before `least` tokens, and for everything else at a text's limit. A text that does not
    end by itself is cut there: its end costs nothing."""
    full = (limits <= written).view(-1, 1, 1)
    at_end = torch.arange(log_probabilities.size(-1), device=full.device) == end
    forbidden = full & ~at_end
    if written < least:  # but a text that can do nothing else ends
        others = log_probabilities.masked_fill(at_end, -torch.inf).isfinite().any(-1, keepdim=True)
        forbidden = forbidden | (~full & at_end & others)
    elif not bool(full.any()):
        return log_probabilities
    bound = log_probabilities.masked_fill(forbidden, -torch.inf)
    return bound if ends else bound.masked_fill(full & at_end, 0)
