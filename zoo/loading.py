"""Load a model from its folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal, overload

from zoo.errors import InputError
from zoo.model_folder.format import read_model
from zoo.model_folder.verify import line_of
from zoo.registry import find_saved
from zoo.task import Task, restore

if TYPE_CHECKING:
    from tasks.classify import Classify
    from tasks.generate import Generate
    from tasks.tag import Tag
    from tasks.translate import Translate

CURE = "register it first with zoo.register(MyTask), or name its file with task=FILE"


@overload
def load(
    name: Literal["classify/imdb", "classify/langid", "classify/locale"],
    device: str = "cpu",
    precision: str = "fp32",
) -> Classify: ...
@overload
def load(
    name: Literal["generate/pydoc", "generate/wikitext2"],
    device: str = "cpu",
    precision: str = "fp32",
) -> Generate: ...
@overload
def load(
    name: Literal["tag/ewt-upos", "tag/fields"], device: str = "cpu", precision: str = "fp32"
) -> Tag: ...
@overload
def load(
    name: Literal[
        "translate/en-de", "translate/en-ja", "translate/ja-en", "translate/localise-en-ja"
    ],
    device: str = "cpu",
    precision: str = "fp32",
) -> Translate: ...
@overload
def load(name: str | Path, device: str = "cpu", precision: str = "fp32") -> Task: ...
def load(name: str | Path, device: str = "cpu", precision: str = "fp32") -> Task:
    """Load a model folder, or a shipped model by its name, ready to predict.

    >>> import zoo
    >>> zoo.load("tag/ewt-upos").predict("The cat sat")
    [[('The', 'DET'), ('cat', 'NOUN'), ('sat', 'VERB')]]

    `precision` is that of `predict`: `fp32`, `bf16`, `fp16` on a GPU, or `auto`, the fast one, as
    on the command line. A CPU with bf16 instructions tags about twice as fast in bf16; there a
    probability may differ by 0.02.

    Raises InputError that names the broken file, or lists the shipped models, and for a precision
    that the device does not have.
    """
    saved = read_model(name)
    try:
        kind = find_saved(saved.task)
    except (ValueError, TypeError) as error:
        raise InputError(f"{saved.path}: {line_of(error)}: {CURE}") from None
    return restore(kind, saved, device, precision)
