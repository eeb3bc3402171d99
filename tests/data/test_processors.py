"""Processors: values become numbers and back, and each file is read as it was written."""

from __future__ import annotations

import json

import numpy as np
import pytest

from zoo.data.processors import (
    PROCESSORS,
    LabelEncoder,
    LabelSetEncoder,
    Processor,
    Scaler,
    WordCounts,
)
from zoo.errors import InputError
from zoo.text.characters import Alphabet
from zoo.text.ngrams import NgramVocabulary
from zoo.text.tokenizers import TOKENIZERS, Characters, Subwords, Whitespace

MADE = [
    Whitespace.train(["a b b"], 50),
    Characters.train(["a b b"], 50),
    Subwords.train(["a b b"], 50),
    LabelEncoder(["B-X", "O"], [3, 4], [("", "O"), ("O", "B-X")]),
    LabelEncoder(["yes", "no"]),
    LabelSetEncoder(["bug", "billing"], [2, 1], 4),
    Alphabet("abé日"),
    WordCounts({"a": 2, "日本": 1}),
    Scaler([0.1, -1e300], [1 / 3, 5e-324]),
    NgramVocabulary.learn(["a bé 日本", "日"], "characters", 20),
]


def parts(processor) -> dict:
    """The plain data of a processor."""
    values = {name: value for name, value in vars(processor).items() if name != "processor"}
    return {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in values.items()}


@pytest.mark.parametrize("processor", MADE, ids=lambda processor: processor.kind)
def test_a_processor_is_read_as_it_was_written(processor, tmp_path):
    path = tmp_path / f"name{processor.suffix}"
    processor.save(path)
    again = PROCESSORS[processor.kind].load(path)
    assert isinstance(again, Processor)
    assert type(again) is type(processor)
    assert parts(again) == parts(processor)
    again.save(tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == path.read_bytes()


def test_every_kind_has_one_class():
    others = {"labels", "label_sets", "alphabet", "word_counts", "scaler", "ngrams"}
    others |= {"series", "linear_forecast"}
    assert {*TOKENIZERS} | others == {*PROCESSORS}
    assert all(PROCESSORS[kind].kind == kind for kind in PROCESSORS)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("labels", ["a", "b"]),
        ("labels", {"labels": ["a"], "counts": None}),
        ("labels", {"labels": [], "counts": None, "exceptions": []}),
        ("labels", {"labels": ["a", "a"], "counts": None, "exceptions": []}),
        ("labels", {"labels": "ab", "counts": None, "exceptions": []}),
        ("labels", {"labels": ["a", 1], "counts": None, "exceptions": []}),
        ("labels", {"labels": ["a", "b"], "counts": [1], "exceptions": []}),
        ("labels", {"labels": ["a", "b"], "counts": [1, -1], "exceptions": []}),
        ("labels", {"labels": ["a", "b"], "counts": [1, True], "exceptions": []}),
        ("labels", {"labels": ["a", "b"], "counts": [1, 2.0], "exceptions": []}),
        ("labels", {"labels": ["a", "b"], "counts": None, "exceptions": [["a", "c"]]}),
        ("labels", {"labels": ["a", "b"], "counts": None, "exceptions": [["a"]]}),
        ("labels", {"labels": ["a", "b"], "counts": None, "exceptions": [[["a"], "b"]]}),
        ("labels", {"labels": ["a"], "counts": None, "exceptions": 3}),
        ("label_sets", {"labels": ["a"], "counts": [1]}),
        ("label_sets", {"labels": ["a"], "counts": None, "rows": 2}),
        ("label_sets", {"labels": [], "counts": [], "rows": 2}),
        ("label_sets", {"labels": ["a"], "counts": [3], "rows": 2}),
        ("label_sets", {"labels": ["a"], "counts": [3], "rows": 3.5}),
        ("alphabet", ["a", "b"]),
        ("alphabet", "aba"),
        ("word_counts", ["a"]),
        ("word_counts", {"a": 0}),
        ("word_counts", {"a": True}),
        ("word_counts", {"a": "1"}),
        ("scaler", [0, 1]),
        ("scaler", {"mean": [0.0]}),
        ("scaler", {"mean": [], "deviation": []}),
        ("scaler", {"mean": [0.0], "deviation": [1.0, 1.0]}),
        ("scaler", {"mean": [0.0], "deviation": [0.0]}),
        ("scaler", {"mean": [0.0], "deviation": [-1.0]}),
        ("scaler", {"mean": [float("nan")], "deviation": [1.0]}),
        ("scaler", {"mean": [0.0], "deviation": [float("inf")]}),
        ("scaler", {"mean": ["0"], "deviation": [1.0]}),
        ("scaler", {"mean": [True], "deviation": [1.0]}),
        ("scaler", {"mean": [10**400], "deviation": [1.0]}),
        ("scaler", {"mean": 0.0, "deviation": 1.0}),
        ("whitespace", ["a"]),
    ],
)
def test_a_file_of_something_else_is_named(kind, value, tmp_path):
    path = tmp_path / "file.json"
    path.write_text(json.dumps(value))
    with pytest.raises(InputError) as caught:
        PROCESSORS[kind].load(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", PROCESSORS)
def test_a_file_that_is_missing_or_no_json_is_named(kind, tmp_path):
    path = tmp_path / "file.json"
    for _ in range(2):
        with pytest.raises(InputError, match=r"file\.json: "):
            PROCESSORS[kind].load(path)
        path.write_bytes(b"\xff{")


def test_labels_are_numbered_in_their_order():
    encoder = LabelEncoder(["yes", "no"], [7, 2])
    assert [encoder.encode(label) for label in ("no", "yes")] == [1, 0]
    assert [encoder.decode(number) for number in (0, 1)] == ["yes", "no"]
    assert len(encoder) == 2
    with pytest.raises(KeyError):
        encoder.encode("maybe")


def test_words_are_counted_over_all_sentences():
    seen = WordCounts.learn([["b", "a"], [], ["b"]])
    assert [*seen.counts.items()] == [("a", 1), ("b", 2)]
    assert ("a" in seen, "c" in seen, len(seen)) == (True, False, 2)
    assert [seen.encode(word) for word in "abc"] == [1, 2, 0]
    assert (seen.decode(1), seen.decode(3)) == (["a"], [])


def test_an_alphabet_reads_its_ids_back():
    alphabet = Alphabet("ab")
    assert alphabet.encode(["ab", "", "c"]) == [4, 5, 3, 3, 1, 3]
    assert alphabet.decode([4, 5, 3, 3, 1, 3]) == ["ab", "", "\ufffd"]


def test_a_scaler_has_mean_and_deviation_of_all_steps():
    scaler = Scaler.learn([np.array([[1.0, 5.0], [3.0, 5.0]]), np.array([[8.0, 5.0]])])
    assert scaler.mean.tolist() == [4.0, 5.0]
    assert scaler.deviation.tolist() == pytest.approx([(26 / 3) ** 0.5, 1.0])
    assert scaler.width == 2
    scaled = scaler.encode([[4.0, 7.0], [4 + (26 / 3) ** 0.5, 4.0]])
    assert scaled.dtype == np.float32
    np.testing.assert_allclose(scaled, [[0, 2], [1, -1]], atol=1e-7)
    back = scaler.decode(scaled)
    assert back.dtype == np.float32
    np.testing.assert_allclose(back, [[4, 7], [6.943920, 4]], rtol=1e-6)


def test_a_scaler_is_exact_far_from_zero_and_over_many_chunks(monkeypatch):
    monkeypatch.setattr("zoo.data.processors.CHUNK", 7)
    values = np.random.default_rng(1).normal(1e9, 2.0, (1000, 3))
    scaler = Scaler.learn(np.split(values, [100, 101, 640]))
    np.testing.assert_allclose(scaler.mean, values.mean(0), rtol=1e-15)
    np.testing.assert_allclose(scaler.deviation, values.std(0), rtol=1e-8)
    same = Scaler.learn([np.full((1000, 1), 0.1)])
    assert same.deviation.tolist() == [1.0]


def test_a_value_that_is_not_finite_is_named_with_its_place(monkeypatch):
    monkeypatch.setattr("zoo.data.processors.CHUNK", 2)
    values = np.ones((5, 2), np.float32)
    values[4, 1] = np.nan
    with pytest.raises(InputError, match=r"^series 2, step 5, feature 2: nan is no finite number$"):
        Scaler.learn([np.ones((3, 2)), values])
    with pytest.raises(InputError, match=r"^features, step 1, feature 1: inf is no finite number$"):
        Scaler([0.0], [1.0]).encode([[np.inf]])


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ([], "there are no values"),
        ([np.ones((0, 2))], "there are no values"),
        ([np.ones((2, 2)), np.ones((2, 3))], "series 2: 3 features, before it 2"),
        ([np.ones(3)], "series 1: no array"),
        ([[["a"]]], "series 1: no array"),
    ],
)
def test_arrays_that_cannot_be_scaled_are_refused(arrays, said):
    with pytest.raises(InputError, match=said):
        Scaler.learn(arrays)
    with pytest.raises(InputError, match="3 features, the model knows 1"):
        Scaler([0.0], [1.0]).encode(np.ones((2, 3)))
