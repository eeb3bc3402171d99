"""Time series: the next values of a series, from its past.

What has been seen must be summed up before the first future value is written. So the encoder's final
`h_n` and `c_n` start a decoder, which unrolls over the future (`read=h_n_c_n`). With `read=h_n` one
linear layer writes all future values at once. `read=output` takes `output` instead, for comparison.

An LSTM that reads a segment of values at each step (`segment`) remembers more than one that reads
them one by one: 336 hours are 14 steps. Each window is normalised by its own past, and the forecast
starts from its last value, or with `residual=linear` from a linear forecast in closed form.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import torch
from torch import Tensor, nn

from zoo.config import Settings, TokenizerConfig
from zoo.data import features
from zoo.data.batch import Batch, Example
from zoo.data.dataset import ExampleList
from zoo.data.processors import Processor, SeriesScaler
from zoo.data.readers import Row
from zoo.data.series import asking, learning
from zoo.data.series.batches import batch_of
from zoo.data.series.framing import Channels, Normalization
from zoo.data.series.linear import LinearForecast
from zoo.data.series.windows import Windows
from zoo.errors import InputError
from zoo.evaluation import advice
from zoo.evaluation.attribution import Question, hidden
from zoo.evaluation.config import EvaluationConfig
from zoo.evaluation.forecast import pictures, scores
from zoo.messages import _
from zoo.nn.backbone import Backbone, Encoded
from zoo.nn.bridge import Bridge
from zoo.nn.forecast.heads import HeadKind, LossKind, head_of
from zoo.nn.forecast.horizon_decoder import HorizonDecoder
from zoo.nn.output_layer import at_least_float32
from zoo.option_classes import Count, Share, checked_dataclass
from zoo.rnn.stack import State
from zoo.task import Stage, Step, Task, TaskConfig, predict_rows

MOST_VALIDATION = 5_000  # windows on which epochs are compared
MOST_TEST = 100_000
SERIES = 1024  # that are read, and forecast, together
SharedMap = Callable[[Callable[..., Any], Iterable[Any]], Iterable[Any]]
SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)  # of what the LSTM adds to a linear forecast

GRU_WHY = "the final h, a GRU's whole state, has seen the whole past; a decoder starts there"
WHY = {
    "h_n_c_n": "both final states have seen the whole past, and a decoder of future values starts there",
    "h_n": "the final h has seen the whole past, and all future values are written at once",
    "output": "for comparison: output at the last segment, or its mean over all segments",
}


@checked_dataclass
class ForecastConfig(TaskConfig):
    """The options of `task=forecast`.

    >>> ForecastConfig(input=168, horizon=24).read
    'h_n_c_n'
    """

    input: Count = 96
    """Past values that are read."""
    horizon: Count = 24
    """Future values that are forecast."""
    segment: Count = 12
    """Neighbouring values that the LSTM reads at one step."""
    read: Literal["h_n_c_n", "h_n", "output"] = "h_n_c_n"
    """h_n_c_n: a decoder unrolls from both (of a GRU from h_n); h_n: all future values at once; output: for comparison."""
    pool: Literal["last", "mean"] = "last"
    """Of read=output: its last segment, or the mean of all."""
    decoding: Literal["direct", "recursive"] = "direct"
    """Whether the decoder reads its place, or the segment that it wrote before."""
    channels: Channels = "independent"
    """independent: each target is a row of its own, with the same weights; mixed: all are read together."""
    normalization: Normalization = "last"
    """Of each window by its past: last (subtract its last value), reversible (mean and deviation), none."""
    head: HeadKind = "quantiles"
    """What is forecast: one value, quantiles, or a distribution."""
    quantiles: tuple[Share, ...] = (0.1, 0.5, 0.9)
    """Quantiles that are forecast; 0.5 is the forecast."""
    loss: LossKind = "mae"
    """Of head=point: mean absolute or squared error."""
    residual: Literal["none", "linear"] = "linear"
    """linear: the LSTM learns what a linear forecast in closed form leaves."""
    dropout: Share = 0.1
    """Dropout before the linear layer."""
    windows: Count = 100_000
    """Most windows of an epoch; of more, each epoch draws some at random."""


class Forecast(Task):
    """A forecast: final h_n and c_n of the past -> decoder -> linear layer -> future values.

    It reads floats (batch, time, variables): the past of a series, a table or a frame.
    `model.predict(frame)[0]["forecast"]` has the shape (horizon, targets).

    >>> import zoo
    >>> config = zoo.Forecast.config_class(input=168, horizon=24, segment=24)
    >>> config.read, config.head
    ('h_n_c_n', 'quantiles')
    """

    config: ForecastConfig
    config_class = ForecastConfig
    input_columns = ("past",)
    target_columns = ("future",)
    text_columns = ()
    metric = "mae"  # of head=point its loss, of others wql
    lower_is_better = True
    predict_example = "input=SERIES.csv output=FUTURE.csv"
    shape = "layers x directions, batch, hidden: what has been seen of each series"
    logits = "batch, horizon, targets x numbers of the head"

    def __init__(
        self,
        backbone: Backbone,
        processors: Mapping[str, Processor],
        config: ForecastConfig | None = None,
    ) -> None:
        """`processors` are "scaler", a SeriesScaler, and with residual=linear "linear".

        Raises ValueError for options that do not fit together.
        """
        super().__init__(backbone, processors, config)
        chosen = self.config
        self.scaler = cast(SeriesScaler, self.processors["scaler"])
        self.example = self.scaler.example(2 * chosen.input)
        self.framing = learning.framing(chosen, self.scaler)
        self.reads = {"h_n_c_n": "h_n, c_n"}.get(chosen.read, chosen.read)
        self.why = WHY[chosen.read]
        if backbone.config.cell == "gru" and chosen.read == "h_n_c_n":
            self.reads, self.why = "h_n", GRU_WHY
        self.metric = self._metric_of(chosen)
        self.distribution = head_of(chosen.head, chosen.quantiles, chosen.loss)
        self.dataset_class = Windows.of(
            chosen.input, chosen.horizon, self.framing.steps, chosen.windows
        )
        self.linear = cast(LinearForecast | None, self.processors.get("linear"))
        if chosen.residual == "linear" and self.linear is None:
            raise ValueError('residual=linear needs the processor "linear"')
        self.dropout = nn.Dropout(chosen.dropout)
        numbers = self.framing.own * self.distribution.outputs  # of each future value
        known = self.framing.segment * self.framing.future
        self.decoder = self.bridge = None
        if chosen.read == "h_n_c_n":
            layers, size = backbone.rnn.num_layers, backbone.output_size
            directions = 2 if backbone.rnn.bidirectional else 1
            cell = backbone.config.cell
            self.bridge = Bridge(layers, directions, backbone.rnn.hidden_size, size, cell=cell)
            fed = self.framing.segment * self.framing.own if chosen.decoding == "recursive" else 0
            self.decoder = HorizonDecoder(layers, size, self.framing.segments, known, fed, cell)
            self.head = nn.Linear(size, self.framing.segment * numbers)
        else:
            size = backbone.output_size + self.framing.segments * known
            self.head = nn.Linear(size, self.framing.segments * self.framing.segment * numbers)
        # How much of what the LSTM adds to the linear forecast is taken, as validation tells.
        self.register_buffer("share", torch.ones(()))
        self.share: Tensor
        if chosen.residual == "linear":
            nn.init.zeros_(self.head.weight)
            nn.init.zeros_(self.head.bias)

    @classmethod
    def _metric_of(
        cls, config: TaskConfig, labels: Collection[str] = (), several: bool = False
    ) -> str:
        assert isinstance(config, ForecastConfig)
        return config.loss if config.head == "point" else "wql"

    # --- what is read from the LSTM, and learned

    def read(self, encoded: Encoded) -> Tensor | State:
        """The final states (layers * directions, batch, hidden), or one vector per series."""
        if self.config.read == "h_n_c_n":
            return encoded.state
        if self.config.read == "h_n":
            directions = 2 if self.backbone.rnn.bidirectional else 1
            return torch.cat([*encoded.h_n[-directions:]], -1)
        lengths = encoded.lengths.to(encoded.output.device).clamp(min=1).unsqueeze(1)  # (batch, 1)
        if self.config.pool == "mean":
            return encoded.output.sum(1) / lengths
        return encoded.output[torch.arange(lengths.size(0)), lengths.squeeze(1) - 1]

    def forward(self, batch: Batch, *, encoded: Encoded | None = None) -> Tensor:
        """Return numbers (batch, horizon, targets * outputs), normalised as their window is."""
        if encoded is None:
            encoded = self._run_backbone(batch)
        known = (
            batch.extras["known"] if self.framing.future else None
        )  # (batch, segments, features)
        read = self.read(encoded)
        if self.decoder is not None and self.bridge is not None:
            h_n = read[0]
            state = self.bridge(*read)
            if self.config.decoding == "recursive":
                ahead = [None] * self.framing.segments if known is None else [*known.unbind(1)]
                first = h_n.new_zeros(h_n.size(1), self.decoder.fed)
                written = self.decoder.recursive(state, first, ahead, self._segment)
            else:
                written = self.head(self.dropout(self.decoder(state, known)))
        else:
            assert isinstance(read, Tensor)
            given = (
                read if known is None else torch.cat([read, known.flatten(1).to(read.dtype)], -1)
            )
            written = self.head(self.dropout(given.to(self.head.weight.dtype)))
        numbers = self.framing.own * self.distribution.outputs
        return written.flatten(1).unflatten(1, (-1, numbers))[:, : self.config.horizon]

    def _segment(self, vector: Tensor) -> tuple[Tensor, Tensor]:
        """Return the numbers of a segment for a vector (batch, 1, size), and its centre."""
        written = self.head(self.dropout(vector))
        centre = written.flatten(1).unflatten(1, (-1, self.distribution.outputs))[..., 0]
        return written, centre

    def _numbers(self, batch: Batch, encoded: Encoded | None = None) -> Tensor:
        """Return the head's numbers (batch, horizon, targets, outputs) in scaled units.

        The first is the base plus what the LSTM adds; the others are spreads around it.
        """
        found = at_least_float32(self(batch, encoded=encoded))
        found = found.unflatten(-1, (self.framing.own, -1))
        base, scale = batch.extras["base"].to(found), batch.extras["scale"].to(found)
        centre = base + self.share.to(found) * scale * found[..., 0]
        return torch.cat([centre.unsqueeze(-1), found[..., 1:]], -1)

    def training_step(self, batch: Batch, state: State | None = None) -> Step:
        """Return the mean loss of the head over all future values, in scaled units."""
        assert batch.targets is not None
        numbers = self._numbers(batch)
        losses = self.distribution.loss(numbers, batch.targets.to(numbers))
        return Step(losses.mean(), losses.numel())

    def predict_batch(
        self, batch: Batch, *, encoded: Encoded | None = None
    ) -> list[dict[str, Any]]:
        """Return {"forecast": values, "quantiles": {level: values}} per window, in its own units.

        Values are a list of `horizon` numbers, or of lists with a number for each target. With
        targets also "loss", and what the share is chosen by.
        """
        found = self._arrays(batch, encoded)
        levels = () if self.config.head == "point" else self.config.quantiles
        return asking.answers_of(found["forecast"], found["quantiles"], levels)

    def _arrays(self, batch: Batch, encoded: Encoded | None = None) -> dict[str, np.ndarray]:
        """Return forecasts (windows, horizon, targets) in their units, their quantiles, the losses."""
        numbers = self._numbers(batch, encoded)
        levels = self.config.quantiles
        quantiles = self.distribution.quantiles(numbers, levels)
        found = {"forecast": self._in_units(numbers[..., :1], batch)[..., 0]}
        found["quantiles"] = self._in_units(quantiles, batch)
        if batch.targets is not None:
            losses = self.distribution.loss(numbers, batch.targets.to(numbers))
            by_window = losses.unflatten(0, (-1, batch.extras["channels"])).mean((1, 2, 3))
            found["loss"] = by_window.cpu().numpy()
            if self.config.residual == "linear":
                base = batch.extras["base"].to(numbers).unsqueeze(-1)
                found["base"] = self._in_units(base, batch)[..., 0]
        return found

    def _in_units(self, values: Tensor, batch: Batch) -> np.ndarray:
        """Return scaled values (rows, horizon, own, k) as (windows, horizon, targets, k) in units."""
        scaler, found = self.scaler, values.cpu().numpy()
        return self.framing.in_units(found, batch.extras["channels"], scaler.mean, scaler.deviation)

    # --- from rows to batches

    @classmethod
    def learn(
        cls,
        rows: Iterable[Row],
        config: TaskConfig,
        tokenizer: TokenizerConfig,
        kept: Mapping[str, Processor] | None = None,
    ) -> dict[str, Processor]:
        """Learn means, deviations, the season, and the linear forecast of the training rows alone."""
        assert isinstance(config, ForecastConfig)
        return learning.processors(rows, config, dict(kept or {}))

    def encode(self, row: Row) -> Example:
        """Return "inputs" and, if there are any, "targets": scaled past and future (time, columns).

        Raises RowError.
        """
        return learning.encode(row, self.scaler, self.config.input, self.config.horizon)

    def collate(self, examples: Sequence[Example], augment: bool = False) -> Batch:
        """Frame windows: normalised, in segments, and a row for each channel."""
        linear = self.linear if self.config.residual == "linear" else None
        return batch_of(self.framing, examples, linear)

    def _as_row(self, value: Any, splitter: str = "words") -> Row:
        first, *others = asking.rows_of_values(value, self.scaler)
        if others:
            raise InputError("input 1: several series: give each as an input of its own")
        return first

    # --- answers and their scores

    def predict(self, inputs: Any, horizon: int | None = None) -> list[Any]:
        """Return the forecasts of values (steps,) or (steps, columns), of several, or of a frame.

        A `horizon` beyond that of the model is reached by reading its own scores.
        """
        return [
            answer for _, answer in self.go_on(asking.rows_of_values(inputs, self.scaler), horizon)
        ]

    def _answers(
        self,
        dataset: ExampleList,
        evaluation: EvaluationConfig,
        stage: Stage,
        rank: int,
        world: int,
    ) -> Iterator[tuple[int, Any]]:
        """Yield (row number, answer): of stored series, an answer holds all their windows."""
        if not isinstance(dataset, Windows):
            yield from self._answer_batches(dataset, evaluation, rank, world)
            return
        most = MOST_VALIDATION if stage == "validate" else MOST_TEST
        each = evaluation.origins if stage == "test" else None
        if each is None and dataset.windows > most:
            each = max(1, most // len(dataset))
        for row in range(rank, len(dataset), world):
            numbers = dataset.evenly(row, each)
            parts = []
            for start in range(0, len(numbers), evaluation.batch_rows):
                examples = dataset.examples(numbers[start : start + evaluation.batch_rows])
                with torch.no_grad():
                    found = self._arrays(self.collate(examples).to(self.device))
                parts.append({name: made.astype(np.float32) for name, made in found.items()})
            answer: dict[str, Any] = {
                n: np.concatenate([p[n] for p in parts]) for n in (parts[0] if parts else ())
            }
            answer["origins"] = dataset.places(numbers)[1] - int(dataset.values["past"][row])
            if stage == "validate" and self.config.residual == "linear":
                answer["chooses"] = True
            yield row, answer

    def go_on(
        self, rows: Iterable[Row], horizon: int | None = None, precision: str = "fp32"
    ) -> Iterator[tuple[Row, dict[str, Any]]]:
        """Yield each row with the forecast of its next `horizon` values; by default the model's.

        Raises InputError for a horizon below 1.
        """
        own, reads = self.config.horizon, self.config.input

        def answer(some: list[Row]) -> Iterator[Any]:
            return predict_rows(self, some, precision)

        yield from asking.forecasts(rows, answer, self.scaler, reads, own, horizon)

    def answer_table(
        self, settings: Settings, precision: str, share: SharedMap = map
    ) -> Iterator[str]:
        """Yield the forecasts of the series in the table `input`, as a table whose times go on.

        `share` works on blocks of series as `map` does, in one process or in several.
        """
        data = settings.data
        plain = ("series", "fill", "sort", "decimal", "encoding", "date_format")
        chosen = {name: data[name] for name in plain if data.get(name) is not None}
        rows = asking.rows_of_table(Path(settings.input), self.scaler, **chosen)
        horizon = settings.task.get("horizon")

        def answer(block: list[Row]) -> list[tuple[Row, dict[str, Any]]]:
            found = self.go_on(block, horizon, precision)
            return [(Row({"series": row.get("series", "")}, row.source), one) for row, one in found]

        blocks = iter(lambda: [*islice(rows, SERIES)], [])
        answers = chain.from_iterable(share(answer, blocks))
        form = "jsonl" if settings.format == "json" else Path(settings.output.lower()).suffix[1:]
        return asking.table_of(answers, self.scaler, data.get("series"), form)

    def _complete(self, answer: dict[str, Any], row: Row) -> dict[str, Any]:
        """Return the answer with the name of the series and its times, if they are known."""
        return asking.named(answer, row, self.scaler)

    def format(self, answer: dict[str, Any]) -> str:
        """Return the forecast values step by step, with blanks between."""
        values = np.asarray(answer["forecast"], float)
        return " ".join(f"{value:.6g}" for value in values.ravel())

    def compute_metrics(
        self, answers: Sequence[dict[str, Any]], rows: Sequence[Row]
    ) -> dict[str, float]:
        """MAE and MSE, scaled and in units, MASE, sMAPE, and for quantiles WQL and coverage.

        With `residual=linear` also "mae_linear" and "mse_linear", of the linear forecast alone.
        Answers of validation choose how much of the LSTM's part is added to the linear forecast.
        """
        if any("chooses" in answer for answer in answers):
            share = scores.best_share(
                answers, rows, self.scaler, SHARES, float(self.share), squared=self.metric == "mse"
            )
            self.share.fill_(share)
            answers = [dict(scores.with_share(a, share)) for a in answers]
        levels = () if self.config.head == "point" else self.config.quantiles
        return scores.scores(answers, rows, self.scaler, levels)

    def baseline(
        self,
        train: Iterable[Row],
        test: Iterable[Row],
        kind: str = "",
        origins: int | None = None,
    ) -> dict[str, Any]:
        """Measure naive, seasonal naive and linear forecasts on the test windows; return the best."""
        return scores.best_yardstick(
            train, list(test), self.scaler, self.linear, self.config, origins, MOST_TEST
        )

    def report(self, answers: Sequence[Any], rows: Sequence[Row], folder: Path) -> dict[str, Any]:
        """Draw forecast.png and error_by_horizon.png; return the errors of both, and of ETS and Theta."""
        naive = [scores.of_season(a, r, self.scaler) for a, r in zip(answers, rows, strict=True)]
        levels = () if self.config.head == "point" else self.config.quantiles
        scores.say_who_is_ahead(scores.scores(answers, rows, self.scaler, levels))
        return pictures.report(answers, naive, rows, self.scaler, levels, self.config.input, folder)

    @classmethod
    def _advise(cls, report: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        given = advice.options(report)
        if given.get("residual", ForecastConfig.residual) != "linear":
            yield "task.residual=linear", _("the LSTM learns what the linear forecast leaves")
        longer = 2 * int(given.get("input", ForecastConfig.input))
        yield f"task.input={longer}", _("a longer past")
        why = _("one series is little")
        yield _("more series, or covariates that are known ahead (data.future=…)"), why

    # --- why an answer was given

    def question(self, row: Row, answer: Any, target: Any = None) -> Question:
        """Ask about each future value; `target` is the number of one step, from 0.

        Of several targets, a future value is their sum.
        """
        return PastQuestion(self, row, answer, target)

    def _float_parts(self, batch: Batch) -> dict[str, Tensor]:
        """Return the segments that the LSTM reads, and from where its forecast starts."""
        base, scale = batch.extras["base"], batch.extras["scale"]
        return {**super()._float_parts(batch), "base": base, "scale": scale}


class PastQuestion(Question):
    """Asks how much each past value moves the future values, away from where the mean moves them."""

    of_probabilities = False
    lists_parts = True

    def __init__(self, task: Forecast, row: Row, answer: Any, target: Any) -> None:
        self.task = task
        known = {name: row[name] for name in ("future", "static") if name in row}
        self.example = {**task.encode(Row({"past": row["past"], **known}, row.source))}
        past = learning.matrix(row, "past")[-task.config.input :]
        self.tokens = features.step_names(np.asarray(past, float).reshape(len(past), -1))
        horizon = task.config.horizon
        self.numbers = [*range(horizon)]  # of the steps that are asked about
        if target is not None:
            try:
                self.numbers = [range(horizon)[int(target)]]
            except (TypeError, ValueError, IndexError):
                cure = f"give the number of a step, from 0 to {horizon - 1}"
                raise InputError(f"target={target}: no step of the forecast: {cure}") from None
        self.parts = [str(number + 1) for number in self.numbers]
        self.target = "the whole horizon" if target is None else f"step {self.parts[0]}"
        count = task.scaler.targets
        self.units = torch.tensor(task.scaler.deviation[:count], dtype=torch.float32)
        self.mean = torch.tensor(task.scaler.mean[:count], dtype=torch.float32)

    def hide(self, tokens: Sequence[int]) -> Example:
        return {**self.example, "inputs": hidden(self.example["inputs"], tokens)}

    def run(self, batch: Batch) -> Tensor:
        """Return the sums of the targets (rows, horizon), in their units."""
        centre = self.task._numbers(batch)[..., 0]  # (rows x channels, horizon, own), scaled
        windows = centre.unflatten(0, (-1, batch.extras["channels"])).transpose(1, 2).flatten(2)
        return (windows * self.units.to(windows) + self.mean.to(windows)).sum(-1)

    def score(self, found: Tensor, parts: Tensor) -> Tensor:
        return found.gather(1, torch.tensor(self.numbers)[parts].to(found.device))

    def step_names(self) -> list[str]:
        """Return the values of each segment; the first one may be filled in front."""
        width = self.task.config.segment
        ends = range(len(self.tokens), 0, -width)
        return [" ".join(self.tokens[max(0, end - width) : end]) for end in ends][::-1]
