"""Iterative stratification: rows with several labels each, divided so that each label has its share.

After Sechidis, Tsoumakas and Vlahavas, "On the stratification of multi-label data", 2011. The label
with the fewest rows left is divided first: later rows can no longer make up for it.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence

import numpy as np


def stratify(labels: Sequence[Sequence[int]], shares: Sequence[float]) -> np.ndarray:
    """Return the part of each row, (rows,), so that each part has its share of every label.

    `labels` are the numbers of each row's labels, `shares` those of the parts, in sum 1. Each part
    in turn takes the rows that it lacks most. The result depends on the order of the rows alone.
    """
    rows = [[*dict.fromkeys(own)] or [-1] for own in labels]  # rows without a label stay together
    members: dict[int, list[int]] = {}
    for row, own in enumerate(rows):
        for label in own:
            members.setdefault(label, []).append(row)
    lacking = {label: [share * len(found) for share in shares] for label, found in members.items()}
    room = [share * len(rows) for share in shares]
    left = {label: len(found) for label, found in members.items()}
    parts = np.full(len(rows), -1)
    queue = [(count, label) for label, count in left.items()]
    heapq.heapify(queue)
    while queue:
        count, label = heapq.heappop(queue)
        if not left[label]:
            continue
        if count != left[label]:  # rows of it were taken since
            heapq.heappush(queue, (left[label], label))
            continue
        for row in members[label]:
            if parts[row] >= 0:
                continue
            wanted = lacking[label]
            part = max(range(len(shares)), key=lambda one: (wanted[one], room[one]))
            parts[row] = part
            room[part] -= 1
            for each in rows[row]:
                lacking[each][part] -= 1
                left[each] -= 1
    return parts
