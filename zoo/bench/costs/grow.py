"""The time of a piece of work at growing sizes, as lines of a figure with logarithmic axes.

    python -m zoo.bench costs [figure=FILE.png] [most=1] [SETTING=VALUE ...]

The rows are made up: texts of numbered words. `most` is a factor on the largest sizes. A line of
slope 1 belongs to a cost that grows as the work does.
"""

from __future__ import annotations

import re
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from zoo.bench.costs.figure import draw
from zoo.bench.sides import collated, start, step_of
from zoo.config import Settings, check, compose
from zoo.data.corpora.splits import Splits
from zoo.data.dataset import ExampleList
from zoo.data.readers import Row, Rows
from zoo.errors import InputError
from zoo.task import Task, predict_rows
from zoo.training.build import build
from zoo.training.options import options_of
from zoo.training.rows import encode_rows

WORDS = 5000  # in the texts
BATCH = 16  # rows in a step
SHORT = 8  # words of a text where rows are counted
LONG = 2.0  # seconds after which a piece of work is not repeated
OWN = {"figure": "", "most": "1"}  # options of this benchmark; all others are settings
SAME = (  # what all tasks have in common
    "device=cpu",
    "threads=1",
    "data=files",
    "data.train=made-up",
    "precision=fp32",
    "train.batch_tokens=1000000",
    "tokenizer.kind=whitespace",
)
TINY = "backbone.hidden_size=32", "backbone.embedding_size=32"


Seconds = Callable[[Callable[[], Any]], float]  # of a piece of work


@dataclass(frozen=True)
class Line:
    """A line of the figure, with its sizes, and its panel, which is what grows."""

    panel: str
    name: str
    sizes: Sequence[int]
    measure: Callable[[int, Sequence[str], Seconds], float]  # a size, settings -> seconds


def costs(arguments: Sequence[str], rounds: int) -> Iterator[dict[str, Any]]:
    """Yield a case for each line: sizes, seconds, and the slopes between neighbouring sizes.

    A time is the median of `rounds` runs, of fewer where one takes long. It is the time of the
    processor, which other programs hardly change. Raises InputError for a
    factor `most` that is not above 0 and at most 1.
    """
    pairs = [argument.split("=", 1) for argument in arguments]
    own = OWN | {pair[0]: pair[1] for pair in pairs if len(pair) == 2 and pair[0] in OWN}
    settings = [each for each in arguments if each.split("=", 1)[0] not in OWN]
    most = float(own["most"]) if re.fullmatch(r"\d*\.?\d+", own["most"]) else 0.0
    if not 0 < most <= 1:
        raise InputError(f"most={own['most']}: give a factor above 0 and at most 1")
    seconds = partial(_median, rounds=rounds)
    cases = []
    for line in LINES:
        sizes = [size for size in line.sizes if size <= max(most * line.sizes[-1], line.sizes[1])]
        found = [line.measure(size, settings, seconds) for size in sizes]
        case = {"name": f"{line.panel}: {line.name}", "sizes": sizes, "seconds": found}
        cases.append(case | {"slopes": slopes(sizes, found)})
        yield cases[-1]
    if own["figure"]:
        draw(cases, Path(own["figure"]))


def slopes(sizes: Sequence[float], seconds: Sequence[float]) -> list[float]:
    """Return the exponents of growth between neighbouring sizes.

    >>> slopes([1, 10, 100], [2.0, 20.0, 2000.0])
    [1.0, 2.0]
    """
    found = np.diff(np.log(seconds)) / np.diff(np.log(sizes))
    return [round(float(slope), 2) for slope in found]


def _median(work: Callable[[], Any], rounds: int) -> float:
    """Return the median processor seconds of a piece of work.

    Its first run warms up, and counts only where it takes long.
    """
    laps: list[float] = []
    while len(laps) <= rounds and sum(laps) < LONG:
        start = time.process_time()
        work()
        laps.append(time.process_time() - start)
    return statistics.median(laps[1:] or laps)


def _words(count: int, draw: np.random.Generator) -> list[str]:
    """Return so many of the words that the texts are made of."""
    return [f"w{number}" for number in draw.integers(0, WORDS, count)]


def _texts(count: int, words: int, labels: int = 2) -> list[Row]:
    """Return texts of so many words, each with one of the labels in turn."""
    draw = np.random.default_rng(1)
    return [
        Row({"text": " ".join(_words(words, draw)), "label": f"L{n % labels}"}, f"row {n + 1}")
        for n in range(count)
    ]


def _sentences(count: int, words: int, labels: int) -> list[Row]:
    """Return sentences of so many words, with all labels in turn."""
    draw = np.random.default_rng(1)
    return [
        Row(
            {
                "words": _words(words, draw),
                "labels": [f"L{(n * words + place) % labels}" for place in range(words)],
            },
            f"row {n + 1}",
        )
        for n in range(count)
    ]


def _pairs(count: int, words: int) -> list[Row]:
    """Return pairs whose sides have so many words."""
    draw = np.random.default_rng(1)
    return [
        Row({side: " ".join(_words(words, draw)) for side in ("source", "target")}, f"row {n + 1}")
        for n in range(count)
    ]


def _settings(*settings: str) -> Settings:
    """Return the checked settings of a measurement."""
    return check(compose([*SAME, *settings]))


def _task(rows: Sequence[Row], settings: Settings) -> Task:
    """Return a new task that has learned from rows."""
    device = start(settings)
    given = Rows(lambda: rows, "made-up rows")
    return build(options_of(settings), settings, Splits(given, given, given)).to(device)


def _step(rows: Sequence[Row], settings: Sequence[str], seconds: Seconds) -> float:
    """Return the seconds of a training step on the first rows."""
    checked = _settings(*settings)
    task = _task(rows, checked)
    examples = ExampleList([task.encode(row) for row in rows[:BATCH]])
    batch = collated(task, examples, np.arange(len(examples)))
    step = step_of(task, checked.train.grad_clip, "fp32")
    return seconds(lambda: step(batch))


def _learned(size: int, settings: Sequence[str], seconds: Seconds) -> float:
    """Return the seconds in which a task learns its words and encodes so many rows."""
    rows = _texts(size, SHORT)
    checked = _settings("task=classify", *TINY, *settings)

    def work() -> None:
        task = _task(rows, checked)
        with tempfile.TemporaryDirectory() as folder:
            encode_rows(task, Rows(lambda: rows, "rows"), Path(folder) / "rows")

    return seconds(work)


def _epoch(size: int, settings: Sequence[str], seconds: Seconds) -> float:
    """Return the seconds of an epoch of training: sampling, batches and steps."""
    rows = _texts(size, SHORT)
    checked = _settings("task=classify", *TINY, *settings)
    task = _task(rows, checked)
    examples = ExampleList([task.encode(row) for row in rows])
    step = step_of(task, checked.train.grad_clip, "fp32")
    limits = checked.train.batch_tokens, 4 * BATCH

    def work() -> None:
        for numbers in examples.sampler(*limits, np.random.default_rng(1)):
            step(collated(task, examples, numbers))

    return seconds(work)


def _answered(size: int, settings: Sequence[str], seconds: Seconds) -> float:
    """Return the seconds in which so many rows are answered, from texts to labels."""
    rows = _texts(size, SHORT)
    task = _task(rows[:1000], _settings("task=classify", *TINY, *settings))
    return seconds(lambda: sum(1 for _ in predict_rows(task, rows)))


def _of_units(layers: int) -> Callable[[int, Sequence[str], Seconds], float]:
    """Return the measurement of a training step by units."""

    def measure(size: int, settings: Sequence[str], seconds: Seconds) -> float:
        given = f"backbone.hidden_size={size}", f"backbone.num_layers={layers}"
        return _step(_texts(2 * BATCH, 32), ["task=classify", *given, *settings], seconds)

    return measure


def _classified(size: int, settings: Sequence[str], seconds: Seconds) -> float:
    """Return the seconds of a training step on texts of so many words."""
    long = f"task.max_length={size}"
    return _step(_texts(2 * BATCH, size), ["task=classify", long, *settings], seconds)


def _translated(size: int, settings: Sequence[str], seconds: Seconds) -> float:
    """Return the seconds of a training step on pairs of so many words, with attention."""
    long = f"task.max_length={size}"
    return _step(_pairs(BATCH // 4, size), ["task=translate", long, *settings], seconds)


def _tagged_steps(size: int, settings: Sequence[str], seconds: Seconds) -> float:
    """Return the seconds of a training step with a CRF on sentences of so many words."""
    rows = _sentences(2 * BATCH, size, 20)
    return _step(rows, ["task=tag", "task.crf=true", *settings], seconds)


def _of_labels(size: int, settings: Sequence[str], seconds: Seconds) -> float:
    """Return the seconds of a training step of a classifier with so many labels."""
    rows = _texts(max(2 * BATCH, size), 32, size)
    return _step(rows, ["task=classify", *settings], seconds)


def _tagged(crf: bool) -> Callable[[int, Sequence[str], Seconds], float]:
    """Return the measurement of a tagger's training step by labels."""

    def measure(size: int, settings: Sequence[str], seconds: Seconds) -> float:
        rows = _sentences(max(2 * BATCH, -(-size // 32)), 32, size)
        chosen = ["task=tag", f"task.crf={str(crf).lower()}"]
        return _step(rows, [*chosen, *settings], seconds)

    return measure


def _doubling(first: int, last: int) -> list[int]:
    """Return first, 2 * first, … up to last."""
    return [first << power for power in range((last // first).bit_length())]


LINES = (
    Line("rows", "learn and encode", [1000, 10_000, 100_000, 1_000_000], _learned),
    Line("rows", "an epoch", [1000, 10_000, 100_000], _epoch),
    Line("rows", "answers", [1000, 10_000, 100_000], _answered),
    Line("units", "one layer", _doubling(64, 2048), _of_units(1)),
    Line("units", "two layers", _doubling(64, 1024), _of_units(2)),
    Line("time", "classifier", _doubling(8, 4096), _classified),
    Line("time", "tagger with a CRF", _doubling(8, 4096), _tagged_steps),
    Line("time", "translation with attention", _doubling(8, 2048), _translated),
    Line("labels", "classifier", [2, 10, 100, 1000, 10_000], _of_labels),
    Line("labels", "tagger", [2, 10, 100, 1000, 10_000], _tagged(False)),
    Line("labels", "tagger with a CRF", [2, 10, 100, 1000], _tagged(True)),
)
