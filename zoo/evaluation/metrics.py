"""Metrics of translation, language modelling, tagging and classification."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import regex

from zoo.text import bio
from zoo.text.special_ids import UNK
from zoo.text.tokenizers import lines
from zoo.text.word_splitter import UNSPACED

_UNSPACED = regex.compile(f"[{UNSPACED}]")


def translation(found: Sequence[str], wanted: Sequence[str]) -> dict[str, float]:
    """Return the translation metrics of answers `found` against references `wanted`.

    bleu and chrf (0 to 100) are on cased, detokenised text. bleu_lowercase is on lower-cased
    tokens, as papers report it. exact_match is the share of equal texts, 0 to 1.
    Raises ValueError when the counts of texts differ.
    """
    scores = {name: metric.corpus_score(found, [wanted]).score for name, metric in _metrics(wanted)}
    same = sum(a.strip() == b.strip() for a, b in zip(found, wanted, strict=True))
    return scores | {"exact_match": same / max(1, len(wanted))}


def signatures(wanted: Sequence[str]) -> dict[str, str]:
    """Return sacreBLEU's signature of each score that `translation` computes."""
    found = {}
    for name, metric in _metrics(wanted):
        metric.corpus_score([""], [[""]])  # a signature needs at least one reference
        found[name] = str(metric.get_signature())
    return found


def tokenization(wanted: Sequence[str]) -> str:
    """Return the name of sacreBLEU's tokenizer for these references.

    It is "char" if most letters belong to a script without spaces, else "13a", that of mteval.
    """
    letters = [c for text in wanted for c in text if c.isalpha()]
    unspaced = sum(bool(_UNSPACED.match(c)) for c in letters)
    return "char" if 2 * unspaced > len(letters) else "13a"


def _metrics(wanted: Sequence[str]) -> list[tuple[str, Any]]:
    from sacrebleu.metrics import BLEU, CHRF

    tokenizer = tokenization(wanted)
    return [
        ("bleu", BLEU(tokenize=tokenizer, force=True)),  # force: no warnings on stderr
        ("bleu_lowercase", BLEU(tokenize=tokenizer, lowercase=True, force=True)),
        ("chrf", CHRF()),
    ]


def likelihood(nats: Mapping[str, float], tokens: Iterable[int]) -> dict[str, Any]:
    """Return what `perplexity` needs of one row: nats by measure, and token counts.

    `nats` maps the suffix of a measure to the negative log-likelihood of the row.
    """
    ids = [int(token) for token in tokens]
    return {"nats": dict(nats), "tokens": len(ids), "unknown": ids.count(UNK)}


def perplexity(
    answers: Sequence[Mapping[str, Any]], texts: Sequence[str], by_line: bool
) -> dict[str, float]:
    """Return perplexity per word, one per measure: the key is "perplexity" plus its suffix.

    Perplexity per word is comparable between models with different tokenizers. Words are separated
    by whitespace, and each end counts as one word. For a tokenizer with one token per word this is
    perplexity per token.

    The result also holds bits_per_character (an end is one character), loss (nats per token), and
    unknown. unknown is the share of UNK among the tokens. A model that predicts UNK for rare words
    gets too low a perplexity. With `by_line` every line of a text has an end, otherwise the text.
    """
    parts = [part for text in texts for part in (lines(text) if by_line else [text])]
    words = sum(len(part.split()) + 1 for part in parts)
    characters = sum(len(part) + 1 for part in parts)
    tokens = max(1, sum(answer["tokens"] for answer in answers))
    measures = answers[0]["nats"] if answers else {}
    sums = {name: sum(answer["nats"][name] for answer in answers) for name in measures}
    found = {f"perplexity{name}": _exp(total / max(1, words)) for name, total in sums.items()}
    total = sums.get("", 0.0)
    return found | {
        "bits_per_character": total / math.log(2) / max(1, characters),
        "loss": total / tokens,
        "unknown": sum(answer["unknown"] for answer in answers) / tokens,
    }


def _exp(value: float) -> float:
    return math.exp(min(value, 700.0))  # a larger exponent overflows


def tagging(
    found: Sequence[Sequence[str]],
    wanted: Sequence[Sequence[str]],
    unseen: Sequence[Sequence[bool]] | None,
    of_spans: bool,
) -> dict[str, float]:
    """Return the tagging metrics of labels `found` against `wanted`, each from 0 to 1.

    accuracy is over all words. accuracy_unseen is over the words marked `unseen` in training, 0 if
    there are none; without marks it is left out. sentence_accuracy is the share of sentences without an error. With `of_spans`
    the result also has precision, recall and f1 of the spans.
    Raises ValueError when lengths differ.
    """
    correct = [
        [a == b for a, b in zip(*pair, strict=True)] for pair in zip(found, wanted, strict=True)
    ]
    every = [hit for sentence in correct for hit in sentence]
    values = {"accuracy": _share(every)}
    if unseen is not None:
        new = [
            hit
            for pair in zip(correct, unseen, strict=True)
            for hit, is_new in zip(*pair, strict=True)
            if is_new
        ]
        values["accuracy_unseen"] = _share(new)
    values["sentence_accuracy"] = _share([all(sentence) for sentence in correct])
    if of_spans and wanted:
        values |= bio.scores(wanted, found)
    return values


def per_label(
    wanted: Sequence[str], found: Sequence[str], labels: Sequence[str]
) -> list[dict[str, Any]]:
    """Return label, precision, recall, f1 and count of each label that occurs in `wanted`."""
    from sklearn.metrics import precision_recall_fscore_support

    sides = (numbered(side, labels) for side in (wanted, found))
    numbers = range(len(labels))
    values = precision_recall_fscore_support(*sides, labels=[*numbers], zero_division=0)
    names = ("label", "precision", "recall", "f1", "count")
    rows = zip(labels, *(part.tolist() for part in values), strict=True)
    return [dict(zip(names, row, strict=True)) for row in rows if row[-1]]


def numbered(values: Sequence[str], labels: Sequence[str]) -> np.ndarray:
    """Return the number of each value among the labels, (values,) int64; of others, one more.

    Scores of a million labels are computed from numbers in a tenth of the time.

    >>> numbered(["b", "a", "c"], ["a", "b"])
    array([1, 0, 2])
    """
    numbers = {label: number for number, label in enumerate(labels)}
    other = len(numbers)
    return np.fromiter((numbers.get(value, other) for value in values), np.int64, len(values))


# Words in the names of metrics that are better the lower they are.
LOWER = {"loss", "perplexity", "bits", "unknown", "mae", "mse", "rmse", "mase", "smape", "wape"}


def is_lower_better(name: str) -> bool:
    """Return whether a metric is better the lower it is: a loss, an error, a perplexity."""
    return not LOWER.isdisjoint(regex.split(r"[._]", name))


MOST_ROWS = 2_000  # from so many rows on, figures are given without an interval
RESAMPLES = 500
FEWEST_RESAMPLES = 50
SECONDS = 1.0  # that resampling may take
Z = 1.959964  # of a 95 % interval of the normal distribution


def wilson(share: float, count: int) -> tuple[float, float]:
    """Return Wilson's 95 % score interval of a share of `count` independent rows."""
    centre = (share + Z * Z / (2 * count)) / (1 + Z * Z / count)
    spread = share * (1 - share) / count + Z * Z / (4 * count * count)
    half = Z * math.sqrt(spread) / (1 + Z * Z / count)
    return max(0.0, round(centre - half, 12)), min(1.0, round(centre + half, 12))


def intervals(
    values: Mapping[str, float],
    answers: Sequence[Any],
    rows: Sequence[Any],
    compute: Callable[[Sequence[Any], Sequence[Any]], Mapping[str, float]],
    shares: Collection[str] = (),
) -> dict[str, dict[str, Any]]:
    """Return low, high and method of a 95 % interval for the metrics of fewer than MOST_ROWS rows.

    `shares` are the metrics that are shares of rows: they have Wilson's interval. The others are
    bootstrapped: `compute` is called for rows drawn with replacement. There are none for metrics
    that it does not return, or that take too long.
    """
    count = len(rows)
    if not 1 < count < MOST_ROWS:
        return {}
    found: dict[str, dict[str, Any]] = {}
    for name in [name for name in values if name in shares]:
        low, high = wilson(values[name], count)
        found[name] = {"low": low, "high": high, "method": "Wilson"}
    rest = [name for name in values if name not in shares]
    drawn = _resampled(answers, rows, compute) if rest else []
    for name in rest if drawn else []:
        if name not in drawn[0]:
            continue
        low, high = np.quantile([float(each[name]) for each in drawn], [0.025, 0.975])
        found[name] = {"low": float(low), "high": float(high), "method": "bootstrap"}
    return {name: found[name] for name in values if name in found}


def translation_intervals(
    values: Mapping[str, float], answers: Sequence[Mapping[str, Any]], wanted: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """Return 95 % intervals of translation metrics, as `intervals` does; BLEU and chrF by sacreBLEU.

    It resamples the counts of each sentence, so that no sentence is scored twice.
    """
    from sacrebleu.significance import PairedTest

    if not 1 < len(wanted) < MOST_ROWS:
        return {}
    found = [answer["text"] for answer in answers]
    plain = {name: value for name, value in values.items() if name in ("exact_match", "loss")}
    of_rows = intervals(plain, answers, wanted, token_loss, {"exact_match"})
    of_texts: dict[str, dict[str, Any]] = {}
    for name, metric in _metrics(wanted):
        test = PairedTest([("model", found)], {name: metric}, [wanted], "bs", RESAMPLES)
        scores = test()[1]
        score: Any = next(values[0] for key, values in scores.items() if key != "System")
        low, high = max(0.0, score.mean - score.ci), min(100.0, score.mean + score.ci)
        of_texts[name] = {"low": float(low), "high": float(high), "method": "sacreBLEU's bootstrap"}
    return {name: (of_texts | of_rows)[name] for name in values if name in of_texts | of_rows}


def token_loss(answers: Sequence[Mapping[str, Any]], rows: Sequence[Any] = ()) -> dict[str, float]:
    """Return "loss", in nats per target token, of answers that have one."""
    if not answers or "tokens" not in answers[0]:
        return {}
    total = sum(answer["loss"] * answer["tokens"] for answer in answers)
    return {"loss": total / sum(answer["tokens"] for answer in answers)}


def macro_f1(found: Sequence[int], wanted: Sequence[int]) -> dict[str, float]:
    """Return the mean F1 of the labels that occur, given as numbers; fast enough to be resampled."""
    size = 1 + max(*found, *wanted)
    hits = np.bincount([a for a, b in zip(found, wanted, strict=True) if a == b], minlength=size)
    both = np.bincount(found, minlength=size) + np.bincount(wanted, minlength=size)
    return {"macro_f1": float((2 * hits[both > 0] / both[both > 0]).mean())}


def _resampled(
    answers: Sequence[Any],
    rows: Sequence[Any],
    compute: Callable[[Sequence[Any], Sequence[Any]], Mapping[str, float]],
) -> list[Mapping[str, float]]:
    """Return the metrics of resampled rows; none if too few fit into SECONDS."""
    generator = np.random.default_rng(0)
    start = time.perf_counter()
    drawn: list[Mapping[str, float]] = []
    for number in range(1, RESAMPLES + 1):
        places = generator.integers(len(rows), size=len(rows)).tolist()
        drawn.append(compute([answers[i] for i in places], [rows[i] for i in places]))
        passed = time.perf_counter() - start
        if passed * FEWEST_RESAMPLES / number > 2 * SECONDS:  # it would take too long
            return []
        if passed > SECONDS and number >= FEWEST_RESAMPLES:
            break
    return drawn


def _share(hits: Sequence[bool]) -> float:
    return sum(hits) / max(1, len(hits))
