"""Column files and CoNLL-U: sentences with their sources, and one-line errors."""

from __future__ import annotations

import pytest
from corpus_cases import CONTENT, SENTENCES, word

from zoo.data import readers
from zoo.data.conll import CONLLU
from zoo.errors import InputError, RowError

RANGE = word("1-2", "vámonos", "_", "_")
EMPTY = word("2.1", "go", "_", "_")
TREES = "\n".join(
    [
        "# sent_id = 1",
        RANGE,
        word(1, "vamos", "VERB"),
        word(2, "nos", "PRON"),
        EMPTY,
        "",
        "",
        "# a comment of its own",
        "",
        "# text = # sí",
        word(1, "#", "SYM"),
        "# in between",
        word(2, "sí", "INTJ", "UH"),
        word("3-4", "x"),
        word(3, "n k", "NUM"),
        "",
    ]
)
FORMS = [["vamos", "nos"], ["#", "sí", "n k"]]


def message(read, name):
    """The one line of the RowError that reading a file ends in."""
    with pytest.raises(RowError) as caught:
        list(read(name))
    assert "\n" not in str(caught.value)
    return str(caught.value)


ENDS = {
    "as it is": lambda text: text,
    "no line end": lambda text: text.rstrip("\n"),
    "blank lines": lambda text: "\n \n" + text + "\n\n\t\n",
    "crlf": lambda text: text.replace("\n", "\r\n"),
    "mark": lambda text: "\ufeff" + text,
}
ends = pytest.mark.parametrize("end", ENDS)
packs = pytest.mark.parametrize("packed", ["", ".gz"], ids=["plain", "gz"])


@ends
@packs
def test_sentences_of_conllu(write, end, packed):
    name = write("a.conllu" + packed, ENDS[end](TREES))
    found = list(readers.read(name))
    assert [row["words"] for row in found] == FORMS
    assert [row["upos"] for row in found] == [["VERB", "PRON"], ["SYM", "INTJ", "NUM"]]
    assert [row["xpos"] for row in found] == [["NN", "NN"], ["NN", "UH", "NN"]]
    assert found[0] == {
        "words": ["vamos", "nos"],
        "lemma": ["vamos", "nos"],
        "upos": ["VERB", "PRON"],
        "xpos": ["NN"] * 2,
        "feats": ["_"] * 2,
        "head": ["0"] * 2,
        "deprel": ["root"] * 2,
        "deps": ["_"] * 2,
        "misc": ["_"] * 2,
    }
    assert tuple(found[1]) == CONLLU
    shift = 2 * (end == "blank lines")
    assert [row.source for row in found] == [f"{name}:{1 + shift}", f"{name}:{10 + shift}"]


BROKEN = {
    "nine columns": (word(2).rpartition("\t")[0], "9 columns: CoNLL-U has ten"),
    "eleven columns": (word(2) + "\t_", "11 columns"),
    "blanks": (word(2).replace("\t", " "), "1 columns"),
    "an empty cell": (word(2).replace("\tNN\t", "\t\t"), "column 5 is empty: write _"),
    "an empty cell of a range": (RANGE.replace("_", "", 1), "column 4 is empty"),
    "an empty id": (word(""), "column 1 is empty"),
    "a word as id": (word("x1"), "id 'x1': CoNLL-U has 1, 3-4 or 8.1"),
    "a dash as id": (word("-"), "id '-'"),
    "a letter in a range": (word("1-b"), "id '1-b'"),
    "an id twice": (word(1), "id 1 where 2 is due"),
    "an id left out": (word(3), "id 3 where 2 is due"),
    "an id of zero": (word(0), "id 0 where 2 is due"),
}


@pytest.mark.parametrize("case", BROKEN)
@packs
def test_a_broken_line_of_conllu_is_named(write, case, packed):
    line, said = BROKEN[case]
    name = write("a.conllu" + packed, "\n".join([word(1), "", "# x", word(1), line, word(2)]))
    assert message(readers.read, name).startswith(f"{name}:5: {said}")
    assert next(readers.read(name))["words"] == ["a"]


@pytest.mark.parametrize("number", ["-1", "1.", "1-2-3", "1..2", ".2"])
def test_an_id_that_is_none_is_named(write, number):
    name = write("a.conllu", "\n".join([word(1), word(number), word(2)]))
    assert message(readers.read, name).startswith(f"{name}:2: id {number!r}")


def test_ids_count_from_one_in_each_sentence(write):
    name = write("a.conllu", "\n".join([word(1), word(2), "", word(2)]))
    assert message(readers.read, name).startswith(f"{name}:4: id 2 where 1 is due")


@ends
@packs
@pytest.mark.parametrize("between", [" ", "\t", "   "], ids=["blank", "tab", "blanks"])
@pytest.mark.parametrize("read", [readers.read, readers.sentences], ids=["read", "sentences"])
def test_sentences_of_column_files(write, tmp_path, end, packed, between, read):
    text = ENDS[end](SENTENCES.replace(" ", between))
    name = write(("a.conll" if read is readers.read else "a.any") + packed, text)
    found = list(read(tmp_path / name))
    assert [dict(row) for row in found] == CONTENT
    shift = 2 * (end == "blank lines")
    places = [f"{tmp_path / name}:{line + shift}" for line in (3, 7)]
    assert [row.source for row in found] == places


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("a\nb\n", ["words"]),
        ("a X\nb Y\n", ["words", "labels"]),
        ("a 1 X\nb 2 Y\n", ["words", "2", "labels"]),
        ("a 1 2 3 X\nb 2 2 2 Y\n", ["words", "2", "3", "4", "labels"]),
    ],
)
def test_columns_are_named_from_both_ends(write, text, names):
    (row,) = readers.read(write("a.bio", text))
    assert [*row] == names
    assert row["words"] == ["a", "b"]
    assert "labels" not in names or row["labels"] == ["X", "Y"]


def test_between_tabs_blanks_are_of_the_word(write):
    (row,) = readers.read(write("a.bio", "New York\tB-LOC\n10 000\tO\n"))
    assert dict(row) == {"words": ["New York", "10 000"], "labels": ["B-LOC", "O"]}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a X\nb\n", "2: 1 columns, the first line has 2: every word needs a label"),
        ("a X\nb Y Z\n", "2: 3 columns, the first line has 2"),
        ("-DOCSTART-\n\na X\n\nb 1 Y\n", "5: 3 columns, the first line has 2"),
        ("a\tX\n\n\n\tY\n", "4: column 1 is empty"),
        ("a\tX\nb\t\n", "2: column 2 is empty"),
    ],
)
def test_a_broken_line_of_columns_is_named(write, text, said):
    name = write("a.conll", text)
    assert message(readers.read, name).startswith(f"{name}:{said}")


@pytest.mark.parametrize("name", ["a.conllu", "a.conll", "a.bio.gz"])
def test_a_file_without_sentences_is_an_error(write, name):
    with pytest.raises(InputError, match="holds no rows"):
        readers.read(write(name, "\n# x\n\n" if name == "a.conllu" else "-DOCSTART- O\n\n"))


TAGGED = "Ann B-PER\nleft O\n"
COMMENTED = {  # content: the words of its sentences, and how many lines are said
    "newdoc": ("# newdoc\n" + TAGGED + "\n# newdoc\n" + TAGGED, [["Ann", "left"]] * 2, 2),
    "alone": ("# newdoc\n\n" + TAGGED, [["Ann", "left"]], 1),
    "ids": ("# sent-0\n" + TAGGED + "# within it\nRome B-LOC\n", [["Ann", "left", "Rome"]], 2),
    "longer": ("# text = Ann left\n#id\n" + TAGGED, [["Ann", "left"]], 2),
    "no comment": (
        "# O\n" + TAGGED + "\n#tag O\n# B-X\n",
        [["#", "Ann", "left"], ["#tag", "#"]],
        0,
    ),
    "a known label": ("x SYM\n\n# SYM\ny SYM\n", [["x"], ["#", "y"]], 0),
    "tabs": ("# id = 1\n#tag\tO\n#\tX\nAnn\tB-PER\n", [["#tag", "#", "Ann"]], 1),
    "words": ("# a comment\n#\n#tag\na\n", [["#", "#tag", "a"]], 1),
}


@pytest.mark.parametrize("name", COMMENTED)
def test_comments_are_left_out_and_said_and_words_stay(write, name):
    content, wanted, count = COMMENTED[name]
    said = []
    rows = list(readers.read(write("a.conll", content), say=said.append))
    assert [row["words"] for row in rows] == wanted
    line = content.split("\n").index(next(filter(lambda t: t[:1] == "#", content.split("\n")))) + 1
    told = f"a.conll:{line}: {count} comments, from this line on, are left out"
    assert said == ([told] if count else [])


def test_a_word_without_a_label_is_no_comment(write):
    name = write("a.conll", "Ann B-PER\n#tag\n")
    assert message(readers.read, name).startswith("a.conll:2: 1 columns, the first line has 2")


@pytest.mark.parametrize(("end", "count"), [("", 1), ("\n", 0)])
def test_a_file_without_blank_lines_is_said_to_be_one_sentence(write, end, count):
    name = write("a.conll", f"Ann B-PER\n{end}" * 201)
    said = []
    assert len(list(readers.read(name, say=said.append))) == (1 if count else 201)
    line = "a.conll: one sentence of 201 words: a blank line ends a sentence"
    assert said == [line] * count
