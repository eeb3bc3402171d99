"""Named corpora: `data=NAME` is the function NAME, its arguments are the settings of `data`.

Each returns Splits.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from zoo.config import arguments
from zoo.data.corpora.builtin import cldr, pydoc
from zoo.data.corpora.files import columns, files, parallel, text
from zoo.data.corpora.huggingface import hub
from zoo.data.corpora.public import imdb, multi30k, sst2, ud_ewt, wikitext2
from zoo.data.corpora.splits import Splits
from zoo.errors import InputError

__all__ = ["CORPORA", "Splits", "open_corpus"]

CORPORA: dict[str, Callable[..., Splits]] = {
    f.__name__: f
    for f in (
        cldr,
        pydoc,
        files,
        parallel,
        columns,
        text,
        imdb,
        sst2,
        multi30k,
        ud_ewt,
        wikitext2,
        hub,
    )
}


def open_corpus(settings: dict[str, Any], by: str = "text") -> Splits:
    """The corpus of `data`'s settings. Raises InputError for a wrong name or argument.

    `by` is the column that a task reads: where rows must be held out, it says which are the same.
    """
    rest = dict(settings)
    name = str(rest.pop("name", None))
    if name not in CORPORA:
        raise InputError(f"data={name}: no such corpus; there are: {', '.join(CORPORA)}")
    corpus = CORPORA[name]
    holds_out = {"by"} & inspect.signature(corpus).parameters.keys()
    checked = arguments(corpus, rest, "data", holds_out)
    return corpus(**checked, **dict.fromkeys(holds_out, by))
