"""Identifiers of languages are compared on the languages that both know."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from zoo.bench.langid import identifiers
from zoo.data.readers import Row
from zoo.errors import InputError

SHARES = {"de": 0.1, "nb": 0.2, "zh_Hans": 0.3, "zh_Hant": 0.15, "sr_Latn": 0.25}


def test_the_answer_is_the_most_probable_of_the_languages_that_both_know():
    assert identifiers._among(SHARES, {"de", "nb"}) == "nb"
    assert identifiers._among(SHARES, {"de", "zh", "sr"}) == "zh"
    assert identifiers._among({**SHARES, "sr_Latn": 0.9}, {"de", "sr"}) == "de"


def test_each_peer_answers_the_rows_of_its_own_languages(monkeypatch):
    asked = []

    def build(labels):
        asked.append({*labels})
        return {"de", "zh"}, lambda text: "zh" if text > "z" else "de"

    monkeypatch.setattr(identifiers, "PEERS", {"json": build, "not_installed": build})
    texts = {"Haus": "de", "水": "zh_Hant", "hus": "nb", "kuća": "sr_Latn", "家": "zh_Hans"}
    rows = [Row({"text": text, "label": label}, "rows:1") for text, label in texts.items()]
    train = [
        Row({"text": f"{text} {n}", "label": label}, "")
        for n in range(3)
        for text, label in texts.items()
    ]
    wrong = [SHARES] * len(rows)  # Chinese in any case
    first, case = identifiers._beside("all", rows, wrong, train, ["tfidf", "json", "not_installed"])
    assert asked == [{"de", "nb", "zh"}]
    assert first["name"] == "all, TF-IDF: 5 rows of 5 languages"
    assert case["name"] == "all, json: 3 rows of 2 languages"
    assert case["ours"] == pytest.approx(2 / 3)
    assert case["peer"] == 1
    assert case["ratio"] == case["ours"]
    assert json.dumps(case)


def test_sentences_are_the_whole_texts_of_four_words_or_more(monkeypatch):
    texts = ["Ja", "Das ist gut", "Das ist ein Baum", "水の道を歩く人"]
    rows = [Row({"text": text, "label": "de"}, "rows:1") for text in texts]
    asked = []

    def corpus(data):
        return SimpleNamespace(test=rows if data["words"] is None else rows[:1], train=[])

    monkeypatch.setattr(identifiers, "load", str)
    monkeypatch.setattr(identifiers, "open_corpus", corpus)
    monkeypatch.setattr(identifiers, "predict_rows", lambda _, rows: [{"probabilities": {}}] * 4)

    def beside(length, rows, *_):
        asked.append((length, [row["text"] for row in rows]))
        return []

    monkeypatch.setattr(identifiers, "_beside", beside)
    assert identifiers.langid(["model=x", "data.path=x", "peers=tfidf"], 1) == []
    assert asked == [
        ("whole texts", texts),
        ("whole texts of 4 words or more", texts[2:]),
        ("4 to 10 words", texts[:1]),
        ("1 to 3 words", texts[:1]),
    ]


def test_a_model_is_needed():
    with pytest.raises(InputError, match=r"needs model=DIR"):
        identifiers.langid(["data.path=x"], 1)
    with pytest.raises(
        InputError, match=r"^peers=cld3: no such identifier; there are: tfidf, lang"
    ):
        identifiers.langid(["model=x", "peers=cld3"], 1)
