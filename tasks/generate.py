"""Text generation: every step of `output` predicts the next token.

An LSTM returns `output` (h at every step), `h_n` and `c_n` (both states after the last step). A
language model learns from every token of a text, so it reads `output` at every step. There the
forward direction has seen the tokens up to this one, and none after it. A backward direction would
have seen the token that is to be predicted, so generation only reads left to right.

`h_n` and `c_n` are passed on: they are all that the LSTM knows of the text so far. In training the
next window of the text starts from them, in generation the next token does.

With `backbone.bidirectional=true` a backward language model is trained as well: it predicts each
token from the tokens after it. Generation does not use it. It serves tasks that start from this
model with `init=`.
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

VALIDATION_COLUMNS = 64  # columns into which a stream is cut while epochs are compared
PREVIEW = GenerationConfig(
    sample=True, temperature=0.7, top_k=40, max_length=60, seed=1
)  # after an epoch
EXCERPT = 3  # test rows in surprise.png
EXAMPLES = 3  # texts that are generated for the report


class Generate(Task):
    """A language model: embedding -> LSTM -> projection -> softmax over the next token."""

    target_columns = ("text",)
    input_columns = ("prompt",)
    metric = "perplexity"
    lower_is_better = True
    generates = True
    reads = "output"
    why = "each step has read the tokens up to itself, and predicts the next one"
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
        """With `stream` all rows are one text, otherwise each row is a text of its own.

        `cutoffs` are the ids at which the clusters of an adaptive softmax begin. `tied` shares the
        weights of embedding and output layer. `dropout` is applied to the input of the output
        layer. `activation_penalty` and `change_penalty` weigh the mean square of `output` and of
        its change between steps (Merity et al. 2017). Raises ValueError for options that do not
        fit together.
        """
        super().__init__(
            backbone,
            tokenizer,
            stream=stream,
            softmax=softmax,
            cutoffs=cutoffs,
            tied=tied,
            dropout=dropout,
            activation_penalty=activation_penalty,
            change_penalty=change_penalty,
        )
        if backbone.embedding is None:
            raise ValueError("generate reads ids: its backbone needs a vocabulary")
        if backbone.lstm.bidirectional and backbone.lstm.num_layers > 1:
            raise ValueError(
                "generation reads left to right: set backbone.bidirectional=false, or "
                "num_layers=1: above that every step has seen what comes"
            )
        if cutoffs is not None and softmax == "full":
            raise ValueError("cutoffs are an adaptive softmax's: set task.softmax=adaptive")
        self.stream = stream
        self.dropout = dropout
        self.activation_penalty = activation_penalty
        self.change_penalty = change_penalty
        self.dataset_class: type[Dataset] = Stream if stream else Dataset
        hidden, size = backbone.lstm.hidden_size, backbone.embedding.embedding_dim
        self.project = nn.Identity() if hidden == size else nn.Linear(hidden, size)
        # The forward direction alone; in a list, so that its weights are not registered twice.
        self.onward = [backbone]
        self.backward = None
        if backbone.lstm.bidirectional:
            self.backward = nn.Identity() if hidden == size else nn.Linear(hidden, size)
            self.onward = [directions.with_directions(backbone, False)]
        count = len(tokenizer)
        if softmax == "full":
            self.tokens = OutputLayer(count, size, tied=tied)
        else:
            self.tokens = AdaptiveOutputLayer(
                count, size, cutoffs or default_cutoffs(count), tied=tied
            )

    @classmethod
    def training_columns(cls) -> tuple[str, ...]:
        """Only the text: it is both input and target."""
        return cls.target_columns

    @classmethod
    def baseline(cls, train: Iterable[Row], test: Iterable[Row], kind: str) -> dict[str, Any]:
        return baselines.lzma_compression(train, test)

    def encode(self, row: Row) -> Example:
        """ "ids" are EOS and the prompt, or EOS and the text, with the text shifted as "target".

        In a stream a line end inside a text is EOS too.
        """
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
        """The inputs of the output layer for the next token at every step, from `state` on.

        Returns the vectors (batch, time, size), the state after the last step, and the `output`
        (batch, time, hidden) that they are computed from.
        """
        onward = self.onward[0].train(self.training)
        encoded = onward(batch.ids, batch.lengths, state)
        output = self.read(encoded)
        return self._drop(self.project(output)), (encoded.h_n, encoded.c_n), output

    def _drop(self, vectors: Tensor) -> Tensor:
        return dropouts.dropout(vectors, self.dropout, self.training)

    def training_vectors(
        self, batch: Batch, state: State | None
    ) -> tuple[Tensor, Tensor, State, Tensor]:
        """The inputs of the output layer and their targets, of all steps that have a target.

        Returns the vectors (n, size), the target ids (n,), the forward direction's last state and
        `output`. A backward direction, if there is one, has read a token and all after it, and
        predicts the token before.
        """
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
        """Mean cross entropy over all predicted tokens, of both directions if there are two.

        A window of a stream starts from the last state of the window before, which is detached.
        """
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
        """Yield (row number, answer) of every row; see `Task.predict_dataset`.

        A stream is read as a whole, as one column. While epochs are compared, it is read in
        VALIDATION_COLUMNS columns, which is faster.
        """
        if not isinstance(dataset, Stream):
            yield from super().predict_dataset(dataset, tokens, rows, rank, world)
            return
        columns = VALIDATION_COLUMNS if self.comparing_epochs else 1
        config = PerplexityConfig() if self.comparing_epochs else self.perplexity_config
        answers = enumerate(perplexity.rows(self, dataset, config, columns))
        yield from islice(answers, rank, None, world)

    def predict_batch(self, batch: Batch) -> list[dict[str, Any]]:
        """Of prompts {"text", "n_best": [{"text", "score"}, …]}; the texts include the prompt.

        Of texts, their likelihood, as `compute_metrics` needs it.
        """
        if batch.target is None:
            generated = generate_texts(self, batch, self.generation)
            n_best = [
                [{"text": text, "score": score} for text, score in texts] for texts in generated
            ]
            return [{"text": texts[0]["text"], "n_best": texts} for texts in n_best]
        losses = torch.zeros(batch.target.shape, device=self.device)
        real = batch.target_mask
        vectors, _, _ = self.next_token_vectors(batch, None)
        losses[real] = self.tokens.losses(vectors[real], self.backbone, batch.target[real])
        nats = losses.double().sum(1).tolist()
        rows = zip(nats, batch.target, real, strict=True)
        return [metrics.likelihood({"": total}, row[some].tolist()) for total, row, some in rows]

    def stream_text(
        self, prompt: str = "", config: GenerationConfig | None = None
    ) -> Iterator[str]:
        """Yield the continuation of a prompt in pieces; see `language_model.stream_text`."""
        batch = Batch.collate([self.encode(Row({"prompt": prompt}, "prompt"))], [0]).to(self.device)
        return stream_text(self.eval(), batch, config or self.generation)

    def predict(
        self, texts: str | Iterable[str], config: GenerationConfig | None = None
    ) -> list[Any]:
        """Continue prompts: a text for each, or with `n_best` above 1 a list of the best.

        `config` is by default the task's own `generation`.
        """
        return self.predict_with(config, texts)

    def stream_answer(self, row: Row) -> Iterator[str]:
        """Yield the row's prompt, then its continuation in pieces; a beam search yields all at once."""
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
        """A text that the model generates."""
        return "".join(self.stream_text("", PREVIEW))

    def plot(self, row: Row, answer: dict[str, Any], path: Path) -> bool:
        """Draw the surprisal of each token of an answer, in bits."""
        example = self.encode(Row({"text": answer.get("text", "")}, row.source))
        names = self.tokenizer.pieces(example["target"])
        plots.surprise(names, perplexity.single(self, example) / math.log(2), path)
        return True

    def report(self, answers: Sequence[Any], rows: Sequence[Row], folder: Path) -> dict[str, Any]:
        """Draw surprise.png of the first test rows; returns texts that the model generates."""
        text = "\n".join(column(row, "text") for row in rows[:EXCERPT])
        self.plot(Row({}, "test"), {"text": text}, folder / "surprise.png")
        drawn = (
            "".join(self.stream_text("", replace(PREVIEW, seed=seed))) for seed in range(EXAMPLES)
        )
        return {"examples": [{"sample": text} for text in drawn]}
