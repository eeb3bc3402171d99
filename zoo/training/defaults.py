"""Settings that follow from the training rows: the rules, and the one place where they stand.

Before a training the first rows are looked at once. What is not given on the command line, by a
recipe or in Python is then chosen by the rules below, each with a log line that says why. They act
on a user's own data alone; the public and the built-in corpora keep their recipes.
"""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import numpy as np

from zoo.config import OF_SINGLE_LABELS, SHAPE, Settings, TrainConfig
from zoo.data import labelled_words
from zoo.data.corpora import Splits, in_memory
from zoo.data.readers import Row, Rows, label_set
from zoo.data.series import learning
from zoo.data.series.linear import season
from zoo.messages import _
from zoo.task import Task
from zoo.text import bio
from zoo.text.scripts import MOSTLY_UNSPACED, unspaced_share
from zoo.training.options import Options, options_of

log = logging.getLogger("zoo")

OWN = (
    "files",
    "columns",
    "parallel",
    "text",
    "hub",
    in_memory.NAME,
)  # the corpora that are a user's own data
OWN_SERIES = "series"
MOST_ROWS = 20_000  # rows that are looked at

LONG = 250  # characters of a text without blanks from which pieces are read instead
NEW_WORDS = 0.02  # share of unseen words (Good and Turing: of words seen once) that asks for pieces
FEW_SENTENCES = 2000  # below, taggers learn names by heart and translators whole phrases
ENOUGH = 1000  # validation rows that tell epochs apart
FEW_ROWS = 1000  # below, a linear bag of n-grams decides more than the LSTM
FEW_OF_A_LABEL = 50  # rows of a mean label; below, the bag decides nearly alone
MANY = 100_000  # rows from which on the LSTM needs no n-grams beside it
MOST_NGRAM_LABELS = 200  # a bag has weights for each label
# Characters of a text from which on n-grams of words are read. Held-out rows, which choose those of the
# TF-IDF baseline, choose no better here. Accuracy of the bag alone, by the length and by them: SST-2,
# 200 to 1,000 rows 0.660 and 0.651, 3,000 rows 0.750 and 0.757; 200 tickets 0.933 and 0.930.
LONG_WORDS = 500
SMALL = 20_000  # rows below which the steps are counted, not the epochs
SMALL_TEXT = 2_000_000  # characters below which a language model counts steps, not epochs


@dataclass(frozen=True)
class Profile:
    """What the rules know of the training rows."""

    rows: int  # all of them
    characters: int  # in all texts that are read
    alphabet: int  # distinct characters
    length: float  # characters of a mean text
    unspaced: float  # share of the letters that belong to scripts without blanks
    new_words: float  # share of the words that occur once
    labels: int  # distinct labels, 0 of tasks without
    spans: bool  # whether the labels are spans
    several: bool = False  # whether a row may have several labels
    names: tuple[str, ...] = ()  # of the labels


@dataclass(frozen=True)
class Choice:
    """A value that is chosen for a setting, and why."""

    name: str
    value: Any
    why: str


def from_data(settings: Settings, options: Options, splits: Splits) -> tuple[Settings, Options]:
    """Choose what is not given by the training rows; log each choice. Raises InputError."""
    chosen = choices(settings, options, splits)
    if not chosen:
        return settings, options
    for choice in chosen:
        log.info("%s=%s: %s", choice.name, choice.value, choice.why)
    settings = with_choices(settings, {choice.name: choice.value for choice in chosen})
    return settings, options_of(settings)


def choices(settings: Settings, options: Options, splits: Splits) -> list[Choice]:
    """Return what is chosen by the training rows, without what is given. Raises InputError.

    Without `from_data`, and for corpora that are not a user's own, nothing is chosen.
    """
    kind, given = options.kind, settings.given
    if given is None or not settings.from_data:
        return []
    if settings.data.get("name") == OWN_SERIES:
        return [choice for choice in _sizes(options, splits, given) if choice.name not in given]
    if settings.data.get("name") not in OWN or not kind.text_columns:
        return []
    profile = look(splits.train, kind)
    chosen = rules(profile, kind, settings.train, given)
    named = settings.train.metric or settings.task.get("class_weights") == "balanced"
    if profile.rows < SMALL and kind.target_columns in (("label",), ("labels",)) and not named:
        chosen += _best_epoch(sum(1 for _ in islice(splits.valid, ENOUGH)))
    barred = set(given) | _that_would_not_fit(settings, given)
    return [choice for choice in chosen if choice.name not in barred]


TOKENIZER = "tokenizer.kind", "tokenizer.size", "tokenizer.min_count"


def _that_would_not_fit(settings: Settings, given: Collection[str]) -> set[str]:
    """Return the settings that must not be chosen beside what is given."""
    barred: set[str] = set()
    if settings.init is not None:  # it brings them
        barred |= {*TOKENIZER, *(f"backbone.{name}" for name in SHAPE)}
    if "tokenizer.kind" in given or "task.subword_sampling" in given or "task.words" in given:
        barred |= {*TOKENIZER}
    if "task.words" in given:
        barred |= {"task.unseen_words", "task.character_hidden"}
    if OF_SINGLE_LABELS & {*given}:
        barred |= {"task.crf"}
    return barred


def with_choices(settings: Settings, chosen: Mapping[str, Any]) -> Settings:
    """Return the settings with some values replaced, by their names on the command line."""
    changed: dict[str, Any] = {}
    for name, value in chosen.items():
        section, _, key = name.partition(".")
        before = changed.get(section, getattr(settings, section))
        if isinstance(before, dict):
            changed[section] = {**before, key: value}
        else:
            changed[section] = replace(before, **{key: value})
    return settings.model_copy(update=changed)


def look(rows: Iterable[Row], kind: type[Task]) -> Profile:
    """Look at the first training rows; the others are only counted."""
    letters: Counter[str] = Counter()
    words: Counter[str] = Counter()
    labels: Counter[str] = Counter()
    stream = iter(rows)
    seen = texts = 0
    several = False
    for row in islice(stream, MOST_ROWS):
        seen += 1
        several = several or isinstance(row.get("label"), list)
        for text in _texts(row, kind):
            texts += 1
            letters.update(text)
            words.update(text.lower().split())
        labels.update(_labels(row, kind))
    characters = letters.total()
    once = sum(count == 1 for count in words.values())
    return Profile(
        rows=seen + sum(1 for _ in stream),
        characters=characters,
        alphabet=len(letters),
        length=characters / max(1, texts),
        unspaced=unspaced_share(letters),
        new_words=once / max(1, words.total()),
        labels=len(labels),
        spans=kind.target_columns == ("labels",) and bio.are_spans(labels),
        several=several,
        names=tuple(labels),
    )


SPANS = ("B-X", "I-X")  # labels of which a tagger's own metric is that of spans


def metric_of(settings: Settings, options: Options, rows: Iterable[Row]) -> tuple[str | None, str]:
    """Return the task's own metric, which chooses the best epoch, and why it is that one.

    `rows` are training rows; the first ones tell which labels there are. Without rows, the metric
    is None where the labels decide.
    """
    kind = options.kind
    why = f"null: the metric of {kind.task_name}"
    if settings.train.tolerance:
        why += f"; within {settings.train.tolerance:g} the loss"
    profile = look(islice(rows, FEW_SENTENCES), kind)
    metric = kind._metric_of(options.task, profile.names, profile.several)
    if profile.rows:
        return metric, why
    of_spans = kind._metric_of(options.task, SPANS)
    return (
        (metric, why) if metric == of_spans else (None, f"{why}: {metric}, or {of_spans} of spans")
    )


def _texts(row: Row, kind: type[Task]) -> Iterator[str]:
    for name in kind.text_columns:
        if name == "words":
            yield " ".join(labelled_words.words(row))
        else:
            yield str(row[name])


def _labels(row: Row, kind: type[Task]) -> list[str]:
    if kind.target_columns == ("label",):
        return label_set(row)
    return labelled_words.labels(row) if kind.target_columns == ("labels",) else []


def rules(
    profile: Profile, kind: type[Task], train: TrainConfig, given: Collection[str]
) -> list[Choice]:
    """Return what the rules choose for a task; those in `given` count with their own values."""
    own = RULES.get(kind.task_name)
    return [] if own is None else own(profile, train, given)


FEWEST_EPOCHS = 8


def _of_rows(rows: int) -> str:
    return _("{rows:,} rows", rows=rows)


def _length_of_training(
    profile: Profile, steps: int, most: int, train: TrainConfig, given: Collection[str]
) -> list[Choice]:
    """Small batches and many epochs for few rows: steps are what a model learns by.

    `steps` are those of a training on few rows, `most` its most epochs.
    """
    rows = profile.rows
    if rows >= SMALL:
        return []
    batch = 16 if rows < 1000 else 32 if rows < 5000 else 64
    if "train.batch_rows" in given:
        batch = train.batch_rows
    per_epoch = math.ceil(rows / batch)
    epochs = max(FEWEST_EPOCHS, min(most, math.ceil(steps / per_epoch)))
    if "train.epochs" in given:
        epochs = train.epochs
    return [
        Choice("train.batch_rows", batch, _of_rows(rows)),
        Choice(
            "train.epochs",
            epochs,
            _(
                "{batches} batches an epoch, {steps:,} steps",
                batches=per_epoch,
                steps=epochs * per_epoch,
            ),
        ),
        _patience(epochs),
    ]


def _patience(epochs: int) -> Choice:
    why = _("a third of {epochs} epochs, 3 at least", epochs=epochs)
    return Choice("train.patience", max(3, epochs // 3), why)


def _best_epoch(valid: int) -> list[Choice]:
    """Few validation rows cannot tell good epochs apart: one standard error is no difference."""
    if valid >= ENOUGH:
        return []
    error = round(0.3 / math.sqrt(max(1, valid)), 3)  # of an accuracy of 0.9
    return [
        Choice("train.tolerance", error, _("{rows} validation rows; the loss decides", rows=valid))
    ]


def _pieces(profile: Profile, why: str) -> list[Choice]:
    """Subwords, the fewer the smaller the text: each must occur often enough to be learned."""
    size = 6 * math.sqrt(profile.characters)
    size = max(200, min(16_000, round(size, -2)), 2 * profile.alphabet + 50)
    return [
        Choice("tokenizer.kind", "subwords", why),
        Choice(
            "tokenizer.size",
            int(size),
            _("{characters:,} characters of text", characters=profile.characters),
        ),
    ]


def _classify(profile: Profile, train: TrainConfig, given: Collection[str]) -> list[Choice]:
    chosen = []
    without_blanks = _(
        "{share:.0%} of the letters are of scripts without blanks", share=profile.unspaced
    )
    if profile.unspaced >= MOSTLY_UNSPACED and profile.length < LONG:
        chosen.append(Choice("tokenizer.kind", "characters", without_blanks))
        if profile.rows < SMALL:
            chosen.append(Choice("tokenizer.min_count", 1, _of_rows(profile.rows)))
    elif profile.unspaced >= MOSTLY_UNSPACED:
        chosen += _pieces(profile, _("{reason}, in long texts", reason=without_blanks))
    elif profile.new_words > NEW_WORDS:
        once = _("{share:.1%} of the words occur once", share=profile.new_words)
        chosen += _pieces(profile, once)
    chosen += _ngrams(profile)
    if profile.rows < SMALL:
        few = _of_rows(profile.rows)
        chosen += [
            Choice("task.pool", "max", _("{rows}: a few words decide", rows=few)),
            Choice("task.dropout", 0.3, few),
            Choice("train.learning_rate", 6e-3, few),
        ]
    steps = 600 + 10 * profile.labels
    return chosen + _length_of_training(profile, steps, 40, train, given)


def _ngrams(profile: Profile) -> list[Choice]:
    """A linear bag of n-grams beside the LSTM; the fewer rows of a label, the more it decides."""
    fits = 1 < profile.labels <= MOST_NGRAM_LABELS and profile.rows < MANY
    if not fits or profile.several:
        return []
    kind, why = "characters", _("new words hold known ones")
    if profile.length >= LONG_WORDS and profile.unspaced < MOSTLY_UNSPACED:
        kind = "words"
        why = _("texts of {length:,.0f} characters repeat their words", length=profile.length)
    a_label = profile.rows / profile.labels
    if a_label < FEW_OF_A_LABEL:
        share = 0.9
        reason: str = _("{rows:.0f} rows a label teach the LSTM little", rows=a_label)
    elif profile.rows < FEW_ROWS:
        share, reason = 0.75, _of_rows(profile.rows)
    else:
        share, reason = 0.6, _of_rows(profile.rows)
    beside = _("a linear bag of n-grams beside the LSTM; {why}", why=why)
    return [
        Choice("task.ngrams", kind, beside),
        Choice("task.ngram_share", share, reason),
    ]


def _tag(profile: Profile, train: TrainConfig, given: Collection[str]) -> list[Choice]:
    length = _length_of_training(profile, 900, 50, train, given)
    if profile.rows >= FEW_SENTENCES:
        return length
    size = _of_rows(profile.rows)
    why = _("{rows}: many words in use will be new", rows=size)
    crf = [Choice("task.crf", True, _("the labels are spans"))] if profile.spans else []
    return [
        *crf,
        Choice("task.unseen_words", 0.5, why),
        Choice("backbone.hidden_size", 128, size),
        Choice("task.character_hidden", 64, size),
        *length,
    ]


def _translate(profile: Profile, train: TrainConfig, given: Collection[str]) -> list[Choice]:
    few = _of_rows(profile.rows)
    length = _length_of_training(profile, 1200, 50, train, given)
    if profile.rows < FEW_SENTENCES:
        return [
            Choice(
                "tokenizer.kind", "characters", _("{rows}: pieces would be whole phrases", rows=few)
            ),
            Choice("tokenizer.min_count", 1, few),
            Choice("backbone.hidden_size", 128, few),
            Choice("backbone.embedding_size", 128, few),
            *length,
        ]
    return [*_pieces(profile, _("pieces write any word")), *length]


STEPS_OF_TEXT = 1200  # of a language model's training on little text
MOST_EPOCHS_OF_TEXT = 60


def _generate(profile: Profile, train: TrainConfig, given: Collection[str]) -> list[Choice]:
    """Few pieces and many epochs for little text; with much of it, the recipe is right."""
    if profile.characters >= SMALL_TEXT:
        return []
    size = _pieces(profile, "")[1]
    a_piece = 1.5 if profile.unspaced >= MOSTLY_UNSPACED else 3.0  # characters, about
    per_epoch = max(1, math.ceil(profile.characters / a_piece / train.batch_tokens))
    epochs = max(FEWEST_EPOCHS, min(MOST_EPOCHS_OF_TEXT, math.ceil(STEPS_OF_TEXT / per_epoch)))
    if "train.epochs" in given:
        epochs = train.epochs
    steps = _(
        "about {batches} batches an epoch, {steps:,} steps",
        batches=per_epoch,
        steps=epochs * per_epoch,
    )
    return [
        size,
        Choice("train.epochs", epochs, steps),
        _patience(epochs),
    ]


SOME_SERIES = 1000  # series whose lengths are looked at
SIZES = "task.input", "task.horizon", "task.segment"


def _sizes(options: Options, splits: Splits, given: Collection[str]) -> list[Choice]:
    """Of series too short for the defaults: a horizon that each split holds, and half the rest as input.

    The input is whole seasons where there is one.
    """
    known = vars(options.task)
    names = [name.partition(".")[2] for name in SIZES]
    if not {*names} <= {*known}:
        return []  # a task from outside, with other sizes
    input, horizon, segment = (int(known[name]) for name in names)
    train = _typical(splits.train)
    least = min(_typical(splits.valid), _typical(splits.test))
    if train >= input + horizon and least >= horizon:
        return []
    if "task.horizon" not in given:
        horizon = max(1, min(horizon, least, train // 4))
    if "task.input" not in given:
        input = max(1, min(input, (train - horizon + 1) // 2))
        first = next(iter(splits.train), None)
        period = 1 if first is None else _season_of(first)
        input = max(input - input % period, min(input, period))
    why = _("{train:,} training steps, {least:,} of validation or test", train=train, least=least)
    sizes = input, horizon, min(segment, horizon)
    return [Choice(name, size, why) for name, size in zip(SIZES, sizes, strict=True)]


def _typical(rows: Rows) -> int:
    """Return the median number of values that the series of a split hold; 0 without series."""
    lengths = [len(learning.matrix(row, "future")) for row in islice(rows, SOME_SERIES)]
    return sorted(lengths)[len(lengths) // 2] if lengths else 0


def _season_of(row: Row) -> int:
    return season(np.asarray(learning.matrix(row, "future")[:MOST_ROWS], np.float64)[:, 0])


# The rules of each task, by its name; a task from outside has none.
RULES = {"classify": _classify, "tag": _tag, "translate": _translate, "generate": _generate}
