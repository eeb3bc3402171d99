"""A toy recipe of two steps, and a shelf of shipped models of its own."""

from __future__ import annotations

import json
from contextlib import contextmanager

import pytest

from zoo.hub import retrain as making
from zoo.hub import shipped as shelf
from zoo.model_folder import verify
from zoo.model_folder.verify import read_config

NAME = "classify/toy"
QUICK = [
    "device=cpu",
    "precision=fp32",
    "baseline=false",
    "train.epochs=2",
    "train.batch_rows=8",
    "train.batch_tokens=256",
    "train.ema_decay=0",
]
SIZE = ["backbone.embedding_size=16", "backbone.hidden_size=16", "backbone.bidirectional=false"]
TOY = {
    "steps": [
        ["task=generate", "data=wikitext2", "task.softmax=full", *QUICK, *SIZE],
        ["task=classify", "data=imdb", "train.learning_rate=2e-2", *QUICK],
    ],
    "weights": "int8",
    "languages": "English of toys",
    "limits": "Twelve kinds of sentences, and nothing else.",
    "inputs": ["Gulls follow the trawler home.", "Snow closed the pass.", ""],
}


@contextmanager
def shelved(place, **recipes):
    """Replace the recipes and the folder of the shipped models."""
    with pytest.MonkeyPatch.context() as patch:
        place.mkdir(exist_ok=True)
        (place / "recipes.json").write_text(json.dumps(recipes))
        patch.setattr(shelf, "RECIPES", place / "recipes.json")
        for module in (verify, shelf, making):
            patch.setattr(module, "SHIPPED", place)
        yield patch


def metadata(folder) -> dict:
    return read_config(folder)["metadata"]
