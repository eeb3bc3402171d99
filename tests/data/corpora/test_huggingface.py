"""Data sets of the hub, without a network: columns, class names, and errors in one line."""

from __future__ import annotations

import json
import sys

import pytest
from corpus_cases import GIVEN, refused, texts

from zoo.data.corpora import open_corpus
from zoo.errors import InputError

HUB = {"name": "hub", "config": None, "train": "train"} | GIVEN


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


@pytest.fixture
def stored(hub, tmp_path):
    """A function that stores a set whose features it is given, and opens it for all splits."""
    datasets = pytest.importorskip("datasets")

    def stored(features, rows, **settings):
        made = datasets.Dataset.from_dict(rows, features=datasets.Features(features(datasets)))
        (tmp_path / "set").mkdir()
        made.to_parquet(tmp_path / "set" / "train.parquet")
        return hub(id=str(tmp_path / "set"), valid="train", test="train", **settings)

    return stored


def test_hub_gives_the_names_of_classes(stored):
    def features(datasets):
        kinds = datasets.ClassLabel(names=["no", "yes"])
        return {"text": datasets.Value("string"), "label": kinds}

    splits = stored(features, {"text": ["a", "b", "c"], "label": [0, 1, -1]})
    assert [row["label"] for row in splits.train] == ["no", "yes", -1]


def test_hub_gives_the_names_of_the_labels_of_words(stored):
    def features(datasets):
        tags = datasets.List(datasets.ClassLabel(names=["DET", "NN"]))
        return {"tokens": [datasets.Value("string")], "pos": tags}

    rows = {"tokens": [["the", "cat"], ["it"]], "pos": [[0, 1], [1]]}
    splits = stored(features, rows, words="tokens", column="pos")
    assert [dict(row) for row in splits.train] == [
        {"words": ["the", "cat"], "labels": ["DET", "NN"]},
        {"words": ["it"], "labels": ["NN"]},
    ]


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
    said = refused(open_corpus, {**HUB, "id": "x"})
    assert said == "data=hub needs the extra: pip install 'sequence-zoo[hub]'"
