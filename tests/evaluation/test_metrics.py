"""Scores of translations: sacreBLEU's own numbers under their own signatures; and a memory's."""

from __future__ import annotations

import math

import pytest
from sacrebleu.metrics import BLEU, CHRF

from zoo.data.readers import Row
from zoo.evaluation import baselines, metrics

ENGLISH = ["two small birds stand there", "The old Dog sleeps.", "a house", "I see it, too"]
GERMAN = ["zwei kleine Vögel stehen da", "Der alte Hund schläft.", "ein Haus", "Ich seh's auch"]
JAPANESE = ["2031年5月17日土曜日", "3 日後", "日本、ドイツ、フランス", "1,234ユーロ"]
CASES = {  # answers and references
    "de": (["zwei kleine Vogel stehen da", "der alte Hund schläft .", "Haus", ""], GERMAN),
    "ja": (["2031年5月18日土曜日", "3 日前", "日本、フランス、ドイツ", "1,234ユーロ"], JAPANESE),
}
BOTH = pytest.mark.parametrize("case", CASES)


def rounded(found, wanted):
    return {name: round(value, 2) for name, value in metrics.translation(found, wanted).items()}


def test_scores_of_right_answers_are_the_highest():
    right = {"bleu": 100, "bleu_lowercase": 100, "chrf": 100, "exact_match": 1}
    for texts in (ENGLISH, GERMAN, JAPANESE):
        assert metrics.translation(texts, texts) == pytest.approx(right)


def test_bleu_is_what_it_is_by_hand():
    # of 5, 4, 3 and 2 n-grams 4, 3, 2 and 1 are in the reference: the fourth root of 1/5
    assert rounded(["a b c d e"], ["a b c d f"])["bleu"] == round(100 * 0.2**0.25, 2) == 66.87
    # all n-grams are there, but the answer is a token too short: e ** (1 - 5/4)
    assert rounded(["a b c d"], ["a b c d e"])["bleu"] == round(100 * math.exp(-1 / 4), 2) == 77.88
    # counted over all rows together: 4 + 1 of 5 + 1 tokens, the single one has no pairs
    both = rounded(["a b c d e", "x"], ["a b c d f", "x"])["bleu"]
    assert both == round(100 * (5 / 6 * 3 / 4 * 2 / 3 * 1 / 2) ** 0.25, 2)


def test_case_counts_in_bleu_and_chrf_and_not_in_the_lower_cased_one():
    found = rounded(["A B C D E"], ["a b c d e"])
    assert (found["bleu"], found["bleu_lowercase"], found["chrf"]) == (0, 100, 0)
    found = rounded(["Der Hund schläft auf dem Dach"], ["der Hund schläft auf dem Dach"])
    assert found["bleu"] < found["bleu_lowercase"] == 100
    assert found["chrf"] < 100
    assert found["exact_match"] == 0
    assert rounded(["ÄPFEL SIND SEHR ROT"], ["äpfel sind sehr rot"])["bleu_lowercase"] == 100


@BOTH
def test_scores_are_those_of_sacrebleu(case):
    found, wanted = CASES[case]
    how = {"de": "13a", "ja": "char"}[case]
    direct = {
        "bleu": BLEU(tokenize=how).corpus_score(found, [wanted]).score,
        "bleu_lowercase": BLEU(tokenize=how, lowercase=True).corpus_score(found, [wanted]).score,
        "chrf": CHRF().corpus_score(found, [wanted]).score,
        "exact_match": {"de": 0, "ja": 1 / 4}[case],
    }
    assert metrics.translation(found, wanted) == direct
    assert 0 < direct["bleu"] < direct["bleu_lowercase"] < 100 or case == "ja"


@BOTH
def test_signatures_are_of_the_metrics_that_are_used(case):
    found, wanted = CASES[case]
    scored, signatures = metrics.translation(found, wanted), metrics.signatures(wanted)
    assert signatures.keys() == scored.keys() - {"exact_match"}
    for name, text in signatures.items():
        told = dict(part.split(":") for part in text.split("|"))
        assert (told["nrefs"], told["version"][:2]) == ("1", "2.")
        lower = told["case"] == "lc"
        assert lower == (name == "bleu_lowercase")
        if name == "chrf":
            orders = {"char_order": int(told["nc"]), "word_order": int(told["nw"])}
            again = CHRF(**orders, lowercase=lower, whitespace=told["space"] == "yes")
        else:
            again = BLEU(tokenize=told["tok"], lowercase=lower, smooth_method=told["smooth"])
        assert again.corpus_score(found, [wanted]).score == scored[name]
        assert str(again.get_signature()) == text


@pytest.mark.parametrize(("how", "texts"), [
    ("char", JAPANESE), ("char", ["今天天气很好。"]), ("char", ["สวัสดีชาวโลก"]), ("char", ["ສະບາຍດີ"]),
    ("char", ["မင်္ဂလာပါ"]), ("char", ["សួស្តី"]), ("char", ["カタカナ", "ひらがな"]),
    ("13a", ["안녕하세요 세계"]), ("13a", GERMAN), ("13a", ["مرحبا بالعالم"]), ("13a", ["Привет, мир"]),
    ("13a", ["नमस्ते"]), ("13a", ["12:30", "3 + 4", ""]), ("13a", []),
    ("13a", ["the city of 東京, in English"]), ("char", ["東京は大きいです (Tokyo)"]),
])  # fmt: skip
def test_scripts_without_blanks_are_compared_by_characters(how, texts):
    assert metrics.tokenization(texts) == how


def test_the_references_choose_the_tokenizer_whatever_the_answers_are():
    assert metrics.translation(["two birds", "", "x", "y"], JAPANESE)["bleu"] == 0
    said = metrics.signatures(JAPANESE)["bleu"]
    assert "tok:char" in said
    longer = rounded(["日本ドイツ"], ["日本とドイツ"])  # one token for 13a, and a wrong one
    assert longer["bleu"] > 30


def test_only_blanks_at_the_ends_are_left_out_of_an_exact_match():
    wanted = ["ein Haus", "ein Haus", "ein Haus", "ein Haus", " ein Haus\n"]
    found = [" ein Haus\n", "ein  Haus", "ein haus", "ein Haus.", "ein Haus"]
    assert metrics.translation(found, wanted)["exact_match"] == 2 / 5


def test_empty_answers_score_nothing():
    nothing = {"bleu": 0, "bleu_lowercase": 0, "chrf": 0, "exact_match": 0}
    assert metrics.translation([""] * 4, GERMAN) == nothing
    assert metrics.translation([" "] * 4, JAPANESE) == nothing
    some = metrics.translation(["", *GERMAN[1:]], GERMAN)
    assert 0 < some["bleu"] < 100
    assert some["exact_match"] == 3 / 4


def test_answers_without_a_reference_are_refused():
    with pytest.raises(ValueError, match=r"zip\(\) argument 2 is shorter"):
        metrics.translation(["a", "b"], ["a"])


def test_many_answers_that_end_in_a_full_stop_are_scored_without_a_word(caplog):
    wanted = ["Der alte Hund schläft ."] * 150
    assert rounded(wanted, wanted)["bleu"] == 100
    assert not caplog.records


def rows(pairs):
    return [Row({"source": a, "target": b}, f"x:{i}") for i, (a, b) in enumerate(pairs, 1)]


TRAIN = rows(zip(ENGLISH, GERMAN, strict=True))


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
    found = baselines.nearest_pair(TRAIN, rows(asked))
    assert found["exact_match"] == 3 / 4
    wanted = [target for _, target in asked]
    direct = metrics.translation([*GERMAN[:3], GERMAN[3]], wanted)
    assert {name: found[name] for name in direct} == direct


def test_a_memory_reads_scripts_without_blanks_and_numbers():
    turned = rows(zip(JAPANESE, ENGLISH, strict=True))
    assert baselines.nearest_pair(turned, turned)["exact_match"] == 1
    numbers = rows([(12345, "a"), (67890, "b")])
    assert (
        baselines.nearest_pair(numbers, rows([("12346", "a"), ("67899", "b")]))["exact_match"] == 1
    )


def test_a_source_like_nothing_known_gets_some_target():
    found = baselines.nearest_pair(TRAIN, rows([("ΩΩΩ", "nichts")]))
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
