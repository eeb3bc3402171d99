"""Compare with fastText: a bag of n-grams that is trained by steps, on all cores."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from zoo.bench.installed.sides import ASKED, TIMED, Corpus, Ours, count_words, score, train_for
from zoo.bench.measure import case, interleave
from zoo.config import Settings
from zoo.data.readers import Row

EPOCHS = 25
SETTINGS = {"lr": 0.5, "epoch": EPOCHS, "wordNgrams": 2, "verbose": 0}  # as its tutorial has them
PREFIX = "__label__"


def cases(settings: Settings, rounds: int, corpus: Corpus) -> Iterator[dict[str, Any]]:
    """Measure training and prediction, and the accuracy after as long a training."""
    import fasttext

    rows, held, task = corpus.learned, corpus.judged, corpus.task
    ours = Ours(settings, rows, task, "text")
    numbers = {label: str(n) for n, label in enumerate(sorted({str(r["label"]) for r in rows}))}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.txt"
        lines = (f"{PREFIX}{numbers[str(row['label'])]} {_line(row)}\n" for row in rows)
        path.write_text("".join(lines), "utf-8")
        threads = torch.get_num_threads()
        start = time.perf_counter()
        model = fasttext.train_supervised(input=str(path), thread=threads, **SETTINGS)
        spent = time.perf_counter() - start
    train_for(spent, ours.steps())
    wanted = [str(row["label"]) for row in held]
    peer = [numbers.get(label) for label in wanted]
    right = sum(a == b for a, b in zip(_answers(model, held), peer, strict=True))
    own = sum(a["label"] == b for a, b in zip(ours.answers(held), wanted, strict=True))
    what = f"validation accuracy after {spent:.1f} s, against fastText"
    yield score(what, own / len(held), right / len(held))
    some = Ours(settings, rows[:TIMED], task, "text")
    for name, seconds in interleave(some.trainings(), rounds).items():
        what = f"training, {name}, against fastText"
        yield case(what, "words/s", 1, seconds / some.words, spent / EPOCHS / ours.words)
    asked = [Row({"text": row["text"]}, row.source) for row in rows[:ASKED]]
    timed = interleave(
        {"ours": lambda: ours.answers(asked), "theirs": lambda: _answers(model, asked)}, rounds
    )
    words = sum(count_words(row["text"]) for row in asked)
    yield case("prediction, against fastText", "words/s", words, timed["ours"], timed["theirs"])


def _line(row: Row) -> str:
    """Return a text on one line."""
    return " ".join(str(row["text"]).split())


def _answers(model: Any, rows: Sequence[Row]) -> list[str]:
    """Return the numbers of the labels that fastText predicts."""
    found, _ = model.predict([_line(row) for row in rows])
    return [labels[0].removeprefix(PREFIX) for labels in found]
