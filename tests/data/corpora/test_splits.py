"""Held-out splits: a tenth each, the same rows every time, and equal texts on one side."""

from __future__ import annotations

import json
from itertools import chain

from corpus_cases import disjoint, files, parts, texts

from zoo.data.corpora import splits

NUMBERED = [(f"text {i}", str(i % 2)) for i in range(3000)]


def test_a_tenth_is_held_out_for_each_split_and_nothing_is_lost(table):
    train, valid, test = texts(files(table("a.csv", NUMBERED)))
    assert sorted(train + valid + test) == sorted(text for text, _ in NUMBERED)
    assert 240 < len(valid) < 360
    assert 240 < len(test) < 360


def test_the_same_rows_are_held_out_every_time(table):
    splits = files(table("a.csv", NUMBERED))
    assert texts(splits) == texts(splits) == texts(files(table("b.csv", NUMBERED)))
    _, valid, test = texts(splits)
    _, later_valid, later_test = texts(files(table("c.csv", NUMBERED[::-1])))
    assert (later_valid, later_test) == (valid[::-1], test[::-1])  # whatever their order
    assert valid[:3] == ["text 98", "text 106", "text 116"]  # and on every machine


def test_only_what_is_not_given_is_held_out(table):
    a, b, c = (table(f"{n}.csv", NUMBERED[i::3]) for i, n in enumerate("abc"))
    all_a, all_b, all_c = ([text for text, _ in NUMBERED[i::3]] for i in range(3))
    assert texts(files(a, b, c)) == [all_a, all_b, all_c]
    train, valid, test = texts(files(a, test=c))
    assert test == all_c
    assert sorted(train + valid) == sorted(all_a)
    assert 60 < len(valid) < 140
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
    assert 25 < len(found[1]) < 80


def test_held_out_rows_say_where_they_stand(table):
    for row in files(table("a.csv", NUMBERED)).valid:
        assert row.source == f"a.csv:{int(row['text'].split()[1]) + 2}"
