"""Single-label classification: each text has one of the labels, the most probable one is answered.

`SingleLabels` has the same methods as `LabelSets`, which decides where a text has several labels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.data import features
from zoo.data.batch import IGNORE_INDEX
from zoo.data.processors import MOST_LABELS, LabelEncoder
from zoo.data.readers import Row, column
from zoo.evaluation import metrics
from zoo.evaluation.label_sets import SHOWN_MISTAKES, SHOWN_TEXT


class SingleLabels(nn.Module):
    """The loss, the answers and the scores of a classifier whose texts have one label each."""

    metric = "accuracy"
    weights: Tensor | None  # (labels,): the weight of the rows of each label

    def __init__(self, encoder: LabelEncoder, balanced: bool, smoothing: float) -> None:
        """With `balanced`, each label weighs the same. Raises ValueError without their counts."""
        super().__init__()
        self.labels, self.ids = encoder.labels, encoder.ids
        self.smoothing = smoothing
        weights = None
        if balanced:
            if not encoder.counts:
                raise ValueError("class_weights=balanced needs the counts of the labels")
            weights = sum(encoder.counts) / (
                len(self.labels) * torch.tensor(encoder.counts).float()
            )
        self.register_buffer("weights", weights, persistent=False)

    def encode(self, row: Row) -> int:
        """Return the number of the row's label, IGNORE_INDEX for one that the training lacks."""
        return self.ids.get(column(row, "label"), IGNORE_INDEX)

    def losses(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the cross entropy of each row, in nats: (batch,).

        logits: (batch, labels). targets: (batch,); the loss of IGNORE_INDEX is 0.
        """
        weights = None if self.weights is None else self.weights.to(logits.dtype)
        return F.cross_entropy(
            logits, targets, weights, reduction="none", label_smoothing=self.smoothing
        )

    def log_probabilities(self, logits: Tensor) -> Tensor:
        """Return the log-probability of each label, (batch, labels)."""
        return logits.log_softmax(-1)

    def explained(self, answer: Mapping[str, Any]) -> list[str]:
        """Return the labels of an answer that an explanation is about."""
        return [answer["label"]]

    def answers(self, logits: Tensor, targets: Tensor | None = None) -> list[dict[str, Any]]:
        """Return {"label": the most probable one, "probabilities": of the labels} per row.

        Of more than MOST_LABELS labels, an answer holds only the most probable ones. With `targets`
        it holds the first one, and "nats", the loss of its row.
        """
        shares = logits.softmax(-1)  # (batch, labels)
        if len(self.labels) <= MOST_LABELS:
            best = shares.argmax(-1).tolist()
            return [
                {
                    "label": self.labels[number],
                    "probabilities": dict(zip(self.labels, row, strict=True)),
                }
                for number, row in zip(best, shares.tolist(), strict=True)
            ]
        top = shares.topk(MOST_LABELS if targets is None else 1)
        found: list[dict[str, Any]] = []
        for row, ids in zip(top.values.tolist(), top.indices.tolist(), strict=True):
            names = [self.labels[i] for i in ids]
            found.append({"label": names[0], "probabilities": dict(zip(names, row, strict=True))})
        if targets is not None:
            losses = F.cross_entropy(logits, targets, reduction="none").tolist()
            found = [answer | {"nats": loss} for answer, loss in zip(found, losses, strict=True)]
        return found

    def calibrate(
        self, answers: Sequence[dict[str, Any]], rows: Sequence[Row]
    ) -> list[dict[str, Any]]:
        """Return the answers as they are: the most probable label needs no threshold."""
        return [*answers]

    def short(self, answer: dict[str, Any]) -> str:
        """Return the label of an answer."""
        return answer["label"]

    def format(self, answer: dict[str, Any]) -> str:
        """Return an answer as one text."""
        return answer["label"]

    def compute_metrics(
        self, answers: Sequence[dict[str, Any]], rows: Sequence[Row]
    ) -> dict[str, float]:
        """Return accuracy, macro_f1 and loss, the mean negative log-likelihood in nats.

        The loss is over the rows whose labels occur in training; without such rows there is none.
        """
        from sklearn.metrics import accuracy_score, f1_score, log_loss

        truth = [column(row, "label") for row in rows]
        found = [answer["label"] for answer in answers]
        known = [i for i, label in enumerate(truth) if label in self.ids]  # others are improbable
        scores = {
            "accuracy": float(accuracy_score(truth, found)),
            "macro_f1": float(f1_score(truth, found, average="macro", zero_division=0)),
        }
        if known and "nats" in answers[0]:
            scores["loss"] = sum(answers[i]["nats"] for i in known) / len(known)
        elif known:
            chosen = [[*answers[i]["probabilities"].values()] for i in known]
            shares = torch.tensor(chosen).double()
            shares /= shares.sum(1, keepdim=True)
            labels = [truth[i] for i in known]
            scores["loss"] = float(log_loss(labels, shares.numpy(), labels=self.labels))
        return scores

    def report(self, answers: Sequence[dict[str, Any]], rows: Sequence[Row]) -> dict[str, Any]:
        """Return the scores of each label, and the surest mistakes."""
        truth = [column(row, "label") for row in rows]
        found = [answer["label"] for answer in answers]
        labels = [*self.labels, *sorted({*truth} - {*self.labels})]
        return {
            "per_label": metrics.per_label(truth, found, labels),
            "mistakes": _mistakes(answers, rows, truth),
        }


def _mistakes(
    answers: Sequence[dict[str, Any]], rows: Sequence[Row], truth: Sequence[str]
) -> list[dict[str, Any]]:
    """Return the SHOWN_MISTAKES wrong answers with the highest probability."""
    wrong = [
        {
            "source": row.source,
            "label": label,
            "answer": answer["label"],
            "probability": answer["probabilities"][answer["label"]],
            "text": features.shown(row["text"])[:SHOWN_TEXT],
        }
        for answer, row, label in zip(answers, rows, truth, strict=True)
        if answer["label"] != label
    ]
    return sorted(wrong, key=lambda mistake: -mistake["probability"])[:SHOWN_MISTAKES]
