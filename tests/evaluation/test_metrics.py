"""Metrics: translation against sacreBLEU, perplexity per word and tagging by hand."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
from sacrebleu.metrics import BLEU, CHRF

from tasks.generate import Generate, GenerateConfig
from zoo.data.readers import Row
from zoo.evaluation import metrics
from zoo.nn.backbone import Backbone, BackboneConfig
from zoo.text.special_ids import EOS, UNK
from zoo.text.tokenizers import TOKENIZERS

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


TEXTS = ["the cat sat", "", "a\n b\r\nc", " the  end\n"]
ODD = ["one\u2028two", "a\u00a0b\tc", "x\x0by\x1cz", "tab\tend \n", "\r", "\n\r\n\r"]
LN2 = math.log(2)


def answers(*nats, tokens=1, unknown=0):
    """One for each text, under measures that cost 1, 2, … times as much."""
    return [
        {"nats": {"": one, "_twice": 2 * one}, "tokens": tokens, "unknown": unknown} for one in nats
    ]


@pytest.mark.parametrize(
    ("by_line", "words", "characters"),
    [
        (True, 3 + 1 + 0 + 1 + 3 + 3 + 2 + 2, 11 + 1 + 0 + 1 + 4 + 3 + 9 + 2),
        (False, 3 + 1 + 0 + 1 + 3 + 1 + 2 + 1, 11 + 1 + 0 + 1 + 7 + 1 + 10 + 1),
    ],
)
def test_words_and_characters_are_counted_with_their_ends(by_line, words, characters):
    found = metrics.perplexity(answers(5.0, 1.0, 7.0, 2.5, tokens=4), TEXTS, by_line)
    assert found == pytest.approx(
        {
            "perplexity": math.exp(15.5 / words),
            "perplexity_twice": math.exp(31 / words),
            "bits_per_character": 15.5 / LN2 / characters,
            "loss": 15.5 / 16,
            "unknown": 0,
        }
    )


def test_unknown_is_the_share_of_all_tokens():
    mixed = [*answers(1.0, tokens=6, unknown=3), *answers(1.0, tokens=2, unknown=1), *answers(0.0)]
    assert metrics.perplexity(mixed, ["a", "b", "c"], False)["unknown"] == 4 / 9


def test_what_is_counted_of_a_row_are_its_tokens_and_those_that_are_unknown():
    found = metrics.likelihood({"": 2.5, "_cache": 1.0}, iter([4, UNK, 0, EOS, UNK]))
    assert found == {"nats": {"": 2.5, "_cache": 1.0}, "tokens": 5, "unknown": 2}


@pytest.mark.parametrize("nats", [1e6, 1e300, math.inf])
def test_a_hopeless_model_has_a_huge_perplexity_and_no_error(nats):
    found = metrics.perplexity(answers(nats), ["a b"], False)
    assert 1e300 < found["perplexity"] == found["perplexity_twice"] < math.inf
    assert found["loss"] == nats


def test_a_perplexity_below_the_bound_is_exact():
    assert metrics.perplexity(answers(2 * 699.0), ["a"], False)["perplexity"] == math.exp(699)


@pytest.mark.parametrize("by_line", [False, True])
def test_no_rows_have_no_perplexity_and_cost_nothing(by_line):
    found = metrics.perplexity([], [], by_line)
    assert found == {"bits_per_character": 0, "loss": 0, "unknown": 0}


def test_tokens_do_not_count_where_the_nats_are_the_same():
    few, many = (metrics.perplexity(answers(30.0, tokens=n), ["a cat sat"], True) for n in (4, 10))
    assert (few.pop("loss"), many.pop("loss")) == (7.5, 3)
    assert few == many


def generate(kind, stream):
    tokenizer = TOKENIZERS[kind].train([*TEXTS, *ODD], 60)
    shape = BackboneConfig(vocabulary_size=len(tokenizer), bidirectional=False)
    processors = {"tokenizer": tokenizer}
    return Generate(Backbone(shape), processors, GenerateConfig(stream=stream))


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("kind", ["whitespace", "characters"])
def test_what_has_a_token_to_a_word_or_character_is_scored_by_its_tokens(stream, kind):
    task = generate(kind, stream)
    rows = [Row({"text": text}, "row") for text in [*TEXTS, *ODD]]
    targets = [task.encode(row)["targets"] for row in rows]
    found = task.compute_metrics([metrics.likelihood({"": 3.0 * len(t)}, t) for t in targets], rows)
    assert found["loss"] == pytest.approx(3)
    bits = found["bits_per_character"]
    each = {"whitespace": math.log(found["perplexity"]), "characters": bits * LN2}
    assert each[kind] == pytest.approx(3)


FIGURES = ["accuracy", "accuracy_unseen", "sentence_accuracy"]


def test_words_sentences_and_unseen_words_are_counted():
    wanted = [["X", "Y", "X"], ["Y"], ["X", "X"]]
    found = [["X", "Y", "Y"], ["Y"], ["Y", "X"]]
    unseen = [[False, True, True], [False], [True, True]]
    assert metrics.tagging(found, wanted, unseen, False) == {
        "accuracy": 4 / 6,
        "accuracy_unseen": 2 / 4,
        "sentence_accuracy": 1 / 3,
    }


def test_without_unseen_words_or_without_any_their_accuracy_is_zero():
    values = metrics.tagging([["X"]], [["X"]], [[False]], False)
    assert values == dict(zip(FIGURES, (1.0, 0.0, 1.0), strict=True))
    assert metrics.tagging([], [], [], True) == dict.fromkeys(FIGURES, 0.0)
    assert metrics.tagging([[]], [[]], [[]], False)["sentence_accuracy"] == 1


def test_of_spans_each_counts_when_kind_begin_and_end_are_right():
    wanted = [["B-P", "I-P", "O", "B-L"], ["B-L", "O"]]
    found = [["B-P", "O", "O", "B-L"], ["B-L", "I-L"]]
    values = metrics.tagging(found, wanted, [[False] * 4, [False] * 2], True)
    assert values["accuracy"] == pytest.approx(4 / 6)
    assert values["precision"] == values["recall"] == values["f1"] == pytest.approx(1 / 3)
    one = metrics.tagging([["B-P", "O"]], [["B-P", "B-L"]], [[False] * 2], True)
    assert (one["precision"], one["recall"]) == (1, 0.5)
    assert one["f1"] == pytest.approx(2 / 3)


def test_answers_of_another_length_are_an_error():
    for found, unseen in (([["X"]], [[True] * 2]), ([["X", "Y"]], [[True]]), ([], [])):
        with pytest.raises(ValueError, match="zip"):
            metrics.tagging(found, [["X", "Y"]], unseen, False)


def test_a_label_has_its_precision_recall_and_count_where_it_occurs():
    found = metrics.per_label(["X", "X", "Y", "X"], ["X", "Y", "Y", "Z"], ["Z", "Y", "X"])
    assert found == [
        {"label": "Y", "precision": 0.5, "recall": 1.0, "f1": pytest.approx(2 / 3), "count": 1},
        {"label": "X", "precision": 1.0, "recall": pytest.approx(1 / 3), "f1": 0.5, "count": 3},
    ]
    assert metrics.per_label(["X"], ["Y"], ["X", "Y"])[0]["f1"] == 0


def test_wilsons_interval_is_that_of_the_literature():
    assert metrics.wilson(0.5, 10) == pytest.approx((0.2366, 0.7634), abs=1e-4)
    assert metrics.wilson(1.0, 34) == pytest.approx((0.8985, 1.0), abs=1e-4)
    assert metrics.wilson(0.0, 34) == pytest.approx((0.0, 0.1015), abs=1e-4)


def test_the_interval_of_a_mean_is_that_of_the_normal_distribution():
    values = np.random.default_rng(1).normal(3, 2, 400).tolist()

    def mean(found, _):
        return {"mean": sum(found) / len(found)}

    found = metrics.intervals(
        {"mean": 3.0, "hits": 0.5, "other": 1.0}, values, values, mean, {"hits"}
    )
    assert found["mean"]["method"] == "bootstrap"
    half = 1.96 * np.std(values) / 20
    centre = np.mean(values)
    assert found["mean"]["low"] == pytest.approx(centre - half, abs=half / 4)
    assert found["mean"]["high"] == pytest.approx(centre + half, abs=half / 4)
    assert found["hits"] == dict(
        zip(("low", "high"), metrics.wilson(0.5, 400), strict=True), method="Wilson"
    )
    assert "other" not in found  # nothing computes it
    assert metrics.intervals({"mean": 3.0}, values * 5, values * 5, mean) == {}  # 2,000 rows


def test_what_takes_too_long_has_no_interval(monkeypatch):
    monkeypatch.setattr(metrics, "SECONDS", 0.01)

    def slow(found, _):
        time.sleep(0.01)
        return {"mean": 1.0}

    start = time.perf_counter()
    assert metrics.intervals({"mean": 1.0}, [1, 2], [1, 2], slow) == {}
    assert time.perf_counter() - start < 1


def test_macro_f1_equals_that_of_scikit_learn():
    from sklearn.metrics import f1_score

    numbers = np.random.default_rng(2)
    for size in (2, 5, 30):
        found, wanted = (numbers.integers(size, size=40).tolist() for _ in range(2))
        expected = f1_score(wanted, found, average="macro", zero_division=0)
        assert metrics.macro_f1(found, wanted)["macro_f1"] == pytest.approx(expected)


def test_translations_have_intervals_around_their_scores():
    wanted = [f"a b c d {n} e f" for n in range(60)]
    texts = [text.replace("e", "x") if n % 3 else text for n, text in enumerate(wanted)]
    answers = [{"text": text, "loss": 0.5, "tokens": 7} for text in texts]
    values = metrics.translation(texts, wanted) | metrics.token_loss(answers)
    found = metrics.translation_intervals(values, answers, wanted)
    assert found == metrics.translation_intervals(values, answers, wanted)  # seeded
    assert {*found} == {*values}
    for name, each in found.items():
        assert each["low"] <= values[name] <= each["high"]
        assert name == "loss" or each["low"] < each["high"]
    assert found["bleu"]["method"] == "sacreBLEU's bootstrap"
    assert metrics.translation_intervals(values, answers * 40, wanted * 40) == {}  # 2,400 rows


def test_labels_are_numbered_and_others_have_one_more():
    found = metrics.numbered(["b", "a", "c", "b"], ["a", "b"])
    assert found.tolist() == [1, 0, 2, 1]
    assert metrics.numbered([], []).tolist() == []
