"""Span labels such as B-PER I-PER O: their allowed transitions, and span-level scores.

BIO     B- begins a span, I- continues it, O is outside (Ramshaw and Marcus 1995, "IOB2")
BIOES   also E- for the last word of a span, and S- for a span of one word
BILOU   the same with L- for E- and U- for S- (Ratinov and Roth 2009)
IOB1    I- also begins a span, B- only one that follows another of its kind

B_PER is read as B-PER. Where there is one kind, labels may also be bare: B I O.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Collection, Iterable, Sequence
from typing import Any

import numpy as np

OUTSIDE = "O"
BEGIN = ("B", "S", "U")  # prefixes of a span's first word
GO_ON = ("I", "E", "L")  # prefixes of its other words
PREFIXES = BEGIN + GO_ON
LAST = ("E", "S", "L", "U")  # prefixes of its last word
BARE = "span"  # the kind of labels without one

_LABEL = re.compile("([BISEUL])[-_](.+)", re.DOTALL)
_PLAIN = {"U": "S", "L": "E"}  # a prefix of BILOU -> that of BIOES


def parts(label: str) -> tuple[str, str]:
    """Split a label into prefix and kind: B-PER into ("B", "PER"), O into ("O", "")."""
    if found := _LABEL.fullmatch(label):
        return found[1], found[2]
    if label in PREFIXES:
        return label, BARE
    prefix, _, kind = label.partition("-")
    return prefix, kind


def are_spans(labels: Iterable[str]) -> bool:
    """Return whether all labels are span labels, in one of the schemes above."""
    inside = {label for label in labels if label != OUTSIDE}
    if inside <= {*PREFIXES}:
        return "B" in inside and len(inside) > 1
    return all(_LABEL.fullmatch(label) for label in inside)


def why_no_spans(labels: Iterable[str]) -> str:
    """Return why labels that look like spans are none; "" for spans and for any other labels."""
    inside = sorted({label for label in labels if label != OUTSIDE})
    if not inside or are_spans(inside):
        return ""
    if all(label.isdecimal() for label in inside):
        return "they are numbers: write names such as B-PER in their place"
    others = [label for label in inside if not _LABEL.fullmatch(label)]
    if 2 * len(others) > len(inside):
        return ""
    return f"{others[0]!r} is neither O nor begins with B- or I-"


def are_iob1(pairs: Collection[tuple[str, str]]) -> bool:
    """Return whether pairs of labels that follow each other are IOB1 and not BIO.

    The first label follows "". In IOB1 B- only stands behind a span of the same kind, and I-
    begins the others.
    """
    cut = [(parts(before), parts(after)) for before, after in pairs]
    labels = {after for _, after in pairs}
    if not are_spans(labels) or any(parts(label)[0] not in ("B", "I", "O") for label in labels):
        return False
    begun = [(before, after) for before, after in cut if after[0] == "B"]
    if any(before[1] != after[1] for before, after in begun):
        return False
    return any(before[1] != after[1] for before, after in cut if after[0] == "I")


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
    has_end_labels = any(parts(label)[0] in LAST for label in scheme)
    return not (has_end_labels and is_open)


def forbidden_transitions(
    labels: Sequence[str], exceptions: Iterable[Sequence[str]]
) -> np.ndarray | None:
    """Return the forbidden transitions for `zoo.nn.crf.CRF`, (labels + 1, labels) bool.

    Entry (i, j) is True where label j must not follow label i. The last row is True for labels
    that must not come first. The pairs in `exceptions` are allowed. Returns None unless all
    labels are span labels.
    """
    if not are_spans(labels):
        return None
    numbers = {label: number for number, label in enumerate([*labels, ""])}
    each = [parts(label) for label in numbers]
    is_open = np.array([prefix in ("B", "I") for prefix, _ in each])[:, None]
    goes_on = np.array([prefix in GO_ON for prefix, _ in each[:-1]])
    kinds = {kind: number for number, (_, kind) in enumerate(each)}
    kind = np.array([kinds[kind] for _, kind in each])
    must_end = is_open & any(prefix in LAST for prefix, _ in each)
    continued = is_open & (kind[:, None] == kind[:-1])  # (labels + 1, labels)
    forbidden = np.where(goes_on, ~continued, must_end)
    for before, after in exceptions:
        if before in numbers and after in labels:
            forbidden[numbers[before], numbers[after]] = False
    return forbidden


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
        return score(_bioes(wanted), _bioes(found), zero_division=0, **options)


def _bioes(sentences: Iterable[Iterable[str]]) -> list[list[str]]:
    """Return labels in the spelling that seqeval reads."""
    return [[_spelt(label) for label in sentence] for sentence in sentences]


def _spelt(label: str) -> str:
    """Return a span label as B-, I-, E- or S- and its kind; O and others as they are."""
    prefix, kind = parts(label)
    return f"{_PLAIN.get(prefix, prefix)}-{kind}" if prefix in PREFIXES and kind else label
