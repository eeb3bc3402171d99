"""Translation: an encoder's final `h_n` and `c_n` become the first state of a decoder.

An LSTM returns `output` (h at every step), `h_n` and `c_n` (both states after the last step). The
decoder must know the whole source sentence before it writes the first word. The encoder's final
states have read it, once per direction. Both `h_n` and `c_n` initialize the decoder, because an
LSTM needs both to continue (`task.init=h_n_c_n`, see `zoo/nn/bridge.py`).

A few hundred numbers cannot hold every detail of a sentence. So at each step the decoder also looks
at `output` with attention (`task.attention=none` turns it off).
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Literal, cast

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.data.batch import Batch, Example
from zoo.data.processors import Processor
from zoo.data.readers import Row, column
from zoo.evaluation import advice, baselines, plots
from zoo.evaluation import metrics as scores
from zoo.evaluation.attribution import Question, TokenQuestion, hidden, surfaces_of
from zoo.generation.config import GenerationConfig
from zoo.generation.generate import generate
from zoo.generation.processors import apply_processors
from zoo.generation.step_model import Hypothesis
from zoo.generation.texts import until_stop_string
from zoo.messages import _
from zoo.nn.attention import AttentionKind, Memory
from zoo.nn.backbone import Backbone, Encoded
from zoo.nn.bridge import Bridge, Init
from zoo.nn.decoder import Decoder, DecoderState, DecoderStepModel
from zoo.nn.losses.r_drop import r_drop_loss
from zoo.nn.output_layer import OutputLayer, at_least_float32
from zoo.option_classes import NotNegative, Share, Size, Steps, checked_dataclass
from zoo.rnn.stack import State
from zoo.task import GREEDY, Baseline, Generative, GenerativeConfig, Step, input_row, noted
from zoo.text.special_ids import BOS, EOS, PAD, SPECIALS
from zoo.text.tokenizers import Subwords, Tokenizer

SIDES = "inputs", "targets"  # of an example
EXAMPLES = 3  # translations in the report, with a picture of their attention

READS = {  # task.init -> what the task reads of the encoder, and why
    "h_n_c_n": (
        "h_n, c_n",
        "the decoder continues from both states after the encoder's last token",
    ),
    "h_n": ("h_n", "for comparison: the decoder starts from h alone, its cell state is zero"),
    "zero": ("output", "for comparison: the decoder starts from zero, attention reads output"),
}
GRU_READS = ("h_n", "the decoder continues from the encoder's last h, a GRU's whole state")
NOTHING = (
    "nothing",
    "for comparison: without states and attention the decoder knows nothing of the source",
)


@checked_dataclass
class TranslateConfig(GenerativeConfig):
    """The options of `task=translate`.

    >>> TranslateConfig(attention="none").init
    'h_n_c_n'
    """

    init: Init = "h_n_c_n"
    """The decoder's initial state: the encoder's h_n and c_n (of a GRU h_n), h_n alone, or zero."""

    attention: AttentionKind | Literal["none"] = "general"
    """Attention to the encoder's `output`."""

    input_feeding: bool = False
    """Whether each step also reads the attention vector of the step before; several times slower."""

    hidden_size: Size | None = None
    """Hidden size of the decoder; by default the size of the encoder's output."""

    tied: bool = True
    """Whether the output layer shares its weights with the embedding of the target's tokens."""

    dropout: Share = 0.3
    """Dropout of the input of the output layer."""

    label_smoothing: Share = 0.1
    """Share of the probability that the loss gives to all tokens alike, in training."""

    r_drop: NotNegative = 0.0
    """Weight of R-Drop: two passes with other dropout masks shall predict the same; 0: one pass."""

    subword_sampling: Share = 0.0
    """Share of the BPE merges that are skipped in training (BPE dropout)."""

    max_length: Steps = 100
    """Most tokens of a side, without EOS; longer sides are truncated."""


class Translate(Generative):
    """An encoder-decoder: encoder -> bridge -> decoder with attention to the encoder's output.

    Logits are (batch, written, target vocabulary).

    >>> import zoo
    >>> zoo.Translate.from_pretrained("translate/en-de").predict("Two dogs are playing.")
    ['Zwei Hunde spielen.']
    """

    input_columns = ("source",)
    target_columns = ("target",)
    text_columns = ("source", "target")
    not_empty = ("source", "target")
    metric = "bleu"
    example = "A man rides a bike."
    shape = "layers, batch, hidden: the decoder's first state"
    logits = "batch, written, vocabulary"
    hidden_keys = frozenset({"ids", "loss", "tokens"})
    config: TranslateConfig
    config_class = TranslateConfig
    baseline: ClassVar[Baseline | None] = staticmethod(baselines.nearest_pair)

    def __init__(
        self,
        backbone: Backbone,
        processors: Mapping[str, Processor],
        config: TranslateConfig | None = None,
    ) -> None:
        """Take "target_tokenizer" of `processors` for the target side, if it is there.

        Otherwise both sides share "tokenizer". Raises ValueError for options that do not fit
        together.
        """
        super().__init__(backbone, processors, config)
        config = self.config
        if backbone.embedding is None:
            raise ValueError("translate reads ids: its backbone needs a vocabulary")
        if config.subword_sampling and not isinstance(self.tokenizer, Subwords):
            raise ValueError("subword_sampling needs tokenizer.kind=subwords")
        self.augments = config.subword_sampling > 0
        nothing = config.init == "zero" and config.attention == "none"
        self.reads, self.why = NOTHING if nothing else READS[config.init]
        if backbone.config.cell == "gru" and config.init != "zero":
            self.reads, self.why = GRU_READS
        rnn, size = backbone.rnn, backbone.embedding.embedding_dim
        hidden = config.hidden_size or backbone.output_size
        directions = 2 if rnn.bidirectional else 1
        sizes = rnn.num_layers, directions, rnn.hidden_size, hidden
        self.bridge = Bridge(*sizes, config.init, backbone.config.cell)
        self.decoder = Decoder(
            backbone, hidden, config.attention, config.input_feeding, config.dropout
        )
        # whether the target's tokens have an embedding of their own
        own = "target_tokenizer" in self.processors or not config.tied
        self.tokens = OutputLayer(len(self.output_tokenizer), size, own, config.tied)

    @property
    def output_tokenizer(self) -> Tokenizer:
        """The tokenizer of the target side."""
        return cast(Tokenizer, self.processors.get("target_tokenizer", self.tokenizer))

    # --- what is read from the LSTM, and learned

    def read(self, encoded: Encoded) -> State:
        """Return the decoder's initial h and, of an LSTM, c: (layers, batch, hidden) each."""
        return self.bridge(encoded.h_n, encoded.c_n)

    def start_decoding(
        self, batch: Batch, encoded: Encoded | None = None
    ) -> tuple[DecoderState, Memory | None]:
        """Return the decoder's state before the first token, and the memory it attends to, if any.

        `encoded` is the backbone's result for the batch, if it is known.
        """
        if encoded is None:
            encoded = self._run_backbone(batch)
        attention = self.decoder.attention
        memory = None
        if attention is not None:
            memory = attention.encode_memory(encoded.output, encoded.lengths)
        return self.decoder.start(*self.read(encoded)), memory

    def target_vectors(
        self, batch: Batch, encoded: Encoded | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Run the decoder over the target (teacher forcing).

        Returns the output layer's inputs (batch, written, size), each computed from the target
        tokens before it, and the attention weights (batch, written, read), if any.
        """
        assert batch.targets is not None
        before = F.pad(batch.targets[:, :-1].clamp(min=PAD), (1, 0), value=BOS)
        embedded = self.tokens.embed(before, self.backbone)
        return self.decoder(embedded, *self.start_decoding(batch, encoded))

    def forward(self, batch: Batch, *, encoded: Encoded | None = None) -> Tensor:
        """Return logits (batch, written, vocabulary) along the target.

        Without a target they are along the greedy translation.
        """
        if batch.targets is None:
            greedy = self.generate(batch, GREEDY, encoded)
            examples = [{"inputs": [], "targets": [*each[0].ids, EOS]} for each in greedy]
            targets = self.collate(examples).targets
            batch = replace(batch, targets=targets, extras={}).to(self.device)
        return self.tokens(self.target_vectors(batch, encoded)[0], self.backbone)

    def training_step(self, batch: Batch, state: State | None = None) -> Step:
        """Return the mean cross entropy of the target tokens, with label smoothing in training.

        With `r_drop` it is that of two passes, and how far they differ.
        """
        if not self.config.r_drop:
            return self._step(batch)
        assert batch.targets is not None
        targets = batch.at_targets(batch.targets)

        def logits() -> Tensor:
            vectors = batch.at_targets(self.target_vectors(batch)[0])  # (tokens, size)
            return at_least_float32(self.tokens(vectors, self.backbone))

        loss = r_drop_loss(
            logits,
            lambda found: F.cross_entropy(found, targets, label_smoothing=self._smoothing),
            self.config.r_drop,
        )
        return Step(loss, len(targets))

    @property
    def _smoothing(self) -> float:
        return self.config.label_smoothing if self.training else 0.0

    def _step(self, batch: Batch, encoded: Encoded | None = None) -> Step:
        assert batch.targets is not None
        vectors = batch.at_targets(self.target_vectors(batch, encoded)[0])  # (tokens, size)
        targets = batch.at_targets(batch.targets)
        loss = self.tokens.loss(vectors, self.backbone, targets, self._smoothing)
        return Step(loss, len(targets))

    @torch.no_grad()
    def generate(
        self, batch: Batch, config: GenerationConfig, encoded: Encoded | None = None
    ) -> list[list[Hypothesis]]:
        """Return translations of each row, best first; of an empty row, an empty translation.

        With a stop string the ids may go on after it, to the end of the last token.
        """
        limits = 3 * batch.lengths + 10
        limits[batch.lengths <= 1] = 0  # EOS alone
        decoder = DecoderStepModel(
            self.decoder, *self.start_decoding(batch, encoded), self.tokens, self.backbone
        )
        step_model = apply_processors(decoder, config, self.output_tokenizer.decode)
        return generate(step_model, limits.to(self.device), config)

    def predict_batch(
        self,
        batch: Batch,
        *,
        encoded: Encoded | None = None,
        config: GenerationConfig | None = None,
    ) -> list[dict[str, Any]]:
        """Return {"text", "ids", "n_best": [{"text", "score"}, …]} for each row.

        With targets also "tokens", the number of the row's target tokens, and "loss", the mean
        over the batch.
        """
        config = config or self.config.generation
        if encoded is None:
            encoded = self._run_backbone(batch)
        answers = []
        for hypotheses in self.generate(batch, config, encoded):
            n_best = [
                {"text": self._text(hypothesis, config), "score": hypothesis.score}
                for hypothesis in hypotheses
            ]
            answers.append({"text": n_best[0]["text"], "ids": hypotheses[0].ids, "n_best": n_best})
        if batch.targets is not None:
            loss = self._step(batch, encoded).loss.item()
            counts = batch.target_mask.sum(1).tolist()
            for answer, tokens in zip(answers, counts, strict=True):
                answer |= {"loss": loss, "tokens": tokens}
        return answers

    def _text(self, hypothesis: Hypothesis, config: GenerationConfig) -> str:
        """Return the text of a translation, up to a stop string."""
        text = self.output_tokenizer.decode(hypothesis.ids)
        return "".join(until_stop_string([text], config.stop))

    # --- from rows to batches

    def encode(self, row: Row) -> Example:
        """Return "inputs", the source's ids, and "targets", each with EOS unless truncated."""
        source = column(row, "source")
        ids = self.tokenizer.encode(source) if source.strip() else []  # white: an empty answer
        inputs = [*ids, EOS]
        targets = []
        if "target" in row:
            targets = [*self.output_tokenizer.encode(column(row, "target")), EOS]
        most = self.config.max_length + 1  # with EOS
        cut = int(max(len(inputs), len(targets)) > most)
        example: dict[str, Any] = {"inputs": inputs[:most], "cut": cut}
        return example | ({"targets": targets[:most]} if targets else {})

    def collate(self, examples: Sequence[Example], augment: bool = False) -> Batch:
        """Pad examples to a batch, with the places of its targets.

        With `augment` and `subword_sampling` the texts are split into other subwords at random.
        """
        if augment and self.augments:
            generator = random.Random(int(torch.randint(1 << 31, ())))
            examples = [
                {
                    **example,
                    **{side: self._sample(side, example[side], generator) for side in SIDES},
                }
                for example in examples
            ]
        return super().collate(examples).with_places()

    def _sample(self, side: str, ids: Sequence[int], generator: random.Random) -> list[int]:
        """Return another split of the same text; `ids` themselves where that would be too long."""
        tokenizer = self.tokenizer if side == "inputs" else self.output_tokenizer
        assert isinstance(tokenizer, Subwords)
        sampled = tokenizer.sample([*map(int, ids)], self.config.subword_sampling, generator)
        return sampled if len(sampled) <= self.config.max_length + 1 else [*map(int, ids)]

    # --- answers and their scores

    def format(self, answer: dict[str, Any]) -> str:
        """Return the translation on one line."""
        return " ".join(answer["text"].splitlines())

    def compute_metrics(
        self, answers: Sequence[dict[str, Any]], rows: Sequence[Row]
    ) -> dict[str, float]:
        """Return BLEU, chrF and, of answers with a loss, the loss per target token."""
        wanted = [column(row, "target") for row in rows]
        metrics = scores.translation([answer["text"] for answer in answers], wanted)
        return metrics | scores.token_loss(answers)

    def report(self, answers: Sequence[Any], rows: Sequence[Row], folder: Path) -> dict[str, Any]:
        """Draw attention-1.png, …; return some translations and the signatures of the scores."""
        entries: dict[str, Any] = {}
        examples = []
        for row, answer in list(zip(rows, answers, strict=True))[:EXAMPLES]:
            examples.append({**row, "answer": answer["text"]})
            name = f"attention-{len(examples)}.png"
            with noted(name, entries):
                self.plot(row, answer, folder / name)
        signatures = scores.signatures([column(row, "target") for row in rows])
        return entries | {"examples": examples, "signatures": signatures}

    def plot(self, row: Row, answer: dict[str, Any], path: Path) -> bool:
        """Draw the attention weights of each token of an answer over the source's tokens."""
        if self.decoder.attention is None or not answer["ids"]:
            return False
        read = self.encode(input_row(self, row))["inputs"]
        written = [*answer["ids"], EOS]
        batch = self.collate([{"inputs": read, "targets": written}]).to(self.device)
        if self.training:
            self.eval()
        with torch.no_grad():
            weights = self.target_vectors(batch)[1]
        assert weights is not None
        names = self.tokenizer.pieces(read), self.output_tokenizer.pieces(written)
        plots.attention(*names, weights[0].float().cpu().numpy(), path)
        return True

    @classmethod
    def _advise(cls, report: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        tokenizer = (report.get("settings") or {}).get("tokenizer") or {}
        own = []
        if tokenizer.get("kind") != "characters":
            why = _("small corpora spell better than they know words")
            own = [("tokenizer.kind=characters", why)]
        yield from advice.general(report, own)

    # --- why an answer was given

    def question(self, row: Row, answer: Any, target: Any = None) -> Question:
        """Ask about each written token; `target` is another translation, a text."""
        return SourceQuestion(self, row, answer, target)


class SourceQuestion(TokenQuestion):
    """Asks what each token of the source says for each token of a translation."""

    def __init__(self, task: Translate, row: Row, answer: Any, target: Any) -> None:
        source = column(row, "source")
        given = {"source": source} if target is None else {"source": source, "target": str(target)}
        self.example = {**task.encode(Row(given, row.source))}
        if target is None:
            self.example["targets"] = [*answer["ids"], EOS]
        self.task = task
        self.target = answer["text"] if target is None else str(target)
        self.written = self.example["targets"]
        self.parts = surfaces_of(task.output_tokenizer.decode, self.written)
        names = task.tokenizer.surfaces(source) if source.strip() else []
        self.tokens = [*names, SPECIALS[EOS]][: len(self.example["inputs"])]

    def hide(self, tokens: Sequence[int]) -> Example:
        return {**self.example, "inputs": hidden(self.example["inputs"], tokens)}

    def run(self, batch: Batch) -> tuple[Tensor, Tensor | None]:
        return self.task.target_vectors(batch)

    def attention(self, found: tuple[Tensor, Tensor | None]) -> np.ndarray | None:
        weights = found[1]
        return None if weights is None else weights[0].float().cpu().numpy()
