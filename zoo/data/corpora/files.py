"""Your own files: rows with columns, two files whose lines belong together, or running text."""

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
    train: str, valid: str | None, test: str | None, text: str, label: str,
    source: str = "source", target: str = "target", words: str = "words", column: str = "labels",
    by: str = "text",
) -> Splits:  # fmt: skip
    """Local files in any format of `zoo.data.readers`; the other settings name the columns, `by` the one
    that rows are held out by."""
    names = named(text, label, source, target, words, column)
    parts = {"train": _file(train, names)}
    for part, path in (("valid", valid), ("test", test)):
        if path is not None:
            parts[part] = _file(path, names)
    return complete(parts, by)


def parallel(train: str, valid: str | None, test: str | None, source: str, target: str) -> Splits:
    """Two text files for each split, line by line: `train=corpus/train source=en target=de` are
    corpus/train.en and corpus/train.de; each may be gzip'ed."""
    parts = {}
    for part, stem in (("train", train), ("valid", valid), ("test", test)):
        if stem is not None:
            path = Path(stem)
            parts[part] = pairs(path.parent, path.name, source, target)
    return complete(parts, "source")


def text(train: str, valid: str | None, test: str | None) -> Splits:
    """Text that is read from its first line to its last: a .txt file, or all of a folder in the
    order of their names; each may be gzip'ed. A row per line."""
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
    """The rows of FOLDER/STEM.SOURCE and FOLDER/STEM.TARGET."""
    sides = [find(folder, f"{stem}.{side}", ("", ".gz")) for side in (source, target)]
    return Rows(partial(readers.parallel, *sides), f"{folder / stem}.{source}-{target}")


def columns(train: str, valid: str | None, test: str | None, column: str) -> Splits:
    """Files with a word to a line and its label behind it, blank lines between sentences, whatever
    they are called; each may be gzip'ed. `column` is the labels', "labels" the last one."""
    parts = {"train": train, "valid": valid, "test": test}
    return complete({p: sentences(Path(f), column) for p, f in parts.items() if f}, "words")


def sentences(path: Path, column: str, read: Reader = readers.sentences) -> Rows:
    """The sentences of a file, `column` under the name "labels"."""
    find(path.parent, path.name, ("",))
    return Rows(
        partial(renamed, partial(read, path), {"words": "words", "labels": column}), str(path)
    )


def named(
    text: str, label: str, source: str, target: str, words: str, column: str
) -> dict[str, str]:
    """What tasks call a column -> what a file calls it."""
    return {"text": text, "label": label, "source": source, "target": target, "words": words,
            "labels": column}  # fmt: skip


def _file(path: str, names: dict[str, str]) -> Rows:
    if not Path(path).exists():
        raise InputError(f"{path}: No such file or directory")
    return Rows(partial(renamed, partial(readers.read, path), names), str(path))


def renamed(read: Callable[[], Iterator[Row]], names: dict[str, str]) -> Iterator[Row]:
    """Rows with the columns that `names` chooses (name -> column) under these names.

    `translation.en` is the entry `en` of the column `translation`.
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
    if name in row:
        return (row[name],)
    column, dot, entry = name.partition(".")
    if dot and isinstance(row.get(column), dict) and entry in row[column]:
        return (row[column][entry],)
    return None


def find(folder: Path, stem: str, suffixes: tuple[str, ...] | None = None) -> Path:
    """FOLDER/STEM with one of the suffixes, by default those of all readers, or a folder.

    Raises InputError that lists what is there.
    """
    known = ("", *(s + gz for s in readers.READERS for gz in ("", ".gz")))
    for suffix in known if suffixes is None else suffixes:
        path = folder / f"{stem}{suffix}"
        if path.is_dir() if suffix == "" and suffixes is None else path.is_file():
            return path
    there = sorted(p.name for p in folder.iterdir())[:20] if folder.is_dir() else []
    shown = f"; there are: {', '.join(there)}" if there else ""
    raise InputError(f"{folder}: no {stem} in it{shown}")
