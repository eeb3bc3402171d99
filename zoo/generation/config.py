"""Search: from the probabilities of the next token to whole texts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from zoo.config import Count, Positive


@dataclass(frozen=True)
class GenerationConfig:
    """How a text is looked for: along the most probable prefixes, or by drawing.

    Hypotheses are ranked by log-probability / length ** length_penalty, the end counted as a token.
    """

    beam_size: Count = 5  # prefixes of a text that are followed; 1 is greedy
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
        if self.n_best > self.beam_size and not self.sample:
            raise ValueError(
                f"n_best={self.n_best} needs a beam as wide, not beam_size={self.beam_size}"
            )
