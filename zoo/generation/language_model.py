"""Prompt continuation with a language model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from zoo.data.dataset import Batch
from zoo.generation import sampling
from zoo.generation.config import GenerationConfig
from zoo.generation.generate import generate
from zoo.generation.processors import Decode, apply_processors, until_stop_string
from zoo.rnn.stack import State
from zoo.text.special_ids import BOS, EOS, PAD, UNK
from zoo.text.tokenizers import Tokenizer

CONTEXT = 8  # tokens before a token that its text may depend on


class LanguageModelStepModel:
    """The `StepModel` of a language model: each token costs one LSTM step.

    The prompt is read once. After it only the LSTM state is kept.

    In a model of a `stream` EOS is a line end, and the text goes on after it. Generation takes EOS
    for the end of the text. So the ids are swapped here: BOS stands for a line end, and EOS gets
    probability 0.
    """

    def __init__(self, model: Any, batch: Batch, stream: bool) -> None:
        """Read the prompts. Each row of `batch` begins with EOS, so it has at least one token."""
        self.model = model
        self.ends_itself = not stream
        self.state: State
        vectors, self.state, _ = model.next_token_vectors(batch, None)
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
            read = ids.flatten().unsqueeze(1)  # (texts * prefixes, 1)
            if not self.ends_itself:
                read = read.masked_fill(read == BOS, EOS)
            lengths = torch.ones(len(read), dtype=torch.int64)
            batch = Batch(read, lengths, lengths)
            vectors, self.state, _ = self.model.next_token_vectors(batch, self.state)
            vectors = vectors.view(*ids.shape, -1)
        logs = self.model.tokens(vectors, self.model.backbone).float()
        logs[..., [PAD, UNK, BOS]] = -torch.inf  # never generated
        if not self.ends_itself:
            logs[..., [BOS, EOS]] = logs[..., [EOS, BOS]]
        return logs.log_softmax(-1)

    def reorder(self, texts: Tensor, prefixes: Tensor) -> None:
        """Keep only texts (kept,), and their prefixes (kept, width)."""
        rows = (texts.unsqueeze(1) * self.width + prefixes).flatten()
        h, c = self.state
        self.state = h[:, rows], c[:, rows]


@torch.no_grad()
def stream_text(model: Any, batch: Batch, config: GenerationConfig) -> Iterator[str]:
    """Yield the continuation of one prompt, piece by piece.

    Beam search has no text before it ends. So without `config.sample` this is greedy search.
    """
    ids = batch.ids[0, 1 : int(batch.lengths[0])].tolist()
    config = replace(config, n_best=1, beam_size=1)
    step_model = apply_processors(
        LanguageModelStepModel(model, batch, model.stream), config, model.decode, [ids]
    )
    limits = torch.tensor([config.max_length], device=model.device)
    steps = sampling.sample_steps(step_model, limits, config)
    yield from until_stop_string(_decode_steps(model.decode, ids, steps), config.stop)


def _decode_steps(decode: Decode, ids: list[int], steps: Iterator[sampling.Step]) -> Iterator[str]:
    """Yield the text that each new token adds after `ids`."""
    for _, token, _ in steps:
        if int(token) != EOS:
            ids = [*ids[-CONTEXT:], int(token)]  # the text of a token depends on its neighbours
            yield decode(ids)[len(decode(ids[:-1])) :]


def generate_texts(
    model: Any, batch: Batch, config: GenerationConfig
) -> list[list[tuple[str, float]]]:
    """Return, for each prompt of a batch, the generated texts with their scores, best first.

    A text contains its prompt.
    """
    rows = zip(batch.ids.tolist(), batch.lengths.tolist(), strict=True)
    prompts = [ids[1:length] for ids, length in rows]
    limits = torch.full((len(batch),), config.max_length, device=model.device)
    step_model = apply_processors(
        LanguageModelStepModel(model, batch, model.stream), config, model.decode, prompts
    )
    found = []
    for prompt, hypotheses in zip(prompts, generate(step_model, limits, config), strict=True):
        given = model.decode(prompt)
        texts = [model.decode([*prompt, *h.ids])[len(given) :] for h in hypotheses]
        cut = ["".join(until_stop_string([text], config.stop)) for text in texts]
        found.append([(given + text, h.score) for text, h in zip(cut, hypotheses, strict=True)])
    return found


def decode_stream(tokenizer: Tokenizer, ids: Sequence[int], stream: bool) -> str:
    """Return the text of ids. In a stream BOS and EOS are line ends."""
    if not stream:
        return tokenizer.decode(ids)
    parts: list[list[int]] = [[]]
    for i in ids:
        if i in (BOS, EOS):
            parts.append([])
        else:
            parts[-1].append(i)
    return "\n".join(map(tokenizer.decode, parts))
