"""Multi-label classification: which labels a text has, decided by a threshold for each label.

    probabilities of validation rows --choose_thresholds--> a threshold for each label
    probabilities of a row           --decide-->            its labels, any number of them

The model (`LabelSets`) and the baseline decide by the same rule. Rows whose labels are known are
never test rows here: thresholds are chosen on validation rows alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.data import features
from zoo.data.processors import MOST_LABELS, LabelSetEncoder, decide
from zoo.data.readers import Row, label_set
from zoo.evaluation import metrics

SHOWN_MISTAKES = 10  # of a report
SHOWN_TEXT = 200  # characters of each
JOINED = "|"  # between the labels of a row where they are one text
LARGEST_WEIGHT = 100.0  # of the rows that have a rare label
LEAST, MOST = 0.01, 0.99  # thresholds
SHRINKAGE = 10  # validation rows of a label from which its own threshold counts as the common one
STEPS = 1024  # thresholds are multiples of 1 / STEPS, which float16 holds exactly


class LabelSets(nn.Module):
    """The loss, the thresholds and the answers of a multi-label classifier."""

    metric = "micro_f1"
    thresholds: Tensor  # (labels,): the least probability of each label
    weights: Tensor | None  # (labels,): the weight of the rows that have the label

    def __init__(self, encoder: LabelSetEncoder, balanced: bool, smoothing: float) -> None:
        """With `balanced`, the rows of a label weigh as much as those without it."""
        super().__init__()
        self.labels, self.ids = encoder.labels, encoder.ids
        self.counts, self.rows = encoder.counts, encoder.rows
        self.smoothing = smoothing
        self.register_buffer("thresholds", torch.full((len(self.labels),), 0.5))
        weights = None
        if balanced:
            counts = torch.tensor(encoder.counts).float()
            weights = ((encoder.rows - counts) / counts).clamp(1 / LARGEST_WEIGHT, LARGEST_WEIGHT)
        self.register_buffer("weights", weights, persistent=False)

    def prior(self) -> Tensor:
        """Return the logit of each label's share of the training rows: (labels,).

        A training that starts there need not first learn that most texts lack most labels. Where
        balanced weights make up for the shares, all are 0.
        """
        if self.weights is not None:
            return torch.zeros(len(self.labels))
        shares = torch.tensor(self.counts) / self.rows
        return shares.clamp(1 / LARGEST_WEIGHT / 10, 0.9).logit()

    def encode(self, row: Row) -> list[int]:
        """Return the numbers of the row's labels; those that the training lacks are left out."""
        return [self.ids[label] for label in label_set(row) if label in self.ids]

    def losses(self, logits: Tensor, ids: Tensor) -> Tensor:
        """Return the binary cross entropy of each row, the mean over the labels: (batch,).

        logits: (batch, labels). ids: (batch, most labels), the numbers of each row's labels; those
        below 0 are padding.
        """
        none = logits.size(1)  # a column behind the labels takes the padding
        wanted = logits.new_zeros(len(logits), none + 1)
        wanted.scatter_(1, ids.masked_fill(ids < 0, none), 1.0)
        wanted = wanted[:, :none] * (1 - self.smoothing) + self.smoothing / 2
        weights = None if self.weights is None else self.weights.to(logits.dtype)
        each = F.binary_cross_entropy_with_logits(
            logits, wanted, pos_weight=weights, reduction="none"
        )
        return each.mean(1)

    def log_probabilities(self, logits: Tensor) -> Tensor:
        """Return the log-probability of each label, (batch, labels)."""
        return F.logsigmoid(logits)

    def explained(self, answer: Mapping[str, Any]) -> list[str]:
        """Return the labels that an explanation is about: the answered ones, or else the likeliest."""
        shares = answer["probabilities"]
        return answer["labels"] or [max(shares, key=shares.get)]

    def answers(self, logits: Tensor, ids: Tensor | None = None) -> list[dict[str, Any]]:
        """Return {"labels": those above their thresholds, "probabilities": of labels} per row.

        Of more than MOST_LABELS labels, an answer holds only the most probable ones. With `ids` it
        also has "nats", the loss of its row.
        """
        shares = logits.sigmoid()  # (batch, labels)
        if len(self.labels) <= MOST_LABELS:
            known = [dict(zip(self.labels, row, strict=True)) for row in shares.tolist()]
        else:
            top = shares.topk(MOST_LABELS)
            known = [
                {self.labels[i]: share for i, share in zip(numbers, row, strict=True)}
                for numbers, row in zip(top.indices.tolist(), top.values.tolist(), strict=True)
            ]
        least = dict(zip(self.labels, self.thresholds.tolist(), strict=True))
        found = [{"labels": decide(each, least), "probabilities": each} for each in known]
        if ids is not None:
            losses = self.losses(logits, ids).tolist()
            return [a | {"nats": loss} for a, loss in zip(found, losses, strict=True)]
        return found

    def calibrate(
        self, answers: Sequence[dict[str, Any]], rows: Sequence[Row]
    ) -> list[dict[str, Any]]:
        """Choose the thresholds on validation rows; return the answers decided by them."""
        probabilities = [answer["probabilities"] for answer in answers]
        wanted = [label_set(row) for row in rows]
        chosen = choose_thresholds(probabilities, wanted, self.labels)
        self.thresholds.copy_(torch.tensor([chosen[label] for label in self.labels]))
        return [a | {"labels": decide(a["probabilities"], chosen)} for a in answers]

    def short(self, answer: dict[str, Any]) -> list[str]:
        """Return the labels of an answer."""
        return answer["labels"]

    def format(self, answer: dict[str, Any]) -> str:
        """Return an answer as one text, its labels joined."""
        return JOINED.join(answer["labels"])

    def compute_metrics(
        self, answers: Sequence[dict[str, Any]], rows: Sequence[Row]
    ) -> dict[str, float]:
        """Return the metrics of `scores`, and "loss" where the answers know theirs, in nats."""
        values = scores([a["labels"] for a in answers], [label_set(row) for row in rows])
        losses = [answer["nats"] for answer in answers if "nats" in answer]
        return values | ({"loss": sum(losses) / len(losses)} if losses else {})

    def report(self, answers: Sequence[dict[str, Any]], rows: Sequence[Row]) -> dict[str, Any]:
        """Return the scores and the threshold of each label, and the surest mistakes."""
        found = [answer["labels"] for answer in answers]
        table = per_label(found, [label_set(row) for row in rows])
        least = dict(zip(self.labels, self.thresholds.tolist(), strict=True))
        known = [row | {"threshold": least[row["label"]]} for row in table if row["label"] in least]
        unknown = [row | {"threshold": 1.0} for row in table if row["label"] not in least]
        return {"per_label": known + unknown, "mistakes": _mistakes(answers, rows)}


def choose_thresholds(
    probabilities: Sequence[Mapping[str, float]],
    wanted: Sequence[Collection[str]],
    labels: Sequence[str],
) -> dict[str, float]:
    """Return a threshold for each label, chosen on validation rows.

    One common threshold has the highest micro F1. Each label has one of its own with the highest F1
    of the label. Its threshold is their mean, weighted SHRINKAGE to the label's validation rows: few
    rows cannot tell a threshold. `probabilities` are those of the labels of each row.
    """
    numbers = {label: number for number, label in enumerate(labels)}
    true_rows, true = _entries(wanted, numbers)
    counts = np.bincount(true, minlength=len(labels))
    rows, own = _entries(probabilities, numbers)
    if not len(own) or not counts.any():
        return dict.fromkeys(labels, 0.5)
    values = chain.from_iterable(each.values() for each in probabilities)
    shares = np.fromiter(values, np.float64, len(own))
    hits = np.isin(rows * len(labels) + own, true_rows * len(labels) + true)
    order = np.lexsort((-shares, own))
    own, shares, hits = own[order], shares[order], hits[order]
    common = _best_cut(shares, hits, int(counts.sum()))
    ends = np.searchsorted(own, np.arange(len(labels) + 1))
    found: dict[str, float] = {}
    for number, label in enumerate(labels):
        part = slice(ends[number], ends[number + 1])
        count = int(counts[number])
        best = _best_cut(shares[part], hits[part], count) if count and hits[part].any() else common
        mean = (count * best + SHRINKAGE * common) / (count + SHRINKAGE)
        found[label] = round(min(MOST, max(LEAST, mean)) * STEPS) / STEPS
    return found


def _entries(
    rows: Sequence[Collection[str]], numbers: Mapping[str, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the row and the number of each label of the rows that has one, (entries,) each."""
    found = (numbers.get(label, -1) for row in rows for label in row)
    own = np.fromiter(found, np.int64)
    sizes = np.fromiter(map(len, rows), np.int64, len(rows))
    of_row = np.repeat(np.arange(len(rows)), sizes)
    return of_row[own >= 0], own[own >= 0]


def _best_cut(shares: np.ndarray, hits: np.ndarray, positives: int) -> float:
    """Return the probability that separates answers with the highest F1 from the rest.

    shares, hits: (entries,), probabilities and whether their label is right. It lies in the middle
    between the last probability that is taken and the first one that is not.
    """
    order = np.argsort(-shares, kind="stable")
    shares, hits = shares[order], hits[order]
    taken = np.arange(1, len(shares) + 1)
    f1 = 2 * hits.cumsum() / (taken + positives)
    below = np.append(shares[1:], 0.0)
    f1[shares == below] = -1.0  # equal probabilities stay on one side
    last = int(f1.argmax())
    return float(shares[last] + below[last]) / 2


def scores(found: Sequence[Collection[str]], wanted: Sequence[Collection[str]]) -> dict[str, float]:
    """Return micro_f1, macro_f1 and exact_match of label sets, each from 0 to 1.

    Macro F1 is the mean over the labels that occur. exact_match is the share of rows whose labels
    are all right, and no other was answered.
    """
    return _scores(*_compared(found, wanted))


Compared = tuple[np.ndarray, np.ndarray, np.ndarray]  # of a row: labels found, wanted, and both


def _compared(
    found: Sequence[Collection[str]], wanted: Sequence[Collection[str]]
) -> tuple[list[Compared], int]:
    """Return for each row the numbers of its labels, and how many labels there are."""
    names = dict.fromkeys(chain.from_iterable(chain(wanted, found)))
    numbers = {name: number for number, name in enumerate(names)}

    def of(labels: Iterable[str]) -> np.ndarray:
        return np.array([numbers[label] for label in labels], np.int64)

    pairs = zip(found, wanted, strict=True)
    return [(of(a), of(b), of({*a} & {*b})) for a, b in pairs], len(names)


def _scores(rows: Sequence[Compared], size: int) -> dict[str, float]:
    """Return the metrics of compared rows over `size` labels."""
    exact = sum(len(a) == len(b) == len(both) for a, b, both in rows) / max(1, len(rows))
    counts = [
        np.bincount(np.concatenate(part), minlength=size) if rows else np.zeros(size, int)
        for part in zip(*rows, strict=True)
    ] or [np.zeros(size, int)] * 3
    answered, true, hits = counts
    total = answered + true
    f1 = 2 * hits[total > 0] / total[total > 0]
    return {
        "micro_f1": float(2 * hits.sum() / max(1, total.sum())),
        "macro_f1": float(f1.mean()) if len(f1) else 0.0,
        "exact_match": float(exact),
    }


def intervals(
    values: Mapping[str, float], answers: Sequence[dict[str, Any]], rows: Sequence[Row]
) -> dict[str, dict[str, Any]]:
    """Return 95 % intervals of the metrics: see `zoo.evaluation.metrics.intervals`."""
    found = [answer["labels"] for answer in answers]
    compared, size = _compared(found, [label_set(row) for row in rows])

    def compute(drawn: Sequence[Compared], _: Sequence[Any]) -> dict[str, float]:
        return _scores(drawn, size)

    return metrics.intervals(values, compared, rows, compute, {"exact_match"})


def per_label(
    found: Sequence[Collection[str]], wanted: Sequence[Collection[str]]
) -> list[dict[str, Any]]:
    """Return label, precision, recall, f1 and count of each label that occurs."""
    answered, true = (Counter(chain.from_iterable(side)) for side in (found, wanted))
    both = ({*a} & {*b} for a, b in zip(found, wanted, strict=True))
    hits = Counter(chain.from_iterable(both))
    return [
        {
            "label": label,
            "precision": hits[label] / max(1, answered[label]),
            "recall": hits[label] / max(1, true[label]),
            "f1": 2 * hits[label] / (answered[label] + true[label]),
            "count": true[label],
        }
        for label in sorted(answered | true)
    ]


def _mistakes(answers: Sequence[dict[str, Any]], rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return wrong answers, SHOWN_MISTAKES of those in which a label is most surely wrong."""
    wrong = []
    for answer, row in zip(answers, rows, strict=True):
        found, wanted = answer["labels"], label_set(row)
        differing = {*found} ^ {*wanted}
        if not differing:
            continue
        shares = answer["probabilities"]
        sure = [shares.get(n, 0.0) if n in found else 1 - shares.get(n, 0.0) for n in differing]
        wrong.append(
            {
                "source": row.source,
                "label": JOINED.join(wanted) or "no label",
                "answer": JOINED.join(found) or "no label",
                "probability": max(sure),
                "text": features.shown(row["text"])[:SHOWN_TEXT],
            }
        )
    return sorted(wrong, key=lambda mistake: -mistake["probability"])[:SHOWN_MISTAKES]
