"""Search: from the probabilities of the next token to whole texts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Protocol

import torch
from pydantic import Field
from torch import Tensor

from zoo.config import Count, Positive


@dataclass(frozen=True)
class Search:
    """How a text is looked for: along the most probable prefixes, or by drawing.

    Hypotheses are ranked by log-probability / length ** length_penalty, the end counted as a token.
    """

    beam: Count = 5  # prefixes of a text that are followed; 1 is greedy
    n_best: Count = 1  # hypotheses of a text that are returned
    length_penalty: Annotated[float, Field(ge=0)] = 1.0  # 0: by probability alone, for short texts
    min_length: Annotated[int, Field(ge=0)] = 0  # tokens, the end not counted
    max_length: Count = 200  # tokens; what is read may bound it too
    sample: bool = False  # draw tokens instead of searching for the best
    temperature: Positive = 1.0  # of a draw: surer below 1, wilder above
    top_k: Annotated[int, Field(ge=0)] = 0  # draw from so many tokens; 0: from all
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0  # … from the fewest that have this share
    repetition_penalty: Annotated[float, Field(ge=1)] = 1.0  # of tokens that are there already
    stop: tuple[
        Annotated[str, Field(min_length=1)], ...
    ] = ()  # texts are over where one of these is in what was written
    seed: Annotated[int, Field(ge=0, lt=2**32)] | None = None  # of draws; None: torch's generator

    def __post_init__(self) -> None:
        if self.n_best > self.beam and not self.sample:
            raise ValueError(f"n_best={self.n_best} needs a beam as wide, not beam={self.beam}")


@dataclass(frozen=True)
class Hypothesis:
    """One text that was found."""

    ids: list[int]  # without BOS and EOS
    log_probability: float  # of all its tokens, EOS included
    score: float  # what it is ranked by


class Writer(Protocol):
    """A model in the middle of writing several texts, with several prefixes of each."""

    ends: bool  # whether the model ends its texts itself, or writes on until it is stopped

    def step(self, ids: Tensor) -> Tensor:
        """Last tokens (texts, prefixes) -> log-probabilities (texts, prefixes, vocabulary)."""

    def keep(self, texts: Tensor, prefixes: Tensor) -> None:
        """Go on with texts (kept,) alone, ascending, and of each with prefixes (kept, width)."""


@torch.no_grad()
def find(writer: Writer, limits: Tensor, search: Search) -> list[list[Hypothesis]]:
    """For each text at most `n_best` hypotheses, the best first.

    limits: (texts,) int64, the most tokens that each may have, its end not counted. The writer
    holds one empty prefix of each text. What a beam finds for a text does not depend on the others,
    nor does what is drawn with a seed. A text that is done leaves the batch.
    """
    from zoo.generation import beam_search as beam  # they import this file
    from zoo.generation import sampling

    limits = limits.clamp(max=search.max_length)
    look = sampling.draw if search.sample else beam.search
    found = look(writer, limits, search)
    return [sorted(each, key=lambda h: -h.score)[: search.n_best] for each in found]


def hypothesis(ids: list[int], log_probability: float, search: Search) -> Hypothesis:
    """A text that has ended, with its score."""
    score = log_probability / (len(ids) + 1) ** search.length_penalty
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
