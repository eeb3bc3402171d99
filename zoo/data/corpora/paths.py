"""Which settings of a corpus are paths, and the same paths from another working folder."""

from __future__ import annotations

import glob
import inspect
import os
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

_PATH, _NAME_OR_PATH = object(), object()

PathSetting = Annotated[str, _PATH]
"""The annotation of a setting that is a path."""
NameOrPath = Annotated[str, _NAME_OR_PATH]
"""The annotation of a setting that is a name, or the path of what there is on the disk."""


def is_file_of_split(corpus: Callable[..., Any], split: str) -> bool:
    """Whether a setting of a corpus, as "train", is the path of that split's file."""
    return _PATH in _marks(corpus).get(split, ())


def absolute(
    corpus: Callable[..., Any], settings: Mapping[str, Any], folder: Path
) -> dict[str, Any]:
    """Return the settings of a corpus with its paths relative to `folder` made absolute."""
    marks = _marks(corpus)
    found = dict(settings)
    for name, value in settings.items():
        if not isinstance(value, str) or os.path.isabs(value):
            continue
        of = marks.get(name, ())
        if _PATH in of or (_NAME_OR_PATH in of and (folder / value).exists()):
            found[name] = str(folder / value)
    return found


def first_missing(corpus: Callable[..., Any], settings: Mapping[str, Any]) -> str | None:
    """Return the name of the first path among the settings of a corpus where nothing is, if any.

    A path may lack its last suffix, as those of parallel files do.
    """
    for name, marks in _marks(corpus).items():
        value = settings.get(name)
        if _PATH in marks and isinstance(value, str) and not Path(value).exists():
            path = Path(value)
            if not any(path.parent.glob(f"{glob.escape(path.name)}.*")):
                return name
    return None


def _marks(corpus: Callable[..., Any]) -> dict[str, tuple[Any, ...]]:
    """Return what the annotations of a function hold besides types, by parameter."""
    hints = typing.get_type_hints(corpus, include_extras=True)
    return {
        name: _of(hints[name]) for name in inspect.signature(corpus).parameters if name in hints
    }


def _of(hint: Any) -> tuple[Any, ...]:
    """Return the metadata of an annotation, or of the parts of a union."""
    if typing.get_origin(hint) is Annotated:
        return hint.__metadata__
    return tuple(mark for part in typing.get_args(hint) for mark in _of(part))
