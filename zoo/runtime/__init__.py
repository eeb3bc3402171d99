"""Answers of an exported model without torch: see `zoo/runtime/README.md`.

    model = zoo.runtime.load("FOLDER")      # of python -m zoo.export MODEL FOLDER
    model.predict(["a text", "another"])

Needs numpy, onnxruntime and sentencepiece; a tagger that splits texts into words also regex.
"""

from __future__ import annotations

from pathlib import Path

from zoo.errors import InputError
from zoo.runtime.classify import Classify
from zoo.runtime.folder import Folder
from zoo.runtime.forecast import Forecast
from zoo.runtime.generate import Generate
from zoo.runtime.model import Model
from zoo.runtime.tag import Tag
from zoo.runtime.translate import Translate

KINDS = Classify, Forecast, Generate, Tag, Translate
MODELS: dict[str, type[Model]] = {kind.task: kind for kind in KINDS}


def load(folder: str | Path, threads: int = 1) -> Model:
    """Load an exported model. `threads` is how many ONNX Runtime uses for one call.

    Raises InputError that names the faulty file.
    """
    read = Folder.read(Path(folder))
    if read.task not in MODELS:
        known = ", ".join(MODELS)
        raise InputError(f"{read.path}: task {read.task!r} is unknown; there are: {known}")
    if isinstance(threads, bool) or not isinstance(threads, int) or threads < 1:
        raise InputError(f"threads={threads!r}: a number from 1 is needed")
    return MODELS[read.task](read, threads)
