"""Corpora: what each reads, what is held out and how, and one line for what cannot be opened."""

import csv
import itertools
import json
import re
import sys
from itertools import chain

import pytest

from zoo.data.corpora import open_corpus, splits
from zoo.errors import InputError, RowError

PARTS = ("train", "valid", "test")
HUB = {"name": "hub", "config": None, "train": "train", "valid": None, "test": None,
       "text": "text", "label": "label"}  # fmt: skip


@pytest.fixture
def write(tmp_path, monkeypatch):
    """A function that writes a file into the working folder and returns its name."""
    monkeypatch.chdir(tmp_path)

    def write(name, content):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, "utf-8", newline="")
        return name

    return write


@pytest.fixture
def table(write):
    """A function that writes rows of text and label as a csv file."""

    def table(name, rows, header=("text", "label")):
        write(name, "")
        with open(name, "w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([header, *rows])
        return name

    return table


def files(train, valid=None, test=None, text="text", label="label"):
    return open_corpus(
        {"name": "files", "train": train, "valid": valid, "test": test, "text": text, "label": label}
    )  # fmt: skip


def texts(splits):
    """The texts of train, valid and test."""
    return [[row["text"] for row in getattr(splits, part)] for part in PARTS]


def refused(settings):
    """The one line of the error that a corpus ends in, when it is opened or when it is read."""
    with pytest.raises(InputError) as caught:
        list(open_corpus(settings).train)
    assert "\n" not in str(caught.value)
    return str(caught.value)


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
    assert not train & valid
    assert not train & test
    assert not valid & test
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
    found = [[row["words"][1] for row in getattr(splits, part)] for part in PARTS]
    assert sorted(chain(*found), key=int) == [str(i) for i in range(500)]
    assert 25 < len(found[1]) < 80


def test_held_out_rows_say_where_they_stand(table):
    for row in files(table("a.csv", NUMBERED)).valid:
        assert row.source == f"a.csv:{int(row['text'].split()[1]) + 2}"


def test_columns_are_chosen_by_name(table):
    name = table("a.csv", [("id", "good", "5", "old")], ("n", "review", "stars", "text"))
    splits = files(name, name, name, text="review", label="stars")
    assert list(splits.train) == [{"n": "id", "text": "good", "label": "5"}]
    swapped = files(name, name, name, text="text", label="review")
    assert next(iter(swapped.test)) == {"n": "id", "text": "old", "label": "good", "stars": "5"}


def test_a_column_that_is_not_there_is_an_error_with_the_ones_that_are(table):
    name = table("a.csv", [("good", "pos")])
    with pytest.raises(RowError, match=r"^a\.csv:2: no column 'reviw', there are: text, label; "):
        list(files(name, name, name, text="reviw").train)


def test_texts_without_labels_can_be_read(write):
    name = write("a.txt", "one\ntwo\n")
    assert list(files(name, name, name).valid) == [{"text": "one"}, {"text": "two"}]


@pytest.mark.parametrize("part", PARTS)
def test_a_missing_file_is_refused_when_the_corpus_is_opened(write, part):
    with pytest.raises(InputError, match=r"^none\.csv: No such file"):
        files(**{"train": write("a.txt", "a\n"), part: "none.csv"})


def imdb_folder(write):
    for part in ("train", "test"):
        write(f"aclImdb/{part}/pos/0_9.txt", f"Fine {part}<br /><br />film")
        write(f"aclImdb/{part}/neg/1_2.txt", f"Bad {part}")
        write(f"aclImdb/{part}/urls_pos.txt", "http://")
    write("aclImdb/train/unsup/3_0.txt", "Unlabelled")
    return "aclImdb"


def imdb_jsonl(write):
    for part in ("train", "test"):
        rows = [(f"Fine {part}<br /><br />film", 1), (f"Bad {part}", 0)]
        lines = [json.dumps({"text": text, "label": label}) for text, label in rows]
        write(f"imdb/{part}.jsonl", "\n".join(lines))
    return "imdb"


@pytest.mark.parametrize("make", [imdb_folder, imdb_jsonl])
def test_imdb_is_read_from_folders_and_from_jsonl(write, make):
    splits = open_corpus({"name": "imdb", "path": make(write)})
    found = {row["text"]: row["label"] for row in splits.test}
    assert found == {"Bad test": "negative", "Fine test\n\nfilm": "positive"}
    learned = {r["text"]: r["label"] for part in (splits.train, splits.valid) for r in part}
    assert learned == {"Bad train": "negative", "Fine train\n\nfilm": "positive"}


def test_imdb_holds_whole_neighbourhoods_out(write):
    """Reviews of one film stand together; one film must not be on both sides."""
    for part in ("train", "test"):
        for number in range(300):
            write(f"imdb/{part}/{('neg', 'pos')[number % 2]}/{number // 2}_1.txt", f"{number}")
    splits = open_corpus({"name": "imdb", "path": "imdb"})
    everything = [*splits.train, *splits.valid]
    assert len({row["text"] for row in everything}) == len(everything) == 300
    places = [int(row["text"]) for row in splits.valid]
    assert len(places) == 30
    neighbours = [b - a for a, b in itertools.pairwise(places)]
    assert neighbours.count(2) == 30 - 1 - 9  # ten blocks of three, in the order of their numbers


@pytest.mark.parametrize("row", ['{"text": "a"}', '{"review": "a", "label": 1}', '{"text": null}'])
def test_imdb_without_a_column_is_an_error(write, row):
    write("imdb/train.jsonl", row)
    write("imdb/test.jsonl", row)
    said = refused({"name": "imdb", "path": "imdb"})
    assert said == "imdb/train.jsonl:1: columns text and label are needed; see data=files"


def test_sst2_is_read_with_its_own_splits(write):
    for file, part in (("train", "train"), ("dev", "valid"), ("test", "test")):
        write(f"sst/stsa.binary.{file}", f"1 a fine {part} , 0 flaws\n0 bad .\n")
    splits = open_corpus({"name": "sst2", "path": "sst"})
    for part in PARTS:
        first, second = getattr(splits, part)
        assert first == {"text": f"a fine {part} , 0 flaws", "label": "positive"}
        assert second == {"text": "bad .", "label": "negative"}
    assert second.source == "sst/stsa.binary.test:2"


def test_sst2_refuses_a_line_without_a_label(write):
    for file in ("train", "dev", "test"):
        write(f"sst/stsa.binary.{file}", "1 fine\nand so on\n")
    assert refused({"name": "sst2", "path": "sst"}).startswith(
        "sst/stsa.binary.train:2: label 'and'"
    )


@pytest.mark.parametrize(("name", "stem"), [("imdb", "train"), ("sst2", r"stsa\.binary\.train")])
def test_a_wrong_folder_says_what_is_missing(write, name, stem):
    write("other/a.txt", "a")
    for folder in ("other", "none"):
        said = refused({"name": name, "path": folder})
        assert re.match(rf"{folder}: no {stem} in it", said)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """Opens a data set of the hub without a network, with its own cache."""
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    return lambda **settings: open_corpus({**HUB, **settings})


ODD = [("NA", "1"), ("null", "0"), ("nan", "1"), ("", "0"), ("fine", "1"), ("fine\n2", "0")]


def test_hub_reads_texts_of_csv_as_they_are_written(hub, table):
    table("set/train.csv", ODD)
    table("set/test.csv", ODD[:2])
    splits = hub(id="set", test="test", valid="test")
    assert [(row["text"], str(row["label"])) for row in splits.train] == ODD
    assert [row["text"] for row in splits.test] == ["NA", "null"]
    assert next(iter(splits.test)).source == "set:test:1"


def test_hub_reads_jsonl_and_chooses_columns(hub, write):
    lines = [json.dumps({"review": f"NA {i}", "stars": i % 2}) for i in range(400)]
    write("set/train.jsonl", "\n".join(lines))
    splits = hub(id="set", text="review", label="stars")
    train, valid, test = texts(splits)
    assert sorted(train + valid + test) == sorted(f"NA {i}" for i in range(400))
    assert len(train) > 250
    assert len(valid) > 10
    assert next(iter(splits.valid))["label"] in (0, 1)


def test_hub_gives_the_names_of_classes(hub, tmp_path):
    import datasets

    features = {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["no", "yes"])}
    rows = {"text": ["a", "b", "c"], "label": [0, 1, -1]}
    made = datasets.Dataset.from_dict(rows, features=datasets.Features(features))
    (tmp_path / "set").mkdir()
    made.to_parquet(tmp_path / "set" / "train.parquet")
    splits = hub(id=str(tmp_path / "set"), valid="train", test="train")
    assert [row["label"] for row in splits.train] == ["no", "yes", -1]


def test_hub_gives_the_names_of_the_labels_of_words(hub, tmp_path):
    import datasets

    tags = datasets.ClassLabel(names=["DET", "NN"])
    features = {"tokens": [datasets.Value("string")], "pos": datasets.List(tags)}
    rows = {"tokens": [["the", "cat"], ["it"]], "pos": [[0, 1], [1]]}
    made = datasets.Dataset.from_dict(rows, features=datasets.Features(features))
    (tmp_path / "set").mkdir()
    made.to_parquet(tmp_path / "set" / "train.parquet")
    given = {"valid": "train", "test": "train", "words": "tokens", "column": "pos"}
    splits = hub(id=str(tmp_path / "set"), **given)
    assert [dict(row) for row in splits.train] == [
        {"words": ["the", "cat"], "labels": ["DET", "NN"]}, {"words": ["it"], "labels": ["NN"]},
    ]  # fmt: skip


def test_hub_says_in_one_line_what_it_cannot_open(hub, table):
    for settings in ({"id": "nobody/no-such-set"}, {"id": "./none"}):
        with pytest.raises(InputError, match=rf"^data\.id={settings['id']}: .+$"):
            hub(**settings)
    table("set/train.csv", ODD)
    with pytest.raises(InputError, match=r"^data\.id=set: .*split.*test"):
        hub(id="set", test="test")


def test_hub_turns_an_error_of_many_lines_into_one(hub, monkeypatch):
    def fail(*_):
        raise RuntimeError("first\n  second")

    monkeypatch.setattr("datasets.load_dataset_builder", fail)
    with pytest.raises(InputError, match=r"^data\.id=x: first second$"):
        hub(id="x")


def test_hub_without_its_extra_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    said = refused({**HUB, "id": "x"})
    assert said == "data=hub needs the extra: pip install 'sequence-zoo[hub]'"


@pytest.mark.parametrize(("settings", "said"), [
    ({"name": "imbd", "path": "x"}, r"data=imbd: no such corpus; there are: .*imdb"),
    ({"path": "x"}, r"data=None: no such corpus"),
    ({"name": ["imdb"], "path": "x"}, r"data=\['imdb'\]: no such corpus"),
    ({"name": "open_corpus"}, r"data=open_corpus: no such corpus"),
    ({"name": "imdb", "paht": "x", "path": "y"}, r"data\.paht: no such setting; .*: path$"),
    ({"name": "imdb"}, r"data\.path is missing: add data\.path="),
    ({"name": "imdb", "path": 3}, r"data\.path=3: .*string"),
    ({"name": "imdb", "path": None}, r"data\.path=None: .*string"),
])  # fmt: skip
def test_wrong_settings_are_refused_by_name(settings, said):
    assert re.match(said, refused(settings))
