"""Settings of text generation: beam search or sampling, length limits and stop strings."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from zoo.option_classes import checked_dataclass


@checked_dataclass
class GenerationConfig:
    """Settings of text generation: beam search by default, sampling with `sample`.

    Hypotheses are ranked by log-probability / length ** length_penalty. The length counts the
    token that ends the text. Raises InputError, a ValueError, for a value of a wrong type or
    range, when `n_best` exceeds the beam size in a beam search, and when `min_length` exceeds
    `max_length`.

    >>> import zoo
    >>> model = zoo.load("translate/en-de")
    >>> model.predict("Two dogs are playing.", zoo.GenerationConfig(beam_size=1))
    ['Zwei Hunde spielen.']
    """

    section: ClassVar[str] = "generation"

    beam_size: Annotated[int, Field(ge=1, le=1000)] = 5
    """Prefixes kept per text; 1 is greedy search."""

    n_best: Annotated[int, Field(ge=1, le=10_000)] = 1
    """Hypotheses returned per text."""

    length_penalty: Annotated[float, Field(ge=0, le=10)] = 1.0
    """Exponent of the length in the score; 0 is no normalisation."""

    min_length: Annotated[int, Field(ge=0, le=100_000)] = 0
    """Least tokens of a text, without its end."""

    max_length: Annotated[int, Field(ge=1, le=100_000)] = 200
    """Most tokens of a text, without its end; the input may set a lower limit."""

    sample: bool = False
    """Sample tokens instead of beam search."""

    temperature: Annotated[float, Field(gt=0, le=1000)] = 1.0
    """Of sampling: below 1 sharpens the distribution, above 1 flattens it."""

    top_k: Annotated[int, Field(ge=0, le=10_000_000)] = 0
    """Most probable tokens to sample from; 0 is all."""

    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Probability of the nucleus to sample from; 1 is all."""

    repetition_penalty: Annotated[float, Field(ge=1, le=1000)] = 1.0
    """Factor on the log-probability of tokens that already occur; 1 is none."""

    stop: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    """Strings that end a text, which is cut before the first of them."""

    seed: Annotated[int, Field(ge=0, lt=2**32)] | None = None
    """Seed of sampling; without one each call draws others."""

    def __post_init__(self) -> None:
        if self.min_length > self.max_length:
            raise ValueError(f"min_length={self.min_length} is above max_length={self.max_length}")
        if self.n_best > self.beam_size and not self.sample:
            raise ValueError(
                f"n_best={self.n_best} needs a beam as wide, not beam_size={self.beam_size}"
            )
