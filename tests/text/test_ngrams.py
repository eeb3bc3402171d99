"""N-grams: what they are, their TF-IDF weights, and the batch of an embedding bag."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.feature_extraction.text import TfidfVectorizer

from zoo.errors import InputError
from zoo.nn.output_layer import NgramBatch
from zoo.text.ngrams import NgramVocabulary, of_characters, of_words

TEXTS = ["The cat sat, the cat ran", "a dog ran", "the dog sat; the dog sat down", "cat"]


def test_words_come_alone_and_in_pairs():
    assert [*of_words("to be, or")] == ["to", "be", ",", "or", "to be", "be ,", ", or"]


def test_characters_come_word_by_word_with_a_blank_at_each_end():
    assert {*of_characters("ab c")} >= {" ", "a", " a", "ab", "b ", " ab ", " c "}
    assert "b c" not in {*of_characters("ab c")}
    assert max(map(len, of_characters("abcdef"))) == 4


def test_longer_n_grams_are_learned_read_and_saved(tmp_path):
    assert [*of_words("to be or", 3)] == ["to", "be", "or", "to be", "be or", "to be or"]
    known = NgramVocabulary.learn(["abcdefgh"], "characters", 100, 6)
    assert {"abcdef", " abcde"} <= {*known.ngrams}
    assert max(map(len, known.ngrams)) == 6
    known.save(tmp_path / "ngrams.json")
    again = NgramVocabulary.load(tmp_path / "ngrams.json")
    assert again.longest == 6
    assert again.frequencies.tolist() == known.frequencies.tolist()
    for own, other in zip(known.encode("xabcdefx"), again.encode("xabcdefx"), strict=True):
        assert own.tolist() == other.tolist()
    NgramVocabulary.learn(TEXTS, "characters", 9).save(tmp_path / "usual.json")
    assert "longest" not in (tmp_path / "usual.json").read_text("utf-8")


def test_the_weights_are_those_of_scikit_learn():
    known = NgramVocabulary.learn(TEXTS, "words", 1000)
    theirs = TfidfVectorizer(
        analyzer=lambda text: [*of_words(text.lower())], sublinear_tf=True
    ).fit(TEXTS)
    wanted = theirs.transform(TEXTS).toarray()
    for row, text in enumerate(TEXTS):
        ids, weights = known.encode(text)
        found = {known.decode(number): w for number, w in zip(ids, weights, strict=True)}
        assert {*found} == {n for n, i in theirs.vocabulary_.items() if wanted[row, i]}
        for ngram, weight in found.items():
            assert weight == pytest.approx(wanted[row, theirs.vocabulary_[ngram]], abs=1e-6)


def test_the_most_frequent_are_kept_and_of_many_texts_only_those_of_two():
    assert NgramVocabulary.learn(TEXTS, "words", 2).ngrams == ["cat", "dog"]
    many = [f"word{n} and" for n in range(300)]
    assert NgramVocabulary.learn(many, "words", 1000).ngrams == ["and"]


def test_a_text_reads_the_same_in_any_case_and_composition():
    known = NgramVocabulary.learn(["Café noir"], "words", 10)
    for text in ("CAFÉ noir", "cafe\u0301 noir", "café\u00a0noir"):
        assert {*known.encode(text)[0].tolist()} == {0, 1, 2}
    ids, weights = known.encode("nothing known")
    assert (len(ids), len(weights), ids.dtype, weights.dtype) == (0, 0, np.int32, np.float32)


def test_texts_without_n_grams_are_refused():
    with pytest.raises(InputError, match=r"task\.ngrams=none"):
        NgramVocabulary.learn([f"word{n}" for n in range(300)], "words", 10)


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        '{"analyzer": "words"}',
        '{"analyzer": "bytes", "frequencies": {"a": 1}}',
        '{"analyzer": "words", "frequencies": {}}',
        '{"analyzer": "words", "frequencies": {"a": -1}}',
        '{"analyzer": "words", "frequencies": {"a": true}}',
        '{"analyzer": "words", "frequencies": ["a"]}',
        '{"analyzer": "words", "frequencies": {"a": 1}, "longest": 0}',
        '{"analyzer": "words", "frequencies": {"a": 1}, "longest": true}',
        '{"analyzer": "words", "frequencies": {"a": 1}, "shortest": 1}',
    ],
)
def test_a_broken_file_is_one_line(tmp_path, text):
    path = tmp_path / "ngrams.json"
    path.write_text(text, "utf-8")
    with pytest.raises(InputError, match=r"ngrams\.json") as caught:
        NgramVocabulary.load(path)
    assert "\n" not in str(caught.value)


def test_a_batch_feeds_an_embedding_bag():
    known = NgramVocabulary.learn(TEXTS, "characters", 1000)
    ids, weights = zip(*map(known.encode, [*TEXTS, ""]), strict=True)
    batch = NgramBatch.collate(ids, weights)
    table = torch.randn(len(known), 3)
    bag = torch.nn.EmbeddingBag.from_pretrained(table, mode="sum")
    found = bag(batch.ids, batch.offsets, batch.weights)
    for row, (own, share) in enumerate(zip(ids, weights, strict=True)):
        wanted = torch.from_numpy(share) @ table[torch.from_numpy(own).long()]
        torch.testing.assert_close(found[row], wanted)
    assert not found[-1].any()
