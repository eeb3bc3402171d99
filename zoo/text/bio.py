"""Span labels such as B-PER I-PER O: their allowed transitions, and span-level scores.

BIO     B- begins a span, I- continues it, O is outside (Ramshaw and Marcus 1995, "IOB2")
BIOES   also E- for the last word of a span, and S- for a span of one word
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

OUTSIDE = "O"
BEGIN = ("B", "S")  # prefixes of a span's first word
GO_ON = ("I", "E")  # prefixes of its other words


def parts(label: str) -> tuple[str, str]:
    """Split a label into prefix and kind: B-PER into ("B", "PER"), O into ("O", "")."""
    prefix, _, kind = label.partition("-")
    return prefix, kind


def are_spans(labels: Iterable[str]) -> bool:
    """Return whether all labels are span labels, in BIO or BIOES."""
    inside = {label for label in labels if label != OUTSIDE}
    return bool(inside) and all(
        prefix in BEGIN + GO_ON and kind for prefix, kind in map(parts, inside)
    )


def may_follow(before: str, after: str, scheme: Iterable[str]) -> bool:
    """Return whether label `after` may follow label `before`; `scheme` holds all labels.

    `before` is "" at the beginning of a sentence. A span may only continue with its own kind. If
    the scheme has E- or S-, a span must end with E- before anything else follows.
    """
    prefix, kind = parts(after)
    before_prefix, before_kind = parts(before)
    is_open = before_prefix in ("B", "I")
    if prefix in GO_ON:
        return is_open and before_kind == kind
    has_end_labels = any(parts(label)[0] in ("E", "S") for label in scheme)
    return not (has_end_labels and is_open)


def forbidden_transitions(
    labels: Sequence[str], exceptions: Iterable[Sequence[str]]
) -> Tensor | None:
    """Return the forbidden transitions for `zoo.nn.crf.CRF`, (labels + 1, labels) bool.

    Entry (i, j) is True where label j must not follow label i. The last row is True for labels
    that must not come first. The pairs in `exceptions` are allowed. Returns None unless all
    labels are span labels.
    """
    if not are_spans(labels):
        return None
    allowed = {(before, after) for before, after in exceptions}
    return torch.tensor(
        [
            [not may_follow(i, j, labels) and (i, j) not in allowed for j in labels]
            for i in [*labels, ""]
        ]
    )


def scores(wanted: Sequence[Sequence[str]], found: Sequence[Sequence[str]]) -> dict[str, float]:
    """Return the micro-averaged precision, recall and f1 of spans, computed by seqeval.

    A span is correct if its kind, its first and its last word are. Malformed labels are read as
    by conlleval: I- after O begins a span.
    """
    from seqeval.metrics.sequence_labeling import precision_recall_fscore_support

    values = _without_warnings(precision_recall_fscore_support, wanted, found, average="micro")
    return dict(zip(("precision", "recall", "f1"), map(float, values[:3]), strict=True))


def table(wanted: Sequence[Sequence[str]], found: Sequence[Sequence[str]]) -> list[dict[str, Any]]:
    """Return label, precision, recall, f1 and count of each kind of span, computed by seqeval."""
    from seqeval.metrics import classification_report

    report = _without_warnings(classification_report, wanted, found, output_dict=True)
    return [
        {
            "label": kind,
            "precision": float(row["precision"]),
            "recall": float(row["recall"]),
            "f1": float(row["f1-score"]),
            "count": int(row["support"]),
        }
        for kind, row in report.items()
        if not kind.endswith(" avg")
    ]


def _without_warnings(score: Any, wanted: Any, found: Any, **options: Any) -> Any:
    """Call a function of seqeval; undefined scores are 0 without a warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return score([*map(list, wanted)], [*map(list, found)], zero_division=0, **options)
