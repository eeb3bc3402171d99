"""Settings of text generation: beam search or sampling, length limits and stop strings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from zoo.config import Count, Positive


@dataclass(frozen=True)
class GenerationConfig:
    """Settings of text generation: beam search by default, sampling with `sample`.

    Hypotheses are ranked by log-probability / length ** length_penalty. The length counts EOS.
    Raises ValueError when `n_best` exceeds the beam size in a beam search.
    """

    beam_size: Count = 5  # prefixes kept per text; 1 is greedy search
    n_best: Count = 1  # hypotheses returned per text
    length_penalty: Annotated[float, Field(ge=0)] = 1.0  # 0: no normalisation
    min_length: Annotated[int, Field(ge=0)] = 0  # tokens, without EOS
    max_length: Count = 200  # tokens, without EOS; the input may set a lower limit
    sample: bool = False  # sample tokens instead of beam search
    temperature: Positive = 1.0  # of sampling: below 1 sharpens, above 1 flattens
    top_k: Annotated[int, Field(ge=0)] = 0  # most probable tokens to sample from; 0: all
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0  # nucleus sampling; 1: off
    repetition_penalty: Annotated[float, Field(ge=1)] = 1.0  # 1: none
    stop: tuple[Annotated[str, Field(min_length=1)], ...] = ()  # strings that end a text
    seed: Annotated[int, Field(ge=0, lt=2**32)] | None = None  # None: torch's generator

    def __post_init__(self) -> None:
        if self.n_best > self.beam_size and not self.sample:
            raise ValueError(
                f"n_best={self.n_best} needs a beam as wide, not beam_size={self.beam_size}"
            )
