"""Metrics of translation, language modelling, tagging and classification."""

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
    unseen: Sequence[Sequence[bool]],
    of_spans: bool,
) -> dict[str, float]:
    """Return the tagging metrics of labels `found` against `wanted`, each from 0 to 1.

    accuracy is over all words. accuracy_unseen is over the words marked `unseen` in training, 0 if
    there are none. sentence_accuracy is the share of sentences without an error. With `of_spans`
    the result also has precision, recall and f1 of the spans.
    Raises ValueError when lengths differ.
    """
    correct = [
        [a == b for a, b in zip(*pair, strict=True)] for pair in zip(found, wanted, strict=True)
    ]
    every = [hit for sentence in correct for hit in sentence]
    new = [
        hit
        for pair in zip(correct, unseen, strict=True)
        for hit, is_new in zip(*pair, strict=True)
        if is_new
    ]
    values = {
        "accuracy": _share(every),
        "accuracy_unseen": _share(new),
        "sentence_accuracy": _share([all(sentence) for sentence in correct]),
    }
    if of_spans and wanted:
        values |= bio.scores(wanted, found)
    return values


def per_label(
    wanted: Sequence[str], found: Sequence[str], labels: Sequence[str]
) -> list[dict[str, Any]]:
    """Return label, precision, recall, f1 and count of each label that occurs in `wanted`."""
    from sklearn.metrics import precision_recall_fscore_support

    values = precision_recall_fscore_support(wanted, found, labels=list(labels), zero_division=0)
    names = ("label", "precision", "recall", "f1", "count")
    rows = zip(labels, *(part.tolist() for part in values), strict=True)
    return [dict(zip(names, row, strict=True)) for row in rows if row[-1]]


def _share(hits: Sequence[bool]) -> float:
    return sum(hits) / max(1, len(hits))
