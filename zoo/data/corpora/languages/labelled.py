"""`data=sentences`: texts labelled with their language, from one file with several sources.

The file `sentences.jsonl` (or .gz, .csv, …) has the columns text, label and source. What stands
before the colon of a source names its kind: `udhr:…` are paragraphs of the Universal Declaration of
Human Rights, `django:…` messages of an interface. The kind `cldr` needs no file: names, dates and
amounts of Unicode CLDR.

    part_of("Enter a valid date.")        "train": texts that begin alike are in one split
    cut("one two three four", 1, 2)       "two three": a piece, as a user types it

A kind that is not trained on is held out as a whole: `data.train=[udhr] data.test=[django]` trains on
declarations and tests on messages. Validation rows are of the kinds that are trained on, or of `valid`,
and never test rows. Message catalogs (`catalogs`) add training rows, and never change the others.
"""

from __future__ import annotations

import logging
import random
import re
import unicodedata
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterator
from functools import cache, partial
from pathlib import Path

from babel import localedata

from zoo.data import readers
from zoo.data.cldr import documents as _cldr
from zoo.data.corpora.files import find
from zoo.data.corpora.languages.catalogs import language_and_script, messages_of
from zoo.data.corpora.paths import PathSetting
from zoo.data.corpora.splits import Splits
from zoo.data.readers import Row, Rows, column
from zoo.errors import InputError, RowError
from zoo.option_classes import Count, NotNegative
from zoo.text.scripts import MOSTLY_UNSPACED, unspaced_share

log = logging.getLogger("zoo")

CLDR = "cldr"  # the kind that needs no file
ENGLISH = "en"  # the language of messages that a translator left as they are
LOCALES = {"zh_Hans": "zh"}  # label -> its name in CLDR, where they differ
LONG = 100  # characters from which on a text is a paragraph
ALIKE = (12, 40)  # first characters that put messages and paragraphs into one split
PIECE = 10  # most words of a piece
IN_A_WORD = 2  # characters that count as a word in scripts without blanks
ITEMS = (1, 6)  # names and phrases of CLDR in a row
CUT_SHARE = 0.4  # of the messages of catalogs that are cut to a piece


def sentences(
    path: PathSetting,
    train: list[str],
    test: list[str],
    valid: list[str] | None = None,
    languages: list[str] | None = None,
    pieces: NotNegative = 4.0,
    documents: Count = 100,
    words: tuple[Count, Count] | None = None,
    catalogs: PathSetting | None = None,
    messages: Count = 1000,
    seed: int = 1,
) -> Splits:
    """Open texts labelled with their language: the kinds `train` and `test` of their sources.

    `languages` are the labels; by default those of which every kind in the file has rows. `pieces`
    are cut from ten training words, `documents` rows a language are of CLDR. Validation and test
    rows are cut to `words`, at least and at most; shorter ones are left out. `catalogs` is a folder
    of message catalogs: at most `messages` rows of a language and kind of catalog are trained on.

    Raises InputError for unknown kinds, and RowError for rows without a column.
    """
    chosen = [kind for kind in train if kind != CLDR] if valid is None else valid
    for setting, kinds in (("test", test), ("valid", chosen)):
        if CLDR in kinds:
            cure = "its rows have labels of their own: data=cldr tests on them"
            raise InputError(f"data.{setting}=cldr: {cure}")
    if words is not None and words[0] > words[1]:
        raise InputError(f"data.words={[*words]}: at least and at most are needed, as [1,3]")
    found = find(Path(path), "sentences")
    of_splits = {"train": tuple(train), "valid": tuple(chosen), "test": tuple(test)}
    folder = Path(catalogs) if catalogs else None
    corpus = _Corpus(found, of_splits, tuple(languages or ()), folder, seed)
    return Splits(
        Rows(partial(corpus.training, pieces, documents, messages), f"{found}: train"),
        Rows(partial(corpus.held_out, "valid", words), f"{found}: valid"),
        Rows(partial(corpus.held_out, "test", words), f"{found}: test"),
    )


def part_of(text: str) -> str:
    """Return the split of a text: a tenth each for valid and test, by how it begins.

    "Enter a valid date." and "Enter a valid time." are in one split: a test row that a training row
    repeats but for its end would test nothing.
    """
    first = ALIKE[len(text) >= LONG]
    start = text[:first].casefold()
    return {0: "test", 1: "valid"}.get(zlib.crc32(start.encode()) % 10, "train")


def split_words(text: str) -> list[str]:
    """Return the words of a text with the blanks before them; joined they are the text.

    In scripts without blanks, two characters count as a word.
    """
    if unspaced_share(Counter(text)) >= MOSTLY_UNSPACED:
        return [text[start : start + IN_A_WORD] for start in range(0, len(text), IN_A_WORD)]
    return re.findall(r"\s*\S+", text)


def cut(text: str, least: int, most: int, draw: random.Random) -> str:
    """Return `least` to `most` words in a row, "" of a text that has fewer than `least`."""
    words = split_words(text)
    if len(words) < least:
        return ""
    count = draw.randint(least, min(most, len(words)))
    start = draw.randint(0, len(words) - count)
    return "".join(words[start : start + count]).strip()


def without_points(text: str) -> str:
    """Return a text without punctuation, symbols and digits; accents and vowel signs stay."""
    kept = (" " if unicodedata.category(c)[0] in "PSN" else c for c in text)
    return " ".join("".join(kept).split())


def _piece(text: str, draw: random.Random) -> str:
    """Return a piece of a text, sometimes without capitals or without points."""
    text = cut(text, 1, draw.choice((2, 4, PIECE)), draw)
    if draw.random() < 0.3:
        text = without_points(text) or text
    case = draw.random()
    if case < 0.25:
        return text.lower()
    if case < 0.3:
        return text.upper()
    if case < 0.4:
        return text[:1].upper() + text[1:]
    return text


class _Corpus:
    """The rows of one file, and the messages of catalogs, each read once and kept."""

    def __init__(
        self,
        path: Path,
        kinds: dict[str, tuple[str, ...]],
        languages: tuple[str, ...],
        catalogs: Path | None,
        seed: int,
    ) -> None:
        self.path = path
        self.kinds = kinds
        self.languages = languages
        self.catalogs = catalogs
        self.seed = seed
        self.rows = cache(self._read)
        self.pools = cache(self._read_catalogs)

    def _read(self) -> dict[str, list[Row]]:
        """Return the rows of each kind, of the chosen languages, that one language alone has."""
        kinds: defaultdict[str, list[Row]] = defaultdict(list)
        there: defaultdict[str, set[str]] = defaultdict(set)  # label -> kinds
        for row in readers.read(self.path):
            kind, colon, _ = column(row, "source").partition(":")
            if not colon:
                raise RowError(row.source, f"source {kind!r}: KIND:NAME is needed, as udhr:eng")
            kinds[kind].append(row)
            there[column(row, "label")].add(kind)
        self._check(kinds)
        chosen = self.languages or sorted(label for label, own in there.items() if own >= {*kinds})
        if missing := [label for label in chosen if label not in there]:
            raise InputError(f"data.languages: {self.path} has no row of {', '.join(missing)}")
        mine = {kind: [r for r in rows if r["label"] in {*chosen}] for kind, rows in kinds.items()}
        owners: defaultdict[str, set[str]] = defaultdict(set)  # text -> labels
        for row in (row for rows in mine.values() for row in rows):
            owners[row["text"].casefold()].add(row["label"])
        kept: dict[str, list[Row]] = {}
        shared = 0
        for kind, rows in mine.items():
            kept[kind] = [row for row in rows if self._is_own(row, owners)]
            shared += len(rows) - len(kept[kind])
        if shared:
            log.info("%s: %d texts of several languages are left out", self.path, shared)
        return kept

    def _check(self, kinds: dict[str, list[Row]]) -> None:
        known = [*kinds, CLDR]
        for setting, given in self.kinds.items():
            for kind in given:
                if kind not in known:
                    raise InputError(
                        f"data.{setting}={kind}: no such source; there are: {', '.join(known)}"
                    )

    @staticmethod
    def _is_own(row: Row, owners: dict[str, set[str]]) -> bool:
        """Return whether a text is of one language; English texts of others are English."""
        labels = owners[row["text"].casefold()]
        return len(labels) == 1 or (row["label"] == ENGLISH and len(labels) > 1)

    def held_out(self, part: str, words: tuple[int, int] | None) -> Iterator[Row]:
        """Yield the validation or test rows, whole or cut to `words`."""
        rows = self.rows()
        for kind in self.kinds[part]:
            own = (part, "train") if part == "test" and kind not in self.kinds["train"] else (part,)
            for row in rows[kind]:
                if part_of(row["text"]) not in own:
                    continue
                text = row["text"]
                if words is not None:
                    text = cut(text, *words, random.Random(f"{self.seed}:{row.source}"))
                if text:
                    yield Row({"text": text, "label": row["label"]}, row.source)

    def training(self, pieces: float, documents: int, messages: int) -> Iterator[Row]:
        """Yield the training rows: whole texts first, then all others, shuffled.

        The others are pieces, rows of CLDR, and messages of the catalogs.

        A baseline that reads the first rows alone so reads each language and each kind.
        """
        rows = self.rows()
        texts = [
            row
            for kind in self.kinds["train"]
            if kind != CLDR
            for row in rows[kind]
            if part_of(row["text"]) == "train"
        ]
        more = [piece for row in texts for piece in self._pieces(row, pieces)]
        if CLDR in self.kinds["train"]:
            more += self._names(documents)
        if self.catalogs is not None:
            more += self._messages(messages)
        draw = random.Random(self.seed)
        draw.shuffle(texts)
        draw.shuffle(more)
        for row in texts:
            yield Row({"text": row["text"], "label": row["label"]}, row.source)
        yield from more

    def _pieces(self, row: Row, pieces: float) -> Iterator[Row]:
        """Yield pieces of a training text, some of them without capitals or without points."""
        draw = random.Random(f"{self.seed}:{row.source}")
        words = len(split_words(row["text"]))
        for _ in range(round(pieces * words / PIECE + draw.random() - 0.5)):
            yield Row({"text": _piece(row["text"], draw), "label": row["label"]}, row.source)

    def _read_catalogs(self) -> dict[tuple[str, str], dict[str, str]]:
        """Return text and source of each message, by label and kind, that one language alone has.

        A message that is a held-out text is left out, and one that `part_of` holds out. Of a kind
        that is held out as a whole, texts that begin alike stay in.
        """
        assert self.catalogs is not None
        owners: defaultdict[str, set[str]] = defaultdict(set)  # text -> labels
        held_out: set[str] = set()
        for kind, rows in self.rows().items():
            for row in rows:
                text = row["text"].casefold()
                owners[text].add(row["label"])
                if kind not in self.kinds["train"] or part_of(row["text"]) != "train":
                    held_out.add(text)
        labels = sorted({label for own in owners.values() for label in own})
        of_locale = {language_and_script(label): label for label in labels}
        pools: defaultdict[tuple[str, str], dict[str, str]] = defaultdict(dict)
        for message in messages_of(self.catalogs):
            if label := of_locale.get(language_and_script(message.locale)):
                owners[message.text.casefold()].add(label)
                pools[label, message.kind].setdefault(message.text, message.source)
        for key, pool in pools.items():
            pools[key] = {
                text: source
                for text, source in pool.items()
                if len(owners[text.casefold()]) == 1
                and text.casefold() not in held_out
                and part_of(text) == "train"
            }
        return dict(sorted(pools.items()))

    def _messages(self, most: int) -> Iterator[Row]:
        """Yield at most `most` messages of each language and kind, whole or cut to a piece."""
        for (label, kind), pool in self.pools().items():
            draw = random.Random(f"{self.seed}:{label}:{kind}")
            for text in draw.sample([*pool], min(most, len(pool))):
                shown = _piece(text, draw) if draw.random() < CUT_SHARE else text
                yield Row({"text": shown, "label": label}, pool[text])

    def _names(self, documents: int) -> Iterator[Row]:
        """Yield rows of names and phrases of CLDR that one of the languages alone has."""
        labels = sorted({row["label"] for rows in self.rows().values() for row in rows})
        locales = {label: LOCALES.get(label, label) for label in labels}
        pools = {
            label: _cldr.texts_of(locale, "train")
            for label, locale in locales.items()
            if localedata.exists(locale)
        }
        counts = Counter(text.casefold() for pool in pools.values() for text in {*pool})
        number = 0
        for label, pool in pools.items():
            own = [text for text in pool if counts[text.casefold()] == 1]
            draw = random.Random(f"{self.seed}:{label}")
            for _ in range(documents if len(own) >= ITEMS[1] else 0):
                number += 1
                chosen = draw.sample(own, draw.randint(*ITEMS))
                text = draw.choice(_cldr.JOINERS).join(chosen)
                yield Row({"text": text, "label": label}, f"cldr:train:{number}")
