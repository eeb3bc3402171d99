"""Named corpora: `data=NAME` is the function NAME below, its arguments are the settings of `data`.

Each returns Splits. What a corpus does not hold out itself is held out here, by a hash of the text:
the same rows on every machine, and a text that occurs twice stays on one side.
"""

from __future__ import annotations

import json
import logging
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

from zoo import cldr as _cldr
from zoo import rows
from zoo.config import Count, arguments
from zoo.errors import InputError, RowError
from zoo.rows import Row, Rows

log = logging.getLogger("zoo")

TENTH = 0.1
MOST_HELD_OUT = 20_000  # rows; of a large corpus more than that are not needed to measure well


@dataclass(frozen=True)
class Splits:
    """The rows to learn from, to choose by, and to report once."""

    train: Rows
    valid: Rows
    test: Rows


def open_corpus(settings: dict[str, Any]) -> Splits:
    """The corpus of `data`'s settings. Raises InputError for a wrong name or argument."""
    rest = dict(settings)
    name = str(rest.pop("name", None))
    if name not in CORPORA:
        raise InputError(f"data={name}: no such corpus; there are: {', '.join(CORPORA)}")
    return CORPORA[name](**arguments(CORPORA[name], rest, "data"))


def cldr(
    locales: list[str] | None, documents: Count, items: tuple[Count, Count], seed: int
) -> Splits:
    """Names, dates and amounts of the world's locales, from Unicode CLDR: which locale wrote this?"""
    parts = {
        split: Rows(
            partial(_cldr.documents, split, locales, documents, items, seed), f"cldr:{split}"
        )
        for split in _cldr.SPLITS
    }
    return Splits(**parts)


def files(train: str, valid: str | None, test: str | None, text: str, label: str) -> Splits:
    """Local files in any format of `zoo.rows`; `text` and `label` name the columns."""
    names = {text: "text", label: "label"}
    parts = {"train": _file(train, names)}
    for part, path in (("valid", valid), ("test", test)):
        if path is not None:
            parts[part] = _file(path, names)
    return _complete(parts)


def imdb(path: str) -> Splits:
    """The film reviews of Maas et al. (2011): `train` and `test`, as jsonl or as aclImdb's folders.

    The test reviews are of other films than the training reviews, so the validation reviews must
    be too: chosen one by one they would look two points easier than the test is. Reviews of one
    film stand close together, hence whole blocks of neighbours are held out.
    """
    train, test = (
        Rows(partial(_reviews, source), str(source))
        for source in (_find(Path(path), part) for part in ("train", "test"))
    )
    size = cache(lambda: max(1, sum(1 for _ in train) // 100))
    valid = Rows(lambda: _blocks(train, size(), held=True), f"{train.name} (a tenth of it)")
    return Splits(Rows(lambda: _blocks(train, size(), held=False), train.name), valid, test)


def _blocks(source: Rows, size: int, held: bool) -> Iterator[Row]:
    """Every tenth block of `size` rows, or all the others."""
    for number, row in enumerate(source):
        if (number // size % 10 == 4) == held:
            yield row


def sst2(path: str) -> Splits:
    """Sentences of film reviews (Socher et al. 2013): stsa.binary.train, .dev and .test."""
    parts = {}
    for part, file in (("train", "train"), ("valid", "dev"), ("test", "test")):
        source = _find(Path(path), f"stsa.binary.{file}", ("", ".gz"))
        parts[part] = Rows(partial(_sentences, source), str(source))
    return Splits(**parts)


def hub(
    id: str, config: str | None, train: str, valid: str | None, test: str | None,
    text: str, label: str,
) -> Splits:  # fmt: skip
    """A data set of the Hugging Face hub, or a local folder that `datasets` can load."""
    try:
        import datasets
    except ImportError:
        raise InputError("data=hub needs the extra: pip install 'sequence-zoo[hub]'") from None
    names = {text: "text", label: "label"}
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
        parts[part] = Rows(partial(_renamed, partial(_hub_rows, loaded, place), names), place)
    return _complete(parts)


CORPORA: dict[str, Callable[..., Splits]] = {f.__name__: f for f in (cldr, files, imdb, sst2, hub)}


def _complete(parts: dict[str, Rows]) -> Splits:
    """Hold a tenth of the training rows out for each split that is missing."""
    missing = [part for part in ("test", "valid") if part not in parts]
    source = parts["train"]
    for part in missing:
        log.info("no %s rows are given: about a tenth of %s is held out", part, source.name)
        parts[part] = Rows(partial(_held, source, missing, part), f"{source.name} (a tenth of it)")
    if missing:
        parts["train"] = Rows(partial(_held, source, missing, "train"), source.name)
    return Splits(**parts)


def _held(source: Rows, missing: list[str], wanted: str) -> Iterator[Row]:
    held: dict[str, set[int]] = {part: set() for part in missing}
    for row in source:
        text = json.dumps(row.get("text", row), sort_keys=True, default=str)
        code = zlib.crc32(text.encode())
        drawn = code / 2**32 / TENTH
        part = missing[int(drawn)] if drawn < len(missing) else "train"
        if part != "train" and code not in held[part]:
            if len(held[part]) < MOST_HELD_OUT:
                held[part].add(code)
            else:
                part = "train"
        if part == wanted:
            yield row


def _file(path: str, names: dict[str, str]) -> Rows:
    if not Path(path).exists():
        raise InputError(f"{path}: No such file or directory")
    return Rows(partial(_renamed, partial(rows.read, path), names), str(path))


def _renamed(read: Callable[[], Iterator[Row]], names: dict[str, str]) -> Iterator[Row]:
    """Rows with the columns `names` chooses as its values; another one of that name gives way."""
    for row in read():
        for name, setting in names.items():
            if name not in row and name != setting:
                there = ", ".join(row)
                message = f"no column {name!r}, there are: {there}; set data.{setting}=COLUMN"
                raise RowError(row.place, message)
        rest = {name: value for name, value in row.items() if name not in names}
        yield Row(rest | {new: row[name] for name, new in names.items() if name in row}, row.place)


def _find(folder: Path, stem: str, suffixes: tuple[str, ...] | None = None) -> Path:
    if suffixes is None:
        suffixes = ("", *(s + gz for s in rows.READERS for gz in ("", ".gz")))
    for suffix in suffixes:
        path = folder / f"{stem}{suffix}"
        if path.is_dir() if suffix == "" and len(suffixes) > 2 else path.is_file():
            return path
    raise InputError(f"{folder}: no {stem} in it; set data.path to the folder of the data set")


SENTIMENT = {"1": "positive", "pos": "positive", "0": "negative", "neg": "negative"}


def _reviews(path: Path) -> Iterator[Row]:
    """Reviews with their line breaks as such; the unlabelled ones of aclImdb are left out."""
    for row in rows.read(path):
        if row.get("text") is None or row.get("label") is None:
            raise RowError(row.place, "columns text and label are needed; see data=files")
        label = str(row["label"])
        if label != "unsup":
            text = str(row["text"]).replace("<br />", "\n")
            yield Row({"text": text, "label": SENTIMENT.get(label, label)}, row.place)


def _sentences(path: Path) -> Iterator[Row]:
    """Lines `label sentence`."""
    for number, line in enumerate(rows.lines(path), 1):
        label, _, text = line.partition(" ")
        if label not in ("0", "1"):
            raise RowError(f"{path}:{number}", f"label {label!r}: a line is `0 SENTENCE` or 1")
        yield Row({"text": text, "label": SENTIMENT[label]}, f"{path}:{number}")


def _hub_rows(loaded: Any, place: str) -> Iterator[Row]:
    """Rows of a loaded split, class numbers as the names they stand for."""
    known = {name: f.int2str for name, f in loaded.features.items() if hasattr(f, "int2str")}
    for number, columns in enumerate(loaded, 1):
        for name, spelt in known.items():
            if columns[name] is not None and columns[name] >= 0:
                columns[name] = spelt(columns[name])
        yield Row(columns, f"{place}:{number}")
