"""Iterative stratification: each part has its share of every label and of every number of rows."""

from __future__ import annotations

import json

import numpy as np

from zoo.data.corpora import open_corpus
from zoo.data.corpora.stratify import stratify


def some_rows(count: int, seed: int = 0) -> list[list[int]]:
    """Rows with up to four of twelve labels, the first ones ten times as frequent as the last."""
    generator = np.random.default_rng(seed)
    chances = 0.4 / (1 + np.arange(12))
    return [np.flatnonzero(generator.random(12) < chances).tolist() for _ in range(count)]


def test_each_part_has_its_share_of_every_label():
    rows = some_rows(1000)
    parts = stratify(rows, [0.8, 0.1, 0.1])
    assert sorted(set(parts.tolist())) == [0, 1, 2]
    for part, share in enumerate([0.8, 0.1, 0.1]):
        assert abs((parts == part).mean() - share) < 0.015
        for label in range(12):
            has = np.array([label in own for own in rows])
            assert abs((has & (parts == part)).sum() - share * has.sum()) <= 2, (part, label)
        bare = np.array([not own for own in rows])
        assert abs((bare & (parts == part)).sum() - share * bare.sum()) <= 2


def test_a_random_split_does_worse():
    """Otherwise the test above would prove nothing."""
    rows = some_rows(1000)
    parts = np.random.default_rng(1).choice(3, 1000, p=[0.8, 0.1, 0.1])
    worst = 0.0
    for label in range(12):
        has = np.array([label in own for own in rows])
        worst = max(worst, abs((has & (parts == 1)).sum() - 0.1 * has.sum()))
    assert worst > 3


def test_the_same_rows_give_the_same_parts_and_none_stay_over():
    rows = some_rows(200)
    one, other = (stratify(rows, [0.5, 0.5]).tolist() for _ in range(2))
    assert one == other
    assert -1 not in one
    assert stratify([], [0.9, 0.1]).tolist() == []


def test_held_out_rows_have_every_label_and_a_rare_one_stays_in_training(tmp_path, caplog):
    rows = [
        {"text": f"text {number}", "labels": [f"L{label}" for label in own]}
        for number, own in enumerate(some_rows(600))
    ]
    rows[5]["labels"].append("rare")
    rows.append(rows[7] | {"labels": ["L0"]})  # a text that occurs again stays on its side
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings = {"name": "files", "train": str(path), "valid": None, "test": None}
    with caplog.at_level("INFO", "zoo"):
        splits = open_corpus(settings | {"text": "text", "label": "label"})
        parts = {name: [*getattr(splits, name)] for name in ("train", "valid", "test")}
    assert sum(map(len, parts.values())) == 601
    for name in ("valid", "test"):
        assert len(parts[name]) in range(55, 66)
        found = {label for row in parts[name] for label in row["label"]}
        assert found == {f"L{label}" for label in range(12)}
    texts = [{row["text"] for row in part} for part in parts.values()]
    assert sum(map(len, texts)) == len(set.union(*texts))
    assert "labels with too few rows stay in training: 'rare' (1)" in caplog.text
