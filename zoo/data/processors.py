"""Processors: what a task learns from its training rows to turn values into numbers and back.

    tokenizer, target_tokenizer    text <-> ids               zoo.text.tokenizers
    labels                         label <-> its number       LabelEncoder, LabelSetEncoder
    characters                     words <-> character ids    zoo.text.characters.Alphabet
    seen                           word -> its count          WordCounts
    scaler                         features <-> scaled ones   Scaler, or SeriesScaler of a forecast
    linear                         past -> future values      zoo.data.series.linear.LinearForecast
    ngrams                         text -> weighted n-grams   zoo.text.ngrams.NgramVocabulary

A model folder holds each in a file of its own, NAME + `suffix`.
"""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self, runtime_checkable

import numpy as np

from zoo.data.readers import Row, label_set
from zoo.data.series.cells.times import Frequency
from zoo.data.series.linear import LinearForecast
from zoo.errors import InputError
from zoo.files import read_json, write_text
from zoo.messages import _
from zoo.text.characters import Alphabet
from zoo.text.ngrams import NgramVocabulary
from zoo.text.tokenizers import TOKENIZERS

log = logging.getLogger("zoo")

SEPARATORS = "|;,/"  # that may stand between several labels
CHUNK = 1 << 16  # time steps that a scaler reads at a time
MOST_LABELS = 100  # labels whose probabilities an answer holds
WAVE = 24  # steps of a wave in an example of a series without a season


@runtime_checkable
class Processor(Protocol):
    """Encodes values as numbers and decodes them. `kind` is its name in a config."""

    kind: ClassVar[str]
    suffix: ClassVar[str]  # of its file

    def encode(self, value: Any) -> Any:
        """Turn a value into numbers."""

    def decode(self, value: Any) -> Any:
        """Turn numbers into a value."""

    def save(self, path: Path) -> None:
        """Write the processor to a file."""

    @classmethod
    def load(cls, path: Path) -> Any:
        """Load the processor from a file. Raises InputError if the file holds no such processor."""


class LabelEncoder:
    """Maps labels to numbers 0, 1, …, the order of the logits.

    `counts` are the training rows of each label, if they are known. `exceptions` are pairs of
    labels that follow each other against the rules of BIO; "" stands before the first label.
    """

    kind: ClassVar[str] = "labels"
    suffix: ClassVar[str] = ".json"

    def __init__(
        self,
        labels: Sequence[str],
        counts: Sequence[int] | None = None,
        exceptions: Iterable[Sequence[str]] = (),
    ) -> None:
        """Raises ValueError for labels that are not distinct, and for counts that do not fit."""
        _check_labels(labels)
        self.labels = list(labels)
        self.ids = {label: number for number, label in enumerate(self.labels)}
        self.counts = None if counts is None else _checked_counts(counts, len(self.labels))
        self.exceptions = [_checked_pair(pair, {"", *self.ids}) for pair in exceptions]

    @classmethod
    def load(cls, path: Path) -> Self:
        """Load the labels from a file: an object of its three parts. Raises InputError."""
        parts = read_json(path)
        if not isinstance(parts, dict) or {*parts} != {"labels", "counts", "exceptions"}:
            raise InputError(f"{path}: not an object of labels, counts and exceptions")
        return _built(cls, path, **parts)

    def save(self, path: Path) -> None:
        """Write the labels to a file."""
        parts = {"labels": self.labels, "counts": self.counts, "exceptions": self.exceptions}
        write_text(path, json.dumps(parts, ensure_ascii=False, indent=1) + "\n")

    def encode(self, label: str) -> int:
        """Return the number of a label. Raises KeyError for a label that is not known."""
        return self.ids[label]

    def decode(self, number: int) -> str:
        """Return the label of a number."""
        return self.labels[number]

    def __len__(self) -> int:
        return len(self.labels)


def _check_labels(labels: Any) -> None:
    if not isinstance(labels, (list, tuple)) or not all(isinstance(one, str) for one in labels):
        raise ValueError("labels: Input should be a list of texts")
    if not labels or len(set(labels)) != len(labels):
        raise ValueError("labels: Input should be one or more distinct labels")


def _checked_counts(counts: Any, size: int) -> list[int]:
    if not isinstance(counts, (list, tuple)) or not all(map(_is_count, counts)):
        raise ValueError("counts: Input should be a list of numbers of rows")
    if len(counts) != size:
        raise ValueError(f"counts: there are {len(counts)} of {size} labels")
    return list(counts)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _checked_pair(pair: Any, known: set[str]) -> tuple[str, str]:
    if not isinstance(pair, (list, tuple)) or len(pair) != 2:
        raise ValueError("exceptions: Input should be a list of pairs of labels")
    before, after = pair
    for label in pair:
        if not isinstance(label, str) or label not in known:
            raise ValueError(f"exceptions: {label!r} is no label")
    return before, after


class LabelSetEncoder(LabelEncoder):
    """Maps labels to numbers where a row has any number of them: multi-label classification.

    `counts` are the training rows that have each label, `rows` all training rows.
    """

    kind: ClassVar[str] = "label_sets"

    def __init__(self, labels: Sequence[str], counts: Sequence[int], rows: int) -> None:
        """Raises ValueError for labels that are not distinct, and for counts that do not fit."""
        super().__init__(labels, _checked_counts(counts, len(labels)))
        if not _is_count(rows) or rows < max(counts):
            raise ValueError(f"rows: {rows!r} are no number of rows that have these labels")
        self.rows = rows

    @classmethod
    def load(cls, path: Path) -> Self:
        """Load the labels from a file: an object of its three parts. Raises InputError."""
        parts = read_json(path)
        if not isinstance(parts, dict) or {*parts} != {"labels", "counts", "rows"}:
            raise InputError(f"{path}: not an object of labels, counts and rows")
        return _built(cls, path, **parts)

    def save(self, path: Path) -> None:
        """Write the labels to a file."""
        parts = {"labels": self.labels, "counts": self.counts, "rows": self.rows}
        write_text(path, json.dumps(parts, ensure_ascii=False, indent=1) + "\n")


def decide(probabilities: Mapping[str, float], thresholds: Mapping[str, float]) -> list[str]:
    """Return the labels whose probability reaches their threshold."""
    return [label for label, share in probabilities.items() if share >= thresholds[label]]


def learn_labels(rows: Iterable[Row]) -> LabelEncoder:
    """Learn the labels of texts. Raises InputError where there is nothing to tell apart.

    A list in any row makes it multi-label data; a plain label beside lists is a list of one.
    """
    counts: Counter[str] = Counter()
    number = lists = bare = 0
    for row in rows:
        own = label_set(row)
        number += 1
        lists += isinstance(row["label"], (list, tuple))
        bare += not own
        counts.update(own)
    labels = sorted(counts)
    own_counts = [counts[label] for label in labels]
    if not lists:
        if len(labels) < 2:
            raise InputError(
                _(
                    "all training rows have the label {labels}: two or more are needed",
                    labels=labels,
                )
            )
        _hint_at_separator(counts)
        return LabelEncoder(labels, own_counts)
    if not labels:
        raise InputError(_("no training row has a label"))
    if all(count == number for count in own_counts):
        raise InputError(f"all training rows have the labels {labels}: there is nothing to decide")
    log.info(
        _(
            "multi-label: {labels:,} labels, {mean:.2f} a row, {bare:,} of {rows:,} rows have none",
            labels=len(labels),
            mean=counts.total() / number,
            bare=bare,
            rows=number,
        )
    )
    if lists < number:
        plain = number - lists
        log.info("%s of %s rows have a plain label: it is read as a list of one", plain, number)
    return LabelSetEncoder(labels, own_counts, number)


def _hint_at_separator(counts: Mapping[str, int]) -> None:
    """Say when labels look like several in one, as `bug|billing` beside `bug` and `billing`."""
    for separator in SEPARATORS:
        joined = [
            label
            for label in counts
            if separator in label and all(part.strip() in counts for part in label.split(separator))
        ]
        if joined:
            log.info(
                _(
                    "labels such as {label!r} look like several in one: "
                    "data.separator={separator!r} reads them so",
                    label=max(joined, key=lambda label: counts[label]),
                    separator=separator,
                )
            )
            return


class WordCounts:
    """The distinct words of the training rows, each with how often it occurs."""

    kind: ClassVar[str] = "word_counts"
    suffix: ClassVar[str] = ".json"

    def __init__(self, counts: Mapping[str, int]) -> None:
        """Raises ValueError for a count below 1."""
        if not isinstance(counts, Mapping):
            raise ValueError("word counts: Input should be an object of words and counts")
        for word, count in counts.items():
            if not isinstance(word, str) or not _is_count(count) or count < 1:
                raise ValueError(f"word counts: {word!r} has the count {count!r}")
        self.counts = dict(counts)

    @classmethod
    def learn(cls, sentences: Iterable[Iterable[str]]) -> Self:
        """Count the words of sentences."""
        counts: Counter[str] = Counter()
        for words in sentences:
            counts.update(words)
        return cls(dict(sorted(counts.items())))

    @classmethod
    def load(cls, path: Path) -> Self:
        """Load the counts from a file: an object {word: count}. Raises InputError."""
        return _built(cls, path, counts=read_json(path))

    def save(self, path: Path) -> None:
        """Write the counts to a file."""
        write_text(path, json.dumps(self.counts, ensure_ascii=False, indent=0) + "\n")

    def encode(self, word: str) -> int:
        """Return how often a word occurs in the training rows; 0 if it is unseen."""
        return self.counts.get(word, 0)

    def decode(self, count: int) -> list[str]:
        """Return the words that occur so often."""
        return [word for word, own in self.counts.items() if own == count]

    def __contains__(self, word: object) -> bool:
        return word in self.counts

    def __len__(self) -> int:
        return len(self.counts)


class Scaler:
    """Scales features to mean 0 and standard deviation 1. A constant feature has deviation 1."""

    kind: ClassVar[str] = "scaler"
    suffix: ClassVar[str] = ".json"

    def __init__(self, mean: Any, deviation: Any) -> None:
        """mean, deviation: (features,), finite.

        Raises ValueError for other shapes and values, and for a deviation that is not positive.
        """
        self.mean = _checked_features("mean", mean)
        self.deviation = _checked_features("deviation", deviation)
        if self.mean.shape != self.deviation.shape:
            raise ValueError(f"mean of {self.width} features, deviation of {len(self.deviation)}")
        if not (self.deviation > 0).all():
            raise ValueError("deviation: Input should be greater than 0")

    @classmethod
    def learn(cls, arrays: Iterable[np.ndarray]) -> Self:
        """Compute mean and deviation of the training arrays, each (time, features), in one pass.

        The arrays may be memory-mapped and larger than memory. Raises InputError for a value that
        is not finite, for arrays of different widths, and without any steps.
        """
        total: _Moments | None = None
        for number, array in enumerate(arrays, 1):
            values = _by_features(array, f"series {number}")
            if total is None:
                total = _Moments(values.shape[1])
            if values.shape[1] != len(total.mean):
                raise InputError(
                    f"series {number}: {values.shape[1]} features, before it {len(total.mean)}"
                )
            for start in range(0, len(values), CHUNK):
                chunk = np.asarray(values[start : start + CHUNK], np.float64)
                _check_finite(chunk, f"series {number}", start)
                total.add(chunk)
        if total is None or total.count == 0:
            raise InputError("there are no values to learn mean and deviation from")
        return cls(total.mean, total.deviation())

    @classmethod
    def load(cls, path: Path) -> Self:
        """Load the scaler from a file: an object of mean and deviation. Raises InputError."""
        parts = read_json(path)
        if not isinstance(parts, dict) or {*parts} != {"mean", "deviation"}:
            raise InputError(f"{path}: not an object of mean and deviation")
        return _built(cls, path, **parts)

    def save(self, path: Path) -> None:
        """Write the scaler to a file; its numbers are read back exactly."""
        parts = {"mean": self.mean.tolist(), "deviation": self.deviation.tolist()}
        write_text(path, json.dumps(parts) + "\n")

    @property
    def width(self) -> int:
        """The number of features."""
        return len(self.mean)

    def encode(self, features: Any) -> np.ndarray:
        """Return (time, features) scaled, float32. Raises InputError for values not finite."""
        values = self._checked(features)
        _check_finite(values, "features", 0)
        return ((values - self.mean) / self.deviation).astype(np.float32)

    def decode(self, scaled: Any) -> np.ndarray:
        """Return (time, features) in the original units, float32."""
        return (self._checked(scaled) * self.deviation + self.mean).astype(np.float32)

    def _checked(self, values: Any) -> np.ndarray:
        values = np.asarray(_by_features(values, "features"), np.float64)
        if values.shape[1] != len(self.mean):
            raise InputError(f"{values.shape[1]} features, the model knows {len(self.mean)}")
        return values


class SeriesScaler(Scaler):
    """Scales the columns of time series, and knows what they are.

    `columns` has the names of each role. `season` is the number of steps after which values
    resemble each other, 1 for none. `features` is what the LSTM reads at a step.
    """

    kind: ClassVar[str] = "series"

    def __init__(
        self,
        mean: Any,
        deviation: Any,
        columns: Mapping[str, Any],
        frequency: Sequence[Any],
        season: int,
        features: int,
    ) -> None:
        """Raises ValueError for values that do not fit together."""
        super().__init__(mean, deviation)
        self.columns = _checked_roles(columns)
        self.targets, self.past, self.future, self.static = (
            len(self.columns[role]) for role in ("target", "past", "future", "static")
        )
        count = self.targets + self.past + self.future + self.static
        if not self.targets or count != len(self.mean):
            raise ValueError(f"columns: {count} names for {len(self.mean)} columns")
        if not (_is_count(season) and season and _is_count(features) and features):
            raise ValueError("season, features: Input should be numbers from 1")
        unit, steps = frequency
        self.frequency = Frequency(unit, int(steps))
        self.season = season
        self.features = features

    @classmethod
    def load(cls, path: Path) -> Self:
        """Load the scaler from a file. Raises InputError."""
        parts = read_json(path)
        wanted = {"mean", "deviation", "columns", "frequency", "season", "features"}
        if not isinstance(parts, dict) or {*parts} != wanted:
            raise InputError(f"{path}: not an object of {', '.join(sorted(wanted))}")
        return _built(cls, path, **parts)

    def save(self, path: Path) -> None:
        """Write the scaler to a file; its numbers are read back exactly."""
        parts = {
            "mean": self.mean.tolist(),
            "deviation": self.deviation.tolist(),
            "columns": self.columns,
            "frequency": [self.frequency.unit, self.frequency.count],
            "season": self.season,
            "features": self.features,
        }
        write_text(path, json.dumps(parts, ensure_ascii=False) + "\n")

    @property
    def width(self) -> int:
        """The number of features that the LSTM reads at a step."""
        return self.features

    @property
    def varying(self) -> int:
        """The number of columns that change with time: all but the static ones."""
        return len(self.mean) - self.static

    def example(self, steps: int) -> list[float] | None:
        """Return a made series to try: waves of the season and size that were learned, rising.

        None for a model of several columns.
        """
        if len(self.mean) > 1:
            return None
        times = np.arange(steps)
        waves = np.sin(2 * np.pi * times / (self.season if self.season > 1 else WAVE))
        values = self.mean[0] + self.deviation[0] * (waves / 3 + times / steps)
        return [float(f"{value:.5g}") for value in values.tolist()]


def _checked_roles(columns: Any) -> dict[str, Any]:
    """Return the names of the columns of each role. Raises ValueError."""
    roles = ("target", "past", "future", "static")
    if not isinstance(columns, Mapping) or not {*roles} <= {*columns}:
        raise ValueError("columns: Input should be names of target, past, future and static")
    for role in roles:
        names = columns[role]
        if not isinstance(names, (list, tuple)) or not all(isinstance(n, str) for n in names):
            raise ValueError(f"columns: {role} should be a list of names")
    return {"time": columns.get("time")} | {role: [*columns[role]] for role in roles}


class _Moments:
    """Mean and sum of squared differences of chunks, merged as by Chan, Golub and LeVeque 1979."""

    def __init__(self, width: int) -> None:
        self.count = 0
        self.mean = np.zeros(width)
        self.squares = np.zeros(width)
        self.least = np.full(width, np.inf)
        self.most = np.full(width, -np.inf)

    def add(self, chunk: np.ndarray) -> None:
        """Add the steps of a chunk, (time, features) float64."""
        count = self.count + len(chunk)
        mean = chunk.mean(0)
        difference = mean - self.mean
        self.squares += ((chunk - mean) ** 2).sum(0)
        self.squares += difference**2 * (self.count * len(chunk) / count)
        self.mean += difference * (len(chunk) / count)
        self.count = count
        self.least = np.minimum(self.least, chunk.min(0))
        self.most = np.maximum(self.most, chunk.max(0))

    def deviation(self) -> np.ndarray:
        """Return the standard deviation (features,); 1 for a constant feature."""
        found = np.sqrt(self.squares / self.count)
        return np.where((self.least == self.most) | (found == 0), 1.0, found)


def _by_features(array: Any, name: str) -> np.ndarray:
    """Return an array (time, features). Raises InputError for any other."""
    try:
        values = array if isinstance(array, np.ndarray) else np.asarray(array, np.float64)
    except (ValueError, TypeError):
        raise InputError(f"{name}: no array (time, features) of numbers") from None
    if values.ndim != 2 or values.dtype.kind not in "fiub":
        raise InputError(f"{name}: no array (time, features) of numbers")
    return values


def _check_finite(values: np.ndarray, name: str, start: int) -> None:
    """Raise InputError with the place of the first value (time, features) that is not finite."""
    wrong = np.argwhere(~np.isfinite(values))
    if len(wrong):
        step, feature = map(int, wrong[0])
        value = values[step, feature]
        raise InputError(
            f"{name}, step {start + step + 1}, feature {feature + 1}: {value} is no finite number"
        )


def _checked_features(name: str, values: Any) -> np.ndarray:
    """Return numbers (features,) as float64. Raises ValueError for anything else."""
    plain = np.asarray(values).tolist() if isinstance(values, np.ndarray) else values
    if not isinstance(plain, (list, tuple)) or not plain or not all(map(_is_number, plain)):
        raise ValueError(f"{name}: Input should be a list of numbers, one for each feature")
    features = np.array(plain, np.float64)
    if not np.isfinite(features).all():
        raise ValueError(f"{name}: Input should be finite")
    return features


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _built(cls: Any, path: Path, **parts: Any) -> Any:
    """Build a processor from what its file holds. Raises InputError that names the file."""
    try:
        return cls(**parts)
    except (ValueError, TypeError, OverflowError) as error:
        raise InputError(f"{path}: {error}") from None


PROCESSORS: dict[str, type[Processor]] = {
    **TOKENIZERS,
    **{
        cls.kind: cls
        for cls in (LabelEncoder, LabelSetEncoder, Alphabet, WordCounts, Scaler, SeriesScaler)
    },
    NgramVocabulary.kind: NgramVocabulary,
    LinearForecast.kind: LinearForecast,
}
