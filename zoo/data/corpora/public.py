"""Public data sets by name, each read from a folder: `data=imdb data.path=FOLDER`."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache, partial
from pathlib import Path

from zoo.data import readers
from zoo.data.corpora.files import find, pairs, sentences
from zoo.data.corpora.paths import PathSetting
from zoo.data.corpora.spacing import LANGUAGES
from zoo.data.corpora.splits import Splits
from zoo.data.readers import Row, Rows
from zoo.errors import InputError, RowError


def imdb(path: PathSetting) -> Splits:
    """Open the film reviews of Maas et al. (2011): `train` and `test`, as jsonl or as aclImdb.

    The test reviews are of other films than the training reviews, so the validation reviews must
    be too: a random sample is two points easier than the test. Reviews of one film are close
    together, so whole blocks of neighbours are held out.
    """
    train, test = (
        Rows(partial(_reviews, source), str(source))
        for source in (find(Path(path), part) for part in ("train", "test"))
    )
    size = cache(lambda: max(1, sum(1 for _ in train) // 100))
    valid = Rows(lambda: _blocks(train, size(), held=True), f"{train.name} (a tenth of it)")
    return Splits(Rows(lambda: _blocks(train, size(), held=False), train.name), valid, test)


def _blocks(source: Rows, size: int, held: bool) -> Iterator[Row]:
    """Yield every tenth block of `size` rows, or with `held` False all others."""
    for number, row in enumerate(source):
        if (number // size % 10 == 4) == held:
            yield row


def sst2(path: PathSetting) -> Splits:
    """Open sentences of film reviews (Socher et al. 2013): stsa.binary.train, .dev and .test."""
    parts = {}
    for part, file in (("train", "train"), ("valid", "dev"), ("test", "test")):
        source = find(Path(path), f"stsa.binary.{file}", ("", ".gz"))
        parts[part] = Rows(partial(_sentences, source), str(source))
    return Splits(**parts)


def multi30k(path: PathSetting, source: str, target: str, test: str) -> Splits:
    """Open raw image captions (Elliott et al. 2016): train, val and `test` in each language."""
    return Splits(*(pairs(Path(path), stem, source, target) for stem in ("train", "val", test)))


def enja(path: PathSetting, source: str, target: str) -> Splits:
    """Open short everyday sentences in English and Japanese: train, dev and test in each language.

    It is small_parallel_enja, of the Tanaka corpus. Its tokens are joined to normal text, see
    `zoo.data.corpora.spacing`. `source` and `target` are en and ja, or ja and en; raises
    InputError for others.
    """
    chosen = {"source": source, "target": target}
    if {*chosen.values()} != {*LANGUAGES}:
        said = " ".join(f"data.{side}={language}" for side, language in chosen.items())
        raise InputError(f"{said}: one is {' and the other '.join(LANGUAGES)}")
    join = {side: LANGUAGES[language] for side, language in chosen.items()}

    def joined(rows: Rows) -> Iterator[Row]:
        for row in rows:
            yield Row({side: join[side](row[side]) for side in join}, row.source)

    parts = [pairs(Path(path), stem, source, target) for stem in ("train", "dev", "test")]
    return Splits(*(Rows(partial(joined, part), part.name) for part in parts))


def wikitext2(path: PathSetting) -> Splits:
    """Open tokenized Wikipedia articles (Merity et al. 2016): train, valid and test.

    The files end in .txt or .tokens. With `tokenizer.kind=whitespace` and an end-of-line token the
    vocabulary has 33,278 entries, `<unk>` included.
    """
    parts = {}
    for part in ("train", "valid", "test"):
        names = [f"{stem}.{end}" for stem in (part, f"wiki.{part}") for end in ("txt", "tokens")]
        paths = (Path(path) / f"{name}{gz}" for name in names for gz in ("", ".gz"))
        there = next((found for found in paths if found.is_file()), None)
        source = there or find(Path(path), f"{part}.txt", ("", ".gz"))
        parts[part] = Rows(partial(_stripped, source), str(source))
    return Splits(**parts)


def ud_ewt(path: PathSetting, column: str = "upos") -> Splits:
    """Open English web sentences with labelled words (Silveira et al. 2014).

    The folder may also hold any other treebank of Universal Dependencies: *-ud-train.conllu, -dev
    and -test. `column` holds the labels.
    """
    parts = {}
    for part, name in (("train", "train"), ("valid", "dev"), ("test", "test")):
        found = sorted(Path(path).glob(f"*-ud-{name}.conllu*"))
        source = found[0] if found else find(Path(path), f"{name}.conllu", ("", ".gz"))
        parts[part] = sentences(source, column, readers.read)
    return Splits(**parts)


def _stripped(path: Path) -> Iterator[Row]:
    """Read the lines of a text without leading and trailing blanks."""
    for row in readers.text(path):
        yield Row({"text": row["text"].strip()}, row.source)


SENTIMENT = {"1": "positive", "pos": "positive", "0": "negative", "neg": "negative"}


def _reviews(path: Path) -> Iterator[Row]:
    """Read reviews with <br /> as a line break; unlabelled reviews are left out."""
    for row in readers.read(path):
        if row.get("text") is None or row.get("label") is None:
            raise RowError(row.source, "columns text and label are needed; see data=files")
        label = str(row["label"])
        if label != "unsup":
            text = str(row["text"]).replace("<br />", "\n")
            yield Row({"text": text, "label": SENTIMENT.get(label, label)}, row.source)


def _sentences(path: Path) -> Iterator[Row]:
    """Read lines `label sentence`. Raises RowError for another label than 0 and 1."""
    for number, line in enumerate(readers.lines(path), 1):
        label, _, text = line.partition(" ")
        if label not in ("0", "1"):
            raise RowError(f"{path}:{number}", f"label {label!r}: a line is `0 SENTENCE` or 1")
        yield Row({"text": text, "label": SENTIMENT[label]}, f"{path}:{number}")
