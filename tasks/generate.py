"""Text generation: every step of `output` predicts the next token.

An LSTM offers three things: `output` (every step), `h_n` and `c_n` (after the last step). A language
model learns from every token of a text, so it reads `output` at every step: what stands there has
seen the tokens up to this one, and nothing behind it. That is why it only reads to the right.

`h_n` and `c_n` are not read, but they are kept: they are all that the LSTM knows of what came
before. In training the next window of the text goes on from them; in writing, the next token does.

With `backbone.bidirectional=true` a backward direction learns beside it, to predict each token from
those behind it. It is no help in writing; it is there for the tasks that start from this model.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from zoo.config import Count, NotNegative, Share
from zoo.data.dataset import Batch, Dataset, Example, ExampleList
from zoo.data.readers import Row, column
from zoo.data.stream import Stream
from zoo.evaluation import baselines, metrics, perplexity, plots
from zoo.evaluation.perplexity import PerplexityConfig
from zoo.generation.config import GenerationConfig
from zoo.generation.language_model import decode_stream, generate_texts, stream_text
from zoo.nn import directions
from zoo.nn.adaptive_softmax import AdaptiveOutputLayer, default_cutoffs
from zoo.nn.backbone import Backbone, Encoded
from zoo.nn.output_layer import OutputLayer
from zoo.rnn import dropout as dropouts
from zoo.rnn.stack import State
from zoo.task import Task
from zoo.text.special_ids import EOS
from zoo.text.tokenizers import Tokenizer, lines

VALIDATION_COLUMNS = 64  # of a stream, while epochs are compared
PREVIEW = GenerationConfig(
    sample=True, temperature=0.7, top_k=40, max_length=60, seed=1
)  # after an epoch
EXCERPT, EXAMPLES = 3, 3  # test lines that are drawn, texts that are shown after a training


class Generate(Task):
    """A language model: embedding -> LSTM -> one vector for each token to come."""

    target_columns = ("text",)
    input_columns = ("prompt",)
    metric = "perplexity"
    lower_is_better = True
    generates = True
    reads, why = "output", "each step has read the tokens up to itself, and predicts the next one"
    shape = "batch, time, hidden: h after each token"
    logits = "batch, time, vocabulary"

    def __init__(
        self,
        backbone: Backbone,
        tokenizer: Tokenizer,
        stream: bool = True,
        softmax: Literal["full", "adaptive"] = "full",
        cutoffs: list[Count] | None = None,
        tied: bool = True,
        dropout: Share = 0.0,
        activation_penalty: NotNegative = 0.0,
        change_penalty: NotNegative = 0.0,
    ) -> None:
        """`stream`: the rows are one text; without, each is a text of its own. `cutoffs`: ids where
        the clusters of an adaptive softmax begin. `dropout` of the vectors that tokens are chosen
        by. The penalties on `output`, of itself and of its change, are Merity et al.'s (2017)."""
        super().__init__(
            backbone, tokenizer, stream=stream, softmax=softmax, cutoffs=cutoffs, tied=tied,
            dropout=dropout, activation_penalty=activation_penalty, change_penalty=change_penalty,
        )  # fmt: skip
        if backbone.embedding is None:
            raise ValueError("generate reads ids: its backbone needs a vocabulary")
        if backbone.lstm.bidirectional and backbone.lstm.num_layers > 1:
            raise ValueError("generation reads left to right: set backbone.bidirectional=false, or "
                             "num_layers=1: above that every step has seen what comes")  # fmt: skip
        if cutoffs is not None and softmax == "full":
            raise ValueError("cutoffs are an adaptive softmax's: set task.softmax=adaptive")
        self.stream, self.dropout = stream, dropout
        self.activation_penalty, self.change_penalty = activation_penalty, change_penalty
        self.dataset_class: type[Dataset] = Stream if stream else Dataset
        hidden, size = backbone.lstm.hidden_size, backbone.embedding.embedding_dim
        self.project = nn.Identity() if hidden == size else nn.Linear(hidden, size)
        self.onward, self.backward = [backbone], None
        if backbone.lstm.bidirectional:
            self.backward = nn.Identity() if hidden == size else nn.Linear(hidden, size)
            self.onward = [
                directions.with_directions(backbone, False)
            ]  # in a list: not a part of its own
        count = len(tokenizer)
        if softmax == "full":
            self.tokens = OutputLayer(count, size, tied=tied)
        else:
            self.tokens = AdaptiveOutputLayer(
                count, size, cutoffs or default_cutoffs(count), tied=tied
            )

    @classmethod
    def training_columns(cls) -> tuple[str, ...]:
        """A text alone: it is both what is read and what is predicted."""
        return cls.target_columns

    @classmethod
    def baseline(cls, train: Iterable[Row], test: Iterable[Row], kind: str) -> dict[str, Any]:
        return baselines.lzma_compression(train, test)

    def encode(self, row: Row) -> Example:
        """Of a text all tokens, to be predicted from those before them, EOS before the first; a
        line end is EOS too where rows are a stream. Of a prompt what is read before the first
        token that is written."""
        if "prompt" in row:
            return {"ids": [EOS, *self._ids(column(row, "prompt"))]}
        target = [*self._ids(column(row, "text")), EOS]
        return {"ids": [EOS, *target[:-1]], "target": target}

    def _ids(self, text: str) -> list[int]:
        if not self.stream:
            return self.tokenizer.encode(text)
        first, *others = lines(text)
        ids = self.tokenizer.encode(first)
        for line in others:
            ids += [EOS, *self.tokenizer.encode(line)]
        return ids

    def read(self, encoded: Encoded) -> Tensor:
        return encoded.output[..., : self.backbone.lstm.hidden_size]  # the forward direction's

    def next_token_vectors(self, batch: Batch, state: State | None) -> tuple[Tensor, State, Tensor]:
        """Vectors (batch, time, size) that predict the next token of every step, the state after
        the last step, and the `output` (batch, time, hidden) they are made of."""
        onward = self.onward[0].train(self.training)  # the forward direction alone
        output = self.read(encoded := onward(batch.ids, batch.lengths, state))
        return self._drop(self.project(output)), (encoded.h_n, encoded.c_n), output

    def _drop(self, vectors: Tensor) -> Tensor:
        return dropouts.dropout(vectors, self.dropout, self.training)

    def training_vectors(
        self, batch: Batch, state: State | None
    ) -> tuple[Tensor, Tensor, State, Tensor]:
        """Vectors (n, size) and the tokens (n,) they are to predict, the forward direction's last
        state, and `output`. A backward direction, where there is one, has read a step's token and
        all behind it, and predicts the one before."""
        assert batch.target is not None
        target = batch.at_targets(batch.target)
        if self.backward is None:
            vectors, last, output = self.next_token_vectors(batch, state)
            return batch.at_targets(vectors), target, last, output
        encoded = self.backbone(batch.ids, batch.lengths, directions.forward_alone(state))
        right, left = encoded.output.chunk(2, -1)  # (batch, time, hidden) each
        behind = batch.target_mask[:, 1:]  # the first token has none before it
        both = torch.cat(
            [batch.at_targets(self.project(right)), self.backward(left)[:, 1:][behind]]
        )
        target = torch.cat([target, batch.ids[:, :-1][behind]])
        return self._drop(both), target, (encoded.h_n[:1], encoded.c_n[:1]), encoded.output

    def forward(self, batch: Batch) -> Tensor:
        return self.tokens(self.next_token_vectors(batch, None)[0], self.backbone)

    def loss(self, batch: Batch) -> Tensor:
        """Mean cross entropy of all tokens, in each direction that the backbone has. A window of
        a stream goes on from the state that the window before it left behind, without a gradient
        into that."""
        carried = self.carried_state if batch.continues else None
        vectors, target, state, output = self.training_vectors(batch, carried)
        if batch.continues is not None:
            self.carried_state = (state[0].detach(), state[1].detach())
        loss = self.tokens.loss(vectors, self.backbone, target)
        if self.training and self.activation_penalty:
            loss = loss + self.activation_penalty * output.float().square().mean()
        if self.training and self.change_penalty and output.size(1) > 1:
            change = (output[:, 1:] - output[:, :-1]).float()
            loss = loss + self.change_penalty * change.square().mean()
        return loss

    def count_targets(self, batch: Batch) -> int:
        behind = 0 if self.backward is None else int(batch.target_mask[:, 1:].sum())
        return super().count_targets(batch) + behind

    def predict_dataset(
        self,
        dataset: ExampleList,
        tokens: int = 1 << 15,
        rows: int = 256,
        rank: int = 0,
        world: int = 1,
    ) -> Iterator[tuple[int, Any]]:
        """Of a stream what `score` needs of each row, from passes over the whole of it; the static
        one in one column, unless epochs are being compared."""
        if not isinstance(dataset, Stream):
            yield from super().predict_dataset(dataset, tokens, rows, rank, world)
            return
        columns = VALIDATION_COLUMNS if self.comparing_epochs else 1
        measure = PerplexityConfig() if self.comparing_epochs else self.perplexity_config
        found = enumerate(perplexity.rows(self, dataset, measure, columns))
        yield from islice(found, rank, None, world)

    def predict_batch(self, batch: Batch) -> list[dict[str, Any]]:
        """Of prompts {"text", "n_best": [{"text", "score"}, …]}, prompts included; of texts what
        `score` needs."""
        if batch.target is None:
            found = generate_texts(self, batch, self.generation)
            n_best = [[{"text": text, "score": score} for text, score in each] for each in found]
            return [{"text": each[0]["text"], "n_best": each} for each in n_best]
        losses = torch.zeros(batch.target.shape, device=self.device)
        real, vectors = batch.target_mask, self.next_token_vectors(batch, None)[0]
        losses[real] = self.tokens.losses(vectors[real], self.backbone, batch.target[real])
        nats = losses.double().sum(1).tolist()
        rows = zip(nats, batch.target, real, strict=True)
        return [metrics.likelihood({"": total}, row[some].tolist()) for total, row, some in rows]

    def stream_text(
        self, prompt: str = "", config: GenerationConfig | None = None
    ) -> Iterator[str]:
        """What follows a prompt, in pieces as they are produced; see `continuation.pieces`."""
        batch = Batch.collate([self.encode(Row({"prompt": prompt}, "prompt"))], [0]).to(self.device)
        return stream_text(self.eval(), batch, config or self.generation)

    def predict(
        self, texts: str | Iterable[str], config: GenerationConfig | None = None
    ) -> list[Any]:
        """Texts that go on from prompts, in their order; of `n_best` above 1 a list for each.

        `search` is how they are found, by default `self.search`.
        """
        return self.predict_with(config, texts)

    def stream_answer(self, row: Row) -> Iterator[str]:
        """The row's prompt and what follows, as it is written; what a beam finds, at once."""
        prompt = column(self.input_row(row), "prompt")
        if self.generation.sample or self.generation.beam_size == 1:
            yield prompt
            yield from self.stream_text(prompt)
        else:
            yield self.predict(prompt, replace(self.generation, n_best=1))[0]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids."""
        return decode_stream(self.tokenizer, ids, self.stream)

    def compute_metrics(
        self, answers: Sequence[dict[str, Any]], rows: Sequence[Row]
    ) -> dict[str, float]:
        texts = [column(row, "text") for row in rows]
        return metrics.perplexity(answers, texts, by_line=self.stream)

    def format(self, answer: dict[str, Any]) -> str:
        text = answer.get("text")
        return f"{answer['nats']['']:.3g} nats" if text is None else " ".join(text.splitlines())

    def preview(self) -> str:
        """A text of its own making."""
        return "".join(self.stream_text("", PREVIEW))

    def plot(self, row: Row, answer: dict[str, Any], path: Path) -> bool:
        """How surprising each token of an answer was."""
        example = self.encode(Row({"text": answer.get("text", "")}, row.source))
        names = self.tokenizer.pieces(example["target"])
        plots.surprise(names, perplexity.single(self, example) / math.log(2), path)
        return True

    def report(self, answers: Sequence[Any], rows: Sequence[Row], folder: Path) -> dict[str, Any]:
        """surprise.png of the first test lines, and texts of the model's own making."""
        text = "\n".join(column(row, "text") for row in rows[:EXCERPT])
        self.plot(Row({}, "test"), {"text": text}, folder / "surprise.png")
        drawn = (
            "".join(self.stream_text("", replace(PREVIEW, seed=seed))) for seed in range(EXAMPLES)
        )
        return {"examples": [{"sample": text} for text in drawn]}
