"""A task on float features in a file of its own, as a user would write one.

It reads h_n of a series, and predicts the `horizon` values that follow.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.config import TokenizerConfig
from zoo.data.batch import Batch, Example
from zoo.data.processors import Processor, Scaler
from zoo.data.readers import Row
from zoo.errors import RowError
from zoo.nn.backbone import Backbone, Encoded
from zoo.option_classes import Count, checked_dataclass
from zoo.rnn.stack import State
from zoo.task import Step, Task, TaskConfig


@checked_dataclass
class ToyForecastConfig(TaskConfig):
    """The options of the toy forecast."""

    horizon: Count = 2
    """Values that are predicted."""


class ToyForecast(Task):
    """Forecast the next values of a series from its final h_n."""

    config: ToyForecastConfig
    config_class = ToyForecastConfig
    input_columns = ("past",)
    target_columns = ("future",)
    text_columns = ()
    metric = "mae"
    lower_is_better = True
    reads = "h_n"
    why = "the final h of each direction has read the whole past"
    shape = "batch, directions x hidden: one vector per series"
    logits = "batch, horizon"

    def __init__(
        self,
        backbone: Backbone,
        processors: Mapping[str, Processor],
        config: ToyForecastConfig | None = None,
    ) -> None:
        super().__init__(backbone, processors, config)
        self.head = nn.Linear(backbone.output_size, self.config.horizon)

    @classmethod
    def learn(
        cls,
        rows: Iterable[Row],
        config: TaskConfig,
        tokenizer: TokenizerConfig,
        kept: Mapping[str, Processor] | None = None,
    ) -> dict[str, Processor]:
        """Learn the mean and deviation of the training rows."""
        kept = dict(kept or {})
        if "scaler" not in kept:
            kept["scaler"] = Scaler.learn(_series(row, "past") for row in rows)
        return kept

    def encode(self, row: Row) -> Example:
        example = {"inputs": self.processors["scaler"].encode(_series(row, "past"))}
        if "future" in row:
            future = _series(row, "future")
            if len(future) != self.config.horizon:
                raise RowError(row.source, f"{len(future)} values, not {self.config.horizon}")
            example["targets"] = self.processors["scaler"].encode(future)[:, 0]
        return example

    def read(self, encoded: Encoded) -> Tensor:
        directions = 2 if self.backbone.lstm.bidirectional else 1
        return torch.cat([*encoded.h_n[-directions:]], -1)

    def forward(self, batch: Batch, *, encoded: Encoded | None = None) -> Tensor:
        if encoded is None:
            encoded = self.backbone(batch.inputs, batch.lengths)
        return self.head(self.read(encoded))

    def training_step(self, batch: Batch, state: State | None = None) -> Step:
        assert batch.targets is not None
        return Step(F.mse_loss(self(batch).float(), batch.targets), batch.targets.numel())

    def predict_batch(self, batch: Batch, *, encoded: Encoded | None = None) -> list[Any]:
        scaler = cast(Scaler, self.processors["scaler"])
        found = self(batch, encoded=encoded).float().cpu().numpy()
        return [{"future": scaler.decode(row[:, None])[:, 0].tolist()} for row in found]

    def compute_metrics(self, answers: Sequence[Any], rows: Sequence[Row]) -> dict[str, float]:
        found = np.array([answer["future"] for answer in answers])
        wanted = np.array([row["future"] for row in rows], np.float64)
        return {"mae": float(np.abs(found - wanted).mean())}

    def format(self, answer: Any) -> str:
        return " ".join(f"{value:.2f}" for value in answer["future"])


def _series(row: Row, name: str) -> np.ndarray:
    """Return a column as (time, 1) float32."""
    return np.array(row[name], np.float32).reshape(-1, 1)
