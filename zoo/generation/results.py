"""What the steps of a search have found, for torch and numpy alike: no step is computed here."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any


def is_settled(scores: Sequence[float], best: float, beam_size: int, n_best: int) -> bool:
    """Return whether a prefix of score `best` cannot change the `n_best` hypotheses of its text.

    `scores` are those of the hypotheses that the text has.
    """
    if len(scores) < beam_size:
        return False
    return best <= sorted(scores, reverse=True)[n_best - 1]


def collect_samples(
    steps: Iterable[tuple[Any, Any, Any]], texts: int, draws: int, ends: Collection[int]
) -> list[list[tuple[list[int], float]]]:
    """Return the ids of each draw of each text, without `ends`, and their log-probability.

    A step has the numbers of the texts that go on, their tokens (texts, draws), and the tokens'
    log-probabilities, as tensors or arrays.
    """
    ids = [[list[int]() for _ in range(draws)] for _ in range(texts)]
    totals = [[0.0] * draws for _ in range(texts)]
    for step in steps:
        numbers, tokens, gains = (part.tolist() for part in step)
        for text, row, gained in zip(numbers, tokens, gains, strict=True):
            for draw, token in enumerate(row):
                totals[text][draw] += gained[draw]
                if token not in ends:
                    ids[text][draw].append(token)
    return [[*zip(*of_text, strict=True)] for of_text in zip(ids, totals, strict=True)]
