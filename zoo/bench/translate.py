"""Compare training and decoding of a translator with a step-by-step loop, as toolkits write it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch

from zoo.bench import peers
from zoo.bench.measure import compare
from zoo.bench.sides import ROWS, collated, prepared, start, training
from zoo.config import Settings, check, compose
from zoo.data.batch import Example
from zoo.data.dataset import ExampleList
from zoo.device import autocast, find_precision
from zoo.generation.config import GenerationConfig
from zoo.generation.generate import generate
from zoo.nn.backbone import Backbone
from zoo.nn.decoder import DecoderStepModel
from zoo.text.special_ids import EOS, SPECIALS
from zoo.text.tokenizers import Characters
from zoo.training.options import options_of

VOCABULARY = 8000
SENTENCES = 256  # number of sentences in a round of decoding
NO_CORPUS = ("data=files", "data.train=none")  # the recipe for sentences; no file is read


def translate(arguments: Sequence[str], rounds: int) -> Iterator[dict[str, Any]]:
    """Measure training steps in the precisions of `sides.precisions`, and decoding.

    Our side runs teacher-forced in one call, dense, sorted by both lengths. The peer runs one step
    after the other with input feeding, packed, in fp32, sorted by the source's length. With
    `data=…` the rows are those of the corpus. Otherwise ids are random, as many as captions have.
    """
    given = any(argument.startswith("data=") for argument in arguments)
    settings = check(compose(["task=translate", *([] if given else NO_CORPUS), *arguments]))
    task, examples = _from_corpus(settings) if given else _drawn(settings)
    sizes = task.backbone.config
    peer = peers.StepwiseTranslator(
        sizes.vocabulary_size,
        sizes.embedding_size,
        sizes.hidden_size,
        task.decoder.backbone.rnn.hidden_size,
    ).to(task.device)
    yield from _training(task, peer, examples, settings, rounds)
    yield from _decoding(task, peer, examples, rounds)


def _from_corpus(settings: Settings) -> tuple[Any, ExampleList]:
    """Return a task for the corpus of the settings, and its encoded rows."""
    rows, task = prepared(settings)
    return task, ExampleList([task.encode(row) for row in rows])


def _drawn(settings: Settings) -> tuple[Any, ExampleList]:
    """Return a task over `VOCABULARY` ids, and `ROWS` pairs of random ids."""
    device = start(settings)
    draw = np.random.default_rng(settings.seed)
    examples: list[Example] = []
    for length in np.clip(draw.normal(15, 5, ROWS).round(), 5, 40).astype(int):
        other = int(np.clip(length + draw.normal(0.7, 2.5), 4, 50))
        sides = (draw.integers(len(SPECIALS), VOCABULARY, n).tolist() for n in (length, other))
        ids, target = ([*side, EOS] for side in sides)
        examples.append({"inputs": ids, "targets": target})
    options = options_of(settings)
    letters = [chr(0x4E00 + i) for i in range(VOCABULARY - len(SPECIALS))]
    tokenizer = Characters([*SPECIALS, *letters])
    backbone = Backbone(replace(options.backbone, vocabulary_size=VOCABULARY))
    task = options.kind(backbone, {"tokenizer": tokenizer}, options.task)
    return task.to(device), ExampleList(examples)


def _training(
    task: Any,
    peer: peers.StepwiseTranslator,
    examples: ExampleList,
    settings: Settings,
    rounds: int,
) -> Iterator[dict[str, Any]]:
    tokens = sum(len(example["targets"]) for example in examples.encoded)
    by_source = ExampleList([{"inputs": example["inputs"]} for example in examples.encoded])
    order = np.random.default_rng(settings.seed)
    limits = settings.train.batch_tokens, settings.train.batch_rows
    batches = [collated(task, examples, n) for n in by_source.sampler(*limits, order)]
    against = "step by step with input feeding, fp32"
    for _, case in training(
        task, peer, batches, examples, settings, against, "target tokens/s", tokens, rounds
    ):
        yield case


def _decoding(
    task: Any, peer: peers.StepwiseTranslator, examples: ExampleList, rounds: int
) -> Iterator[dict[str, Any]]:
    """Time decoding. Each sentence gets as many tokens as its reference has, on both sides."""
    some = ExampleList(examples.encoded[:SENTENCES])
    precision = find_precision("auto", task.device)
    lengths = [len(example["targets"]) - 1 for example in some.encoded]

    def theirs() -> None:
        peer.eval()
        for number, length in enumerate(lengths):
            peer.greedy(collated(task, some, np.array([number])), length)

    @torch.no_grad()
    def ours(beam: int) -> None:
        task.eval()
        bias = task.tokens.bias.data
        kept = bias[EOS].clone()
        bias[EOS] = -1e4  # no sentence ends before its limit
        with autocast(task.device, precision):
            for numbers in some.sampler(1 << 15, 128):
                batch = collated(task, some, numbers)
                state, memory = task.start_decoding(batch)
                step_model = DecoderStepModel(
                    task.decoder, state, memory, task.tokens, task.backbone
                )
                limits = torch.tensor([lengths[n] for n in numbers], device=task.device)
                generate(step_model, limits, GenerationConfig(beam_size=beam))
        bias[EOS] = kept

    for name, beam in (("greedy", 1), ("beam 5", 5)):
        title = f"decoding, {name}, against one sentence at a time, greedy"
        side = partial(ours, beam)
        yield compare(title, "sentences/s", len(some), side, theirs, rounds)
