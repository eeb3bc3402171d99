"""Exported models beside the models themselves: one text at a time, on one thread.

    python -m zoo.bench runtime [MODEL ...]

The texts are those of a model's expected answers. Seconds are the processor's,
not the clock's: other programs of a busy machine then count less. The sides take turns.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

import zoo.runtime
from zoo.errors import InputError
from zoo.export import whole
from zoo.export.layers import Form
from zoo.generation.config import GenerationConfig
from zoo.loading import load
from zoo.model_folder.verify import read_expected, shipped
from zoo.task import Generative, Task

WRITTEN = 100  # tokens of a text that a language model writes
REVIEWS = "classify/imdb"  # its texts are longer than the expected ones
FORMS: tuple[Form, ...] = ("fp32", "int8")


def runtime(settings: Sequence[str], rounds: int) -> Iterator[dict[str, Any]]:
    """Yield a case for each shipped model, or for those that are named, and for each form."""
    torch.set_num_threads(1)
    if wrong := [name for name in settings if "=" in name]:
        raise InputError(f"{wrong[0]}: is no setting here: name models, such as classify/imdb")
    for name in settings or shipped():
        yield from _model(name, rounds)


def _model(name: str, rounds: int) -> Iterator[dict[str, Any]]:
    """Yield the cases of one model: exports beside the model."""
    task = load(name)
    texts = _texts(name)
    with tempfile.TemporaryDirectory() as folder:
        sides: dict[str, Callable[[str], Any]] = {"torch": _answering(task, task)}
        for form in FORMS:
            path = Path(folder) / form
            whole.save(task, path, form)
            sides[form] = _answering(task, zoo.runtime.load(path))
        seconds = _interleaved(sides, texts, rounds)
    for form in FORMS:
        ours, peer = (len(texts) / seconds[side] for side in (form, "torch"))
        yield {
            "name": f"{name} {form}",
            "ours": ours,
            "peer": peer,
            "unit": "texts/s of processor time, one at a time",
            "ratio": ours / peer,
        }


def _texts(name: str) -> list[str]:
    """Return the texts of a comparison: those of the model's expected answers."""
    texts = [case["input"] for case in read_expected(name)]
    if name == REVIEWS:
        texts = [" ".join(texts * 3)] * 4
    return texts or ["a text"]


def _answering(task: Task, side: Any) -> Callable[[str], Any]:
    """Return a function that answers one text. A language model writes WRITTEN tokens."""
    if isinstance(task, Generative) and "text" in task.target_columns:  # a language model
        config = GenerationConfig(sample=True, top_k=40, seed=1, max_length=WRITTEN)
        return lambda text: side.predict([text], config)
    return lambda text: side.predict([text])


def _interleaved(
    sides: dict[str, Callable[[str], Any]], texts: Sequence[str], rounds: int
) -> dict[str, float]:
    """Return the median processor seconds of each side for all texts; the first round is not counted."""
    found: dict[str, list[float]] = {side: [] for side in sides}
    for number in range(rounds + 1):
        for side, answer in sides.items():
            start = time.process_time()
            for text in texts:
                answer(text)
            if number:
                found[side].append(time.process_time() - start)
    return {side: statistics.median(values) for side, values in found.items()}
