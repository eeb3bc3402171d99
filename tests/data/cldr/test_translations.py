"""CLDR pairs: one phrase in two locales, one right answer, and disjoint splits."""

from __future__ import annotations

import re
import subprocess
import sys
import unicodedata
from collections import Counter
from datetime import datetime
from itertools import combinations

import pytest
from babel import Locale
from conftest import ROOT

from zoo.data.cldr import documents, phrases, translations
from zoo.errors import InputError

SIZE = {"train": 4000, "valid": 200, "test": 200}
MARKS = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff"


@pytest.fixture(scope="module")
def corpus():
    return {
        split: list(translations.pairs(split, "en", "ja", SIZE["train"]))
        for split in documents.SPLITS
    }


def of(source, target, count=1500):
    return list(translations.pairs("train", source, target, count))


def test_dates_mean_the_same_day_on_both_sides(corpus):
    days = 0
    for row in corpus["train"]:
        if re.fullmatch(r"[A-Z][a-z]+day, [A-Z][a-z]+ \d+, \d{4}", row["source"]):
            day = datetime.strptime(row["source"], "%A, %B %d, %Y")
            written = f"{day.year}年{day.month}月{day.day}日{'月火水木金土日'[day.weekday()]}曜日"
            assert row["target"] == written
            days += 1
    assert days > 100


def test_numbers_and_directions_are_kept():
    said = {row["source"]: row["target"] for row in of("de", "fr", 8000)}
    for german, french in (
        (r"in (\d+) Tagen", r"dans \1 jours"),
        (r"(\d+) Jahre", r"\1 ans"),
        (r"vor (\d+) Minuten", r"il y a \1 minutes"),
    ):
        found = [text for text in said if re.fullmatch(german, text)]
        assert len(found) > 2
        assert all(said[text] == re.sub(german, french, text) for text in found)


def test_both_sides_say_the_same_key(monkeypatch):
    keys, draw = [], translations._draw
    monkeypatch.setattr(translations, "_draw", lambda *given: keys.append(draw(*given)) or keys[-1])
    for source, target in (("en", "ja"), ("ar", "zh")):
        for row in translations.pairs(
            "train", source, target, 1000
        ):  # the last key drawn is the row's
            assert row["source"] == phrases.say(Locale.parse(source), keys[-1])
            assert row["target"] == phrases.say(Locale.parse(target), keys[-1])
    assert {key[0] for key in keys} == set(translations.KINDS)
    assert {style for key in keys for style in key[2:]} >= {"full", "long", "medium", "short"}


def test_splits_have_their_sizes_places_and_columns(corpus):
    assert {split: len(rows) for split, rows in corpus.items()} == SIZE
    for split, rows in corpus.items():
        assert [row.source for row in rows] == [f"cldr:{split}:{n + 1}" for n in range(len(rows))]
        assert all(list(row) == ["source", "target"] for row in rows)
    assert len(list(translations.pairs("test", "en", "ja", 7))) == 1


@pytest.mark.parametrize(("source", "target"), [("en", "ja"), ("de", "fr"), ("ar", "zh")])
def test_no_source_is_in_two_splits_or_twice_in_one(source, target):
    seen = {}
    for split, size in SIZE.items():
        found = [row["source"] for row in translations.pairs(split, source, target, 4000)]
        assert len(set(found)) == len(found) == size
        seen[split] = {text.casefold() for text in found}
        assert {documents.split_of(text) for text in found} == {split}
    for one, other in combinations(seen.values(), 2):
        assert not one & other


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("en", "ja"),
        ("ja", "en"),
        ("de", "fr"),
        ("ar", "zh"),
        ("zh", "ar"),
        ("so", "en"),
        ("ti", "en"),
    ],
)
def test_a_source_has_one_target_whichever_draw_it_comes_from(source, target):
    targets: dict[str, set[str]] = {}
    for seed in range(3):
        for row in translations.pairs("train", source, target, 1500, seed):
            targets.setdefault(row["source"], set()).add(row["target"])
    assert len(targets) < 4400  # some were drawn again
    assert not {text: said for text, said in targets.items() if len(said) > 1}


def test_of_styles_that_sound_alike_the_first_is_taken():
    english, japanese = Locale.parse("en"), Locale.parse("ja")
    long, medium = (("date", "2031-05-03", style) for style in ("long", "medium"))
    assert phrases.say(english, long) == phrases.say(english, medium) == "May 3, 2031"
    assert phrases.say(japanese, long) != phrases.say(japanese, medium)
    may = [row for row in of("en", "ja", 8000) if re.match(r"May \d+, \d{4}$", row["source"])]
    assert len(may) > 10
    assert all("年" in row["target"] for row in may)  # long, not 2031/05/03


def test_same_arguments_same_rows_and_another_seed_other_rows(corpus):
    assert list(translations.pairs("valid", "en", "ja", 4000)) == corpus["valid"]
    other = {row["source"] for row in translations.pairs("valid", "en", "ja", 4000, seed=1)}
    assert len(other & {row["source"] for row in corpus["valid"]}) < 100
    fewer = [row["source"] for row in translations.pairs("valid", "en", "ja", 2000)]
    assert fewer == [row["source"] for row in corpus["valid"]][:100]


def test_rows_do_not_depend_on_the_hash_seed_of_the_process():
    code = "from zoo.data.cldr import translations as pairs; print(ascii([*pairs.pairs('train', 'de', 'th', 300)]))"
    here = ascii([*translations.pairs("train", "de", "th", 300)])
    made = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONHASHSEED": "7", "PYTHONPATH": "."},
    )
    assert made.stdout.strip() == here


@pytest.mark.parametrize("locales", ["en ja", "ar zh", "he th", "fa ru", "zh hi", "sv ko"])
def test_no_side_is_empty_or_holds_line_ends_marks_or_codes(locales):
    for row in of(*locales.split()):
        for text in row.values():
            assert 0 < len(text) <= 2 * documents.LONGEST_ITEM
            assert text == " ".join(text.split())
            assert not set(MARKS + "\u00a0\u202f") & set(text)
            assert unicodedata.is_normalized("NFC", text)
            assert not [code for code in phrases.CURRENCIES if code in text]
            assert not [unit for unit in phrases.MEASURES if unit in text]


def test_scripts_without_blanks_and_from_right_to_left_are_written(corpus):
    for row in (rows := of("ar", "zh")):
        assert not re.search("[\u0600-\u06ff]", row["target"])
        assert not re.search("[\u4e00-\u9fff]", row["source"])
    assert sum(bool(re.search("[\u0600-\u06ff]", row["source"])) for row in rows) > 1200
    assert sum(bool(re.search("[\u4e00-\u9fff]", row["target"])) for row in rows) > 1200


@pytest.mark.parametrize(("source", "target"), [("sv", "sat"), ("sat", "sv")])
def test_what_is_said_as_in_cldr_root_is_left_out(source, target):
    said = {text for row in of(source, target, 500) for text in row.values()}
    assert not [text for text in said if re.fullmatch(r"[+-]?\d+ (y|d|h|min|s)", text)]


def test_amounts_and_years_of_any_length_are_drawn():
    wide = translations.Ranges(("date", "amount"), (1, 2999), "any")
    rows = list(translations.pairs("train", "en", "ja", 1500, ranges=wide))
    years = Counter(len(m[0]) for row in rows if (m := re.match(r"\d+(?=年|/)", row["target"])))
    assert {*years} == {1, 2, 3, 4}
    assert min(years.values()) > 50
    amounts = [row["source"] for row in rows if re.search("-|[0-9] [A-Za-z]", row["source"])]
    figures = [re.match(r"-?[\d,.]+", text)[0].replace(",", "") for text in amounts]
    assert max(map(float, figures)) > 1e11
    assert min(map(float, figures)) < -1e11
    share = sum("." in figure for figure in figures) / len(figures)
    assert 0.4 < share < 0.6
    for row in rows:
        assert set(re.findall(r"-?[\d,.]{6,}", row["source"])) <= {
            *re.findall(r"-?[\d,.]+", row["target"])
        }


def test_the_kinds_of_phrases_can_be_chosen():
    rows = list(translations.pairs("test", "en", "ja", 1000, ranges=translations.Ranges(("time",))))
    assert all(re.fullmatch(r"\d+:\d\d(:\d\d)? [AP]M", row["source"]) for row in rows)


def refused(call, *arguments):
    """The one line of the error that a call ends in."""
    with pytest.raises(InputError) as caught:
        call(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("train", "en", "xx-yy-zz"), "no locale 'xx-yy-zz' in CLDR; known are am, ar, …"),
        (("train", "pt-BR", "en"), "no locale 'pt-BR' in CLDR; did you mean pt_BR?"),
        (("train", "en", "root"), "no locale 'root' in CLDR; did you mean ro?"),
        (("train", "sv", "sv"), "source and target are both sv: choose two locales"),
        (("dev", "en", "ja"), "split 'dev' is none of train, valid, test"),
        (
            ("train", "en", "ja", 9, 0, translations.Ranges(("dates",))),
            "no phrases of kind 'dates'; there are: date, time, duration, relative, amount, measure, "
            "list",
        ),
        (
            ("train", "en", "ja", 9, 0, translations.Ranges((), (0, 10))),
            "years=[0, 10]: needed are the first and the last year, 1 to 9999",
        ),
    ],
)
def test_settings_that_cannot_be_used_are_named_at_once(arguments, said):
    assert refused(translations.pairs, *arguments) == f"cldr: {said}"


def test_a_kind_of_which_a_locale_has_too_few_names_is_not_listed(monkeypatch):
    assert any(" and " in row["source"] for row in of("en", "ja", 200))
    monkeypatch.setattr(translations, "LISTED", ("territories",))  # of which aa has three
    found = of("en", "aa", 100)
    assert len(found) == 100
    assert not [row for row in found if " and " in row["source"]]


def test_more_phrases_than_there_are_name_the_setting(monkeypatch):
    monkeypatch.setattr(translations, "KINDS", ("duration",))
    said = refused(of, "en", "ja", 5000)
    assert re.fullmatch(
        "cldr: en and ja have 1[0-9]{2} phrases for train, not 5000: "
        r"lower data\.phrases",
        said,
    )
