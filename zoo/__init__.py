"""A zoo of sequence tasks on one LSTM (or GRU): which of `output`, `h_n`, `c_n` does your task use?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tasks.classify import Classify
    from tasks.forecast import Forecast
    from tasks.generate import Generate
    from tasks.tag import Tag
    from tasks.translate import Translate
    from zoo.errors import InputError
    from zoo.generation.config import GenerationConfig
    from zoo.hub.shipped import list_models
    from zoo.loading import load
    from zoo.nn.backbone import Backbone, BackboneConfig, Encoded
    from zoo.prediction.batch_predictor import batch_predictor
    from zoo.registry import register
    from zoo.rnn.gru.gru import GRU
    from zoo.rnn.lstm import LSTM
    from zoo.shared_backbone import multitask
    from zoo.task import Generative, Task, TaskConfig
    from zoo.training.pipeline import train

__all__ = [
    "GRU",
    "LSTM",
    "Backbone",
    "BackboneConfig",
    "Classify",
    "Encoded",
    "Forecast",
    "Generate",
    "GenerationConfig",
    "Generative",
    "InputError",
    "Tag",
    "Task",
    "TaskConfig",
    "Translate",
    "batch_predictor",
    "list_models",
    "load",
    "multitask",
    "register",
    "train",
]
__version__ = "0.1.0"

_HOMES = {
    "GRU": "zoo.rnn.gru.gru",
    "LSTM": "zoo.rnn.lstm",
    "Backbone": "zoo.nn.backbone",
    "BackboneConfig": "zoo.nn.backbone",
    "Encoded": "zoo.nn.backbone",
    "GenerationConfig": "zoo.generation.config",
    "Generative": "zoo.task",
    "InputError": "zoo.errors",
    "Task": "zoo.task",
    "TaskConfig": "zoo.task",
    "batch_predictor": "zoo.prediction.batch_predictor",
    "list_models": "zoo.hub.shipped",
    "load": "zoo.loading",
    "multitask": "zoo.shared_backbone",
    "register": "zoo.registry",
    "train": "zoo.training.pipeline",
}
_TASKS = ("Classify", "Forecast", "Generate", "Tag", "Translate")


def __getattr__(name: str) -> Any:
    """Import a part when it is first used: `python -m zoo.run --help` needs no torch."""
    if name in _TASKS:
        from zoo.registry import find

        value: Any = find(name.lower())  # even if another package is called `tasks`
    elif name in _HOMES:
        from importlib import import_module

        value = getattr(import_module(_HOMES[name]), name)  # importlib's locks: other threads wait
    else:
        raise AttributeError(f"module 'zoo' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """The names that `zoo` has, those that are imported when they are first used included."""
    return sorted({*globals(), *__all__})
