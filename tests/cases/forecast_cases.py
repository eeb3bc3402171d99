"""Forecast models of random weights, and the rows that they learn their scalers from."""

from __future__ import annotations

import numpy as np
import torch

from tasks.forecast import Forecast, ForecastConfig
from zoo.config import TokenizerConfig
from zoo.data.readers import Row
from zoo.nn.backbone import Backbone, BackboneConfig

PLAIN = TokenizerConfig()
SMALL = {"input": 12, "horizon": 4, "segment": 4, "dropout": 0.0}


def rows_of(values, past=0, **more):
    values = np.asarray(values, float)
    values = values[:, None] if values.ndim == 1 else values
    return Row({"past": values[:past], "future": values[past:], **more}, "here:1")


def build(rows, seed=0, **options) -> Forecast:
    config = ForecastConfig(**{**SMALL, **options})
    processors = Forecast.learn(rows, config, PLAIN)
    torch.manual_seed(seed)
    size = processors["scaler"].width
    backbone = BackboneConfig(
        input_size=size, hidden_size=8, bidirectional=False, input_dropout=0.0, dropout=0.0
    )
    task = Forecast(Backbone(backbone), processors, config).eval()
    with torch.no_grad():
        for weight in task.parameters():
            weight.normal_(std=0.5)
    return task


WAVE = 5 + np.sin(np.arange(120) / 2) + np.arange(120) / 100
