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
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from zoo.errors import InputError
from zoo.files import read_json, write_text
from zoo.text.canonical import canonical

ANALYZERS = "words", "characters"
LONGEST = {"words": 2, "characters": 4}  # words or characters of the longest n-gram, by default
MOST_LONGEST = 10
FEWEST_TEXTS = 2  # in which an n-gram of a larger corpus must occur
FEW_TEXTS = 200  # below, n-grams that occur once are kept
COUNTED = 2_000_000  # n-grams that are counted at once; the rare ones are dropped beyond
_WORDS = re.compile(r"\w+|[^\w\s]")


def of_words(text: str, longest: int = LONGEST["words"]) -> Iterator[str]:
    """Yield the words and signs of a text, then the sequences of 2 to `longest` neighbours."""
    words = _WORDS.findall(text)
    yield from words
    for size in range(2, longest + 1):
        for start in range(len(words) - size + 1):
            yield " ".join(words[start : start + size])


def of_characters(text: str, longest: int = LONGEST["characters"]) -> Iterator[str]:
    """Yield the sequences of 1 to `longest` characters of each word; blanks mark its ends."""
    for word in text.split():
        padded = f" {word} "
        for size in range(1, longest + 1):
            for start in range(len(padded) - size + 1):
                yield padded[start : start + size]


class NgramVocabulary:
    """Turns a text into the ids of its n-grams and their TF-IDF weights.

    `frequencies` holds the inverse document frequency of each n-gram, in the order of the ids.
    `longest` counts the words or characters of the longest n-gram.
    """

    kind: ClassVar[str] = "ngrams"
    suffix: ClassVar[str] = ".json"

    def __init__(
        self, analyzer: str, frequencies: Mapping[str, float], longest: int | None = None
    ) -> None:
        """Raises ValueError for another analyzer or length, or frequencies that are not positive."""
        if analyzer not in ANALYZERS:
            raise ValueError(f"analyzer: Input should be one of {', '.join(ANALYZERS)}")
        if not isinstance(frequencies, Mapping) or not frequencies:
            raise ValueError("n-grams: Input should be an object of n-grams and frequencies")
        for ngram, value in frequencies.items():
            number = isinstance(value, (int, float)) and not isinstance(value, bool)
            if not (isinstance(ngram, str) and number and 0 < value < math.inf):
                raise ValueError(f"n-grams: {ngram!r} has the frequency {value!r}")
        whole = isinstance(longest, int) and not isinstance(longest, bool)
        if longest is not None and not (whole and 1 <= longest <= MOST_LONGEST):
            raise ValueError(f"longest: Input should be a whole number from 1 to {MOST_LONGEST}")
        self.analyzer = analyzer
        self.longest = longest or LONGEST[analyzer]
        self.ngrams = list(frequencies)
        self.ids = {ngram: number for number, ngram in enumerate(self.ngrams)}
        self.frequencies = np.array([*frequencies.values()], np.float32)

    @classmethod
    def learn(
        cls, texts: Iterable[str], analyzer: str, size: int, longest: int | None = None
    ) -> Self:
        """Count the texts of each n-gram; keep the `size` that most texts have.

        Raises InputError if the texts hold no n-gram.
        """
        found: Counter[str] = Counter()
        total = 0
        for text in texts:
            total += 1
            found.update({*_split(text, analyzer, longest or LONGEST[analyzer])})
            if len(found) > COUNTED:
                found = Counter({ngram: n for ngram, n in found.items() if n > 1})
        fewest = FEWEST_TEXTS if total >= FEW_TEXTS else 1
        kept = sorted((-n, ngram) for ngram, n in found.items() if n >= fewest)[:size]
        if not kept:
            raise InputError("task.ngrams: no n-gram occurs in two texts: set task.ngrams=none")
        smoothed = {ngram: math.log((1 + total) / (1 - n)) + 1 for n, ngram in kept}
        return cls(analyzer, smoothed, longest)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Load the n-grams from a file. Raises InputError."""
        parts = read_json(path)
        needed = {"analyzer", "frequencies"}
        if not isinstance(parts, dict) or not needed <= {*parts} <= needed | {"longest"}:
            raise InputError(f"{path}: not an object of analyzer and frequencies")
        try:
            return cls(**parts)
        except ValueError as error:
            raise InputError(f"{path}: {error}") from None

    def save(self, path: Path) -> None:
        """Write the n-grams to a file; the frequencies are read back exactly."""
        shortest = map(float, map(str, self.frequencies))  # digits that are this float32
        pairs = zip(self.ngrams, shortest, strict=True)
        parts: dict[str, Any] = {"analyzer": self.analyzer, "frequencies": dict(pairs)}
        if self.longest != LONGEST[self.analyzer]:
            parts["longest"] = self.longest
        write_text(path, json.dumps(parts, ensure_ascii=False, indent=0) + "\n")

    def encode(self, text: str) -> tuple[np.ndarray, np.ndarray]:
        """Return the ids of a text's n-grams, (n,) int32, and their weights, (n,) float32."""
        found = _split(text, self.analyzer, self.longest)
        known = (self.ids.get(ngram) for ngram in found)
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


def _split(text: str, analyzer: str, longest: int) -> Iterator[str]:
    """Return the n-grams of a text in its canonical form."""
    lowered = canonical(text).lower()
    return (of_words if analyzer == "words" else of_characters)(lowered, longest)
