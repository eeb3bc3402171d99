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
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from zoo.data.batch import IGNORE_INDEX, Batch, Example
from zoo.data.dataset import Dataset, ExampleList
from zoo.data.processors import Processor
from zoo.data.readers import Row, column
from zoo.data.stream import Stream
from zoo.evaluation import baselines, metrics, perplexity, plots
from zoo.evaluation.attribution import Question, TokenQuestion, hidden, surfaces_of
from zoo.evaluation.config import EvaluationConfig
from zoo.generation.config import GenerationConfig
from zoo.generation.language_model import continue_prompts, prompt_ids, stream_text
from zoo.generation.step_model import Hypothesis
from zoo.generation.texts import as_typed, decode_stream, encode_stream, join_texts
from zoo.nn import directions
from zoo.nn.adaptive_softmax import AdaptiveOutputLayer, default_cutoffs
from zoo.nn.backbone import Backbone, Encoded
from zoo.nn.output_layer import OutputLayer, at_least_float32
from zoo.option_classes import Count, NotNegative, Share, checked_dataclass
from zoo.rnn import dropout as dropouts
from zoo.rnn.stack import State
from zoo.task import Baseline, Generative, GenerativeConfig, Stage, Step, noted
from zoo.text.canonical import encodable
from zoo.text.special_ids import EOS, SPECIALS

PREVIEW = GenerationConfig(
    sample=True, temperature=0.7, top_k=40, max_length=60, seed=1
)  # after an epoch
EXCERPT = 3  # test rows in surprise.png
EXAMPLES = 3  # texts that are generated for the report
BEHIND = "places_behind"  # of a batch's `extras`: see `_places_behind`


@checked_dataclass
class GenerateConfig(GenerativeConfig):
    """The options of `task=generate`, a language model.

    >>> GenerateConfig(softmax="adaptive", cutoffs=(2000, 10000)).tied
    True
    """

    stream: bool = True
    """All rows are one text; otherwise each row is a text of its own."""

    softmax: Literal["full", "adaptive"] = "full"
    """adaptive: rare tokens form clusters, which is faster for large vocabularies."""

    cutoffs: tuple[Count, ...] | None = None
    """First ids of the clusters; by default after a 16th and a quarter of the tokens."""

    tied: bool = True
    """Whether embedding and output layer share their weights."""

    dropout: Share = 0.0
    """Dropout of the input of the output layer."""

    activation_penalty: NotNegative = 0.0
    """Weight of the mean square of `output` in the loss (Merity et al. 2017)."""

    change_penalty: NotNegative = 0.0
    """Weight of the mean square of the change of `output` between steps in the loss."""

    def __post_init__(self) -> None:
        if self.cutoffs is not None and self.softmax == "full":
            raise ValueError("cutoffs are an adaptive softmax's: set task.softmax=adaptive")


class Generate(Generative):
    """A language model: embedding -> LSTM -> projection -> softmax over the next token.

    Logits are (batch, time, vocabulary).

    >>> import zoo
    >>> model = zoo.Generate.from_pretrained("generate/pydoc")
    >>> model.predict("The function", zoo.GenerationConfig(max_length=3))[0][:12]
    'The function'
    """

    input_columns = ("prompt",)
    target_columns = ("text",)
    training_columns = ("text",)  # it is both input and target
    metric = "perplexity"
    example = "The"
    lower_is_better = True
    shares_pass = False  # it reads from left to right alone, after an EOS
    reads = "output"
    why = "each step has read the tokens up to itself, and predicts the next one"
    shape = "batch, time, hidden: h after each token"
    logits = "batch, time, vocabulary"
    hidden_keys = frozenset({"ids"})
    config: GenerateConfig
    config_class = GenerateConfig
    baseline: ClassVar[Baseline | None] = staticmethod(baselines.lzma_compression)

    def __init__(
        self,
        backbone: Backbone,
        processors: Mapping[str, Processor],
        config: GenerateConfig | None = None,
    ) -> None:
        """Raises ValueError for a backbone that does not read ids from left to right."""
        super().__init__(backbone, processors, config)
        config = self.config
        if backbone.embedding is None:
            raise ValueError("generate reads ids: its backbone needs a vocabulary")
        if backbone.rnn.bidirectional and backbone.rnn.num_layers > 1:
            raise ValueError(
                "generation reads left to right: set backbone.bidirectional=false, or "
                "num_layers=1: above that every step has seen what comes"
            )
        # Ids that end a generated text. In a stream EOS is a line end, and the text goes on.
        self.stop_ids = () if config.stream else (EOS,)
        self.dataset_class: type[Dataset] = Stream if config.stream else Dataset
        hidden, size = backbone.rnn.hidden_size, backbone.embedding.embedding_dim
        self.project = nn.Identity() if hidden == size else nn.Linear(hidden, size)
        # The forward direction alone; in a list, so that its weights are not registered twice.
        self.onward = [backbone]
        self.backward = None
        if backbone.rnn.bidirectional:
            self.backward = nn.Identity() if hidden == size else nn.Linear(hidden, size)
            self.onward = [directions.with_directions(backbone, False)]
        count = len(self.tokenizer)
        if config.softmax == "full":
            self.tokens = OutputLayer(count, size, tied=config.tied)
        else:
            self.tokens = AdaptiveOutputLayer(
                count, size, config.cutoffs or default_cutoffs(count), tied=config.tied
            )

    def train(self, mode: bool = True) -> Generate:
        """Set training or eval mode, in `onward` too."""
        super().train(mode)
        self.onward[0].train(mode)
        return self

    # --- what is read from the LSTM, and learned

    def read(self, encoded: Encoded) -> Tensor:
        """Return `output` of the forward direction, (batch, time, hidden)."""
        return encoded.output[..., : self.backbone.rnn.hidden_size]

    def next_token_vectors(
        self, batch: Batch, state: State | None = None, encoded: Encoded | None = None
    ) -> tuple[Tensor, State, Tensor]:
        """Return the inputs of the output layer for the next token at every step.

        `state` is that after the tokens before. `encoded` is the backbone's result for the batch,
        if it is known. Returns the vectors (batch, time, size), the state after the last step, and
        the `output` (batch, time, hidden) that they are computed from.
        """
        if encoded is None:
            encoded = self.onward[0](batch.inputs, batch.lengths, state)
        layers = self.backbone.rnn.num_layers  # of two directions, the first of one layer
        output = self.read(encoded)
        last = tuple(part[:layers] for part in encoded.state)
        return self._drop(self.project(output)), last, output

    def _drop(self, vectors: Tensor) -> Tensor:
        return dropouts.dropout(vectors, self.config.dropout, self.training)

    def training_vectors(
        self, batch: Batch, state: State | None
    ) -> tuple[Tensor, Tensor, State, Tensor]:
        """Return the inputs of the output layer and their targets, of all steps with a target.

        Returns the vectors (n, size), the target ids (n,), the forward direction's last state and
        `output`. A backward direction, if there is one, has read a token and all after it, and
        predicts the token before.
        """
        assert batch.targets is not None
        targets = batch.at_targets(batch.targets)
        if self.backward is None:
            vectors, last, output = self.next_token_vectors(batch, state)
            return batch.at_targets(vectors), targets, last, output
        encoded = self.backbone(batch.inputs, batch.lengths, directions.forward_alone(state))
        right, left = encoded.output.chunk(2, -1)  # (batch, time, hidden) each
        behind = batch.extras.get(BEHIND)
        if behind is None:
            behind = _places_behind(batch)
        before = self.backward(left)[:, 1:].flatten(0, 1)[behind]
        both = torch.cat([batch.at_targets(self.project(right)), before])
        targets = torch.cat([targets, batch.inputs[:, :-1].flatten()[behind]])
        return self._drop(both), targets, tuple(part[:1] for part in encoded.state), encoded.output

    def forward(self, batch: Batch, *, encoded: Encoded | None = None) -> Tensor:
        """Return logits (batch, time, vocabulary) of the next token at every step."""
        return self.tokens(self.next_token_vectors(batch, encoded=encoded)[0], self.backbone)

    def training_step(self, batch: Batch, state: State | None = None) -> Step:
        """Return the mean cross entropy over all predicted tokens, of both directions if there are.

        A window of a stream starts from `state`, that after the window before, if it continues it.
        """
        start = state if batch.continues else None
        vectors, targets, last, output = self.training_vectors(batch, start)
        loss = self.tokens.loss(vectors, self.backbone, targets)
        if self.training and self.config.activation_penalty:
            loss = loss + self.config.activation_penalty * at_least_float32(output).square().mean()
        if self.training and self.config.change_penalty and output.size(1) > 1:
            change = at_least_float32(output[:, 1:] - output[:, :-1])
            loss = loss + self.config.change_penalty * change.square().mean()
        after = tuple(part.detach() for part in last) if self.config.stream else None
        return Step(loss, len(targets), after)

    def generate(
        self, batch: Batch, config: GenerationConfig, encoded: Encoded | None = None
    ) -> list[list[Hypothesis]]:
        """Return continuations of each prompt, best first. Their ids are without the prompt.

        With a stop string the ids may go on after it, to the end of the last token.
        """
        return continue_prompts(self, batch, config, encoded)

    def predict_batch(
        self,
        batch: Batch,
        *,
        encoded: Encoded | None = None,
        config: GenerationConfig | None = None,
    ) -> list[dict[str, Any]]:
        """Return, of prompts, {"text", "ids", "n_best": [{"text", "score"}, …]}.

        Texts begin with the prompt, "ids" are those of the best text behind it.

        Of texts, return their likelihood, as `compute_metrics` needs it.
        """
        if batch.targets is not None:
            return self._likelihoods(batch, encoded)
        config = config or self.config.generation
        answers = []
        for prompt, found in zip(
            prompt_ids(batch), self.generate(batch, config, encoded), strict=True
        ):
            texts = join_texts(self.decode, prompt, [h.ids for h in found], config.stop)
            n_best = [
                {"text": text, "score": hypothesis.score}
                for text, hypothesis in zip(texts, found, strict=True)
            ]
            answers.append({"text": texts[0], "ids": found[0].ids, "n_best": n_best})
        return answers

    @torch.no_grad()
    def _likelihoods(self, batch: Batch, encoded: Encoded | None) -> list[dict[str, Any]]:
        """Return what `compute_metrics` needs of each text of a batch."""
        assert batch.targets is not None
        real = batch.target_mask
        vectors, _, _ = self.next_token_vectors(batch, encoded=encoded)
        found = self.tokens.losses(vectors[real], self.backbone, batch.targets[real])
        losses = found.new_zeros(batch.targets.shape)
        losses[real] = found
        nats = losses.double().sum(1).tolist()
        rows = zip(nats, batch.targets, real, strict=True)
        return [metrics.likelihood({"": total}, row[some].tolist()) for total, row, some in rows]

    def _answers(
        self,
        dataset: ExampleList,
        evaluation: EvaluationConfig,
        stage: Stage,
        rank: int,
        world: int,
        config: GenerationConfig | None = None,
    ) -> Iterator[tuple[int, Any]]:
        """Yield (row number, answer) for the rows of process `rank` of `world`.

        A stream is read as a whole, as one column. While epochs are compared, it is read in several
        columns, which is faster, and without the additional measures.
        """
        if not isinstance(dataset, Stream):
            yield from super()._answers(dataset, evaluation, stage, rank, world, config)
            return
        columns = 1
        if stage == "validate":
            columns = evaluation.columns
            evaluation = replace(evaluation, dynamic=False, cache=0)
        answers = enumerate(perplexity.rows(self, dataset, evaluation, columns))
        yield from islice(answers, rank, None, world)

    def stream(self, prompt: str, config: GenerationConfig | None = None) -> Iterator[str]:
        """Yield the prompt, then its continuation in pieces. A beam search yields all at once."""
        config = config or self.config.generation
        prompt = encodable(prompt)
        if config.sample or config.beam_size == 1:
            yield prompt
            yield from self._continuation(prompt, config)
        else:
            yield self.predict(prompt, replace(config, n_best=1))[0]

    def _continuation(self, prompt: str, config: GenerationConfig) -> Iterator[str]:
        """Yield the continuation of a prompt in pieces; see `language_model.stream_text`."""
        example = self.encode(Row({"prompt": prompt}, "prompt"))
        batch = self.collate([example]).to(self.device)
        return stream_text(perplexity.evaluated(self), batch, config)

    # --- from rows to batches

    def encode(self, row: Row) -> Example:
        """Return "inputs": EOS and the prompt, or EOS and the text, and its shift as "targets".

        In a stream a line end inside a text is EOS too.
        """
        if "prompt" in row:
            return {"inputs": [EOS, *self._ids(column(row, "prompt"))]}
        targets = [*self._ids(column(row, "text")), EOS]
        return {"inputs": [EOS, *targets[:-1]], "targets": targets}

    def _ids(self, text: str) -> list[int]:
        return encode_stream(self.tokenizer, text, self.config.stream)

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of ids."""
        return decode_stream(self.tokenizer, ids, self.config.stream)

    def collate(self, examples: Sequence[Example], augment: bool = False) -> Batch:
        """Pad examples to a batch, with the places of its targets."""
        batch = super().collate(examples, augment).with_places()
        if self.backward is None or batch.targets is None:
            return batch
        return replace(batch, extras={**batch.extras, BEHIND: _places_behind(batch)})

    # --- answers and their scores

    def _complete(self, answer: dict[str, Any], row: Row) -> dict[str, Any]:
        """Return the answer to a prompt with the prompt as it was typed, not as it was read."""
        if "prompt" not in row or "text" not in answer:
            return answer
        typed = column(row, "prompt")
        read = self.decode(self.encode(row)["inputs"][1:])
        return as_typed(answer, typed, read)

    def format(self, answer: dict[str, Any]) -> str:
        """Return the text on one line; of a text that was scored, its nats."""
        text = answer.get("text")
        return f"{answer['nats']['']:.3g} nats" if text is None else " ".join(text.splitlines())

    def compute_metrics(
        self, answers: Sequence[dict[str, Any]], rows: Sequence[Row]
    ) -> dict[str, float]:
        """Return perplexity, bits per character, loss and the share of unknown tokens."""
        texts = [column(row, "text") for row in rows]
        return metrics.perplexity(answers, texts, by_line=self.config.stream)

    def preview(self) -> str:
        """Return a text that the model generates."""
        return "".join(self._continuation("", PREVIEW))

    def report(self, answers: Sequence[Any], rows: Sequence[Row], folder: Path) -> dict[str, Any]:
        """Draw surprise.png of the first test rows; return texts that the model generates."""
        text = "\n".join(column(row, "text") for row in rows[:EXCERPT])
        entries: dict[str, Any] = {}
        with noted("surprise.png", entries):
            self.plot(Row({}, "test"), {"text": text}, folder / "surprise.png")
        drawn = (
            "".join(self._continuation("", replace(PREVIEW, seed=seed))) for seed in range(EXAMPLES)
        )
        return entries | {"examples": [{"sample": text} for text in drawn]}

    def plot(self, row: Row, answer: dict[str, Any], path: Path) -> bool:
        """Draw the surprisal of each token of an answer, in bits."""
        example = self.encode(Row({"text": answer.get("text", "")}, row.source))
        names = self.tokenizer.pieces(example["targets"])
        plots.surprise(names, perplexity.single(self, example) / math.log(2), path)
        return True

    # --- why an answer was given

    def question(self, row: Row, answer: Any, target: Any = None) -> Question:
        """Ask about each written token; `target` is another text behind the prompt."""
        return PromptQuestion(self, row, answer, target)


def _places_behind(batch: Batch) -> Tensor:
    """Return the places of the tokens with a token before them, (n,), in targets[:, 1:].flatten().

    A backward language model predicts the token before from each of them.
    """
    return batch.target_mask[:, 1:].flatten().nonzero().squeeze(1)


class PromptQuestion(TokenQuestion):
    """Asks what each token of a prompt, EOS in front included, says for each token behind it."""

    def __init__(self, task: Generate, row: Row, answer: Any, target: Any) -> None:
        prompt = task.encode(Row({"prompt": column(row, "prompt")}, row.source))["inputs"]
        self.task = task
        self.written = answer["ids"] if target is None else task._ids(str(target))
        self.start = len(prompt) - 1  # the step that predicts the first written token
        self.target = task.decode(self.written) if target is None else str(target)
        read = [*prompt, *self.written]
        ignored = [IGNORE_INDEX] * self.start
        self.example = {"inputs": read[:-1] or read, "targets": [*ignored, *self.written]}
        if not self.written:
            self.example = {"inputs": read, "targets": [*ignored, IGNORE_INDEX]}
        names = surfaces_of(task.decode, read)
        self.tokens = [SPECIALS[EOS], *names[1 : len(prompt)]]
        self.parts = names[len(prompt) :]

    def hide(self, tokens: Sequence[int]) -> Example:
        return {**self.example, "inputs": hidden(self.example["inputs"], tokens)}

    def run(self, batch: Batch) -> tuple[Tensor]:
        return (self.task.next_token_vectors(batch)[0][:, self.start :],)

    def step_names(self) -> list[str]:
        return [*self.tokens, *self.parts[:-1]]
