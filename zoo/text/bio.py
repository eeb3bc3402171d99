"""Span labels such as B-PER I-PER O: their allowed transitions, and span-level scores.

BIO     B- begins a span, I- continues it, O is outside (Ramshaw and Marcus 1995, "IOB2")
BIOES   also E- for the last word of a span, and S- for a span of one word
BILOU   the same with L- for E- and U- for S- (Ratinov and Roth 2009)
IOB1    I- also begins a span, B- only one that follows another of its kind

B_PER is read as B-PER. Where there is one kind, labels may also be bare: B I O.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from itertools import chain
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
    """Return the micro-averaged precision, recall and f1 of spans, by the rules of seqeval.

    A span is correct if its kind, its first and its last word are. Malformed labels are read as
    by conlleval: I- after O begins a span. Raises ValueError when lengths differ.
    """
    counts = _counts(wanted, found)[1].sum(1, keepdims=True)
    values = [float(value[0]) for value in _rates(*counts)]
    return dict(zip(("precision", "recall", "f1"), values, strict=True))


def table(wanted: Sequence[Sequence[str]], found: Sequence[Sequence[str]]) -> list[dict[str, Any]]:
    """Return label, precision, recall, f1 and count of each kind of span, by seqeval's rules."""
    kinds, counts = _counts(wanted, found)
    names = ("label", "precision", "recall", "f1", "count")
    columns = [kinds, *(part.tolist() for part in (*_rates(*counts), counts[2]))]
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


def _rates(right: np.ndarray, guessed: np.ndarray, true: np.ndarray) -> list[np.ndarray]:
    """Return precision, recall and F1 from counts of spans; 0 where there is nothing to divide."""
    precision, recall = right / np.maximum(guessed, 1), right / np.maximum(true, 1)
    both = precision + recall
    return [precision, recall, 2 * precision * recall / np.where(both > 0, both, 1)]


def _counts(
    wanted: Sequence[Sequence[str]], found: Sequence[Sequence[str]]
) -> tuple[list[str], np.ndarray]:
    """Return the kinds of spans, and how many are right, guessed and true: (3, kinds)."""
    if [len(row) for row in wanted] != [len(row) for row in found]:
        raise ValueError("each word needs a label and an answer")
    labels = [OUTSIDE, *{*chain.from_iterable(wanted), *chain.from_iterable(found)} - {OUTSIDE}]
    cut = [_cut(_spelt(label)) for label in labels]
    kinds = sorted({kind for _, kind in cut})
    of_label = np.array([kinds.index(kind) for _, kind in cut])
    size = 1 + sum(len(row) + 1 for row in wanted)
    true, guessed = (_spans(rows, labels, cut, of_label, size) for rows in (wanted, found))
    right = np.intersect1d(true, guessed, assume_unique=True)
    counts = [np.bincount(each // size**2, minlength=len(kinds)) for each in (right, guessed, true)]
    there = np.flatnonzero(counts[1] + counts[2])
    return [kinds[number] for number in there], np.stack(counts)[:, there]


def _spans(
    rows: Sequence[Sequence[str]],
    labels: Sequence[str],
    cut: Sequence[tuple[str, str]],
    of_label: np.ndarray,
    size: int,
) -> np.ndarray:
    """Return the spans of all rows, (spans,) int64, each as one number of kind, first and last word.

    `size` counts the words, with an O before all rows and one behind each. `cut` are the labels as
    seqeval reads them, `of_label` (labels,) the numbers of their kinds. Its rules decide between which labels a span begins or ends.
    """
    from seqeval.metrics.sequence_labeling import end_of_chunk, start_of_chunk

    numbers = {label: number for number, label in enumerate(labels)}
    words = chain.from_iterable((*row, OUTSIDE) for row in rows)
    flat = np.zeros(size, np.int64)  # O has the number 0
    flat[1:] = np.fromiter((numbers[word] for word in words), np.int64, size - 1)
    pairs, places = np.unique(flat[:-1] * len(cut) + flat[1:], return_inverse=True)
    found = []
    for rule in (start_of_chunk, end_of_chunk):
        holds = []
        for before, after in zip(*np.divmod(pairs, len(cut)), strict=True):
            (prefix, own), (next_prefix, other) = cut[before], cut[after]
            holds.append(rule(prefix, next_prefix, own, other))
        found.append(np.flatnonzero(np.array(holds)[places]))
    starts, ends = found
    starts = starts[np.searchsorted(starts, ends) - 1]  # the last one before each end
    return np.unique((of_label[flat[ends]] * size + starts) * size + ends)


def _cut(label: str) -> tuple[str, str]:
    """Return the prefix and the kind of a label as seqeval reads it."""
    return label[0], label[1:].split("-", maxsplit=1)[-1] or "_"


def _spelt(label: str) -> str:
    """Return a span label as B-, I-, E- or S- and its kind; O and others as they are."""
    prefix, kind = parts(label)
    return f"{_PLAIN.get(prefix, prefix)}-{kind}" if prefix in PREFIXES and kind else label
