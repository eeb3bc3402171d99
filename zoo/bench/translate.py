"""Training and decoding of a translator, against the step-by-step loop of tutorials and toolkits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch

from zoo import machine, prepare
from zoo.backbone import Backbone
from zoo.batches import Batch, Example, Examples, plan
from zoo.bench import peers
from zoo.bench.measure import compare, wait
from zoo.bench.sides import ROWS, prepared, start, training_step
from zoo.config import Settings, check, compose
from zoo.decoder import Prefixes
from zoo.search import Search, find
from zoo.text import EOS, SPECIALS, Characters

VOCABULARY = 8000
SENTENCES = 256  # that a round of decoding writes


def translate(arguments: Sequence[str], rounds: int) -> list[dict[str, Any]]:
    """Training steps in bf16 (where native) and fp32, and decoding.

    Ours: teacher-forced in one call, dense, sorted by both lengths. Theirs: one step after the
    other with input feeding, packed, fp32, sorted by the source's length. With `data=…` the rows
    are that corpus's; else ids are drawn by chance, as many to a row as captions have.
    """
    given = any(argument.startswith("data=") for argument in arguments)
    settings = check(compose(["task=translate", *([] if given else SIZES), *arguments]))
    task, examples = _from_corpus(settings) if given else _drawn(settings)
    sizes = task.backbone.options
    peer = peers.StepwiseTranslator(
        sizes["vocabulary_size"], sizes["embedding_size"], sizes["hidden_size"],
        task.decoder.backbone.lstm.hidden_size,
    ).to(task.device)  # fmt: skip
    training = _training(task, peer, examples, settings, rounds)
    return [*training, *_decoding(task, peer, examples, rounds)]


# What the recipe for sentences has, whatever the default corpus has.
SIZES = ("data=files", "data.train=none")


def _from_corpus(settings: Settings) -> tuple[Any, Examples]:
    rows, task = prepared(settings)
    return task, Examples([task.encode(row) for row in rows])


def _drawn(settings: Settings) -> tuple[Any, Examples]:
    device = start(settings)
    draw = np.random.default_rng(settings.seed)
    examples: list[Example] = []
    for length in np.clip(draw.normal(15, 5, ROWS).round(), 5, 40).astype(int):
        other = int(np.clip(length + draw.normal(0.7, 2.5), 4, 50))
        sides = (draw.integers(len(SPECIALS), VOCABULARY, n).tolist() for n in (length, other))
        ids, target = ([*side, EOS] for side in sides)
        examples.append({"ids": ids, "target": target})
    kind, options, shape = prepare.checked(settings)
    letters = [chr(0x4E00 + i) for i in range(VOCABULARY - len(SPECIALS))]
    tokenizer = Characters([*SPECIALS, *letters])
    task = kind(Backbone(vocabulary_size=VOCABULARY, **shape), tokenizer, **options)
    return task.to(device), Examples(examples)


def _training(
    task: Any, peer: peers.StepwiseTranslator, examples: Examples, settings: Settings, rounds: int
) -> list[dict[str, Any]]:
    size, device = settings.train.batch_rows, task.device
    tokens = sum(len(example["target"]) for example in examples.examples)
    by_source = Examples([{"ids": example["ids"]} for example in examples.examples])
    order = np.random.default_rng(settings.seed)
    peer_batches = [
        examples.batch(numbers).to(device)
        for numbers in plan(by_source, settings.train.batch_tokens, size, order)
    ]
    optimizer = torch.optim.Adam(peer.parameters(), lr=1e-3)

    def theirs() -> None:
        peer.train()
        for batch in peer_batches:
            peers.packed_step(peer, optimizer, batch)
        wait(device)

    cases = []
    for precision in sorted({machine.find_precision("auto", device), "fp32"}):
        step = training_step(task, settings.train.clip, precision)

        def ours(step: Callable[[Batch], None] = step) -> None:
            generator = np.random.default_rng(settings.seed)
            for numbers in plan(examples, settings.train.batch_tokens, size, generator):
                step(examples.batch(numbers).to(device))
            wait(device)

        name = f"training step, {precision} against step by step with input feeding, fp32"
        cases.append(compare(name, "target tokens/s", tokens, ours, theirs, rounds))
    return cases


def _decoding(
    task: Any, peer: peers.StepwiseTranslator, examples: Examples, rounds: int
) -> list[dict[str, Any]]:
    """As many tokens for each sentence as its reference has, so that both sides write the same."""
    some = Examples(examples.examples[:SENTENCES])
    precision = machine.find_precision("auto", task.device)
    lengths = [len(example["target"]) - 1 for example in some.examples]

    def theirs() -> None:
        peer.eval()
        for number, length in enumerate(lengths):
            peer.greedy(some.batch(np.array([number])).to(task.device), length)

    @torch.no_grad()
    def ours(beam: int) -> None:
        task.eval()
        bias = task.tokens.bias.data
        kept = bias[EOS].clone()
        bias[EOS] = -1e4  # no sentence ends before its limit
        with machine.autocast(task.device, precision):
            for numbers in plan(some, 1 << 15, 128):
                batch = some.batch(numbers).to(task.device)
                state, memory = task.begin(batch)
                writer = Prefixes(task.decoder, state, memory, task.tokens, task.backbone)
                limits = torch.tensor([lengths[n] for n in numbers], device=task.device)
                find(writer, limits, Search(beam=beam))
        bias[EOS] = kept

    cases = []
    for name, beam in (("greedy", 1), ("beam 5", 5)):
        title = f"decoding, {name}, against one sentence at a time, greedy"
        side = partial(ours, beam)
        cases.append(compare(title, "sentences/s", len(some), side, theirs, rounds))
    return cases
