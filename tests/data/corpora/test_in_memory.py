"""Rows from Python values: each form gives the same rows, and each wrong value is named."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from zoo.data.corpora.in_memory import settings_of, splits
from zoo.data.python.inputs import inputs
from zoo.errors import InputError

COLUMNS = "text", "label"
TEXTS = [f"text {number}" for number in range(12)]
LABELS = ["x", "y"] * 6
ROWS = [{"text": text, "label": label} for text, label in zip(TEXTS, LABELS, strict=True)]


class Frame:
    """A table with what pandas and Polars share."""

    def __init__(self, columns: dict) -> None:
        self.values = columns

    @property
    def columns(self):
        return [*self.values]

    def __getitem__(self, name):
        return np.array(self.values[name], object)


class Table:
    """A table with what Arrow and Hugging Face's datasets share."""

    def __init__(self, columns: dict) -> None:
        self.values = columns

    @property
    def column_names(self):
        return [*self.values]

    @property
    def columns(self):
        return [[*values] for values in self.values.values()]  # Arrow's are the values

    def __getitem__(self, name):
        return (value for value in self.values[name])


class Missing:
    """What pandas has in place of a text that is not there."""

    def __eq__(self, other):
        raise TypeError("boolean value of NA is ambiguous")


Missing.__name__ = "NAType"


class Series:
    """A list in a cell of Polars."""

    def __init__(self, values: list) -> None:
        self.values = values

    def to_list(self):
        return self.values


def opened(*given, columns=COLUMNS, texts=("text",), valid=None, **settings):
    """The splits of values; validation and test rows are the same."""
    valid = given if valid is None else valid
    parts = {"train": given, "valid": valid, "test": valid}
    return splits(parts, settings_of(settings), columns, texts, columns[0])


FORMS = {
    "lists": (TEXTS, LABELS),
    "tuples": (tuple(TEXTS), tuple(LABELS)),
    "arrays": (np.array(TEXTS), np.array(LABELS)),
    "dict of columns": ({"text": TEXTS, "label": LABELS, "more": [0] * 12},),
    "frame": (Frame({"more": [0] * 12, "label": LABELS, "text": TEXTS}),),
    "table": (Table({"text": TEXTS, "label": LABELS}),),
    "rows": (ROWS,),
    "pairs": ([*zip(TEXTS, LABELS, strict=True)],),
}


@pytest.mark.parametrize("given", FORMS.values(), ids=FORMS)
def test_each_form_gives_the_same_rows_with_their_places(given):
    rows = [*opened(*given).train]
    assert [dict(row) for row in rows] == ROWS
    assert [row.source for row in rows] == [f"rows[{number}]" for number in range(12)]
    assert {type(value) for row in rows for value in row.values()} == {str}


def test_iterators_are_read_once_and_iterate_again():
    for given in [(iter(TEXTS), iter(LABELS)), (iter(ROWS),)]:
        parts = {"train": given, "valid": (ROWS,), "test": (ROWS,)}
        rows = splits(parts, settings_of({}), COLUMNS, ("text",), "text").train
        assert [*rows] == [*rows] == ROWS


def test_a_frame_of_pandas_is_a_table():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"text": TEXTS, "label": LABELS}, index=range(50, 62))
    for given in [(frame,), (frame["text"], frame["label"].astype("category"))]:
        assert [dict(row) for row in opened(*given).train] == ROWS
    frame.loc[53, "text"] = pandas.NA
    with pytest.raises(InputError, match=r"^rows\[3\]: column 'text' holds .*, no value: fill it"):
        opened(frame)


def test_a_frame_of_polars_is_a_table():
    polars = pytest.importorskip("polars")
    frame = polars.DataFrame({"text": TEXTS, "label": LABELS})
    for given in [(frame,), (frame["text"], frame["label"])]:
        assert [dict(row) for row in opened(*given).train] == ROWS
    with pytest.raises(InputError, match="not computed yet: call its collect"):
        opened(frame.lazy())


def test_a_table_of_arrow_and_a_data_set_of_hugging_face_are_tables():
    arrow = pytest.importorskip("pyarrow")
    datasets = pytest.importorskip("datasets")
    columns = {"text": TEXTS, "label": LABELS}
    table = arrow.table(columns)
    for given in [
        (table,),
        (table["text"], table["label"]),
        (datasets.Dataset.from_dict(columns),),
    ]:
        assert [dict(row) for row in opened(*given).train] == ROWS
    words = arrow.table({"words": [["a", "b"]], "labels": [["N", "V"]]})
    (row,) = opened(words, columns=("words", "labels"), texts=("words",)).train
    assert dict(row) == {"words": ["a", "b"], "labels": ["N", "V"]}


def test_columns_have_the_names_that_data_gives_them():
    frame = Frame({"body": TEXTS, "kind": LABELS})
    assert [dict(row) for row in opened(frame, text="body", label="kind").train] == ROWS
    with pytest.raises(
        InputError, match=r"^rows: no column 'text'; .*: body, kind; name it, data="
    ):
        opened(frame)
    words = Frame({"tokens": [["a"]], "tags": [["N"]]})
    named = {"words": "tokens", "column": "tags"}
    (row,) = opened(words, columns=("words", "labels"), texts=("words",), **named).train
    assert dict(row) == {"words": ["a"], "labels": ["N"]}
    with pytest.raises(InputError, match=r"data={'column': 'COLUMN'}"):
        opened(words, columns=("words", "labels"), texts=("words",), words="tokens")


def test_lists_in_cells_may_be_arrays_or_series():
    words = [np.array(["The", "cat"]), Series(["sat"]), ("on",), "the mat"]
    labels = [np.array([0, 1]), ["V"], ["P"], "D N"]
    rows = [*opened(words, labels, columns=("words", "labels"), texts=("words",)).train]
    assert [row["words"] for row in rows] == [["The", "cat"], ["sat"], ["on"], "the mat"]
    assert [row["labels"] for row in rows] == [[0, 1], ["V"], ["P"], "D N"]


def test_labels_may_be_numbers_which_is_said(caplog):
    with caplog.at_level(logging.INFO, "zoo"):
        rows = [*opened(TEXTS, np.arange(12) % 2).train]
    assert [row["label"] for row in rows] == [0, 1] * 6
    assert caplog.messages[0] == "labels are numbers, and are read as texts: 0 is '0'"


WRONG = {
    "None": (None, "holds None, no value: fill it, or remove the row"),
    "NaN": (float("nan"), "holds nan, no value"),
    "numpy's NaN": (np.float32("nan"), "holds nan, no value"),
    "NA": (Missing(), "holds None, no value"),
    "bytes": (b"a", "holds b'a', not a text: decode it first"),
    "bytes of numpy": (np.bytes_(b"a"), "holds b'a', not a text: decode it first"),
    "dict": ({"text": "a"}, "holds {'text': 'a'}, not a text"),
    "list": (["a", "b"], r"holds \['a', 'b'\], a list, not a text"),
    "number": (5, "holds 5, not a text: convert it first"),
}


@pytest.mark.parametrize(("value", "said"), WRONG.values(), ids=WRONG)
def test_a_wrong_text_is_named_with_its_place(value, said):
    texts = [*TEXTS[:3], value, *TEXTS[4:]]
    with pytest.raises(InputError, match=rf"^rows\[3\]: column 'text' {said}"):
        opened(texts, LABELS)
    with pytest.raises(InputError, match=rf"^valid\[3\]: column 'text' {said}"):
        opened(TEXTS, LABELS, valid=(texts, LABELS))
    as_rows = [{"text": text} for text in texts]  # a dict among texts is a row
    for given in (as_rows if isinstance(value, dict) else texts, as_rows, Frame({"text": texts})):
        with pytest.raises(InputError, match=rf"^inputs\[3\]: column 'text' {said}"):
            [*inputs(given, ("text",))]


def test_half_a_surrogate_pair_is_read_as_the_replacement_character():
    splits_of = opened(["a\ud800", *TEXTS[1:]], LABELS)
    assert next(iter(splits_of.train))["text"] == "a\ufffd"
    assert [row["text"] for row in inputs(["a\ud800"], ("text",))] == ["a\ufffd"]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ((), "rows: 0 lists are given; needed: text, label, or one table"),
        ((TEXTS, LABELS, LABELS), "rows: 3 lists are given"),
        ((TEXTS,), r"rows\[0\]: 'text 0' is no row: give a list for each of 'text' and 'label'"),
        (("a text", ["x"]), "rows: column 'text' is one text, 'a text': put it into a list"),
        (({"text": "a", "label": "x"},), "rows: column 'text' is one text"),
        ((TEXTS, LABELS[:4]), "rows: the columns differ in length: 'text' has 12, 'label' has 4"),
        (([], []), "rows: no rows are given; needed: one at least"),
        (([],), "rows: no rows are given"),
        ((Frame({"text": [], "label": []}),), "rows: no rows are given"),
        (({*TEXTS}, LABELS), "rows: column 'text' is a set, which has no order"),
        ((None, LABELS), "rows: column 'text' is None: a list is needed"),
        ((5,), "rows is 5: a list is needed"),
        ((ROWS, LABELS), r"rows\[0\]: column 'text' holds {"),
        ((Frame({"text": TEXTS}), LABELS), "rows: column 'text' is a table or a dict, not a list"),
        ((TEXTS, ["x", None, *LABELS[2:]]), r"rows\[1\]: column 'label' holds None, no value"),
        ((TEXTS, ["x", {}, *LABELS[2:]]), r"rows\[1\]: column 'label' holds {}, not a label"),
        ((TEXTS, [b"x"] * 12), r"rows\[0\]: column 'label' holds b'x', not a label: decode"),
        (([*ROWS, {"text": "a", "label": float("nan")}],), r"rows\[12\]: column 'label' holds nan"),
    ],
)
def test_wrong_rows_are_named_with_the_cure(given, said):
    with pytest.raises(InputError, match=f"^{said}"):
        opened(*given)


@pytest.mark.parametrize(
    ("word", "said"),
    [(None, "holds None, not a word"), (5, "holds 5, not a word: convert"), (["a"], "holds")],
)
def test_a_wrong_word_is_named(word, said):
    with pytest.raises(InputError, match=rf"^rows\[0\]: column 'words' {said}"):
        opened([["a", word]], [["N", "V"]], columns=("words", "labels"), texts=("words",))


def test_several_labels_of_a_text_are_a_list_of_names_not_a_row_of_zeros_and_ones():
    several = [["x", "y"], np.array(["x"]), Series(["y"])] * 4
    assert [row["label"] for row in opened(TEXTS, several).train] == [["x", "y"], ["x"], ["y"]] * 4
    with pytest.raises(
        InputError, match=r"^rows\[0\]: .* an array of numbers: give a list of the names"
    ):
        opened(TEXTS, np.eye(12, dtype=int))


def test_columns_of_other_tasks_are_as_they_were_given():
    series = np.arange(6.0).reshape(3, 2)
    (row,) = opened([series], [7.5], columns=("series", "next"), texts=()).train
    assert row["series"] is series
    assert row["next"] == 7.5


def test_missing_splits_are_held_out_as_those_of_a_file():
    texts = [f"text {number}" for number in range(40)]
    found = splits({"train": (texts, ["x", "y"] * 20)}, settings_of({}), COLUMNS, ("text",), "text")
    parts = [[row["text"] for row in part] for part in (found.train, found.valid, found.test)]
    assert [len(part) for part in parts] == [32, 4, 4]
    assert sorted(text for part in parts for text in part) == sorted(texts)


def test_one_text_is_running_text_and_its_end_is_held_out():
    text = "\n".join(f"line {number}" for number in range(40))
    found = splits({"train": (text,)}, settings_of({}), ("text",), ("text",), "prompt")
    parts = [[row["text"] for row in part] for part in (found.train, found.test, found.valid)]
    assert [part[0] for part in parts] == ["line 0", "line 32", "line 36"]
    assert [len(part) for part in parts] == [32, 4, 4]


@pytest.mark.parametrize("given", [(TEXTS[:9],), (["same"] * 50,), ("one\ntwo",)])
def test_too_few_rows_to_hold_some_out_are_an_error_with_the_cure(given):
    with pytest.raises(InputError, match=r"^rows: too few .*: give test=… and valid=…"):
        splits({"train": given}, settings_of({}), ("text",), ("text",), "text")


@pytest.mark.parametrize(
    ("given", "columns", "wanted"),
    [
        ("a text", ("text",), [{"text": "a text"}]),
        (["a", "b"], ("source",), [{"text": "a"}, {"text": "b"}]),
        ({"source": "a", "more": 1}, ("source",), [{"source": "a", "more": 1}]),
        (iter(["a"]), ("text",), [{"text": "a"}]),
        (np.array(["a"]), ("text",), [{"text": "a"}]),
        (Frame({"text": ["a"], "more": [1]}), ("source",), [{"text": "a"}]),
        (Frame({"source": ["a"]}), ("source",), [{"source": "a"}]),
        ([["The", "cat"]], ("words",), [{"words": ["The", "cat"]}]),
        ([np.array(["The"])], ("words",), [{"words": ["The"]}]),
        (["The cat"], ("words",), [{"text": "The cat"}]),
        ({"words": ["The"]}, ("words",), [{"words": ["The"]}]),
        ([], ("text",), []),
    ],
)
def test_inputs_of_predict_in_each_form(given, columns, wanted):
    assert [dict(row) for row in inputs(given, columns)] == wanted


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (None, "inputs is None: a list is needed"),
        (5, "inputs is 5: a list is needed"),
        (b"abc", "inputs is b'abc': a list is needed"),
        ({"a", "b"}, "inputs is a set, which has no order"),
        (np.array("one text"), r"inputs is array\('one text'"),
        (Frame({"body": ["a"]}), "inputs: no column 'text'; there are: body"),
        (
            {"text": ["a", "b"]},
            r"inputs\[0\]: column 'text' holds \['a', 'b'\], a list, not a text",
        ),
    ],
)
def test_what_predict_cannot_read_is_named(given, said):
    with pytest.raises(InputError, match=f"^{said}"):
        [*inputs(given, ("text",))]
