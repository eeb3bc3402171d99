"""A backbone without dropout, unless a test asks for it."""

from __future__ import annotations

from zoo.nn.backbone import Backbone, BackboneConfig

STILL = {"dropout": 0.0, "input_dropout": 0.0, "word_dropout": 0.0}


def make_backbone(vocabulary_size: int | None = None, **options) -> Backbone:
    """Return a backbone with new weights; `options` are those of BackboneConfig."""
    return Backbone(BackboneConfig(vocabulary_size=vocabulary_size, **(STILL | options)))
