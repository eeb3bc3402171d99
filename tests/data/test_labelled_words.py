"""Sentences as rows: words, labels, the vocabulary of the training rows, and the worst errors."""

from __future__ import annotations

import logging

import pytest
from tag_cases import SPANS, TUTORIAL, sentences

from zoo.data import features, labelled_words, readers
from zoo.data.processors import WordCounts
from zoo.data.readers import Row
from zoo.errors import InputError, RowError
from zoo.text.tokenizers import Characters, Lowercase


def row(words=None, labels=None, **more) -> Row:
    columns = {"words": words, "labels": labels}
    return Row({n: v for n, v in columns.items() if v is not None} | more, "f.jsonl:7")


def learned(rows) -> dict:
    """What is learned from rows, as plain data."""
    found = labelled_words.learn(rows)
    return {
        "labels": found["labels"].labels,
        "exceptions": found["labels"].exceptions,
        "characters": found["characters"].characters,
        "seen": [*found["seen"].counts.items()],
    }


@pytest.mark.parametrize(
    ("given", "found"),
    [
        (["a", "b"], ["a", "b"]),
        (("a", 5), ["a", "5"]),
        ("a  b\tc", ["a", "b", "c"]),
        (["New York", " x ", "", " \t", "10\u00a0000"], ["New_York", "x", "_", "_", "10_000"]),
        ([], []),
        (" ", []),
    ],
)
def test_words_are_a_list_or_a_text_and_have_no_blanks_inside(given, found):
    assert labelled_words.words(row(given)) == found


def test_words_are_shown_as_they_were_given_in_one_line_each():
    given = ["New York", " x ", "", " \t", "10\u00a0000", "a\tb", "cafe\u0301"]
    shown = ["New York", " x ", "_", "_", "10\u00a0000", "a b", "cafe\u0301"]
    assert labelled_words.given_words(row(given)) == shown
    assert labelled_words.words_of(row(given), "words") == shown
    assert labelled_words.words(row(given))[-1] == "caf\u00e9"
    assert labelled_words.words_of(row(text="cafe\u0301s!"), "words") == ["caf\u00e9s", "!"]


PRINTED = ["['EU', 'said']", "['EU' 'said']", '["a", "b"]', "[1, 0, 2]", "[1 0 2]", "['a']"]


@pytest.mark.parametrize("text", PRINTED)
def test_a_printed_list_is_refused(text):
    with pytest.raises(RowError, match=r"^f\.jsonl:7: column 'words' holds a printed list, \["):
        labelled_words.words(row(text))
    with pytest.raises(RowError, match="separate the labels by blanks, or write lists"):
        labelled_words.labels(row(["a", "b"], text))


@pytest.mark.parametrize("text", ["[ 1 ] see", "[laughs]", "[1]", "[sic] 'x'", "[ ]"])
def test_brackets_in_a_sentence_are_words(text):
    assert labelled_words.words(row(text)) == text.split()


def test_a_row_of_too_many_words_is_one_line():
    assert len(labelled_words.words(row("a " * 100_000))) == 100_000
    with pytest.raises(RowError, match=r"^f\.jsonl:7: 100,001 words: at most 100,000 are read at"):
        labelled_words.words(row("a " * 100_001))


def test_blanks_around_labels_are_left_out_and_empty_ones_refused():
    assert labelled_words.labels(row("a b", [" X", "Y\t"])) == ["X", "Y"]
    for labels in (["X", ""], ["X", " "]):
        with pytest.raises(RowError, match="label 2 is empty: each word needs one"):
            labelled_words.labels(row("a b", labels))


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ("1 2 0 3", "labels are not read as spans, word by word instead: they are numbers"),
        ("B-X I-X O PER", "labels are not read as spans, word by word instead: 'PER' is neither"),
        ("O I-X I-X B-X O I-Y", "labels are IOB1: I- begins a span"),
        ("NOUN VERB", None),
        ("B-X L-X U-Y O", None),
        ("B_X I_X O", None),
        ("B I O B", None),
    ],
)
def test_how_labels_are_read_is_said(caplog, labels, said):
    with caplog.at_level(logging.INFO, "zoo"):
        learned(sentences(("w " * len(labels.split()), labels)))
    found = [record.getMessage() for record in caplog.records]
    assert len(found) == (said is not None)
    assert not said or found[0].startswith(said)


def test_labels_are_as_many_as_words_and_stay_as_they_are():
    assert labelled_words.labels(row("a b", ["Case=Nom Number", 1])) == ["Case=Nom Number", "1"]
    assert labelled_words.labels(row(["a b", ""], "X Y")) == ["X", "Y"]
    assert labelled_words.labels(row([], [])) == []


@pytest.mark.parametrize(
    ("call", "given", "line"),
    [
        (labelled_words.words, row(None, ["X"]), "no column 'words'; there are: labels"),
        (labelled_words.labels, row(["a"]), "no column 'labels'; there are: words"),
        (labelled_words.words, row(3), "column 'words' holds 3, not a list of words"),
        (labelled_words.words, row([["a"]]), "column 'words' holds [['a']], not a list of words"),
        (
            labelled_words.labels,
            row(["a"], [1.5]),
            "column 'labels' holds [1.5], not a list of labels",
        ),
        (labelled_words.labels, row(["a"], []), "1 words and 0 labels: each word needs one"),
        (labelled_words.labels, row("a b", ["X Y"]), "2 words and 1 labels: each word needs one"),
    ],
)
def test_what_is_no_sentence_is_named_with_its_place(call, given, line):
    with pytest.raises(RowError) as caught:
        call(given)
    assert str(caught.value) == f"f.jsonl:7: {line}"


def test_a_long_value_is_shown_in_part():
    with pytest.raises(RowError) as caught:
        labelled_words.words(row([["a"]] * 1000))
    assert len(str(caught.value)) < 140


def test_words_are_taken_from_a_row_or_found_in_its_text():
    assert labelled_words.words_of(row(["don't"], text="not this"), "words") == ["don't"]
    assert labelled_words.words_of(row(text="don't go, 日本"), "words") == [
        "do",
        "n't",
        "go",
        ",",
        "日",
        "本",
    ]
    assert labelled_words.words_of(row(text=" don't  go,\u00a0日本"), "whitespace") == [
        "don't",
        "go,",
        "日本",
    ]
    assert (
        labelled_words.words_of(row(text=""), "words")
        == labelled_words.words_of(row(text=" "), "whitespace")
        == []
    )
    with pytest.raises(RowError, match="no column 'text'; there are: labels"):
        labelled_words.words_of(row(None, ["X"]), "words")


def test_what_is_learned_is_sorted_and_complete():
    rows = sentences(("the ab", "Y X"), ("ab cab th zoo", "X Y X Y"))
    found = learned(rows)
    assert found == {
        "labels": ["X", "Y"],
        "exceptions": [],
        "characters": "abht",  # c, e, o and z are in one word each, and ab is one word
        "seen": [("ab", 2), ("cab", 1), ("th", 1), ("the", 1), ("zoo", 1)],
    }
    assert learned(iter(rows)) == learned(rows[::-1]) == found
    assert learned(TUTORIAL)["labels"] == ["DET", "NN", "V"]


def test_labels_against_bio_are_exceptions_and_the_first_of_each_is_said(caplog):
    rows = sentences(
        ("a b", "O I-X"), ("c", "I-X"), ("d e", "B-Y I-X"), ("f g h", "B-X I-X O"), ("i j", "O I-X")
    )
    with caplog.at_level(logging.INFO, "zoo"):
        found = learned(rows)["exceptions"]
    assert found == [("", "I-X"), ("B-Y", "I-X"), ("O", "I-X")]
    assert [record.getMessage() for record in caplog.records] == [
        "rows:2: label I-X at the beginning, which is no BIO",
        "rows:3: label I-X after B-Y, which is no BIO",
        "rows:1: label I-X after O, which is no BIO",
    ]
    caplog.clear()
    assert learned(SPANS)["exceptions"] == []
    assert learned(sentences(("a b", "I-X Z")))["exceptions"] == []  # Z is of no span
    assert not caplog.records


def test_what_has_begun_must_end_where_there_are_labels_for_ends():
    rows = sentences(("a b c", "B-X E-X O"), ("d e", "B-X O"), ("f", "S-X"))
    assert learned(rows)["exceptions"] == [("B-X", "O")]


@pytest.mark.parametrize("rows", [sentences(("a b", "O O")), []])
def test_one_label_is_too_few(rows):
    with pytest.raises(InputError, match=r"all training words have the label \[.*\]: two or more"):
        labelled_words.learn(rows)


def test_singletons_are_ids_that_occur_once_in_all_words():
    seen = WordCounts({"a": 1, "b": 2, "c": 1, "C": 1, "new": 1})
    tokenizer = Lowercase(["<pad>", "<unk>", "<bos>", "<eos>", "a", "b", "c", "d"])
    found = labelled_words.singletons(seen, tokenizer)
    assert (found.dtype, found.shape) == (bool, (8,))
    assert found.nonzero()[0].tolist() == [1, 4]  # "new" is unknown, c stands for C too
    pieces = Characters(["<pad>", "<unk>", "<bos>", "<eos>", "a", "b", "c", "n"])
    found = labelled_words.singletons(seen, pieces)
    assert found.nonzero()[0].tolist() == [4, 6, 7]  # C, e and w are unknown: three times


def test_the_surest_mistakes_come_first_each_in_its_sentence():
    rows = sentences(
        ("a b c d e f g h i j k l m", "X " * 13), ("n o p q r s t u v", "X " * 9), ("w", "Y")
    )
    answers = [
        {"labels": ["X"] * 6 + ["Y"] + ["X"] * 6, "probabilities": [0.99] * 6 + [0.7] + [0.99] * 6},
        {"labels": ["X", "X", "Z"] + ["X"] * 6, "probabilities": [0.5, 0.5, 0.9] + [0.5] * 6},
        {"labels": ["X"], "probabilities": [0.6]},
    ]
    found = labelled_words.mistakes(rows, answers)
    assert found == [
        {
            "place": "rows:2",
            "label": "X",
            "answer": "Z",
            "probability": 0.9,
            "text": "n o [p] q r s t u",
        },
        {
            "place": "rows:1",
            "label": "X",
            "answer": "Y",
            "probability": 0.7,
            "text": "b c d e f [g] h i j k l",
        },
        {"place": "rows:3", "label": "Y", "answer": "X", "probability": 0.6, "text": "[w]"},
    ]
    assert labelled_words.mistakes(rows, answers, most=2) == found[:2]
    many = sentences(("a " * 30, "X " * 30))
    answer = {"labels": ["Y"] * 30, "probabilities": [0.5] * 30}
    assert len(labelled_words.mistakes(many, [answer])) == 10


def test_whole_numbers_are_words_and_steps_have_labels_alone():
    numbers = [Row({"words": [3, "apples"], "labels": ["n", "o"]}, "here")]
    assert not features.in_rows(numbers, "words")
    assert {*labelled_words.learn(numbers)} == {"labels", "characters", "seen"}
    steps = [Row({"words": [[0.5], [1.5]], "labels": ["n", "o"]}, "here")]
    assert {*labelled_words.learn(steps)} == {"labels"}


TABLE = """Sentence #,Word,POS,Tag
Sentence: 1,Ann,NNP,B-per
,left,VBD,O
,Lima,NNP,B-geo
Sentence: 2,Bo,NNP,B-per
,stayed,VBD,O
"""
BY_ID = "sent_id,token,ner\n" + "".join(
    f"{n},{word},{label}\n" for n in (1, 2) for word, label in (("Ann", "B-per"), ("left", "O"))
)
OWN = {"text": "text", "words": "words", "labels": "labels"}


def table(tmp_path, text):
    path = tmp_path / "words.csv"
    path.write_text(text, "utf-8")
    return lambda: readers.read(path)


def both(rows):
    return [(row["words"], row["labels"]) for row in rows]


def test_a_row_for_each_word_becomes_a_row_for_each_sentence(tmp_path):
    said = []
    rows = [*labelled_words.joined(table(tmp_path, TABLE), OWN, say=said.append)]
    first = ["Ann", "left", "Lima"], ["B-per", "O", "B-geo"]
    assert both(rows) == [first, (["Bo", "stayed"], ["B-per", "O"])]
    assert rows[1]["POS"] == ["NNP", "VBD"]
    assert [row.source.rpartition(":")[2] for row in rows] == ["2", "5"]
    assert "the words are 'Word', the labels 'Tag', the sentences 'Sentence #'" in said[0]
    by_pos = [*labelled_words.joined(table(tmp_path, TABLE), OWN | {"labels": "POS"})]
    assert [row["POS"] for row in by_pos] == [["NNP", "VBD", "NNP"], ["NNP", "VBD"]]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (BY_ID, None),
        (BY_ID.replace("sent_id", "nr"), "nr"),
        ("word,tag\nAnn,B-per\nleft,O\n\nAnn,B-per\nleft,O\n\nBo,O\n", None),
        ("word,tag\nAnn,B-per\nleft,O\n,\nAnn,B-per\nleft,O\n,\nBo,O\n", None),
    ],
)
def test_sentences_are_told_apart_by_a_number_or_an_empty_row(tmp_path, text, sentence):
    rows = [*labelled_words.joined(table(tmp_path, text), OWN, sentence)]
    assert both(rows)[:2] == [(["Ann", "left"], ["B-per", "O"])] * 2
    assert len(rows) == (3 if "Bo" in text else 2)


@pytest.mark.parametrize(
    "text",
    [
        "words,labels\nAnn left,B-per O\nBo,B-per\n",  # a sentence in each row
        "text,label\ngood,a\nbad,b\ngood,a\nbad,b\nso,a\n",
        "words,labels\nAnn,B-per\nBo,B-per\n",  # too few rows to tell
    ],
)
def test_other_tables_stay_as_they_are(tmp_path, text):
    read = table(tmp_path, text)
    assert [*labelled_words.joined(read, OWN)] == [*read()]


def test_what_no_sentence_can_be_made_of_is_refused(tmp_path):
    read = table(tmp_path, "word,tag\n" + "Ann,B-per\n" * 6)
    with pytest.raises(RowError, match=r"words\.csv:2: each row holds one word.*data\.sentence="):
        next(labelled_words.joined(read, OWN))
    with pytest.raises(RowError, match="no column 'nr'; there are: word, tag"):
        next(labelled_words.joined(read, OWN, "nr"))
    read = table(tmp_path, TABLE.replace(",left,VBD,O", ",,VBD,O"))
    with pytest.raises(RowError, match=r"words\.csv:3: a label without a word"):
        [*labelled_words.joined(read, OWN)]


def test_rows_to_be_answered_need_no_labels(tmp_path):
    read = table(tmp_path, "Sentence #,Word\n1,Ann\n,left\n2,Bo\n")
    rows = [*labelled_words.joined(read, OWN, labelled=False)]
    assert [row["words"] for row in rows] == [["Ann", "left"], ["Bo"]]
    assert [*labelled_words.joined(read, OWN)] == [*read()]
