"""Delete the tokens that an attribution ranks highest, and as many at random (Samek et al. 2017)."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

from zoo.config import check, compose
from zoo.errors import InputError
from zoo.evaluation.attribution import MOST_STEPS, Question, agreement, attribute
from zoo.loading import load
from zoo.task import Task, input_row, predict_rows
from zoo.training.rows import open_rows

log = logging.getLogger("zoo")

ROWS = 500
SHARE = 0.2  # of the tokens that are deleted
FEWEST = 5  # tokens of a text that is measured: a fifth of fewer is none
DRAWS = 10  # random deletions of each text
SAMPLES = 10_000  # of the bootstrap
METHODS = "occlusion", "gradient"


def attribution(arguments: Sequence[str], rounds: int) -> Iterator[dict[str, Any]]:
    """Yield a case for each method: the fall of the answer's probability, and that of random deletion.

    Settings are `model=MODEL`, those of its test rows, `rows=500`, `seed=1`, and `steps=262144`: with
    fewer, more neighbours of a long text are hidden together. Test rows with at
    least FEWEST tokens are drawn at random. The top 20 % of tokens are hidden at once. "interval"
    is the 95 % bootstrap interval of the difference, by text. Raises InputError.
    """
    given = dict(argument.partition("=")[::2] for argument in arguments)
    if "model" not in given:
        raise InputError("zoo.bench attribution needs model=MODEL and the data= of its test rows")
    task = load(given["model"])
    own = [a for a in arguments if not a.startswith(("model=", "rows=", "steps="))]
    settings = check(compose([f"task={task.name}", *own]))
    if settings.threads:
        torch.set_num_threads(settings.threads)
    generator = np.random.default_rng(settings.seed)
    count, steps = (int(given.get(n, d)) for n, d in (("rows", ROWS), ("steps", MOST_STEPS)))
    found = [*_measured(task, settings, count, steps, generator)]
    for method in METHODS:
        yield _case(method, found, generator)


def _measured(
    task: Task, settings: Any, count: int, steps: int, generator: np.random.Generator
) -> Iterator[dict[str, float]]:
    """Yield the figures of each text that is measured."""
    rows = list(open_rows(settings, type(task)).test)
    done, began = 0, time.perf_counter()
    for number in generator.permutation(len(rows)):
        row = input_row(task, rows[number])
        question = task.question(row, next(predict_rows(task, [row])))
        if len(question.tokens) < FEWEST:
            continue
        yield _of_text(task, question, steps, generator)
        done += 1
        if done % 50 == 0:
            log.warning("%d texts in %.0f s", done, time.perf_counter() - began)
        if done == count:
            return


def _of_text(
    task: Task, question: Question, steps: int, generator: np.random.Generator
) -> dict[str, float]:
    """Return the falls of the answer's probability without some tokens of a text."""
    found = attribute(task, question, steps)
    size = len(question.tokens)
    some = math.floor(SHARE * size)
    ranked = [np.argsort(-getattr(found, method), kind="stable")[:some] for method in METHODS]
    drawn = [generator.permutation(size)[:some] for _ in range(DRAWS)]
    examples = [question.hide([*map(int, tokens)]) for tokens in (*ranked, *drawn)]
    with torch.no_grad():
        batch = task.collate(examples).to(task.device)
        shares = question.score_all(question.run(batch)).exp().tolist()
    falls = [math.exp(found.score) - share for share in shares]
    named = dict(zip(METHODS, falls, strict=False))
    agreed = agreement(found.occlusion, found.gradient)
    return {
        **named,
        "random": float(np.mean(falls[len(METHODS) :])),
        "agreement": math.nan if agreed is None else agreed,
        "tokens": size,
        "window": found.window,
    }


def _case(
    method: str, found: Sequence[dict[str, float]], generator: np.random.Generator
) -> dict[str, Any]:
    """Return the case of a method: means over the texts, and intervals."""
    ours, peer = (np.array([each[name] for each in found]) for name in (method, "random"))
    agreed = np.array([each["agreement"] for each in found])
    agreed = agreed[np.isfinite(agreed)]
    return {
        "name": f"{method}: the top {SHARE:.0%} of the tokens of {len(found)} texts deleted",
        "unit": "of the answer's probability, as many at random",
        "ours": float(ours.mean()),
        "peer": float(peer.mean()),
        "ratio": float(ours.mean() / peer.mean()) if peer.mean() else math.inf,
        "difference": float((ours - peer).mean()),
        "interval": _interval(ours - peer, generator),
        "better_texts": float((ours > peer).mean()),
        "rank_correlation": float(agreed.mean()),
        "rank_correlation_interval": _interval(agreed, generator),
        "tokens": float(np.mean([each["tokens"] for each in found])),
        "window": int(max(each["window"] for each in found)),
    }


def _interval(values: np.ndarray, generator: np.random.Generator) -> list[float]:
    """Return the 95 % bootstrap interval of a mean."""
    means = [generator.choice(values, len(values)).mean() for _ in range(SAMPLES)]
    return np.quantile(means, [0.025, 0.975]).tolist()
