"""Continuation: a language model that goes on where a prompt stops."""

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

NEAR = 8  # tokens before a piece that its spelling may depend on


class LanguageModelStepModel:
    """A `zoo.generation.step_model.Writer` of a language model: every token costs one step of the LSTM, whatever
    stands before it, because all that is remembered of that is the state.

    Of a model of a `stream` EOS is a line end, and the text goes on behind it. A search knows only
    one end, that of the text, so such a line end is called BOS here, and EOS has no probability.
    """

    def __init__(self, model: Any, batch: Batch, stream: bool) -> None:
        """`batch`: the prompts, each with its first EOS; at least one token each."""
        self.model, self.ends_itself = model, not stream
        self.state: State
        vectors, self.state, _ = model.next_token_vectors(batch, None)
        rows = torch.arange(len(batch), device=vectors.device)
        last = (batch.lengths - 1).to(vectors.device)
        self.next: Tensor | None = vectors[rows, last].unsqueeze(1)  # (texts, 1, size)
        self.width = 1  # prefixes of each text

    def step(self, ids: Tensor) -> Tensor:
        """Log-probabilities (texts, prefixes, vocabulary) after ids (texts, prefixes)."""
        self.width = ids.size(1)
        vectors, self.next = self.next, None
        if vectors is None:  # else the prompt has been read, and the search's BOS says nothing new
            read = ids.flatten().unsqueeze(1)  # (texts * prefixes, 1)
            if not self.ends_itself:
                read = read.masked_fill(read == BOS, EOS)
            lengths = torch.ones(len(read), dtype=torch.int64)
            batch = Batch(read, lengths, lengths)
            vectors, self.state, _ = self.model.next_token_vectors(batch, self.state)
            vectors = vectors.view(*ids.shape, -1)
        logs = self.model.tokens(vectors, self.model.backbone).float()
        logs[..., [PAD, UNK, BOS]] = -torch.inf  # never written
        if not self.ends_itself:
            logs[..., [BOS, EOS]] = logs[..., [EOS, BOS]]
        return logs.log_softmax(-1)

    def reorder(self, texts: Tensor, prefixes: Tensor) -> None:
        """Go on with these texts, and of each with these prefixes."""
        rows = (texts.unsqueeze(1) * self.width + prefixes).flatten()
        h, c = self.state
        self.state = h[:, rows], c[:, rows]


@torch.no_grad()
def stream_text(model: Any, batch: Batch, config: GenerationConfig) -> Iterator[str]:
    """What follows one prompt, as it is produced. A beam cannot be shown before it is done: without
    `search.sample` it is the likeliest token each time."""
    ids = batch.ids[0, 1 : int(batch.lengths[0])].tolist()
    config = replace(config, n_best=1, beam_size=1)
    writer = apply_processors(
        LanguageModelStepModel(model, batch, model.stream), config, model.decode, [ids]
    )
    limits = torch.tensor([config.max_length], device=model.device)
    written = _spelt(model.decode, ids, sampling.sample_steps(writer, limits, config))
    yield from until_stop_string(written, config.stop)


def _spelt(spell: Decode, ids: list[int], steps: Iterator[sampling.Step]) -> Iterator[str]:
    for _, token, _ in steps:
        if int(token) != EOS:
            ids = [*ids[-NEAR:], int(token)]  # how a piece is spelt depends on its neighbours
            yield spell(ids)[len(spell(ids[:-1])) :]


def generate_texts(
    model: Any, batch: Batch, config: GenerationConfig
) -> list[list[tuple[str, float]]]:
    """Of each prompt of a batch the texts that begin with it, and their scores, best first."""
    rows = zip(batch.ids.tolist(), batch.lengths.tolist(), strict=True)
    prompts = [ids[1:length] for ids, length in rows]
    limits = torch.full((len(batch),), config.max_length, device=model.device)
    writer = apply_processors(
        LanguageModelStepModel(model, batch, model.stream), config, model.decode, prompts
    )
    found = []
    for prompt, hypotheses in zip(prompts, generate(writer, limits, config), strict=True):
        given = model.decode(prompt)
        texts = [model.decode([*prompt, *h.ids])[len(given) :] for h in hypotheses]
        cut = ["".join(until_stop_string([text], config.stop)) for text in texts]
        found.append([(given + text, h.score) for text, h in zip(cut, hypotheses, strict=True)])
    return found


def decode_stream(tokenizer: Tokenizer, ids: Sequence[int], stream: bool) -> str:
    """The text of ids; in a stream BOS and EOS are line ends."""
    if not stream:
        return tokenizer.decode(ids)
    parts: list[list[int]] = [[]]
    for i in ids:
        if i in (BOS, EOS):
            parts.append([])
        else:
            parts[-1].append(i)
    return "\n".join(map(tokenizer.decode, parts))
