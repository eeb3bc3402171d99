"""N-grams of a text with TF-IDF weights: the features of a linear bag of n-grams.

The weights are those of Salton and Buckley 1988, as in scikit-learn's `TfidfVectorizer` with
`sublinear_tf`: (1 + ln count) * inverse document frequency, scaled to length 1 for each text.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import ClassVar, Self

import numpy as np

from zoo.errors import InputError
from zoo.files import read_json, write_text
from zoo.text.canonical import canonical

ANALYZERS = "words", "characters"
LONGEST = 4  # characters of an n-gram of characters
FEWEST_TEXTS = 2  # in which an n-gram of a larger corpus must occur
FEW_TEXTS = 200  # below, n-grams that occur once are kept
COUNTED = 2_000_000  # n-grams that are counted at once; the rare ones are dropped beyond
_WORDS = re.compile(r"\w+|[^\w\s]")


def of_words(text: str) -> Iterator[str]:
    """Yield the words and signs of a text in lower case, then each pair of neighbours."""
    words = _WORDS.findall(text)
    yield from words
    for pair in pairwise(words):
        yield " ".join(pair)


def of_characters(text: str) -> Iterator[str]:
    """Yield the sequences of 1 to LONGEST characters of each word; blanks mark its ends."""
    for word in text.split():
        padded = f" {word} "
        for size in range(1, LONGEST + 1):
            for start in range(len(padded) - size + 1):
                yield padded[start : start + size]


class NgramVocabulary:
    """Turns a text into the ids of its n-grams and their TF-IDF weights.

    `frequencies` holds the inverse document frequency of each n-gram, in the order of the ids.
    """

    kind: ClassVar[str] = "ngrams"
    suffix: ClassVar[str] = ".json"

    def __init__(self, analyzer: str, frequencies: Mapping[str, float]) -> None:
        """Raises ValueError for another analyzer, and for frequencies that are not positive."""
        if analyzer not in ANALYZERS:
            raise ValueError(f"analyzer: Input should be one of {', '.join(ANALYZERS)}")
        if not isinstance(frequencies, Mapping) or not frequencies:
            raise ValueError("n-grams: Input should be an object of n-grams and frequencies")
        for ngram, value in frequencies.items():
            number = isinstance(value, (int, float)) and not isinstance(value, bool)
            if not (isinstance(ngram, str) and number and 0 < value < math.inf):
                raise ValueError(f"n-grams: {ngram!r} has the frequency {value!r}")
        self.analyzer = analyzer
        self.ngrams = list(frequencies)
        self.ids = {ngram: number for number, ngram in enumerate(self.ngrams)}
        self.frequencies = np.array([*frequencies.values()], np.float32)

    @classmethod
    def learn(cls, texts: Iterable[str], analyzer: str, size: int) -> Self:
        """Count the texts of each n-gram; keep the `size` that most texts have.

        Raises InputError if the texts hold no n-gram.
        """
        found: Counter[str] = Counter()
        total = 0
        for text in texts:
            total += 1
            found.update({*_split(text, analyzer)})
            if len(found) > COUNTED:
                found = Counter({ngram: n for ngram, n in found.items() if n > 1})
        fewest = FEWEST_TEXTS if total >= FEW_TEXTS else 1
        kept = sorted((-n, ngram) for ngram, n in found.items() if n >= fewest)[:size]
        if not kept:
            raise InputError("task.ngrams: no n-gram occurs in two texts: set task.ngrams=none")
        smoothed = {ngram: math.log((1 + total) / (1 - n)) + 1 for n, ngram in kept}
        return cls(analyzer, smoothed)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Load the n-grams from a file. Raises InputError."""
        parts = read_json(path)
        if not isinstance(parts, dict) or {*parts} != {"analyzer", "frequencies"}:
            raise InputError(f"{path}: not an object of analyzer and frequencies")
        try:
            return cls(**parts)
        except ValueError as error:
            raise InputError(f"{path}: {error}") from None

    def save(self, path: Path) -> None:
        """Write the n-grams to a file; the frequencies are read back exactly."""
        pairs = zip(self.ngrams, self.frequencies.tolist(), strict=True)
        parts = {"analyzer": self.analyzer, "frequencies": dict(pairs)}
        write_text(path, json.dumps(parts, ensure_ascii=False, indent=0) + "\n")

    def encode(self, text: str) -> tuple[np.ndarray, np.ndarray]:
        """Return the ids of a text's n-grams, (n,) int32, and their weights, (n,) float32."""
        known = (self.ids.get(ngram) for ngram in _split(text, self.analyzer))
        counts = Counter(number for number in known if number is not None)
        ids = np.fromiter(counts.keys(), np.int32, len(counts))
        repeated = np.fromiter(counts.values(), np.float32, len(counts))
        weights = (1 + np.log(repeated)) * self.frequencies[ids]
        length = float(np.sqrt((weights**2).sum()))
        return ids, (weights / max(length, 1e-12)).astype(np.float32)

    def decode(self, number: int) -> str:
        """Return the n-gram of an id."""
        return self.ngrams[number]

    def __len__(self) -> int:
        return len(self.ngrams)


def _split(text: str, analyzer: str) -> Iterator[str]:
    """Return the n-grams of a text in its canonical form."""
    lowered = canonical(text).lower()
    return of_words(lowered) if analyzer == "words" else of_characters(lowered)
