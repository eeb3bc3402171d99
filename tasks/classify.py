"""Document classification: one label for a whole text.

An LSTM returns `output` (h at every step), `h_n` and `c_n` (both states after the last step). A
label for a whole text needs one vector that has seen the whole text. That vector is `h_n`: the
forward direction ends at the last token, the backward direction at the first. The default,
`pool=merged`, concatenates the two.

The last step of `output` looks right, but is wrong for half of the vector: there the backward
direction has read only one token. `pool=last` does this, for comparison.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.config import Count, Share
from zoo.data.dataset import Batch, Example
from zoo.data.readers import Row, column
from zoo.errors import InputError, RowError
from zoo.evaluation import baselines, plots
from zoo.nn.backbone import Backbone, Encoded
from zoo.task import Task
from zoo.text.tokenizers import Tokenizer

Pool = Literal["merged", "mean", "max", "last", "attention"]

WHY = {
    "merged": "the final h of each direction has read the whole text",
    "mean": "every step counts the same, however early it was read",
    "max": "each feature is taken at the step where it is largest",
    "last": "a common mistake: at the last step the backward direction has read one token",
    "attention": "a learned weight per step selects the steps that matter",
}


class Classify(Task):
    """A text classifier: final h of both directions -> dropout -> linear layer -> softmax."""

    target_columns = ("label",)
    metric = "accuracy"
    shape = "batch, directions x hidden: one vector per text"
    logits = "batch, labels"

    def __init__(
        self,
        backbone: Backbone,
        tokenizer: Tokenizer,
        labels: list[str],
        label_counts: list[int] | None = None,
        pool: Pool = "merged",
        dropout: Share = 0.5,
        max_length: Count = 400,
        class_weights: Literal["none", "balanced"] = "none",
        label_smoothing: Share = 0.0,
    ) -> None:
        """`labels` are in the order of the logits; texts are truncated to `max_length` tokens.

        `class_weights=balanced` needs `label_counts`, the number of training rows of each label.
        Raises ValueError without them.
        """
        super().__init__(
            backbone,
            tokenizer,
            labels=labels,
            label_counts=label_counts,
            pool=pool,
            dropout=dropout,
            max_length=max_length,
            class_weights=class_weights,
            label_smoothing=label_smoothing,
        )
        self.labels = labels
        self.label_ids = {label: i for i, label in enumerate(labels)}
        self.pool = pool
        self.max_length = max_length
        self.label_smoothing = label_smoothing
        self.reads = "h_n" if pool == "merged" else "output"
        self.why = WHY[pool]
        self.attention = nn.Linear(backbone.output_size, 1) if pool == "attention" else None
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(backbone.output_size, len(labels))
        weights = None
        if class_weights == "balanced":
            if not label_counts:
                raise ValueError("class_weights=balanced needs label_counts")
            weights = sum(label_counts) / (len(labels) * torch.tensor(label_counts).float())
        self.weights: Tensor | None
        self.register_buffer("weights", weights, persistent=False)  # (labels,)

    @classmethod
    def learn(cls, rows: Iterable[Row]) -> dict[str, Any]:
        """The labels of the training rows and their counts. Raises InputError below two labels."""
        counts = Counter(column(row, "label") for row in rows)
        if len(counts) < 2:
            raise InputError(
                f"all training rows have the label {[*counts]}: two or more are needed"
            )
        labels = sorted(counts)
        return {"labels": labels, "label_counts": [counts[label] for label in labels]}

    @classmethod
    def baseline(cls, train: Iterable[Row], test: Iterable[Row], kind: str) -> dict[str, Any]:
        return baselines.tfidf(train, test, kind)

    def encode(self, row: Row) -> Example:
        """ "ids" of the text, truncated to `max_length`, and "target", the number of its label."""
        ids = self.tokenizer.encode(column(row, "text"))
        example: dict[str, Any] = {
            "ids": [*ids[: self.max_length], *self.end_ids],
            "cut": int(len(ids) > self.max_length),
        }
        if "label" in row:
            label = column(row, "label")
            if label not in self.label_ids:
                raise RowError(row.source, f"label {label!r} does not occur in the training rows")
            example["target"] = self.label_ids[label]
        return example

    def read(self, encoded: Encoded) -> Tensor:
        """One vector per text: (batch, directions * hidden)."""
        if self.pool == "merged":  # h_n (layers * directions, batch, hidden): the top layer is last
            directions = 2 if self.backbone.lstm.bidirectional else 1
            return torch.cat([*encoded.h_n[-directions:]], -1).float()
        output = encoded.output.float()  # (batch, time, directions * hidden)
        lengths = encoded.lengths.to(output.device).clamp(min=1).unsqueeze(1)  # (batch, 1)
        if self.pool == "mean":
            return output.sum(1) / lengths
        if self.pool == "last":
            return output[torch.arange(output.size(0)), lengths.squeeze(1) - 1]
        padding = torch.arange(output.size(1), device=output.device) >= lengths  # (batch, time)
        if self.pool == "max":
            return output.masked_fill(padding.unsqueeze(-1), -1).amax(1)  # h is never below -1
        assert self.attention is not None
        scores = self.attention(output.tanh()).squeeze(-1).float()  # (batch, time)
        weights = scores.masked_fill(padding, -torch.inf).softmax(1)
        return (weights.unsqueeze(1) @ output).squeeze(1)

    def forward(self, batch: Batch) -> Tensor:
        """Logits (batch, labels)."""
        encoded = self.backbone(batch.ids, batch.lengths)
        return self.head(self.dropout(self.read(encoded)))

    def loss(self, batch: Batch) -> Tensor:
        """Mean cross entropy of the labels, with class weights and label smoothing."""
        assert batch.target is not None
        losses = F.cross_entropy(
            self(batch).float(),
            batch.target,
            self.weights,
            reduction="none",
            label_smoothing=self.label_smoothing,
        )
        return losses.mean()  # over the rows, whatever their weights

    def predict_batch(self, batch: Batch) -> list[dict[str, Any]]:
        """{"label": the most probable one, "probabilities": in the order of `labels`} per row."""
        probabilities = self(batch).float().softmax(-1).tolist()
        return [{"label": self.labels[_best(p)], "probabilities": p} for p in probabilities]

    def compute_metrics(
        self, answers: Sequence[dict[str, Any]], rows: Sequence[Row]
    ) -> dict[str, float]:
        """Accuracy, macro F1 and mean negative log-likelihood ("loss", in nats)."""
        from sklearn.metrics import accuracy_score, f1_score, log_loss

        truth = [column(row, "label") for row in rows]
        found = [answer["label"] for answer in answers]
        probabilities = torch.tensor([answer["probabilities"] for answer in answers]).double()
        probabilities /= probabilities.sum(1, keepdim=True)
        return {
            "accuracy": float(accuracy_score(truth, found)),
            "macro_f1": float(f1_score(truth, found, average="macro", zero_division=0)),
            "loss": float(log_loss(truth, probabilities.numpy(), labels=self.labels)),
        }

    def format(self, answer: dict[str, Any]) -> str:
        return answer["label"]

    def to_json(self, answer: dict[str, Any]) -> dict[str, Any]:
        probabilities = dict(zip(self.labels, answer["probabilities"], strict=True))
        return {"label": answer["label"], "probabilities": probabilities}

    def predict(self, texts: str | Iterable[str], probabilities: bool = False) -> list[Any]:
        """The labels of texts, or with `probabilities` a {label: probability} of each text."""
        answers = super().predict(texts)
        if probabilities:
            return [self.to_json(answer)["probabilities"] for answer in answers]
        return [answer["label"] for answer in answers]

    def report(self, answers: Sequence[Any], rows: Sequence[Row], folder: Path) -> dict[str, Any]:
        """Draw confusion.png; returns its counts (one row per true label) and the most confident
        mistakes."""
        truth = [column(row, "label") for row in rows]
        counts = plots.confusion(truth, [a["label"] for a in answers], self.labels, folder)
        confusion = {"labels": self.labels, "counts": counts}
        return {"confusion": confusion, "mistakes": _mistakes(answers, rows, truth)}


def _best(probabilities: list[float]) -> int:
    """The number of the largest probability, the first of equal ones."""
    return max(range(len(probabilities)), key=probabilities.__getitem__)


def _mistakes(
    answers: Sequence[dict[str, Any]], rows: Sequence[Row], truth: Sequence[str], most: int = 10
) -> list[dict[str, Any]]:
    """The `most` wrong answers with the highest probability."""
    wrong = [
        {
            "place": row.source,
            "label": label,
            "answer": answer["label"],
            "probability": max(answer["probabilities"]),
            "text": row["text"][:200],
        }
        for answer, row, label in zip(answers, rows, truth, strict=True)
        if answer["label"] != label
    ]
    return sorted(wrong, key=lambda mistake: -mistake["probability"])[:most]
