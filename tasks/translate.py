"""Translation: an encoder's final `h_n` and `c_n` become the first state of a decoder.

An LSTM returns `output` (h at every step), `h_n` and `c_n` (both states after the last step). The
decoder must know the whole source sentence before it writes the first word. The encoder's final
states have read it, once per direction. Both `h_n` and `c_n` initialize the decoder, because an
LSTM needs both to continue (`task.init=h_n_c_n`, see `zoo/nn/bridge.py`).

A few hundred numbers cannot hold every detail of a sentence. So at each step the decoder also looks
at `output` with attention (`task.attention=none` turns it off).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.config import Count, Share
from zoo.data.dataset import Batch, Example
from zoo.data.readers import Row, column
from zoo.evaluation import baselines, plots
from zoo.evaluation import metrics as scores
from zoo.generation.config import GenerationConfig
from zoo.generation.generate import generate
from zoo.generation.step_model import Hypothesis
from zoo.nn.attention import AttentionKind, Memory
from zoo.nn.backbone import Backbone, Encoded
from zoo.nn.bridge import Bridge, Init
from zoo.nn.decoder import Decoder, DecoderState, DecoderStepModel
from zoo.nn.output_layer import OutputLayer
from zoo.rnn.stack import State
from zoo.task import Task
from zoo.text.sentencepiece import seed_sampling
from zoo.text.special_ids import BOS, EOS, PAD
from zoo.text.tokenizers import Subwords, Tokenizer

EXAMPLES = 3  # translations in the report, with a picture of their attention

READS = {  # task.init -> what the task reads of the encoder, and why
    "h_n_c_n": (
        "h_n, c_n",
        "the decoder continues from both states after the encoder's last token",
    ),
    "h_n": ("h_n", "for comparison: the decoder starts from h alone, its cell state is zero"),
    "zero": ("output", "for comparison: the decoder starts from zero, attention reads output"),
}
NOTHING = (
    "nothing",
    "for comparison: without states and attention the decoder knows nothing of the source",
)


class Translate(Task):
    """An encoder-decoder: encoder -> bridge -> decoder with attention to the encoder's output."""

    target_columns = ("target",)
    input_columns = ("source",)
    metric = "bleu"
    generates = True
    shape = "layers, batch, hidden: the decoder's first state"
    logits = "batch, written, vocabulary"

    def __init__(
        self,
        backbone: Backbone,
        tokenizer: Tokenizer,
        target_tokenizer: Tokenizer | None = None,
        init: Init = "h_n_c_n",
        attention: AttentionKind | Literal["none"] = "general",
        input_feeding: bool = False,
        hidden_size: Count | None = None,
        tied: bool = True,
        dropout: Share = 0.3,
        label_smoothing: Share = 0.1,
        subword_sampling: Share = 0.0,
        max_length: Count = 100,
    ) -> None:
        """`target_tokenizer` is for the target side, if the two sides do not share a tokenizer.

        `hidden_size` is the decoder's, by default the size of the encoder's output. `tied` shares
        the output layer's weights with the embedding of the target's tokens. `subword_sampling` is
        the share of BPE merges that are skipped in training (BPE dropout). Each side is truncated
        to `max_length` tokens. Raises ValueError for options that do not fit together.
        """
        super().__init__(
            backbone,
            tokenizer,
            init=init,
            attention=attention,
            input_feeding=input_feeding,
            hidden_size=hidden_size,
            tied=tied,
            dropout=dropout,
            label_smoothing=label_smoothing,
            subword_sampling=subword_sampling,
            max_length=max_length,
        )
        if backbone.embedding is None:
            raise ValueError("translate reads ids: its backbone needs a vocabulary")
        if subword_sampling and not isinstance(tokenizer, Subwords):
            raise ValueError("subword_sampling needs tokenizer.kind=subwords")
        self.target_tokenizer = target_tokenizer
        self.max_length = max_length
        self.label_smoothing = label_smoothing
        self.subword_sampling = subword_sampling
        self.augments_at_random = subword_sampling > 0
        nothing = init == "zero" and attention == "none"
        self.reads, self.why = NOTHING if nothing else READS[init]
        lstm, size = backbone.lstm, backbone.embedding.embedding_dim
        hidden = hidden_size or backbone.output_size
        directions = 2 if lstm.bidirectional else 1
        self.bridge = Bridge(lstm.num_layers, directions, lstm.hidden_size, hidden, init)
        self.decoder = Decoder(backbone, hidden, attention, input_feeding, dropout)
        # whether the target's tokens have an embedding of their own
        own = target_tokenizer is not None or not tied
        self.tokens = OutputLayer(len(self.output_tokenizer), size, own, tied)

    @classmethod
    def tokenizer_texts(cls, row: Row) -> list[str]:
        return [column(row, "source"), column(row, "target")]

    @classmethod
    def reject(cls, row: Row) -> str | None:
        empty = [name for name in cls.training_columns() if not column(row, name).strip()]
        return f"an empty {' and '.join(empty)}" if empty else None

    @classmethod
    def baseline(cls, train: Iterable[Row], test: Iterable[Row], kind: str) -> dict[str, Any]:
        return baselines.nearest_pair(train, test)

    @property
    def output_tokenizer(self) -> Tokenizer:
        """The tokenizer of the target side."""
        return self.target_tokenizer or self.tokenizer

    def encode(self, row: Row) -> Example:
        """ "ids" of the source and "target", each with EOS at its end, unless it is truncated."""
        ids = [*self.tokenizer.encode(column(row, "source")), EOS]
        target = []
        if "target" in row:
            target = [*self.output_tokenizer.encode(column(row, "target")), EOS]
        most = self.max_length + 1  # with EOS
        example: dict[str, Any] = {"ids": ids[:most], "cut": int(max(len(ids), len(target)) > most)}
        return example | ({"target": target[:most]} if target else {})

    def augment(self, examples: Sequence[Example]) -> Sequence[Example]:
        """Split the texts into other subwords at random, with `subword_sampling`."""
        if not self.subword_sampling:
            return examples
        seed_sampling()
        return [
            example | {side: self._sampled(side, example[side]) for side in ("ids", "target")}
            for example in map(dict, examples)
        ]

    def _sampled(self, side: str, ids: Sequence[int]) -> list[int]:
        """Another split of the same text; `ids` themselves where that would be too long."""
        tokenizer = self.tokenizer if side == "ids" else self.output_tokenizer
        assert isinstance(tokenizer, Subwords)
        sampled = tokenizer.sample([*map(int, ids)], self.subword_sampling)
        return sampled if len(sampled) <= self.max_length + 1 else [*map(int, ids)]

    def read(self, encoded: Encoded) -> State:
        """The decoder's initial h and c: (layers, batch, hidden) each."""
        return self.bridge(encoded.h_n, encoded.c_n)

    def start_decoding(self, batch: Batch) -> tuple[DecoderState, Memory | None]:
        """The decoder's state before the first token, and the memory that it attends to, if any."""
        encoded = self.backbone(batch.ids, batch.lengths)
        look = self.decoder.attention
        memory = None if look is None else look.encode_memory(encoded.output, encoded.lengths)
        return self.decoder.start(*self.read(encoded)), memory

    def target_vectors(self, batch: Batch) -> tuple[Tensor, Tensor | None]:
        """Run the decoder over the target (teacher forcing).

        Returns the output layer's inputs (batch, written, size), each computed from the target
        tokens before it, and the attention weights (batch, written, read), if any.
        """
        assert batch.target is not None
        before = F.pad(batch.target[:, :-1].clamp(min=PAD), (1, 0), value=BOS)
        return self.decoder(self.tokens.embed(before, self.backbone), *self.start_decoding(batch))

    def forward(self, batch: Batch) -> Tensor:
        """Logits (batch, written, vocabulary) along the target, or without a target along the
        greedy translation."""
        if batch.target is None:
            greedy = self.translate_batch(batch, GenerationConfig(beam_size=1))
            examples = [{"ids": [], "target": [*each[0].ids, EOS]} for each in greedy]
            written = Batch.collate(examples, range(len(batch))).target
            batch = replace(batch, target=written, target_places=None).to(self.device)
        return self.tokens(self.target_vectors(batch)[0], self.backbone)

    def loss(self, batch: Batch) -> Tensor:
        """Mean cross entropy of the target tokens, with label smoothing in training."""
        assert batch.target is not None
        chosen = batch.at_targets(self.target_vectors(batch)[0])  # (tokens, size)
        target = batch.at_targets(batch.target)
        smoothing = self.label_smoothing if self.training else 0.0
        return self.tokens.loss(chosen, self.backbone, target, smoothing)

    count_tokens = Task.count_targets  # the target's tokens

    def translate_batch(self, batch: Batch, config: GenerationConfig) -> list[list[Hypothesis]]:
        """Translations of each row, the best first; an empty row gives an empty translation."""
        limits = 3 * batch.lengths + 10
        limits[batch.lengths <= 1] = 0  # EOS alone
        step_model = DecoderStepModel(
            self.decoder, *self.start_decoding(batch), self.tokens, self.backbone
        )
        return generate(step_model, limits.to(self.device), config)

    def predict_batch(self, batch: Batch) -> list[dict[str, Any]]:
        """{"text", "ids", "n_best": [{"text", "score"}, …]} per row.

        With targets also "tokens", the number of the row's target tokens, and "loss", the mean
        over the batch.
        """
        decode = self.output_tokenizer.decode
        config = GenerationConfig(beam_size=1) if self.comparing_epochs else self.generation
        answers = []
        for hypotheses in self.translate_batch(batch, config):
            n_best = [{"text": decode(h.ids), "score": h.score} for h in hypotheses]
            text = n_best[0]["text"]
            answers.append({"text": text, "ids": hypotheses[0].ids, "n_best": n_best})
        if batch.target is not None:
            loss = self.loss(batch).item()
            counts = batch.target_mask.sum(1).tolist()
            for answer, tokens in zip(answers, counts, strict=True):
                answer |= {"loss": loss, "tokens": tokens}
        return answers

    def compute_metrics(
        self, answers: Sequence[dict[str, Any]], rows: Sequence[Row]
    ) -> dict[str, float]:
        wanted = [column(row, "target") for row in rows]
        metrics = scores.translation([answer["text"] for answer in answers], wanted)
        if answers and "tokens" in answers[0]:
            total = sum(answer["loss"] * answer["tokens"] for answer in answers)
            metrics["loss"] = total / sum(answer["tokens"] for answer in answers)
        return metrics

    def format(self, answer: dict[str, Any]) -> str:
        return " ".join(answer["text"].splitlines())

    def to_json(self, answer: dict[str, Any]) -> dict[str, Any]:
        return {"translation": answer["text"], "n_best": answer["n_best"]}

    def predict(
        self, texts: str | Iterable[str], config: GenerationConfig | None = None
    ) -> list[Any]:
        """Translate texts: a text for each, or with `n_best` above 1 a list of the best.

        `config` is by default the task's own `generation`.
        """
        return self.predict_with(config, texts)

    def plot(self, row: Row, answer: dict[str, Any], path: Path) -> bool:
        """Draw the attention weights of each token of an answer over the source's tokens."""
        if self.decoder.attention is None or not answer["ids"]:
            return False
        read = self.encode(self.input_row(row))["ids"]
        written = [*answer["ids"], EOS]
        batch = Batch.collate([{"ids": read, "target": written}], [0]).to(self.device)
        with torch.no_grad():
            weights = self.eval().target_vectors(batch)[1]
        assert weights is not None
        names = self.tokenizer.pieces(read), self.output_tokenizer.pieces(written)
        plots.attention(*names, weights[0].cpu().numpy(), path)
        return True

    def report(self, answers: Sequence[Any], rows: Sequence[Row], folder: Path) -> dict[str, Any]:
        """Draw attention-1.png, …; returns some translations and the signatures of the scores."""
        examples = []
        for row, answer in list(zip(rows, answers, strict=True))[:EXAMPLES]:
            examples.append({**row, "answer": answer["text"]})
            self.plot(row, answer, folder / f"attention-{len(examples)}.png")
        signatures = scores.signatures([column(row, "target") for row in rows])
        return {"examples": examples, "signatures": signatures}
