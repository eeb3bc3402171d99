"""The corpus `hub`: data sets of the Hugging Face hub."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from zoo.data.corpora.files import named, renamed
from zoo.data.corpora.paths import NameOrPath
from zoo.data.corpora.splits import Splits, complete
from zoo.data.readers import Row, Rows
from zoo.errors import InputError
from zoo.text.decoding import Once


def hub(
    id: NameOrPath,
    config: str | None,
    train: str,
    valid: str | None,
    test: str | None,
    text: str,
    label: str,
    source: str = "source",
    target: str = "target",
    words: str = "words",
    column: str = "labels",
    by: str = "text",
    separator: str | None = None,
) -> Splits:
    """Open a data set of the Hugging Face hub, or a local folder that `datasets` can load.

    Raises InputError if it cannot be loaded or `datasets` is not installed.
    """
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
            csv = hasattr(
                builder.config, "keep_default_na"
            )  # the default reads the text "NA" as None
            options = {"keep_default_na": False} if csv else {}
            loaded = datasets.load_dataset(id, config, split=split, **options)
        except Exception as error:  # of datasets, of the hub or of pyarrow
            raise InputError(f"data.id={id}: {' '.join(str(error).split())[:300]}") from None
        place = f"{id}:{split}"
        read = partial(_hub_rows, loaded, place)
        parts[part] = Rows(partial(renamed, read, names, Once(), separator), place)
    return complete(parts, by)


def _hub_rows(loaded: Any, place: str) -> Iterator[Row]:
    """Yield the rows of a loaded split; class numbers, also in lists, become class names."""
    parts = {name: getattr(f, "feature", f) for name, f in loaded.features.items()}
    class_names = {name: f.int2str for name, f in parts.items() if hasattr(f, "int2str")}
    for number, columns in enumerate(loaded, 1):
        for name, to_name in class_names.items():
            value = columns[name]
            is_list = isinstance(value, list)
            named_values = [
                number if number is None or number < 0 else to_name(number)
                for number in (value if is_list else [value])
            ]
            columns[name] = named_values if is_list else named_values[0]
        yield Row(columns, f"{place}:{number}")
