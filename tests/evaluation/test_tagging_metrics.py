"""Labelled words: their scores, a baseline's, and how they are shown."""

from __future__ import annotations

import pytest
from conftest import DATA
from tag_cases import SPANS, sentences

from zoo.cli import tagged_text
from zoo.data import readers
from zoo.evaluation import baselines, metrics

FIGURES = ["accuracy", "accuracy_unseen", "sentence_accuracy"]


def test_words_sentences_and_unseen_words_are_counted():
    wanted = [["X", "Y", "X"], ["Y"], ["X", "X"]]
    found = [["X", "Y", "Y"], ["Y"], ["Y", "X"]]
    unseen = [[False, True, True], [False], [True, True]]
    assert metrics.tagging(found, wanted, unseen, False) == {
        "accuracy": 4 / 6,
        "accuracy_unseen": 2 / 4,
        "sentence_accuracy": 1 / 3,
    }


def test_without_unseen_words_or_without_any_their_accuracy_is_zero():
    values = metrics.tagging([["X"]], [["X"]], [[False]], False)
    assert values == dict(zip(FIGURES, (1.0, 0.0, 1.0), strict=True))
    assert metrics.tagging([], [], [], True) == dict.fromkeys(FIGURES, 0.0)
    assert metrics.tagging([[]], [[]], [[]], False)["sentence_accuracy"] == 1


def test_of_spans_each_counts_when_kind_begin_and_end_are_right():
    wanted = [["B-P", "I-P", "O", "B-L"], ["B-L", "O"]]
    found = [["B-P", "O", "O", "B-L"], ["B-L", "I-L"]]
    values = metrics.tagging(found, wanted, [[False] * 4, [False] * 2], True)
    assert values["accuracy"] == pytest.approx(4 / 6)
    assert values["precision"] == values["recall"] == values["f1"] == pytest.approx(1 / 3)
    one = metrics.tagging([["B-P", "O"]], [["B-P", "B-L"]], [[False] * 2], True)
    assert (one["precision"], one["recall"]) == (1, 0.5)
    assert one["f1"] == pytest.approx(2 / 3)


def test_answers_of_another_length_are_an_error():
    for found, unseen in (([["X"]], [[True] * 2]), ([["X", "Y"]], [[True]]), ([], [])):
        with pytest.raises(ValueError, match="zip"):
            metrics.tagging(found, [["X", "Y"]], unseen, False)


def test_a_label_has_its_precision_recall_and_count_where_it_occurs():
    found = metrics.per_label(["X", "X", "Y", "X"], ["X", "Y", "Y", "Z"], ["Z", "Y", "X"])
    assert found == [
        {"label": "Y", "precision": 0.5, "recall": 1.0, "f1": pytest.approx(2 / 3), "count": 1},
        {"label": "X", "precision": 1.0, "recall": pytest.approx(1 / 3), "f1": 0.5, "count": 3},
    ]
    assert metrics.per_label(["X"], ["Y"], ["X", "Y"])[0]["f1"] == 0


TOYS = list(readers.read(DATA / "tag.jsonl"))


def test_the_baseline_learns_and_gives_the_same_figures_each_time():
    first, again = (baselines.linear_tagger(iter(TOYS[:60]), iter(TOYS[60:])) for _ in range(2))
    assert first | {"seconds": 0} == again | {"seconds": 0}
    assert [*first] == ["method", *FIGURES, "rows", "seconds"]
    assert first["rows"] == 60
    assert first["accuracy"] > 0.85
    assert baselines.linear_tagger(TOYS, TOYS)["accuracy"] == 1


def test_the_baseline_repeats_what_nothing_but_chance_decides():
    words = " ".join(f"{n:03}" for n in range(200))
    torn = sentences((words, "X " * 200), (words, "Y " * 200))
    first, again = (baselines.linear_tagger(torn, [torn[0]])["accuracy"] for _ in range(2))
    assert first == again
    assert 0.05 < first < 0.95


def test_the_baseline_looks_at_the_words_beside_and_at_affixes():
    pairs = [(f"{n}aaa x{n}", "A X") for n in range(8)]
    pairs += [(f"{n}bbb x{n}", "B Y") for n in range(8)]
    test = sentences(("9aaa x9", "A X"), ("9bbb x9", "B Y"))  # x9 alone says neither X nor Y
    found = baselines.linear_tagger(sentences(*pairs), test)
    assert (found["accuracy"], found["accuracy_unseen"]) == (1, 1)
    partly = baselines.linear_tagger(
        sentences(*pairs), sentences(("1aaa x9", "A Y"), ("9bbb", "B"))
    )
    assert partly["accuracy"] == partly["accuracy_unseen"] + 1 / 6 == pytest.approx(2 / 3)
    assert partly["sentence_accuracy"] == 0.5


def test_the_baseline_is_scored_by_spans_and_answers_sentences_without_words():
    found = baselines.linear_tagger(SPANS * 4, [*SPANS, *sentences(("", ""))])
    assert {"precision", "recall", "f1"} < found.keys()
    assert found["accuracy"] == found["f1"] == 1
    assert found["accuracy_unseen"] == 0


def test_the_baseline_reads_no_more_rows_than_it_says(monkeypatch):
    monkeypatch.setattr(baselines, "MOST_ROWS", 5)
    assert baselines.linear_tagger(TOYS, TOYS[:3])["rows"] == 5


def test_conll_is_a_word_and_its_label_to_a_line():
    assert tagged_text.conll(["Ann", "left"], ["B-P", "O"]) == "Ann\tB-P\nleft\tO\n"
    assert tagged_text.conll([], []) == ""
    with pytest.raises(ValueError, match="zip"):
        tagged_text.conll(["Ann", "left"], ["O"])


EVERY = ["B-L", "B-P", "I-L", "I-P", "O"]


def shown(words, labels, every=EVERY):
    """The text, and what stands in which style."""
    text = tagged_text.coloured(words.split(), labels.split(), every)
    return text.plain, [(text.plain[s.start : s.end], str(s.style)) for s in text.spans]


def test_a_span_has_one_colour_and_one_name():
    text, styles = shown("Ann Lee saw the Rome", "B-P I-P O O B-L")
    assert text == " Ann Lee  P saw the  Rome  L"
    (person, colour), (place, other) = tagged_text.COLOURS[1::-1], tagged_text.COLOURS[:1] * 2
    assert styles == [
        (" Ann Lee ", f"black on {person}"),
        (" P", person),
        (" Rome ", f"black on {place}"),
        (" L", other),
    ]
    assert colour == place


@pytest.mark.parametrize(
    ("labels", "text"),
    [
        ("B-P B-P O", " a  P  b  P c"),
        ("B-P I-L I-L", " a  P  b c  L"),  # another kind begins another span
        ("O I-P I-P", "a  b c  P"),
        ("I-P O I-P", " a  P b  c  P"),
        ("S-P B-P E-P", " a  P  b c  P"),
        ("O O O", "a b c"),
    ],
)
def test_words_are_together_as_far_as_their_span_goes(labels, text):
    assert shown("a b c", labels)[0] == text


def test_a_label_has_the_same_colour_in_all_sentences():
    colours = {}
    for labels in ("B-P O B-L", "B-L B-P O", "O B-P I-P", "I-L O O"):
        for part, style in shown("x y z", labels)[1]:
            if "on" not in style.split():
                colours.setdefault(part, set()).add(style)
    assert colours == {" P": {tagged_text.COLOURS[1]}, " L": {tagged_text.COLOURS[0]}}


def test_labels_of_no_spans_are_a_colour_each_word_for_itself():
    text, styles = shown("a b c", "X X Y", ["Y", "X"])
    assert text == " a  X  b  X  c  Y"
    assert [style for _, style in styles[1::2]] == [
        *tagged_text.COLOURS[:1] * 2,
        tagged_text.COLOURS[1],
    ]
    many = [f"L{n:02}" for n in range(40)]  # more than there are colours
    assert len(shown(" ".join(many), " ".join(many), many)[1]) == 80


def test_a_terminal_gets_colours_and_no_line_is_broken(monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("COLUMNS", "20")
    text = tagged_text.coloured(["[red]", *["word"] * 40, ":smile:"], ["B-P", *["O"] * 41], EVERY)
    found = tagged_text.ansi(text)
    assert found.startswith("\x1b[")
    assert "\n" not in found
    assert "[red]" in found  # words are no markup
    assert found.endswith("word :smile:")
    assert tagged_text.ansi(tagged_text.coloured([], [], EVERY)) == ""
