"""Corpora of local files: rows with columns, line-aligned files, or running text."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from zoo.data import readers
from zoo.data.corpora.splits import SETTINGS, Splits, complete, last_parts
from zoo.data.readers import Row, Rows
from zoo.errors import InputError, RowError

Reader = Callable[[Path], Iterator[Row]]

log = logging.getLogger("zoo")


def files(
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
) -> Splits:
    """Open local files in any format of `zoo.data.readers`.

    `text` to `column` name the columns of the files. Missing splits are held out by column `by`.
    Raises InputError for a file that does not exist.
    """
    names = named(text, label, source, target, words, column)
    parts = {"train": _file(train, names)}
    for part, path in (("valid", valid), ("test", test)):
        if path is not None:
            parts[part] = _file(path, names)
    return complete(parts, by)


def parallel(train: str, valid: str | None, test: str | None, source: str, target: str) -> Splits:
    """Open two line-aligned text files for each split, which may be gzip'ed.

    `train=corpus/train source=en target=de` reads corpus/train.en and corpus/train.de.
    Raises InputError for a file that does not exist.
    """
    parts = {}
    for part, stem in (("train", train), ("valid", valid), ("test", test)):
        if stem is not None:
            path = Path(stem)
            parts[part] = pairs(path.parent, path.name, source, target)
    return complete(parts, "source")


def text(train: str, valid: str | None, test: str | None) -> Splits:
    """Open running text, a row per line: a .txt file, or all those of a folder sorted by name.

    Each file may be gzip'ed. A missing split is a tenth at the end of the training text. Raises
    InputError for a missing file and for a folder without .txt files.
    """
    parts = {"train": _text(train)}
    missing = []
    for part, path in (("valid", valid), ("test", test)):
        if path is None:
            missing.append(part)
        else:
            parts[part] = _text(path)
    if missing:
        log.info("no %s text is given: a tenth of %s is held out", " and no ".join(missing), train)
        parts |= last_parts(parts["train"], missing)
    return Splits(**parts)


def _text(name: str) -> Rows:
    """Open the lines of a text file, or of all text files of a folder."""
    path = Path(name)
    if not path.is_dir():
        find(path.parent, path.name, ("",))
        files = [path]
    else:
        files = sorted(p for end in ("*.txt", "*.txt.gz") for p in path.rglob(end))
        if not files:
            raise InputError(f"{name}: no .txt or .txt.gz files in it")

    def read() -> Iterator[Row]:
        for file in files:
            yield from readers.text(file)

    return Rows(read, name)


def pairs(folder: Path, stem: str, source: str, target: str) -> Rows:
    """Open the line-aligned files FOLDER/STEM.SOURCE and FOLDER/STEM.TARGET.

    Raises InputError if one is missing.
    """
    sides = [find(folder, f"{stem}.{side}", ("", ".gz")) for side in (source, target)]
    return Rows(partial(readers.parallel, *sides), f"{folder / stem}.{source}-{target}")


def columns(train: str, valid: str | None, test: str | None, column: str) -> Splits:
    """Open column files of any name: a word and its label per line, blank lines between sentences.

    Each file may be gzip'ed. `column` holds the labels; "labels" is the last column. Raises
    InputError for a file that does not exist.
    """
    parts = {"train": train, "valid": valid, "test": test}
    return complete({p: sentences(Path(f), column) for p, f in parts.items() if f}, "words")


def sentences(path: Path, column: str, read: Reader = readers.sentences) -> Rows:
    """Open the sentences of a file with `column` renamed to "labels".

    Raises InputError if the file is missing.
    """
    find(path.parent, path.name, ("",))
    return Rows(
        partial(renamed, partial(read, path), {"words": "words", "labels": column}), str(path)
    )


def named(
    text: str, label: str, source: str, target: str, words: str, column: str
) -> dict[str, str]:
    """Map the column names of the tasks to those of a file."""
    return {
        "text": text,
        "label": label,
        "source": source,
        "target": target,
        "words": words,
        "labels": column,
    }


def _file(path: str, names: dict[str, str]) -> Rows:
    """Open a file with its columns renamed. Raises InputError if it is missing."""
    if not Path(path).exists():
        raise InputError(f"{path}: No such file or directory")
    return Rows(partial(renamed, partial(readers.read, path), names), str(path))


def renamed(read: Callable[[], Iterator[Row]], names: dict[str, str]) -> Iterator[Row]:
    """Yield the rows with their columns renamed; `names` maps new name -> column.

    `translation.en` is the entry `en` of the column `translation`. Other columns are kept. Raises
    RowError for a missing column, unless `names` maps its name to itself.
    """
    for row in read():
        chosen = {}
        for wanted, name in names.items():
            found = _lookup(row, name)
            if found is None and name != wanted:
                there = ", ".join(row)
                cure = f"set data.{SETTINGS.get(wanted, wanted)}=COLUMN"
                raise RowError(row.source, f"no column {name!r}, there are: {there}; {cure}")
            if found is not None:
                chosen[wanted] = found[0]
        rest = {name: value for name, value in row.items() if name not in names.values()}
        yield Row(rest | chosen, row.source)


def _lookup(row: Row, name: str) -> tuple[Any] | None:
    """Return the value of a column or of its entry in a 1-tuple, None if there is none."""
    if name in row:
        return (row[name],)
    column, dot, entry = name.partition(".")
    if dot and isinstance(row.get(column), dict) and entry in row[column]:
        return (row[column][entry],)
    return None


def find(folder: Path, stem: str, suffixes: tuple[str, ...] | None = None) -> Path:
    """Return the path of FOLDER/STEM with the first of the suffixes that exists.

    By default the suffixes are those of all readers, and FOLDER/STEM may be a folder. Raises
    InputError, which lists the files of the folder.
    """
    known = ("", *(s + gz for s in readers.READERS for gz in ("", ".gz")))
    for suffix in known if suffixes is None else suffixes:
        path = folder / f"{stem}{suffix}"
        if path.is_dir() if suffix == "" and suffixes is None else path.is_file():
            return path
    there = sorted(p.name for p in folder.iterdir())[:20] if folder.is_dir() else []
    shown = f"; there are: {', '.join(there)}" if there else ""
    raise InputError(f"{folder}: no {stem} in it{shown}")
