"""Data sets of the Hugging Face hub."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from zoo.data.corpora.files import named, renamed
from zoo.data.corpora.splits import Splits, complete
from zoo.data.readers import Row, Rows
from zoo.errors import InputError


def hub(
    id: str, config: str | None, train: str, valid: str | None, test: str | None,
    text: str, label: str, source: str = "source", target: str = "target", words: str = "words",
    column: str = "labels", by: str = "text",
) -> Splits:  # fmt: skip
    """A data set of the Hugging Face hub, or a local folder that `datasets` can load."""
    try:
        import datasets
    except ImportError:
        raise InputError("data=hub needs the extra: pip install 'sequence-zoo[hub]'") from None
    names = named(text, label, source, target, words, column)
    parts = {}
    for part, split in (("train", train), ("valid", valid), ("test", test)):
        if split is None:
            continue
        try:
            builder = datasets.load_dataset_builder(id, config)
            csv = hasattr(builder.config, "keep_default_na")  # would read the text "NA" as None
            options = {"keep_default_na": False} if csv else {}
            loaded = datasets.load_dataset(id, config, split=split, **options)
        except Exception as error:  # datasets raises its own, the hub's and pyarrow's kinds
            raise InputError(f"data.id={id}: {' '.join(str(error).split())[:300]}") from None
        place = f"{id}:{split}"
        parts[part] = Rows(partial(renamed, partial(_hub_rows, loaded, place), names), place)
    return complete(parts, by)


def _hub_rows(loaded: Any, place: str) -> Iterator[Row]:
    """Rows of a loaded split, class numbers as the names they stand for, in lists too."""
    parts = {name: getattr(f, "feature", f) for name, f in loaded.features.items()}
    known = {name: f.int2str for name, f in parts.items() if hasattr(f, "int2str")}
    for number, columns in enumerate(loaded, 1):
        for name, spelt in known.items():
            value = columns[name]
            several = isinstance(value, list)
            found = [
                one if one is None or one < 0 else spelt(one)
                for one in (value if several else [value])
            ]
            columns[name] = found if several else found[0]
        yield Row(columns, f"{place}:{number}")
