"""The rows of a run: which are skipped or refused, and which share of them is used."""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path
from types import MappingProxyType

import pytest
from conftest import DATA, build_task, lines, settings

from zoo.data.corpora import Splits
from zoo.data.processors import LabelEncoder
from zoo.data.readers import Row, Rows
from zoo.errors import InputError, RowError
from zoo.registry import find
from zoo.training import rows as run_rows
from zoo.training.resume.rows import RowHashes

TOYS = lines(DATA / "translate.jsonl")
GAPS = [
    {"source": "", "target": "x"},
    {"source": "x", "target": " "},
    {"source": "\t", "target": ""},
    {"source": "y", "target": ""},
]
REASONS = {"an empty source": 1, "an empty target": 2, "an empty source and target": 1}


def usable(rows, strict=False):
    read = [Row(row, f"x:{i}") for i, row in enumerate(rows, 1)]
    return run_rows.ValidRows(Rows(lambda: read, "x"), find("translate"), strict)


def test_rows_with_an_empty_side_are_left_out_and_counted():
    rows = usable([*GAPS, *TOYS[:3], GAPS[1]])
    for _ in range(2):  # counted anew each time
        assert list(rows) == TOYS[:3]
        assert rows.skipped == Counter(REASONS) + Counter(["an empty target"])
    assert list(usable(TOYS)) == TOYS
    with pytest.raises(RowError, match=r"^x:2: an empty target; strict=false skips such rows$"):
        list(usable([TOYS[0], GAPS[1]], strict=True))
    assert list(usable(TOYS, strict=True)) == TOYS


def test_a_row_without_a_column_is_an_error_and_not_skipped():
    with pytest.raises(RowError, match=r"^x:2: no 'target', there are source"):
        list(usable([TOYS[0], {"source": "x"}]))


@pytest.mark.parametrize(("value", "said"), [(None, "null"), (float("nan"), "NaN, no value")])
def test_a_row_without_a_value_is_an_error_and_not_skipped(value, said):
    with pytest.raises(RowError, match=rf"^x:2: column 'target' is {said}: fill it, or remove"):
        list(usable([TOYS[0], {"source": "x", "target": value}]))


def test_nothing_that_is_left_says_why():
    with pytest.raises(InputError) as caught:
        list(usable(GAPS))
    counts = ", ".join(f"{count} with {reason}" for reason, count in REASONS.items())
    assert str(caught.value) == f"x: holds no rows that can be used; skipped are {counts}"


def shared(share, seed=1, *overrides):
    """The parts of the toy rows when a share of those for training is used."""
    return run_rows.open_rows(
        settings(None, f"train.fraction={share}", f"seed={seed}", *overrides), find("classify")
    )


def places(rows) -> list[str]:
    return [row.source for row in rows]


def test_a_share_of_the_training_rows_is_drawn_by_the_seed():
    whole, half = shared(1), shared(0.5)
    every, some = places(whole.train), places(half.train)
    assert places(half.train) == some  # whenever they are read
    assert places(shared(0.5).train) == some
    assert some == [place for place in every if place in some]
    assert len(every) / 3 < len(some) < len(every) / 1.5
    other = places(shared(0.5, 2).train)
    assert sorted(other) != sorted(some)
    assert {*other} <= {*every}
    assert 0 < len(places(shared(0.1).train)) < len(some) / 2


def test_a_share_leaves_what_is_measured_by_as_it_is():
    whole, half = shared(1), shared(0.3)
    for part in ("valid", "test"):
        assert places(getattr(half, part)) == places(getattr(whole, part))
    given = [f"data.{part}={DATA / 'classify.jsonl'}" for part in ("valid", "test")]
    files = shared(0.3, 1, *given)
    assert len(places(files.valid)) == len(places(files.test)) == 96
    assert len(places(files.train)) < 50


def test_rows_are_read_as_they_are_drawn():
    read = []
    rows = Rows(lambda: (read.append(number) or number for number in range(100)), "numbers")
    some = run_rows._some(rows, 0.5, 1)
    first = next(some)
    assert read == [*range(first + 1)]
    assert [first, *some] == [*run_rows._some(rows, 0.5, 1)]


def test_classify_skips_empty_texts_and_refuses_empty_labels():
    def read(*rows):
        placed = [Row(row, f"x:{number}") for number, row in enumerate(rows, 1)]
        return run_rows.ValidRows(Rows(lambda: iter(placed), "x"), find("classify"))

    good = {"text": "a", "label": "b"}
    rows = read(good, {"text": " \u00a0", "label": "b"}, {"text": "", "label": ""})
    assert list(rows) == [good]
    assert rows.skipped == Counter({"an empty text": 2})
    for label in ("", " "):
        with pytest.raises(RowError, match=r"^x:2: column 'label' is empty: fill it, or remove"):
            list(read(good, {"text": "a", "label": label}))


def test_a_share_keeps_every_label():
    rows = [Row({"text": f"t{i}", "label": "ab"[i % 2]}, f"x:{i}") for i in range(200)]
    rows[150] = Row({"text": "rare", "label": "c"}, "x:150")
    source = Rows(lambda: iter(rows), "x")
    kind = find("classify")
    for seed in range(5):
        kept = run_rows._first_rows(source, 0.05, seed, kind)
        some = list(run_rows._some(source, 0.05, seed, lambda kept=kept: kept))
        plain = list(run_rows._some(source, 0.05, seed))
        assert {row["label"] for row in some} == {"a", "b", "c"}
        assert [row for row in some if row in plain] == plain
        assert len(some) - len(plain) == len(kept) <= 3
    assert run_rows._first_rows(source, 0.999, 1, kind) == set()


def warnings_of(caplog, rows, kind):
    """The warnings of encoding rows with a tokenizer of a kind."""
    read = [Row(row, f"x:{i}") for i, row in enumerate(rows, 1)]
    source = Rows(lambda: iter(read), "x")
    chosen = settings(None, f"tokenizer.kind={kind}", "tokenizer.min_count=2")
    task = build_task(chosen, Splits(source, source, source))
    with tempfile.TemporaryDirectory() as folder:
        run_rows.encode_rows(task, source, Path(folder) / "x")
    return caplog.messages


def test_texts_whose_words_cannot_be_told_apart_are_warned_of(caplog):
    rows = [{"text": f"これは文{i}です" * 2, "label": "ab"[i % 2]} for i in range(20)]
    cure = ": set tokenizer.kind=characters or subwords"
    assert warnings_of(caplog, rows, "words") == [
        f"x: 100 % of the texts have under 3 words{cure}",
        f"x: 100 % of the words are unknown{cure}",
    ]
    caplog.clear()
    assert warnings_of(caplog, rows, "characters") == []


def test_a_language_model_reads_empty_lines():
    rows = [Row({"text": text}, f"x:{number}") for number, text in enumerate(["a", "", "b"], 1)]
    read = run_rows.ValidRows(Rows(lambda: iter(rows), "x"), find("generate"))
    assert list(read) == rows


def test_a_held_out_part_without_rows_names_the_cure():
    for name, cure in (
        ("x.csv (a tenth of it)", "; give data.valid=FILE and data.test=FILE"),
        ("x", ""),
    ):
        rows = run_rows.ValidRows(Rows(lambda: iter([]), name), find("classify"))
        with pytest.raises(InputError) as caught:
            list(rows)
        assert str(caught.value) == f"{name}: holds no rows that can be used{cure}"


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ({"Pos": 9, "neg": 9, "pos": 3}, ["'Pos' (9) / 'pos' (3)"]),
        ({"1": 9, "1.0": 2, "0": 9, "2e0": 9}, ["'1' (9) / '1.0' (2)"]),
        ({"not good": 9, "not_good": 2, "good": 9}, ["'not good' (9) / 'not_good' (2)"]),
        ({"ａ": 9, "b": 2, "a": 9}, ["'ａ' (9) / 'a' (9)"]),
        ({"1_0": 9, "10": 2}, []),
        ({f"id{n}": 1 for n in range(20)}, ["20 labels of 20 training rows: is data.label=COLUMN"]),
        ({f"{n / 7:.3f}": 1 for n in range(20)}, ["numbers that are measured are no classes"]),
        ({f"id{n}": 2 for n in range(20)}, []),
        ({f"id{n}": 1 for n in range(9)}, []),
    ],
)
def test_labels_that_look_like_a_mistake_are_said(caplog, labels, said):
    class Fake:
        target_columns = ("label",)
        processors = MappingProxyType(
            {"labels": LabelEncoder([*labels], [*labels.values()])},
        )

    run_rows.say_labels(Fake())
    assert len(caplog.messages) == len(said)
    assert all(part in line for part, line in zip(said, caplog.messages, strict=True))


@pytest.mark.parametrize(
    ("texts", "said"), [(["t1", "t2", "new", "t1"], "3 of 4 texts"), (["new"] * 20 + ["t1"], "")]
)
def test_texts_that_stand_in_the_training_rows_are_counted(caplog, texts, said):
    kind = find("classify")
    train = [Row({"text": f"t{n}", "label": "a"}, f"x:{n}") for n in range(40)]
    known = RowHashes.of(train, kind)
    rows = [Row({"text": text, "label": "b"}, "y:1") for text in texts]
    run_rows.say_known(Rows(lambda: rows, "y.csv"), RowHashes.of(rows, kind), known)
    assert [line.startswith(f"y.csv: {said}") for line in caplog.messages] == [True] * bool(said)
    caplog.clear()
    run_rows.say_known(Rows(lambda: train, "x.csv"), known, known)
    of_text = RowHashes.of(train, find("generate"))
    assert of_text.known(of_text) == 0  # lines may be equal
    assert not caplog.messages


@pytest.mark.parametrize(
    "first",
    [
        "the room was great",
        "部屋はとても良かった。",
        "配送が早くてとても使いやすい商品でしたので満足",
    ],
)
def test_a_file_without_a_header_is_told_that_it_needs_one(first):
    rows = [Row({first: "the film was bad", "pos": "neg"}, "x.csv:2")]
    with pytest.raises(RowError, match=r"; a file without a header needs one: text,label$"):
        list(
            run_rows.ValidRows(
                Rows(lambda: rows, "x.csv"), find("classify"), False, ["text", "label"]
            )
        )


def test_a_file_of_plain_lines_is_told_from_a_table():
    rows = [Row({"text": "Oslo B-LOC"}, "names.txt:2")]
    with pytest.raises(
        RowError, match=r"^names.txt:2: no 'words' .*: call a table \.csv, a column f"
    ):
        list(
            run_rows.ValidRows(
                Rows(lambda: rows, "names.txt"), find("tag"), False, ["text", "label", "column"]
            )
        )
