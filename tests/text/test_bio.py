"""Span labels: scores as conlleval computes them, and the allowed transitions."""

from __future__ import annotations

import random
import warnings
from itertools import pairwise

import pytest

from zoo.text import bio

BIO = ["O", "B-X", "I-X", "B-Y", "I-Y"]
BIOES = [*BIO, "E-X", "S-X", "E-Y", "S-Y"]
MALFORMED = {
    "I- after O": ["O I-X I-X O", "O B-X I-X O"],
    "I- of another kind": ["B-Y I-X I-X", "B-Y I-Y I-X"],
    "I- at the beginning": ["I-X I-X O I-Y", "B-X I-X O B-Y"],
    "kinds in turn": ["I-X I-Y I-X I-Y", "B-X I-Y B-X B-Y"],
    "B- within": ["B-X B-X I-X B-X", "B-X I-X I-X B-X"],
    "to the end": ["O B-X I-X", "O B-X I-X"],
    "too short": ["B-X I-X I-X O", "B-X I-X O O"],
    "too long": ["B-X I-X O O", "B-X I-X I-X O"],
    "too late": ["B-X I-X O", "O B-X O"],
    "another kind": ["B-X I-X O", "B-Y I-Y O"],
    "nothing found": ["B-X I-X O", "O O O"],
    "nothing there": ["O O O", "O I-Y O"],
    "neither": ["O O O", "O O O"],
}


def cut(label):
    return (label[0], label[2:]) if label != "O" else ("O", "")


def begins(before, now):
    """conlleval's rule: a chunk starts at B-, or at I- behind O or behind another type."""
    return now[0] == "B" or (now[0] == "I" and (before[0] == "O" or before[1] != now[1]))


def ends(before, now):
    return before[0] != "O" and (now[0] in ("O", "B") or before[1] != now[1])


def conlleval(wanted, found):
    """Both sides are read at once, with a flag for "in a chunk that is right so far"."""
    right = truly = guessed = 0
    for sentence, guess in zip(wanted, found, strict=True):
        good, last, last_guess = False, ("O", ""), ("O", "")
        for one, other in zip([*sentence, "O"], [*guess, "O"], strict=True):
            now, now_guess = cut(one), cut(other)
            over, over_guess = ends(last, now), ends(last_guess, now_guess)
            if good and (over or over_guess):
                right += over and over_guess
                good = False
            new, new_guess = begins(last, now), begins(last_guess, now_guess)
            if new and new_guess and now[1] == now_guess[1]:
                good = True
            truly, guessed = truly + new, guessed + new_guess
            last, last_guess = now, now_guess
    precision, recall = right / guessed if guessed else 0.0, right / truly if truly else 0.0
    f1 = 2 * precision * recall / (precision + recall) if right else 0.0
    return {"precision": precision, "recall": recall, "f1": f1}


@pytest.fixture(autouse=True)
def _no_warnings_escape():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    assert not caught


def split(*sentences):
    return [sentence.split() for sentence in sentences]


@pytest.mark.parametrize("name", MALFORMED)
def test_scores_are_conllevals(name):
    one, other = split(*MALFORMED[name])
    for wanted, found in ((one, other), (other, one)):
        scores = bio.scores([wanted], [found])
        assert scores == pytest.approx(conlleval([wanted], [found]), abs=1e-12)
        assert all(type(score) is float for score in scores.values())


def test_scores_of_all_malformed_sentences_together_are_conllevals():
    wanted, found = zip(*(split(*pair) for pair in MALFORMED.values()), strict=True)
    assert bio.scores(wanted, found) == pytest.approx(conlleval(wanted, found), abs=1e-12)


def test_scores_of_random_labels_are_conllevals():
    draw = random.Random(0)
    right = 0
    for _ in range(300):
        lengths = [draw.randint(0, 6) for _ in range(draw.randint(1, 5))]
        wanted = [draw.choices(BIO, (4, 2, 3, 1, 2), k=length) for length in lengths]
        found = [[w if draw.random() < 0.7 else draw.choice(BIO) for w in row] for row in wanted]
        scores = bio.scores(wanted, found)
        assert scores == pytest.approx(conlleval(wanted, found), abs=1e-12), (wanted, found)
        right += 0 < scores["f1"] < 1
    assert right > 150


@pytest.mark.parametrize(
    ("wanted", "found", "precision", "recall", "f1"),
    [
        (["B-X I-X O B-Y"], ["B-X I-X O B-X"], 1 / 2, 1 / 2, 1 / 2),
        (["B-X I-X I-X O B-Y", "B-X"], ["B-X I-X O O B-Y", "O"], 1 / 2, 1 / 3, 2 / 5),
        (["I-X I-X O I-Y"], ["B-X I-X O B-Y"], 1, 1, 1),
        (["B-X", "I-X"], ["B-X", "B-X"], 1, 1, 1),  # no span goes on in the next sentence
        (["B-X O O"], ["B-X B-X B-Y"], 1 / 3, 1, 1 / 2),
        (["B-Y I-X"], ["B-Y I-Y"], 0, 0, 0),
        (["B-X E-X O S-Y"], ["B-X E-X O S-X"], 1 / 2, 1 / 2, 1 / 2),
        (["S-X S-X", "B-X I-X E-X"], ["B-X E-X", "B-X I-X E-X"], 1 / 2, 1 / 3, 2 / 5),
        (["S-X S-X", "B-X E-X O"], ["S-X S-X", "B-X I-X E-X"], 2 / 3, 2 / 3, 2 / 3),
        (["B-A-B I-A-B"], ["B-A-B I-A-C"], 0, 0, 0),  # a kind may have a hyphen
    ],
)
def test_scores_are_those_of_a_pencil(wanted, found, precision, recall, f1):
    scores = bio.scores(split(*wanted), split(*found))
    assert scores == pytest.approx({"precision": precision, "recall": recall, "f1": f1})


def test_sentences_may_be_tuples():
    assert bio.scores([("B-X", "O")], (("B-X", "B-X"),))["precision"] == 0.5
    assert bio.table([("B-X", "O")], (("B-X", "B-X"),))[0]["recall"] == 1


def test_the_table_has_a_line_for_each_kind():
    wanted = split("B-X I-X O B-Y", "B-X O B-Y B-Y")
    found = split("B-X I-X O B-Y", "B-X O B-Z O")
    kinds = [
        ("X", 1.0, 1.0, 1.0, 2),
        ("Y", 1.0, 1 / 3, 0.5, 3),
        ("Z", 0.0, 0.0, 0.0, 0),
    ]
    names = "label", "precision", "recall", "f1", "count"
    table = bio.table(wanted, found)
    assert table == [pytest.approx(dict(zip(names, kind, strict=True))) for kind in kinds]
    assert [type(cell) for cell in table[0].values()] == [str, float, float, float, int]


def test_without_spans_the_table_is_empty_and_the_scores_are_zero():
    none = split("O O", "O")
    assert bio.table(none, none) == []
    assert set(bio.scores(none, none).values()) == {0.0}


# Rows: the label before ("" at the beginning); columns: the label behind; x where it must not be.
BIO_TABLE = """
      O B-X I-X B-Y I-Y
""    .  .   x   .   x
O     .  .   x   .   x
B-X   .  .   .   .   x
I-X   .  .   .   .   x
B-Y   .  .   x   .   .
I-Y   .  .   x   .   .
"""
BIOES_TABLE = """
      O B-X I-X B-Y I-Y E-X S-X E-Y S-Y
""    .  .   x   .   x   x   .   x   .
O     .  .   x   .   x   x   .   x   .
B-X   x  x   .   x   x   .   x   x   x
I-X   x  x   .   x   x   .   x   x   x
B-Y   x  x   x   x   .   x   x   .   x
I-Y   x  x   x   x   .   x   x   .   x
E-X   .  .   x   .   x   x   .   x   .
S-X   .  .   x   .   x   x   .   x   .
E-Y   .  .   x   .   x   x   .   x   .
S-Y   .  .   x   .   x   x   .   x   .
"""


def ruled_out(text):
    """{(before, after)} of a table."""
    header, *rows = [line.split() for line in text.strip().splitlines()]
    return header, {
        (before.strip('"'), after)
        for before, *marks in rows
        for after, mark in zip(header, marks, strict=True)
        if mark == "x"
    }


@pytest.mark.parametrize("text", [BIO_TABLE, BIOES_TABLE], ids=["BIO", "BIOES"])
def test_what_may_follow_what(text):
    labels, wrong = ruled_out(text)
    assert labels in (BIO, BIOES)
    every = {(before, after) for before in ["", *labels] for after in labels}
    assert {pair for pair in every if not bio.may_follow(*pair, labels)} == wrong


@pytest.mark.parametrize("text", [BIO_TABLE, BIOES_TABLE], ids=["BIO", "BIOES"])
@pytest.mark.parametrize("exceptions", [[], [("", "I-X"), ["O", "I-Y"], ["B-X", "O"]]], ids=len)
def test_barred_is_the_table_without_its_exceptions(text, exceptions):
    labels, wrong = ruled_out(text)
    found = bio.forbidden_transitions(labels, exceptions)
    allowed = {tuple(pair) for pair in exceptions}
    wanted = [[(i, j) in wrong - allowed for j in labels] for i in [*labels, ""]]
    assert found.dtype == bool
    assert found.tolist() == wanted


@pytest.mark.parametrize("last", ["E-X", "S-X"])
def test_either_of_e_and_s_says_that_spans_must_end(last):
    assert not bio.may_follow("B-X", "O", [*BIO, last])
    assert bio.may_follow("B-X", "O", BIO)


def test_barred_follows_the_order_of_the_labels():
    labels = sorted(BIO, reverse=True)
    found = bio.forbidden_transitions(labels, [])
    assert bool(found[labels.index("O"), labels.index("I-X")])
    assert not bool(found[labels.index("B-X"), labels.index("I-X")])


def test_of_labels_that_are_no_spans_nothing_is_barred():
    assert bio.forbidden_transitions(["NOUN", "VERB"], []) is None


@pytest.mark.parametrize(
    ("labels", "answer"),
    [
        (BIO, True),
        (BIOES, True),
        (["B-X", "I-X"], True),
        (["O", "I-X"], True),
        (["B-A-B", "O"], True),
        (["O"], False),
        ([], False),
        (["NOUN", "VERB"], False),
        (["NOUN", "-LRB-", "-RRB-"], False),
        (["O", "B-"], False),
        (["O", "B"], False),
        ([*BIO, "NOUN"], False),
        (["O", "BB-X"], False),
        (["O", "X-B"], False),
        (["O", "B", "I"], True),
        (["I", "O"], False),
        (["O", "B", "I-X"], False),
        (["O", "B_X", "I_X"], True),
        (["O", "B-X", "L-X", "U-X"], True),
        (["O", "-X"], False),
        (["O", "", "B-X"], False),
        (["B-X", "o"], False),
        (iter(BIO), True),
    ],
)
def test_which_labels_are_of_spans(labels, answer):
    assert bio.are_spans(labels) is answer


def test_parts_of_labels():
    labels = ("B-PER", "O", "I-A-B", "", "U_LOC", "L-X", "I", "S")
    assert [bio.parts(label) for label in labels] == [
        ("B", "PER"),
        ("O", ""),
        ("I", "A-B"),
        ("", ""),
        ("U", "LOC"),
        ("L", "X"),
        ("I", "span"),
        ("S", "span"),
    ]


OTHER_SPELLINGS = {
    "bilou": lambda label: {"E": "L", "S": "U"}.get(label[0], label[0]) + label[1:],
    "underscore": lambda label: label.replace("-", "_"),
    "bare": lambda label: label[0],
}


@pytest.mark.parametrize("name", OTHER_SPELLINGS)
def test_other_spellings_score_as_bioes(name):
    spelt = OTHER_SPELLINGS[name]
    kinds = ["X"] if name == "bare" else ["X", "Y"]
    labels = ["O", *(f"{prefix}-{kind}" for prefix in "BIES" for kind in kinds)]
    draw = random.Random(3)
    wanted = [draw.choices(labels, k=8) for _ in range(60)]
    found = [[w if draw.random() < 0.7 else draw.choice(labels) for w in row] for row in wanted]
    other = [[[*map(spelt, row)] for row in rows] for rows in (wanted, found)]
    assert bio.are_spans(map(spelt, labels))
    assert bio.scores(*other) == bio.scores(wanted, found)
    assert 0 < bio.scores(*other)["f1"] < 1
    kind = {"X": "span"} if name == "bare" else {}
    table = [
        row | {"label": kind.get(row["label"], row["label"])} for row in bio.table(wanted, found)
    ]
    assert bio.table(*other) == table
    for before in ["", *labels]:
        for after in labels:
            allowed = bio.may_follow(before, after, labels)
            now = before and spelt(before)
            assert bio.may_follow(now, spelt(after), [*map(spelt, labels)]) == allowed


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (BIO, ""),
        (["O"], ""),
        (["NOUN", "VERB", "B-X"], ""),
        (["0", "1", "2"], "they are numbers: write names such as B-PER in their place"),
        ([*BIO, "PER"], "'PER' is neither O nor begins with B- or I-"),
    ],
)
def test_labels_that_look_like_spans_say_why_they_are_none(labels, said):
    assert bio.why_no_spans(labels) == said


@pytest.mark.parametrize(
    ("labels", "answer"),
    [
        ("O I-X I-X B-X O I-Y", True),
        ("I-X I-Y", True),
        ("O B-X I-X", False),
        ("B-X I-X B-X I-X O", False),
        ("I-X O B-X", False),  # neither scheme
        ("O I-X E-X", False),
        ("NOUN I-X", False),
        ("O O", False),
    ],
)
def test_which_labels_are_iob1(labels, answer):
    found = ["", *labels.split()]
    assert bio.are_iob1({*pairwise(found)}) is answer
