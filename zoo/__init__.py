"""A zoo of sequence tasks on one LSTM: which of `output`, `h_n`, `c_n` does your task use?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zoo.errors import InputError
    from zoo.generation.config import GenerationConfig
    from zoo.hub.shipped import list_models
    from zoo.loading import load
    from zoo.nn.backbone import Backbone, BackboneConfig, Encoded
    from zoo.registry import register
    from zoo.rnn.lstm import LSTM
    from zoo.shared_backbone import multitask
    from zoo.task import Generative, Task, TaskConfig
    from zoo.training.pipeline import train

__all__ = [
    "LSTM",
    "Backbone",
    "BackboneConfig",
    "Encoded",
    "GenerationConfig",
    "Generative",
    "InputError",
    "Task",
    "TaskConfig",
    "list_models",
    "load",
    "multitask",
    "register",
    "train",
]
__version__ = "0.1.0"

_HOMES = {
    "LSTM": "zoo.rnn.lstm",
    "Backbone": "zoo.nn.backbone",
    "BackboneConfig": "zoo.nn.backbone",
    "Encoded": "zoo.nn.backbone",
    "GenerationConfig": "zoo.generation.config",
    "Generative": "zoo.task",
    "InputError": "zoo.errors",
    "Task": "zoo.task",
    "TaskConfig": "zoo.task",
    "list_models": "zoo.hub.shipped",
    "load": "zoo.loading",
    "multitask": "zoo.shared_backbone",
    "register": "zoo.registry",
    "train": "zoo.training.pipeline",
}


def __getattr__(name: str) -> Any:
    """Import a part when it is first used: `python -m zoo.run --help` needs no torch."""
    if name not in _HOMES:
        raise AttributeError(f"module 'zoo' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(_HOMES[name]), name)  # importlib's locks: other threads wait
    globals()[name] = value
    return value
