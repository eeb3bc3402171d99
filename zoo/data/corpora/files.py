"""Corpora of local files: rows with columns, line-aligned files, or running text."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from zoo.data import labelled_words, readers
from zoo.data.corpora.paths import PathSetting
from zoo.data.corpora.splits import SETTINGS, Splits, complete, last_parts
from zoo.data.readers import Row, Rows
from zoo.errors import InputError, RowError
from zoo.messages import _
from zoo.text.decoding import Once, Say, check_encoding

Reader = Callable[[Path, str | None, Say | None], Iterator[Row]]

log = logging.getLogger("zoo")

PRINTED = re.compile(r"""\[\s*(['"]).*\1\s*,?\s*\]""")  # a list of texts as Python prints it


def files(
    train: PathSetting,
    valid: PathSetting | None,
    test: PathSetting | None,
    text: str,
    label: str,
    source: str = "source",
    target: str = "target",
    words: str = "words",
    column: str = "labels",
    by: str = "text",
    encoding: str | None = None,
    separator: str | None = None,
    sentence: str | None = None,
) -> Splits:
    """Open local files in any format of `zoo.data.readers`.

    `text` to `column` name the columns of the files. `separator` stands between several labels of a
    text. Of a table with a row for each word, `sentence` names the column that numbers the sentences.
    Missing splits are held out by column `by`. Raises InputError for a file that does not exist.
    """
    check_encoding(encoding)
    names = named(text, label, source, target, words, column)

    def opened(path: str) -> Rows:
        return _file(path, names, encoding, separator, by == "words", sentence)

    parts = {"train": opened(train)}
    for part, path in (("valid", valid), ("test", test)):
        if path is not None:
            parts[part] = opened(path)
    return complete(parts, by)


def parallel(
    train: PathSetting,
    valid: PathSetting | None,
    test: PathSetting | None,
    source: str,
    target: str,
    encoding: str | None = None,
) -> Splits:
    """Open two line-aligned text files for each split, which may be gzip'ed.

    `train=corpus/train source=en target=de` reads corpus/train.en and corpus/train.de.
    Raises InputError for a file that does not exist.
    """
    check_encoding(encoding)
    parts = {}
    for part, stem in (("train", train), ("valid", valid), ("test", test)):
        if stem is not None:
            path = Path(stem)
            parts[part] = pairs(path.parent, path.name, source, target, encoding)
    return complete(parts, "source")


def text(
    train: PathSetting,
    valid: PathSetting | None,
    test: PathSetting | None,
    encoding: str | None = None,
) -> Splits:
    """Open running text, a row per line: a .txt file, or all those of a folder sorted by name.

    Each file may be gzip'ed. A missing split is a tenth at the end of the training text. Raises
    InputError for a missing file and for a folder without .txt files.
    """
    check_encoding(encoding)
    parts = {"train": _text(train, encoding)}
    missing = []
    for part, path in (("valid", valid), ("test", test)):
        if path is None:
            missing.append(part)
        else:
            parts[part] = _text(path, encoding)
    if missing:
        said = _(
            "no {part} text is given: a tenth of {name} is held out", part=missing[0], name=train
        )
        if len(missing) > 1:
            said = _(
                "no {part} and no {other} text is given: a tenth of {name} is held out",
                part=missing[0],
                other=missing[1],
                name=train,
            )
        log.info(said)
        parts |= last_parts(parts["train"], missing)
    return Splits(**parts)


def _text(name: str, encoding: str | None) -> Rows:
    """Open the lines of a text file, or of all text files of a folder but hidden ones."""
    path = Path(name)
    say = Once()
    if not path.is_dir():
        find(path.parent, path.name, ("",))
        files = [path]
        near = {}
    else:
        there = [found for found in path.rglob("*") if not readers.is_hidden(found, path)]
        every = [found for found in there if found.is_file()]
        files = sorted(found for found in every if readers.is_text(found))
        if not files:
            raise InputError(_("{folder}: no .txt or .txt.gz files in it", folder=name))
        readers.say_unread(path, {*every} - {*files}, _(".txt files are"), say)
        near = readers.neighbours(files)

    def read() -> Iterator[Row]:
        for file in files:
            yield from readers.text(file, encoding, say, near.get(file.parent))

    return Rows(read, name)


def pairs(folder: Path, stem: str, source: str, target: str, encoding: str | None = None) -> Rows:
    """Open the line-aligned files FOLDER/STEM.SOURCE and FOLDER/STEM.TARGET.

    Raises InputError if one is missing.
    """
    left, right = (find(folder, f"{stem}.{side}", ("", ".gz")) for side in (source, target))
    read = partial(readers.parallel, left, right, encoding, Once())
    return Rows(read, f"{folder / stem}.{source}-{target}")


def columns(
    train: PathSetting,
    valid: PathSetting | None,
    test: PathSetting | None,
    column: str,
    encoding: str | None = None,
) -> Splits:
    """Open column files of any name: a word and its label per line, blank lines between sentences.

    Each file may be gzip'ed. `column` holds the labels; "labels" is the last column. Raises
    InputError for a file that does not exist.
    """
    check_encoding(encoding)
    parts = {"train": train, "valid": valid, "test": test}
    opened = {p: sentences(Path(f), column, encoding=encoding) for p, f in parts.items() if f}
    return complete(opened, "words")


def sentences(
    path: Path, column: str, read: Reader = readers.sentences, encoding: str | None = None
) -> Rows:
    """Open the sentences of a file with `column` renamed to "labels".

    Raises InputError if the file is missing.
    """
    find(path.parent, path.name, ("",))
    say = Once()
    names = {"words": "words", "labels": column}
    return Rows(partial(renamed, partial(read, path, encoding, say), names, say), str(path))


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


def _file(
    path: str,
    names: dict[str, str],
    encoding: str | None,
    separator: str | None,
    of_words: bool,
    sentence: str | None,
) -> Rows:
    """Open a file with its columns renamed. Raises InputError if it is missing.

    With `of_words` rows of one word each become sentences, see `labelled_words.joined`.
    """
    readers.check_name(Path(path))
    if not Path(path).exists():
        raise InputError(_("{path}: No such file or directory", path=path))
    say = Once()
    read = partial(readers.read, path, encoding, say)
    if of_words:
        read = partial(labelled_words.joined, read, names, sentence, say)
    return Rows(partial(renamed, read, names, say, separator), str(path))


def renamed(
    read: Callable[[], Iterator[Row]],
    names: dict[str, str],
    say: Say | None = None,
    separator: str | None = None,
) -> Iterator[Row]:
    """Yield the rows with their columns renamed; `names` maps new name -> column.

    `translation.en` is the entry `en` of the column `translation`. Other columns are kept. Blanks
    around a label are left out, and `say` is called with a line about the first. Several labels of
    a text are a list, or have `separator` between them. Raises RowError for a missing column,
    unless `names` maps its name to itself.
    """
    is_first = True
    spelt: dict[str, str] | None = None
    for row in read():
        if spelt is None:
            spelt = _as_spelt(row, names, say)
            names = {**names, **spelt}
        chosen = {}
        for wanted, name in names.items():
            found = _lookup(row, name)
            if found is None and name != wanted and wanted not in spelt:
                there = ", ".join(row)
                if cure := readers.lines_only(row):
                    said = _("no column {name!r}; there are: {columns}", name=name, columns=there)
                    raise RowError(row.source, said + ": " + cure)
                said = _(
                    "no column {name!r}, there are: {columns}; set data.{setting}=COLUMN",
                    name=name,
                    columns=there,
                    setting=SETTINGS.get(wanted, wanted),
                )
                raise RowError(row.source, said)
            if found is not None:
                chosen[wanted] = found[0]
        label = chosen.get("label")
        if isinstance(label, str) and label.strip() and label != readers.trimmed(label):
            chosen["label"] = readers.trimmed(label)
            if say is not None and is_first:
                said = _(
                    "{place}: blanks around labels, such as {label!r}, are left out",
                    place=row.source,
                    label=label,
                )
                say(said)
            is_first = False
        rest = {name: value for name, value in row.items() if name not in names.values()}
        shown = names
        if "label" in names and "text" in chosen:
            shown = _with_label_list(chosen, row.source, names, separator)
        yield Row(rest | chosen, row.source, shown)


def in_other_capitals(row: Row, wanted: Iterable[str]) -> dict[str, str]:
    """Return, for each wanted column that a row lacks, the only one that differs in capitals."""
    found = {}
    for each in wanted:
        alike = [name for name in row if name.casefold() == each.casefold()]
        if len(alike) == 1 and each not in row:
            found[each] = alike[0]
    return found


def _as_spelt(row: Row, names: dict[str, str], say: Say | None) -> dict[str, str]:
    """Return the columns that are named in other capitals, `Text` for `text`; log them.

    Two columns that a task needs together are found together. A name that is given is exact.
    """
    found: dict[str, str] = {}
    for together in (("text",), ("label",), ("source", "target"), ("words", "labels")):
        chosen = in_other_capitals(row, [name for name in together if names.get(name) == name])
        if len(chosen) == len(together):
            found |= chosen
    if found and say is not None:
        said = _(
            "{file}: columns are found whatever their capitals: {columns}",
            file=row.source.rpartition(":")[0],
            columns=", ".join(found.values()),
        )
        say(said)
    return found


def _with_label_list(
    chosen: dict[str, Any], source: str, names: dict[str, str], separator: str | None
) -> dict[str, str]:
    """Make the labels of a text a list where they are several; return the names of the columns.

    A column "labels" is read where there is no "label". Raises RowError for a list that was printed.
    """
    labels = chosen.get("labels")
    several = isinstance(labels, (list, tuple)) or (separator and isinstance(labels, str))
    if "label" not in chosen and several:
        chosen["label"] = chosen.pop("labels")
        names = {**names, "label": names.get("labels", "labels")}
    label = chosen.get("label")
    if not isinstance(label, str):
        return names
    if separator:
        parts = (part.strip() for part in label.split(separator))
        chosen["label"] = [part for part in parts if part]
    elif PRINTED.fullmatch(label):
        cure = 'write {"label": ["a", "b"]} in a .jsonl file, or a|b with data.separator=|'
        raise RowError(source, f"label {label!r} is a printed list: {cure}")
    return names


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
    shown = _("; there are: {names}", names=", ".join(there)) if there else ""
    raise InputError(_("{folder}: no {stem} in it{there}", folder=folder, stem=stem, there=shown))
