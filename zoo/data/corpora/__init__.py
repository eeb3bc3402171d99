"""Named corpora: `data=NAME` calls the function NAME with the settings of `data`.

Each function returns Splits.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from zoo.data.corpora.builtin import cldr, pydoc
from zoo.data.corpora.files import columns, files, parallel, text
from zoo.data.corpora.huggingface import hub
from zoo.data.corpora.languages import sentences
from zoo.data.corpora.public import enja, imdb, multi30k, sst2, ud_ewt, wikitext2
from zoo.data.corpora.sequences import digits, sequences
from zoo.data.corpora.series import co2, ett, series
from zoo.data.corpora.splits import Splits
from zoo.errors import InputError
from zoo.option_classes import arguments

__all__ = ["CORPORA", "Splits", "open_corpus", "own_files"]

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
        enja,
        ud_ewt,
        wikitext2,
        sentences,
        hub,
        series,
        ett,
        co2,
        sequences,
        digits,
    )
}

# The corpus that reads own files of the same rows as another; of all others it is `files`.
OWN_FILES = {"co2": "series", "ett": "series", "digits": "sequences"}
OWN_FILES |= {"series": "series", "sequences": "sequences"}


def own_files(name: str | None) -> str:
    """Return the name of the corpus that reads own files of the rows that a corpus has."""
    return OWN_FILES.get(name or "", "files")


def open_corpus(settings: dict[str, Any], by: str = "text") -> Splits:
    """Open the corpus that the settings of `data` name.

    `by` is the column that the task reads. A corpus that holds rows out splits them by it, so equal
    inputs stay in one split. Raises InputError for a wrong name or argument.
    """
    rest = dict(settings)
    name = str(rest.pop("name", None))
    if name not in CORPORA:
        raise InputError(f"data={name}: no such corpus; there are: {', '.join(CORPORA)}")
    corpus = CORPORA[name]
    split_column = {"by"} & inspect.signature(corpus).parameters.keys()
    checked = arguments(corpus, rest, "data", split_column)
    return corpus(**checked, **dict.fromkeys(split_column, by))
