"""The interface between a model and generation: next-token log-probabilities, step by step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from zoo.errors import InputError
from zoo.generation.config import GenerationConfig
from zoo.memory import check_fits
from zoo.text.special_ids import PAD

COPIES = 3  # of a step's log-probabilities that are there at once, at least


@dataclass(frozen=True)
class Hypothesis:
    """A finished text."""

    ids: list[int]  # without the id that ended the text
    log_probability: float  # of all tokens, with that id
    score: float  # log-probability / length ** length_penalty; the ranking key


class StepModel(Protocol):
    """A model with its state over a batch of texts, each with several prefixes.

    At the first step there is one empty prefix per text, and the ids are BOS. PAD gets
    log-probability -inf: generation itself ends a text with it, see `is_end`.
    """

    def step(self, ids: Tensor) -> Tensor:
        """Read the last tokens (texts, prefixes); return next-token log-probabilities.

        The result is (texts, prefixes, vocabulary).
        """

    def reorder(self, texts: Tensor, prefixes: Tensor) -> None:
        """Keep only texts (kept,), in ascending order, and their prefixes (kept, width)."""


class Writer(Protocol):
    """Greedy search or sampling without a StepModel's steps; `zoo.generation.writing.writer` has them.

    A row is one draw of a text; the draws of a text follow each other.
    """

    vocabulary: int  # the number of ids
    most: int  # steps that one call may take

    def write(
        self, numbers: Tensor | None, barred: Tensor | None, count: int
    ) -> tuple[Tensor, Tensor]:
        """Write `count` tokens for each row; return tokens and log-probabilities (count, rows).

        numbers: (count, rows) uniform numbers of sampling, None in greedy search. barred:
        (vocabulary,), -inf for ids that must not be written, otherwise 0; None bars nothing.
        """

    def keep(self, rows: Tensor) -> bool:
        """Keep only some rows (kept,), or return False and go on with all."""

    close: Callable[[], None]  # gives the writer back after the last call


@runtime_checkable
class WriterMaker(Protocol):
    """A StepModel that can go on with a writer."""

    vocabulary: int  # the number of ids

    def writer(self, ids: Tensor, config: GenerationConfig, count: int, barring: bool) -> Writer:
        """Return a writer that goes on after the last tokens (texts, draws).

        It is to write about `count` tokens. Only with `barring` it is given ids to bar.
        """


def hypothesis(ids: list[int], log_probability: float, config: GenerationConfig) -> Hypothesis:
    """Return a finished text with its score. `ids` are without the id that ended the text."""
    score = log_probability / (len(ids) + 1) ** config.length_penalty
    return Hypothesis(ids, log_probability, score)


def is_end(ids: Tensor, stop_ids: Sequence[int]) -> Tensor:
    """Return True for ids that end a text, a bool tensor of the shape of `ids`.

    The model ends a text with one of `stop_ids`. PAD ends one that the model does not end: at its
    limit, or after a stop string.
    """
    ends = ids == PAD
    for stop_id in stop_ids:
        ends = ends | (ids == stop_id)
    return ends


def check_first(log_probabilities: Tensor, width: int, min_length: int) -> None:
    """Raise InputError when the next steps, of `width` prefixes a text, do not fit into the memory.

    log_probabilities: those of the first step, (texts, 1, vocabulary). At least `min_length` tokens
    are written.
    """
    texts, _, vocabulary = log_probabilities.shape
    size = texts * width * (4 * COPIES * vocabulary + 16 * min_length)
    check_fits(
        size,
        f"generating {texts:,} texts at once, {width:,} of each,",
        "choose a smaller generation.beam_size, generation.n_best or evaluate.batch_rows",
        log_probabilities.device,
    )


def check_numbers(log_probabilities: Tensor) -> None:
    """Raise InputError for log-probabilities (texts, prefixes, vocabulary) that are NaN.

    A softmax makes all of a row NaN if one logit is NaN or infinite, so one token tells.
    """
    if bool(log_probabilities[..., -1].isnan().any()):
        raise InputError(
            "the model's probabilities are no numbers: its weights are damaged or overflow: train "
            "it again, with a smaller train.learning_rate if it was trained like this"
        )


def bounded(
    log_probabilities: Tensor,
    stop_ids: Sequence[int],
    written: int,
    limits: Tensor,
    min_length: int,
) -> Tensor:
    """Apply the length bounds to log-probabilities (texts, prefixes, vocabulary).

    `written` is the number of tokens so far, `limits` (texts,) the maximum of each text. Before
    `min_length` tokens every end gets -inf, unless no other token is possible. At a text's limit
    every token but an end gets -inf. Without `stop_ids` PAD then gets log-probability 0.
    """
    full = (limits <= written).view(-1, 1, 1)
    ids = torch.arange(log_probabilities.size(-1), device=full.device)
    at_end = is_end(ids, stop_ids)
    forbidden = full & ~at_end
    if written < min_length:  # a text without another possible token may still end
        others = log_probabilities.masked_fill(at_end, -torch.inf).isfinite().any(-1, keepdim=True)
        forbidden = forbidden | (~full & at_end & others)
    elif not bool(full.any()):
        return log_probabilities
    bound = log_probabilities.masked_fill(forbidden, -torch.inf)
    return bound if stop_ids else bound.masked_fill(full & at_end, 0)
