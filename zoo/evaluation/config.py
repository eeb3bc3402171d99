"""Settings of evaluation and prediction: batches, windows of a stream, and measures of perplexity."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from zoo.option_classes import Count, Share, Steps, checked_dataclass


@checked_dataclass
class EvaluationConfig:
    """Settings of evaluation and prediction.

    Dynamic evaluation and the neural cache are additional measures of perplexity, each reported
    apart. Their defaults were chosen on the validation part of WikiText-2.
    """

    section: ClassVar[str] = "evaluate"

    batch_tokens: Steps = 1 << 15
    """At most so many steps in a batch, padding included."""

    batch_rows: Annotated[int, Field(ge=1, le=1_000_000)] = 256
    """At most so many rows in a batch."""

    columns: Annotated[int, Field(ge=1, le=65_536)] = 64
    """Columns into which a stream is cut while epochs are compared; more are faster."""

    window: Annotated[int, Field(ge=1, le=1_000_000)] = 512
    """Steps of a stream per call of the model."""

    origins: Count | None = None
    """Of a forecast: rolling origins of each series that are tested, the last ones; null: all."""

    dynamic: bool = False
    """Dynamic evaluation: update the weights after each scored segment."""

    dynamic_steps: Annotated[int, Field(ge=1, le=1_000_000)] = 20
    """Tokens of a segment."""

    dynamic_rate: Annotated[float, Field(gt=0, le=1000)] = 3e-4
    """Learning rate of dynamic evaluation."""

    dynamic_decay: Share = 2e-4
    """Decay towards the trained weights, per update, of a weight whose gradients are as usual."""

    cache: Annotated[int, Field(ge=0, le=10_000_000)] = 0
    """Tokens in the neural cache; 0 is no cache."""

    cache_share: Share = 0.15
    """Weight of the cache's distribution."""

    cache_sharpness: Annotated[float, Field(gt=0, le=1000)] = 0.1
    """Factor of the dot products in the cache."""
