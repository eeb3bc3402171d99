"""Scores: of translations by sacreBLEU, with signatures; of language models per word and character."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import regex

from zoo.text import bio
from zoo.text.special_ids import UNK
from zoo.text.tokenizers import lines
from zoo.text.word_splitter import UNSPACED

_UNSPACED = regex.compile(f"[{UNSPACED}]")


def translation(found: Sequence[str], wanted: Sequence[str]) -> dict[str, float]:
    """bleu and chrf (cased, detokenised text, 0 to 100), bleu_lowercase (as papers report it, on
    lower-cased tokens) and exact_match (share of the texts, 0 to 1)."""
    scores = {name: metric.corpus_score(found, [wanted]).score for name, metric in _metrics(wanted)}
    same = sum(a.strip() == b.strip() for a, b in zip(found, wanted, strict=True))
    return scores | {"exact_match": same / max(1, len(wanted))}


def signatures(wanted: Sequence[str]) -> dict[str, str]:
    """What each score of `translation` is computed with, in sacreBLEU's own words."""
    described = {}
    for name, metric in _metrics(wanted):
        metric.corpus_score([""], [[""]])  # without references it has no signature
        described[name] = str(metric.get_signature())
    return described


def tokenization(wanted: Sequence[str]) -> str:
    """sacreBLEU's tokenizer for these references: "char" where most letters belong to a script
    without blanks, else "13a", which is mteval's."""
    letters = [c for text in wanted for c in text if c.isalpha()]
    unspaced = sum(bool(_UNSPACED.match(c)) for c in letters)
    return "char" if 2 * unspaced > len(letters) else "13a"


def _metrics(wanted: Sequence[str]) -> list[tuple[str, Any]]:
    from sacrebleu.metrics import BLEU, CHRF

    how = tokenization(wanted)
    return [
        ("bleu", BLEU(tokenize=how, force=True)),  # force: no advice on stderr
        ("bleu_lowercase", BLEU(tokenize=how, lowercase=True, force=True)),
        ("chrf", CHRF()),
    ]


def likelihood(nats: Mapping[str, float], tokens: Iterable[int]) -> dict[str, Any]:
    """What `perplexity` is computed from: of one row its nats by each measure, and its tokens."""
    ids = [int(token) for token in tokens]
    return {"nats": dict(nats), "tokens": len(ids), "unknown": ids.count(UNK)}


def perplexity(
    answers: Sequence[Mapping[str, Any]], texts: Sequence[str], by_line: bool
) -> dict[str, float]:
    """perplexity per word, its suffix the measure: that of models with other tokens can be compared.

    Words are what stands between blanks, and a line end counts as one: what has its own tokens,
    one to a word, is scored by them. Also bits_per_character (a line end is one), loss (nats per
    token) and unknown, the share of the tokens that are UNK: a model that may write UNK for a word
    it does not know is let off lightly. `by_line`: every line of a text has an end, else the text.
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
    return math.exp(min(value, 700.0))  # beyond it there is no float


def tagging(
    found: Sequence[Sequence[str]],
    wanted: Sequence[Sequence[str]],
    unseen: Sequence[Sequence[bool]],
    of_spans: bool,
) -> dict[str, float]:
    """accuracy of all words, accuracy_unseen of those that are `unseen` in training (0 without
    any), sentence_accuracy: the share of the sentences without a mistake; and where the labels are
    `of_spans` their precision, recall and f1."""
    right = [
        [a == b for a, b in zip(*pair, strict=True)] for pair in zip(found, wanted, strict=True)
    ]
    every = [hit for sentence in right for hit in sentence]
    new = [
        hit
        for pair in zip(right, unseen, strict=True)
        for hit, is_new in zip(*pair, strict=True)
        if is_new
    ]
    values = {
        "accuracy": _share(every),
        "accuracy_unseen": _share(new),
        "sentence_accuracy": _share([all(sentence) for sentence in right]),
    }
    if of_spans and wanted:
        values |= bio.scores(wanted, found)
    return values


def per_label(
    wanted: Sequence[str], found: Sequence[str], labels: Sequence[str]
) -> list[dict[str, Any]]:
    """label, precision, recall, f1 and count of each label that occurs."""
    from sklearn.metrics import precision_recall_fscore_support

    values = precision_recall_fscore_support(wanted, found, labels=list(labels), zero_division=0)
    names = ("label", "precision", "recall", "f1", "count")
    rows = zip(labels, *(part.tolist() for part in values), strict=True)
    return [dict(zip(names, row, strict=True)) for row in rows if row[-1]]


def _share(hits: Sequence[bool]) -> float:
    return sum(hits) / max(1, len(hits))
