"""Prompt continuation with a language model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from zoo.data.batch import Batch
from zoo.generation import sampling
from zoo.generation.config import GenerationConfig
from zoo.generation.generate import generate
from zoo.generation.processors import apply_processors
from zoo.generation.step_model import Hypothesis, Writer
from zoo.generation.texts import decode_steps, until_stop_string
from zoo.generation.writing.prepared_step import layers_of, prepare
from zoo.generation.writing.writer import LEAST_STEPS, writer_of
from zoo.nn.backbone import Encoded


class LanguageModelStepModel:
    """The `StepModel` of a language model: each token costs one LSTM step.

    The prompt is read once. After it only the LSTM state is kept.
    """

    def __init__(
        self, model: Any, batch: Batch, encoded: Encoded | None = None, alone: bool = False
    ) -> None:
        """Read the prompts. Each row of `batch` begins with EOS, so it has at least one token.

        `alone` says that the text need not be the same beside others: see `PreparedStep.pack`.

        `model` has `next_token_vectors`, `tokens` and `backbone`, as `tasks.generate.Generate`.
        """
        self.model = model
        self.one = prepare(model)
        self.one.alone = alone
        self.vocabulary = self.one.vocabulary
        vectors, state, _ = model.next_token_vectors(batch, encoded=encoded)
        self.layers = layers_of(state)  # h and c of each, (texts * prefixes, hidden)
        rows = torch.arange(len(batch), device=vectors.device)
        last = (batch.lengths - 1).to(vectors.device)
        self.next: Tensor | None = vectors[rows, last].unsqueeze(1)  # (texts, 1, size)
        self.width = 1  # prefixes per text

    def step(self, ids: Tensor) -> Tensor:
        """Return log-probabilities (texts, prefixes, vocabulary) after ids (texts, prefixes)."""
        self.width = ids.size(1)
        vectors = self.next  # of the prompts, at the first step: then the ids are all BOS
        self.next = None
        if vectors is None:
            vectors, self.layers = self.one.read(ids.flatten(), self.layers)
            vectors = vectors.view(*ids.shape, -1)
        return self.one.logits(vectors).log_softmax(-1)

    def reorder(self, texts: Tensor, prefixes: Tensor) -> None:
        """Keep only texts (kept,), and their prefixes (kept, width)."""
        rows = (texts.unsqueeze(1) * self.width + prefixes).flatten()
        self.layers = [tuple(part[rows] for part in state) for state in self.layers]

    def writer(self, ids: Tensor, config: GenerationConfig, count: int, barring: bool) -> Writer:
        """Return a writer that goes on after the last tokens (texts, draws)."""
        return writer_of(self.model, self.one, ids.flatten(), self.layers, config, barring, count)


@torch.no_grad()
def continue_prompts(
    model: Any, batch: Batch, config: GenerationConfig, encoded: Encoded | None = None
) -> list[list[Hypothesis]]:
    """Return the continuations of each prompt of a batch, best first.

    `model` is a `tasks.generate.Generate`. Its `stop_ids` end a text. `encoded` is the backbone's
    result for the batch, if it is known.
    """
    limits = torch.full((len(batch),), config.max_length, device=model.device)
    steps = LanguageModelStepModel(model, batch, encoded)
    step_model = apply_processors(steps, config, model.decode, prompt_ids(batch))
    writes = step_model is steps and (config.sample or config.beam_size == 1)
    if config.max_length > LEAST_STEPS and not writes:  # a writer does so itself
        width = config.n_best if config.sample else config.beam_size
        steps.one.pack(model, width * len(batch))
    return generate(step_model, limits, config, model.stop_ids)


def prompt_ids(batch: Batch) -> list[list[int]]:
    """Return the ids of each prompt of a batch, without the EOS before it."""
    rows = zip(batch.inputs.tolist(), batch.lengths.tolist(), strict=True)
    return [ids[1:length] for ids, length in rows]


@torch.no_grad()
def stream_text(model: Any, batch: Batch, config: GenerationConfig) -> Iterator[str]:
    """Yield the continuation of one prompt, piece by piece.

    Beam search has no text before it ends. So without `config.sample` this is greedy search.
    """
    config = replace(config, n_best=1, beam_size=1)
    ids = prompt_ids(batch)[0]
    steps_alone = LanguageModelStepModel(model, batch, alone=True)
    step_model = apply_processors(steps_alone, config, model.decode, [ids])
    limits = torch.tensor([config.max_length], device=model.device)
    steps = sampling.sample_steps(step_model, limits, config, model.stop_ids)
    tokens = (int(token) for _, token, _ in steps)
    pieces = decode_steps(model.decode, ids, tokens, model.stop_ids)
    yield from until_stop_string(pieces, config.stop)
