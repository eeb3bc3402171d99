"""Labels of spans: B-PER I-PER O. Which may follow which, and how well spans were found.

BIO     B- begins a span, I- goes on with it, O is outside (Ramshaw and Marcus 1995, "IOB2")
BIOES   … E- ends it, S- is a span of one word
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

OUTSIDE = "O"
BEGIN, GO_ON = ("B", "S"), ("I", "E")  # prefixes of a span's first word, and of the others


def parts(label: str) -> tuple[str, str]:
    """("B", "PER") of B-PER; ("O", "") of O."""
    prefix, _, kind = label.partition("-")
    return prefix, kind


def are_spans(labels: Iterable[str]) -> bool:
    """Whether these are labels of spans, in BIO or BIOES."""
    inside = {label for label in labels if label != OUTSIDE}
    return bool(inside) and all(
        prefix in BEGIN + GO_ON and kind for prefix, kind in map(parts, inside)
    )


def may_follow(before: str, after: str, scheme: Iterable[str]) -> bool:
    """Whether `after` may stand behind `before`, "" at the beginning; `scheme`: all labels.

    What goes on must have begun, with the same kind; where there are E- and S-, what has begun must
    also end.
    """
    prefix, kind = parts(after)
    earlier, of = parts(before)
    is_open = earlier in ("B", "I")
    if prefix in GO_ON:
        return is_open and of == kind
    ends = any(parts(label)[0] in ("E", "S") for label in scheme)
    return not (ends and is_open)


def forbidden_transitions(
    labels: Sequence[str], exceptions: Iterable[Sequence[str]]
) -> Tensor | None:
    """(labels + 1, labels) bool, as `zoo.nn.crf.CRF` takes it: True where label j must not follow
    label i, in the last row where it must not come first; of labels of spans, else None."""
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
    """precision, recall and f1 of spans, by seqeval: a span counts when its kind, its begin and its
    end are right. Malformed labels are read as conlleval reads them: I- after O begins a span."""
    from seqeval.metrics.sequence_labeling import precision_recall_fscore_support

    values = _quiet(precision_recall_fscore_support, wanted, found, average="micro")
    return dict(zip(("precision", "recall", "f1"), map(float, values[:3]), strict=True))


def table(wanted: Sequence[Sequence[str]], found: Sequence[Sequence[str]]) -> list[dict[str, Any]]:
    """label, precision, recall, f1 and count of each kind of span, by seqeval."""
    from seqeval.metrics import classification_report

    report = _quiet(classification_report, wanted, found, output_dict=True)
    return [
        {"label": kind, "precision": float(row["precision"]), "recall": float(row["recall"]),
         "f1": float(row["f1-score"]), "count": int(row["support"])}
        for kind, row in report.items() if not kind.endswith(" avg")
    ]  # fmt: skip


def _quiet(score: Any, wanted: Any, found: Any, **options: Any) -> Any:
    with warnings.catch_warnings():  # of spans that nothing was found of: their scores are 0
        warnings.simplefilter("ignore")
        return score([*map(list, wanted)], [*map(list, found)], zero_division=0, **options)
