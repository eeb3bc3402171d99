"""Compare a language model's training and generation with torch's word_language_model example."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from zoo.bench import peers
from zoo.bench.measure import case, interleave, wait
from zoo.bench.sides import collated, precisions, start, step_of
from zoo.config import Settings, check, compose
from zoo.data.batch import Batch
from zoo.data.readers import Row
from zoo.data.stream import Stream
from zoo.device import anonymous_memory, autocast, find_precision
from zoo.generation import sampling
from zoo.generation.config import GenerationConfig
from zoo.generation.language_model import LanguageModelStepModel
from zoo.generation.writing.prepared_step import ModelStep
from zoo.nn.backbone import Backbone
from zoo.text.special_ids import EOS, SPECIALS
from zoo.text.tokenizers import Whitespace
from zoo.training.options import options_of

WORDS = 33_278  # as in WikiText-2
WINDOWS = 4  # number of windows in a round of training
WRITTEN = 50  # number of tokens that a round generates for each prompt
LONG = 1000  # number of tokens of the text whose beginning and end are compared
EDGE = 100  # number of its first and of its last tokens that are compared
CORPORA = 1_000_000, 20_000_000  # tokens of the small and of the large corpus
EXAMPLE = [  # the example's sizes
    "tokenizer.kind=whitespace",
    "backbone.embedding_size=200",
    "backbone.hidden_size=200",
    "backbone.num_layers=2",
    "backbone.dropout=0.2",
    "backbone.input_dropout=0.2",
    "backbone.output_dropout=0.2",
    "backbone.weight_dropout=0",
    "backbone.locked_dropout=false",
    "task.tied=false",
    "train.batch_rows=20",
    "train.batch_tokens=700",
]


def generate(arguments: Sequence[str], rounds: int) -> Iterator[dict[str, Any]]:
    """Measure `speed`, then the cost of a long text and of a large corpus."""
    settings = check(compose(["task=generate", *EXAMPLE, *arguments]))
    full, adaptive = _models(settings)
    yield from speed(settings, full, adaptive, rounds)
    yield from _long(full)
    with tempfile.TemporaryDirectory() as folder:
        yield from _corpora(adaptive, settings, Path(folder))


def quick(arguments: Sequence[str], rounds: int) -> Iterator[dict[str, Any]]:
    """Measure `speed` alone."""
    settings = check(compose(["task=generate", *EXAMPLE, *arguments]))
    yield from speed(settings, *_models(settings), rounds)


def speed(settings: Settings, full: Any, adaptive: Any, rounds: int) -> Iterator[dict[str, Any]]:
    """Measure training steps, and generation at batch sizes 1 and 64.

    The full softmax trains in the precisions of `sides.precisions`, the adaptive one in the one
    that `auto` finds. Ids follow Zipf's law. Both sides read the same windows, and carry their state.
    """
    sizes = full.backbone.config
    peer = peers.WordLanguageModel(sizes.vocabulary_size, sizes.hidden_size, sizes.num_layers).to(
        full.device
    )
    columns, tokens = settings.train.batch_rows, settings.train.batch_tokens
    with tempfile.TemporaryDirectory() as folder:
        stream = drawn(Path(folder) / "short", WINDOWS * tokens)
        windows = [collated(full, stream, w) for w in stream.sampler(tokens, columns)]
    yield from _training(full, adaptive, peer, windows, settings, rounds)
    yield from _writing(full, peer, rounds)


def _models(settings: Settings) -> tuple[Any, Any]:
    """Return a language model with a full softmax, and one with an adaptive softmax."""
    device = start(settings)
    return _model(settings, "full").to(device), _model(settings, "adaptive").to(device)


def _model(settings: Settings, softmax: str) -> Any:
    options = options_of(settings)
    words = Whitespace([*SPECIALS, *(f"w{i}" for i in range(WORDS - len(SPECIALS)))])
    backbone = Backbone(replace(options.backbone, vocabulary_size=WORDS))
    config = replace(cast(Any, options.task), softmax=softmax)
    return options.kind(backbone, {"tokenizer": words}, config)


def drawn(folder: Path, count: int) -> Stream:
    """Write a stream of `count` random tokens into `folder`, row by row, and return it."""
    draw = np.random.default_rng(1)
    chances = 1 / np.arange(10, WORDS + 10 - len(SPECIALS))
    edges = np.cumsum(chances / chances.sum())
    sizes = [min(100_000, count - begun) for begun in range(0, count, 100_000)]
    texts = (np.searchsorted(edges, draw.random(size)) + len(SPECIALS) for size in sizes)
    rows = (Row({"ids": ids.clip(max=WORDS - 1)}, "drawn") for ids in texts)
    stream = Stream.write(rows, lambda row: {"targets": row["ids"]}, folder)
    assert isinstance(stream, Stream)
    return stream


def _training(
    full: Any,
    adaptive: Any,
    peer: peers.WordLanguageModel,
    windows: Sequence[Batch],
    settings: Settings,
    rounds: int,
) -> list[dict[str, Any]]:
    tokens = sum(int(batch.lengths.sum()) for batch in windows)
    turned = [(b.inputs.t(), b.targets.t()) for b in windows if b.targets is not None]

    def theirs() -> None:
        state = None
        for ids, target in turned:
            state = peer.learn(ids, target, state, 1e-3)
        wait(full.device)

    def ours(step: Callable[[Batch], None]) -> None:
        for batch in windows:
            step(batch)
        wait(full.device)

    models = {f"full softmax, {p}": (full, p) for p in precisions(full.device)}
    auto = find_precision("auto", full.device)
    models[f"adaptive softmax, {auto}"] = (adaptive, auto)
    sides: dict[str, Callable[[], Any]] = {
        name: partial(ours, step_of(model, settings.train.grad_clip, precision))
        for name, (model, precision) in models.items()
    }
    seconds = interleave({"theirs": theirs, **sides}, rounds)
    return [
        case(
            f"training step, {name}, against the example in fp32",
            "tokens/s",
            tokens,
            seconds[name],
            seconds["theirs"],
        )
        for name in sides
    ]


class _Singly:
    """A StepModel by the model's own forward, whose tokens are drawn outside it, call by call."""

    def __init__(self, model: Any, prompts: Batch) -> None:
        self.steps = LanguageModelStepModel(model, prompts)
        self.steps.one = ModelStep(model)
        self.step, self.reorder = self.steps.step, self.steps.reorder


@torch.no_grad()
def _write(model: Any, batch: int, count: int, singly: bool = False) -> list[float]:
    """Generate `count` tokens for each of `batch` prompts. Returns the clock after each step.

    `singly`: with a StepModel's steps alone.
    """
    config = GenerationConfig(sample=True, max_length=count)
    seconds = []
    limits = torch.full((batch,), count, device=model.device)
    prompts = model.collate([{"inputs": [EOS]}] * batch).to(model.device)
    kind = _Singly if singly else LanguageModelStepModel
    with autocast(model.device, find_precision("auto", model.device)):
        step_model = kind(model.eval(), prompts)
        for _ in sampling.sample_steps(step_model, limits, config, model.stop_ids):
            wait(model.device)
            seconds.append(time.perf_counter())
    return seconds


def _writing(model: Any, peer: peers.WordLanguageModel, rounds: int) -> Iterator[dict[str, Any]]:
    """Time the generation of `WRITTEN` tokens, at batch sizes 1 and 64."""
    for batch in (1, 64):
        sides: dict[str, Callable[[], Any]] = {
            "ours": partial(_write, model, batch, WRITTEN),
            "theirs": partial(peer.draw, batch, WRITTEN),
            "singly": partial(_write, model, batch, WRITTEN, singly=True),
        }
        seconds = interleave(sides, rounds)
        others = {"theirs": "the example's loop", "singly": "steps by the model's own forward"}
        for side, other in others.items():
            name = f"writing, batch {batch}, against {other}"
            yield case(name, "tokens/s", batch * WRITTEN, seconds["ours"], seconds[side])


def _long(model: Any) -> list[dict[str, Any]]:
    """Compare the end of a long text with its beginning, in time and in memory."""
    cases = []
    for batch in (1, 64):
        _write(model, batch, EDGE)
        before = anonymous_memory()
        seconds = _write(model, batch, LONG)
        after = anonymous_memory()
        first, last = seconds[EDGE] - seconds[0], seconds[-1] - seconds[-1 - EDGE]
        name = f"writing, batch {batch}, the last of {LONG:,} tokens against the first"
        cases.append(case(name, "tokens/s", batch * EDGE, last, first))
        if before is not None and after is not None:
            name = f"memory, batch {batch}, after {LONG:,} tokens against before"
            cases.append(_sizes(name, after, before))
    return cases


def _corpora(model: Any, settings: Settings, folder: Path) -> list[dict[str, Any]]:
    """Compare anonymous memory after training steps on a large corpus with that on a small one."""
    step = step_of(model, settings.train.grad_clip, find_precision("auto", model.device))
    sizes = []
    for count in CORPORA:
        stream = drawn(folder / str(count), count)
        plan = stream.sampler(
            settings.train.batch_tokens, settings.train.batch_rows, np.random.default_rng(1)
        )
        for _, window in zip(range(5), plan, strict=False):
            step(collated(model, stream, window))
        sizes.append(anonymous_memory())
    small, large = sizes
    if small is None or large is None:
        return []
    return [
        _sizes(f"memory, a corpus of {CORPORA[1]:,} tokens against {CORPORA[0]:,}", large, small)
    ]


def _sizes(name: str, ours: float, theirs: float) -> dict[str, Any]:
    """Return a case that compares memory."""
    return {"name": name, "unit": "MB", "ours": ours, "peer": theirs, "ratio": ours / theirs}
