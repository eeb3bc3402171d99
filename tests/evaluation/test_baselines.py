"""Baselines: what each method must find, its metrics, and the number of rows that it reads."""

from __future__ import annotations

import math
import random

import pytest
from conftest import DATA
from tag_cases import SPANS, sentences

from zoo.data import readers
from zoo.data.readers import Row
from zoo.evaluation import baselines, metrics
from zoo.text.tokenizers import lines

ENGLISH = ["two small birds stand there", "The old Dog sleeps.", "a house", "I see it, too"]
GERMAN = ["zwei kleine Vögel stehen da", "Der alte Hund schläft.", "ein Haus", "Ich seh's auch"]
JAPANESE = ["2031年5月17日土曜日", "3 日後", "日本、ドイツ、フランス", "1,234ユーロ"]
FIGURES = ["accuracy", "accuracy_unseen", "sentence_accuracy"]
TEXTS = ["the cat sat", "", "a\n b\r\nc", " the  end\n"]


def labelled(*pairs):
    return [Row({"text": text, "label": label}, "row") for text, label in pairs]


FRUIT = [("red apple", "fruit"), ("green apple", "fruit"), ("red car", "car"), ("green car", "car")]


@pytest.mark.parametrize("kind", ["words", "characters"])
def test_tfidf_learns_labels_from_words_or_characters(kind):
    known = labelled(*FRUIT * 3)
    asked = labelled(("blue apple", "fruit"), ("blue car", "car"), ("apple", "car"))
    found = baselines.tfidf(known, asked, kind)
    assert found["method"] == "TF-IDF + logistic regression"
    assert found["rows"] == 12
    assert found["accuracy"] == pytest.approx(2 / 3)
    # fruit: precision 1/2, recall 1; car: precision 1, recall 1/2
    assert found["macro_f1"] == pytest.approx(2 / 3)
    assert set(found) == {"method", "accuracy", "macro_f1", "rows", "seconds"}


@pytest.mark.parametrize(
    ("good", "bad"),
    [("これは良いです", "それは悪いです"), ("\U0001f600", "\U0001f622"), ("7", "8"), ("", "x y")],
)
def test_tfidf_finds_something_in_any_script(good, bad):
    train = labelled(*[(f"{good}", "a"), (f"{bad}", "b")] * 10)
    found = baselines.tfidf(train, train, "words")
    assert found["accuracy"] == 1


def test_tfidf_of_texts_that_share_no_word_reads_characters():
    names = [("anna", "a"), ("annika", "a"), ("bert", "b"), ("berta", "b")]
    assert baselines.tfidf(labelled(*names), labelled(("annabel", "a")), "words")["accuracy"] == 1


@pytest.mark.parametrize("kind", ["words", "subwords"])
def test_tfidf_reads_the_units_that_classify_held_out_rows(kind):
    """Endings tell names apart, and no tokenizer does; which words occur tells sentences apart."""
    draw = random.Random(1)
    letters = "bdfgklmnprst"

    def name():
        return "".join(draw.choice(letters) + draw.choice("aeiou") for _ in range(3))

    names = [(f"the {name()}{end}", end) for end in ("ov", "sk", "ez") for _ in range(40)]
    assert baselines.tfidf(labelled(*names[::2]), labelled(*names[1::2]), kind)["accuracy"] > 0.95
    word = {"yes": ["no tale", "on late"], "no": ["on tale", "no late"]}  # the same characters
    pairs = [(draw.choice(word[label]), label) for label in ("yes", "no") for _ in range(40)]
    assert baselines.tfidf(labelled(*pairs[::2]), labelled(*pairs[1::2]), kind)["accuracy"] == 1


def test_tfidf_chooses_its_units_by_a_part_of_long_texts(monkeypatch):
    monkeypatch.setattr(baselines, "CHOOSING_CHARACTERS", 100)
    texts = ["red apple " * 5, "red car " * 5] * 10
    read = []
    monkeypatch.setattr(baselines, "_ngrams", lambda some, words: read.append(len(some)) or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        baselines._words_are_better(texts, ["fruit", "car"] * 10, True)
    assert read == [2]  # of three rows one is held out


def test_tfidf_of_many_labels_learns_them_too():
    pairs = [(f"word{n} word{n}", f"L{n}") for n in range(11)]
    assert baselines.tfidf(labelled(*pairs * 3), labelled(*pairs), "words")["accuracy"] == 1


def test_tfidf_reads_no_more_rows_than_it_says(monkeypatch):
    monkeypatch.setattr(baselines, "MOST_ROWS", 4)
    read = []
    known = (read.append(row) or row for row in labelled(*FRUIT * 3))
    assert baselines.tfidf(known, labelled(*FRUIT), "words")["rows"] == len(read) == 4


def pair_rows(pairs):
    return [Row({"source": a, "target": b}, f"x:{i}") for i, (a, b) in enumerate(pairs, 1)]


TRAIN = pair_rows(zip(ENGLISH, GERMAN, strict=True))


def test_a_memory_gives_the_target_of_the_same_source():
    found = baselines.nearest_pair(TRAIN, TRAIN[::-1])
    assert found["bleu"] == pytest.approx(100)
    assert found["exact_match"] == 1
    assert found["rows"] == 4
    assert found["method"] == "nearest training pair"
    scored = set(metrics.translation(GERMAN, GERMAN))
    assert set(found) == scored | {"method", "rows", "seconds"}
    assert 0 <= found["seconds"] < 60


def test_a_memory_gives_the_target_of_the_most_similar_source():
    asked = [
        ("two small birds stood there", GERMAN[0]),
        ("The old dogs sleep.", GERMAN[1]),
        ("the houses", GERMAN[2]),
        ("I see it too", "etwas anderes"),
    ]
    found = baselines.nearest_pair(TRAIN, pair_rows(asked))
    assert found["exact_match"] == 3 / 4
    wanted = [target for _, target in asked]
    direct = metrics.translation([*GERMAN[:3], GERMAN[3]], wanted)
    assert {name: found[name] for name in direct} == direct


def test_a_memory_reads_scripts_without_blanks_and_numbers():
    turned = pair_rows(zip(JAPANESE, ENGLISH, strict=True))
    assert baselines.nearest_pair(turned, turned)["exact_match"] == 1
    numbers = pair_rows([(12345, "a"), (67890, "b")])
    assert (
        baselines.nearest_pair(numbers, pair_rows([("12346", "a"), ("67899", "b")]))["exact_match"]
        == 1
    )


def test_a_source_like_nothing_known_gets_some_target():
    found = baselines.nearest_pair(TRAIN, pair_rows([("ΩΩΩ", "nichts")]))
    assert found["exact_match"] == 0
    assert math.isfinite(found["chrf"])


def test_a_memory_keeps_so_many_rows_and_says_so(monkeypatch):
    assert baselines.MOST_ROWS == 50_000
    monkeypatch.setattr(baselines, "MOST_ROWS", 2)
    read = []
    found = baselines.nearest_pair((read.append(row) or row for row in TRAIN), TRAIN)
    assert (found["rows"], len(read)) == (2, 2)  # the others are not even read
    assert found["exact_match"] == 2 / 4


def test_a_memory_reads_its_test_rows_once_and_leaves_all_rows_as_they_were():
    before = [dict(row) for row in TRAIN]
    assert baselines.nearest_pair(iter(TRAIN), iter(TRAIN))["exact_match"] == 1
    assert before == TRAIN


def text_rows(*texts):
    return [Row({"text": text}, "row") for text in texts]


def noise(count, seed=0):
    """Letters of 4 bits each, and no word ends."""
    return "".join(random.Random(seed).choices("abcdefghijklmnop", k=count))


def test_noise_costs_its_bits_and_what_is_known_next_to_nothing():
    text = noise(20_000)
    found = [
        baselines.lzma_compression(text_rows(known), text_rows(text))["bits_per_character"]
        for known in ("", noise(20_000, 1), text)
    ]
    assert found[0] == pytest.approx(4.1, abs=0.1)
    assert found[1] == pytest.approx(4.1, abs=0.1)
    assert found[2] < 0.05


def test_a_text_that_repeats_itself_costs_little():
    assert (
        baselines.lzma_compression([], text_rows(*["the cat sat"] * 500))["bits_per_character"]
        < 0.1
    )


@pytest.mark.parametrize("texts", [["é à la ü " * 40], TEXTS * 10, [noise(50) + " x"] * 3])
def test_the_figures_of_a_compressor_describe_the_same_nats(texts):
    found = baselines.lzma_compression(text_rows("a b c", "d"), text_rows(*texts))
    words = sum(len(line.split()) + 1 for text in texts for line in lines(text))
    characters = sum(len(line) + 1 for text in texts for line in lines(text))
    bits = found["bits_per_character"] * characters
    assert math.log2(found["perplexity"]) * words == pytest.approx(bits)
    assert bits > 0
    assert round(bits, 6) % 8 == pytest.approx(0, abs=1e-6)
    assert found["method"] == "LZMA"
    assert found["rows"] == 2


def test_a_compressor_keeps_so_many_rows_and_says_so(monkeypatch):
    monkeypatch.setattr(baselines, "MOST_ROWS", 2)
    known, read = text_rows(noise(900, 1), noise(900, 2), noise(900, 3)), []
    first, last = (
        baselines.lzma_compression((read.append(row) or row for row in known), [row])
        for row in (known[0], known[2])
    )
    assert (first["rows"], len(read)) == (2, 4)
    assert first["bits_per_character"] < 0.5 < 4 < last["bits_per_character"]


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
