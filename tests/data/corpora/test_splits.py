"""Held-out splits: a tenth each, the same rows every time, and equal texts on one side."""

from __future__ import annotations

import json
from collections import Counter
from itertools import chain

from corpus_cases import disjoint, files, parts, refused, texts

from zoo.data.corpora import splits

NUMBERED = [(f"text {i}", str(i % 2)) for i in range(3000)]


def test_a_tenth_is_held_out_for_each_split_and_nothing_is_lost(table):
    train, valid, test = texts(files(table("a.csv", NUMBERED)))
    assert sorted(train + valid + test) == sorted(text for text, _ in NUMBERED)
    assert len(valid) == len(test) == 300


def test_the_same_rows_are_held_out_every_time(table):
    splits = files(table("a.csv", NUMBERED))
    assert texts(splits) == texts(splits) == texts(files(table("b.csv", NUMBERED)))
    _, valid, test = texts(splits)
    _, later_valid, later_test = texts(files(table("c.csv", NUMBERED[::-1])))
    assert (later_valid, later_test) == (valid[::-1], test[::-1])  # whatever their order
    assert valid[:3] == ["text 10", "text 21", "text 23"]  # and on every machine


def test_only_what_is_not_given_is_held_out(table):
    a, b, c = (table(f"{n}.csv", NUMBERED[i::3]) for i, n in enumerate("abc"))
    all_a, all_b, all_c = ([text for text, _ in NUMBERED[i::3]] for i in range(3))
    assert texts(files(a, b, c)) == [all_a, all_b, all_c]
    train, valid, test = texts(files(a, test=c))
    assert test == all_c
    assert sorted(train + valid) == sorted(all_a)
    assert len(valid) == 100
    train, valid, test = texts(files(a, valid=b))
    assert (valid, sorted(train + test)) == (all_b, sorted(all_a))


def test_a_text_that_occurs_again_stays_on_its_side_whatever_else_is_in_the_row(table):
    rows = [(f"text {i % 500}", f"{i % 3}", i) for i in range(3000)]
    sides = texts(files(table("a.csv", rows, ("text", "label", "id"))))
    train, valid, test = map(set, sides)
    assert disjoint(sides)
    assert [len(side) for side in sides] == [6 * len(side) for side in (train, valid, test)]


def test_a_text_stays_on_its_side_where_enough_is_held_out(table, monkeypatch):
    monkeypatch.setattr(splits, "MOST_HELD_OUT", 10)
    rows = [(f"text {i % 500}", str(i % 3)) for i in range(3000)]
    sides = texts(files(table("a.csv", rows)))
    train, valid, test = map(set, sides)
    assert (len(valid), len(test), len(train)) == (10, 10, 480)
    assert sum(map(len, sides)) == len(rows)


def test_rows_without_a_text_are_held_out_by_all_they_hold(write):
    lines = [json.dumps({"words": ["w", str(i)], "tags": ["X", "Y"]}) for i in range(500)]
    splits = files(write("a.jsonl", "\n".join(lines)))
    found = [[row["words"][1] for row in rows] for rows in parts(splits)]
    assert sorted(chain(*found), key=int) == [str(i) for i in range(500)]
    assert len(found[1]) == 50


def test_held_out_rows_say_where_they_stand(table):
    for row in files(table("a.csv", NUMBERED)).valid:
        assert row.source == f"a.csv:{int(row['text'].split()[1]) + 2}"


def labels(rows):
    return Counter(row["label"] for row in rows)


def test_each_label_has_its_share_in_every_split(table):
    kinds = {"often": 800, "seldom": 60, "hardly": 20}
    rows = [(f"{kind} {i}", kind) for kind, count in kinds.items() for i in range(count)]
    for part, tenths in zip(parts(files(table("a.csv", rows))), (8, 1, 1), strict=True):
        for kind, count in kinds.items():
            assert abs(labels(part)[kind] - tenths * count / 10) <= 1


def test_a_label_with_too_few_rows_stays_in_training_and_is_named(table, caplog):
    rows = [(f"text {i}", "ab"[i % 2]) for i in range(40)]
    rows += [("x1", "x"), ("y1", "y"), ("y2", "y"), *[(f"z{i}", "z") for i in range(3)]]
    with caplog.at_level("INFO", "zoo"):
        train, valid, test = parts(files(table("a.csv", rows)))
    assert (labels(train)["x"], labels(train)["y"]) == (1, 2)
    assert labels(train)["z"] >= 1
    assert not {"x", "y"} & {*labels(valid), *labels(test)}
    (said,) = {m for m in caplog.messages if "too few" in m}
    assert said == "a.csv: labels with too few rows stay in training: 'x' (1), 'y' (2)"


def test_many_labels_with_few_rows_each_are_held_out_too(table):
    rows = [(f"text {i}", str(i % 100)) for i in range(400)]
    train, valid, test = parts(files(table("a.csv", rows)))
    assert len(valid) == len(test) == 40
    assert len(labels(train)) == 100


def test_rows_without_a_text_that_can_be_read_stay_in_training(table):
    rows = [(" " if i % 4 == 0 else f"text {i}", str(i % 3)) for i in range(100)]
    train, valid, test = texts(files(table("a.csv", rows)))
    assert " " not in valid + test
    assert train.count(" ") == 25


def test_too_few_rows_to_hold_some_out_name_the_cure(table):
    rows = [(f"text {i % 9}", str(i % 2)) for i in range(90)]
    splits = files(table("a.csv", rows))
    assert len(list(splits.train)) == 90  # so that what is wrong with a row is said first
    cure = "give data.valid=… and data.test=…"
    for part in (splits.valid, splits.test):
        said = refused(list, part)
        assert said == f"a.csv: too few distinct rows to hold some out: {cure}"
