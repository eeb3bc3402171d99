"""Translation: an encoder's final `h_n` and `c_n` become the first state of a decoder.

An LSTM offers three things: `output` (every step), `h_n` and `c_n` (after the last step). Before the
first word of a translation is written the whole sentence must have been read, and that is what the
final states hold, once per direction. Both are handed over, because an LSTM goes on from both
(`task.init=h_n_c_n`; how, says `zoo/nn/bridge.py`). What a few hundred numbers cannot hold the decoder
looks up in `output` while it writes: that is attention (`task.attention=none` goes without).
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

EXAMPLES = 3  # translations that are shown and drawn after a training

READS = {  # task.init -> what of the encoder the decoder starts from, and why
    "h_n_c_n": ("h_n, c_n", "the decoder goes on from both states after the encoder's last token"),
    "h_n": ("h_n", "for comparison: the decoder goes on from h alone, its cell starts at zero"),
    "zero": ("output", "for comparison: nothing is handed over, attention looks at output"),
}
NOTHING = "nothing", "for comparison: with neither states nor attention it knows the target alone"


class Translate(Task):
    """Texts for texts: encoder -> bridge -> decoder, which looks at the encoder's output."""

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
        """`target_tokenizer`, where the two sides do not share one; `hidden_size` of the decoder,
        by default that of the encoder's output; `tied`: one matrix for all that is embedded by
        one tokenizer and for the output layer; `subword_sampling`: the share of merges that BPE
        leaves out when a text is read in training; each side is cut after `max_length` tokens."""
        super().__init__(
            backbone, tokenizer, init=init, attention=attention, input_feeding=input_feeding,
            hidden_size=hidden_size, tied=tied, dropout=dropout, label_smoothing=label_smoothing,
            subword_sampling=subword_sampling, max_length=max_length,
        )  # fmt: skip
        if backbone.embedding is None:
            raise ValueError("translate reads ids: its backbone needs a vocabulary")
        if subword_sampling and not isinstance(tokenizer, Subwords):
            raise ValueError("subword_sampling needs tokenizer.kind=subwords")
        self.target_tokenizer, self.max_length = target_tokenizer, max_length
        self.label_smoothing, self.subword_sampling = label_smoothing, subword_sampling
        self.augments_at_random = subword_sampling > 0
        nothing = init == "zero" and attention == "none"
        self.reads, self.why = NOTHING if nothing else READS[init]
        lstm, size = backbone.lstm, backbone.embedding.embedding_dim
        hidden = hidden_size or backbone.output_size
        directions = 2 if lstm.bidirectional else 1
        self.bridge = Bridge(lstm.num_layers, directions, lstm.hidden_size, hidden, init)
        self.decoder = Decoder(backbone, hidden, attention, input_feeding, dropout)
        own = target_tokenizer is not None or not tied  # an embedding of the target's tokens
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
        """Both sides end with EOS, unless they are cut."""
        ids = [*self.tokenizer.encode(column(row, "source")), EOS]
        target = []
        if "target" in row:
            target = [*self.output_tokenizer.encode(column(row, "target")), EOS]
        most = self.max_length + 1
        example: dict[str, Any] = {"ids": ids[:most], "cut": int(max(len(ids), len(target)) > most)}
        return example | ({"target": target[:most]} if target else {})

    def augment(self, examples: Sequence[Example]) -> Sequence[Example]:
        if not self.subword_sampling:
            return examples
        seed_sampling()
        return [
            example | {side: self._sampled(side, example[side]) for side in ("ids", "target")}
            for example in map(dict, examples)
        ]

    def _sampled(self, side: str, ids: Sequence[int]) -> list[int]:
        tokenizer = self.tokenizer if side == "ids" else self.output_tokenizer
        assert isinstance(tokenizer, Subwords)
        sampled = tokenizer.sample([*map(int, ids)], self.subword_sampling)
        return sampled if len(sampled) <= self.max_length + 1 else [*map(int, ids)]

    def read(self, encoded: Encoded) -> State:
        """The decoder's first h and c: (layers, batch, hidden) each."""
        return self.bridge(encoded.h_n, encoded.c_n)

    def start_decoding(self, batch: Batch) -> tuple[DecoderState, Memory | None]:
        """The decoder's state before the first token, and what it may look at."""
        encoded = self.backbone(batch.ids, batch.lengths)
        look = self.decoder.attention
        memory = None if look is None else look.encode_memory(encoded.output, encoded.lengths)
        return self.decoder.start(*self.read(encoded)), memory

    def target_vectors(self, batch: Batch) -> tuple[Tensor, Tensor | None]:
        """A vector (batch, written, size) for every token of the target, made of those before it,
        and the attention's weights (batch, written, read)."""
        assert batch.target is not None
        before = F.pad(batch.target[:, :-1].clamp(min=PAD), (1, 0), value=BOS)
        return self.decoder(self.tokens.embed(before, self.backbone), *self.start_decoding(batch))

    def forward(self, batch: Batch) -> Tensor:
        """Logits (batch, written, vocabulary) along the target, without one along the greedy
        translation."""
        if batch.target is None:
            greedy = self.translate_batch(batch, GenerationConfig(beam_size=1))
            examples = [{"ids": [], "target": [*each[0].ids, EOS]} for each in greedy]
            written = Batch.collate(examples, range(len(batch))).target
            batch = replace(batch, target=written, target_places=None).to(self.device)
        return self.tokens(self.target_vectors(batch)[0], self.backbone)

    def loss(self, batch: Batch) -> Tensor:
        assert batch.target is not None
        chosen = batch.at_targets(self.target_vectors(batch)[0])  # (tokens, size)
        target = batch.at_targets(batch.target)
        smoothing = self.label_smoothing if self.training else 0.0
        return self.tokens.loss(chosen, self.backbone, target, smoothing)

    count_tokens = Task.count_targets  # tokens that are written

    def translate_batch(self, batch: Batch, config: GenerationConfig) -> list[list[Hypothesis]]:
        """Translations of each row, the best first; an empty one of an empty row."""
        limits = 3 * batch.lengths + 10
        limits[batch.lengths <= 1] = 0  # EOS alone
        writer = DecoderStepModel(
            self.decoder, *self.start_decoding(batch), self.tokens, self.backbone
        )
        return generate(writer, limits.to(self.device), config)

    def predict_batch(self, batch: Batch) -> list[dict[str, Any]]:
        """{"text", "ids", "n_best": [{"text", "score"}, …]} per row; where there is a target also
        its "tokens" and "loss", the mean of the batch."""
        decode = self.output_tokenizer.decode
        answers = []
        for hypotheses in self.translate_batch(
            batch, GenerationConfig(beam_size=1) if self.comparing_epochs else self.generation
        ):
            n_best = [{"text": decode(h.ids), "score": h.score} for h in hypotheses]
            text = n_best[0]["text"]
            answers.append({"text": text, "ids": hypotheses[0].ids, "n_best": n_best})
        if batch.target is not None:
            loss, counts = self.loss(batch).item(), batch.target_mask.sum(1).tolist()
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
        """Translations of texts, in their order; of `n_best` above 1 a list for each, best first.

        `search` is how they are found, by default `self.search`.
        """
        return self.predict_with(config, texts)

    def plot(self, row: Row, answer: dict[str, Any], path: Path) -> bool:
        """Where the decoder looked for each token of an answer."""
        if self.decoder.attention is None or not answer["ids"]:
            return False
        read, written = self.encode(self.input_row(row))["ids"], [*answer["ids"], EOS]
        batch = Batch.collate([{"ids": read, "target": written}], [0]).to(self.device)
        with torch.no_grad():
            weights = self.eval().target_vectors(batch)[1]
        assert weights is not None
        names = self.tokenizer.pieces(read), self.output_tokenizer.pieces(written)
        plots.attention(*names, weights[0].cpu().numpy(), path)
        return True

    def report(self, answers: Sequence[Any], rows: Sequence[Row], folder: Path) -> dict[str, Any]:
        """attention-1.png, …, some of the translations, and the scores' signatures."""
        examples = []
        for row, answer in list(zip(rows, answers, strict=True))[:EXAMPLES]:
            examples.append({**row, "answer": answer["text"]})
            self.plot(row, answer, folder / f"attention-{len(examples)}.png")
        signatures = scores.signatures([column(row, "target") for row in rows])
        return {"examples": examples, "signatures": signatures}
