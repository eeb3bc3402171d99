"""CLDR documents: splits share nothing, rows are reproducible, locales write their own text."""

import subprocess
import sys
from collections import Counter
from itertools import combinations

import pytest

from zoo.data.cldr import documents as cldr
from zoo.data.cldr import phrases
from zoo.errors import InputError

NAMES = {"territory", "language", "script", "currency"}
SCRIPTS = {  # a range of code points that most letters of the locale's documents fall into
    "ar": ("\u0600", "\u06ff"),
    "am": ("\u1200", "\u137f"),
    "de": ("A", "\u024f"),
    "el": ("\u0370", "\u03ff"),
    "he": ("\u0590", "\u05ff"),
    "hi": ("\u0900", "\u097f"),
    "ja": ("\u3041", "\u9fff"),
    "ko": ("\uac00", "\ud7a3"),
    "ru": ("\u0400", "\u04ff"),
    "sr_Latn": ("A", "\u024f"),
    "th": ("\u0e00", "\u0e7f"),
    "zh": ("\u4e00", "\u9fff"),
}


@pytest.fixture(scope="module")
def corpus():
    return {split: list(cldr.documents(split)) for split in cldr.SPLITS}


def parts(rows, items):
    """Yield the items of rows, split at the joiner if every part is an item of the locale."""
    texts = {row["label"]: set() for row in rows}
    for locale in texts:
        texts[locale] = {item.text for item in items[locale]}
    for row in rows:
        for joiner in cldr.JOINERS:
            found = row["text"].split(joiner)
            if len(found) > 1 and all(text in texts[row["label"]] for text in found):
                yield from found


def test_no_item_is_in_two_splits(corpus):
    items = {locale: cldr.items_of(locale) for locale in cldr.LOCALES}
    seen = {
        split: {text.casefold() for text in parts(rows, items)} for split, rows in corpus.items()
    }
    assert min(map(len, seen.values())) > 5000  # the joiners were found
    for one, other in combinations(cldr.SPLITS, 2):
        assert not seen[one] & seen[other]


def test_a_tenth_of_the_items_each_is_for_valid_and_test():
    texts = {item.text for locale in cldr.LOCALES for item in cldr.items_of(locale)}
    share = Counter(map(cldr.split_of, texts))
    assert share["valid"] / len(texts) == pytest.approx(0.1, abs=0.01)
    assert share["test"] / len(texts) == pytest.approx(0.1, abs=0.01)
    assert share["train"] + share["valid"] + share["test"] == len(texts)
    assert cldr.split_of("Sverige") == cldr.split_of("SVERIGE")


def test_each_locale_has_its_share_of_rows_in_each_split(corpus):
    assert len(cldr.LOCALES) >= 60
    for split, count in (("train", 150), ("valid", 15), ("test", 15)):
        assert Counter(row["label"] for row in corpus[split]) == dict.fromkeys(cldr.LOCALES, count)
        assert [row.source for row in corpus[split][:2]] == [f"cldr:{split}:1", f"cldr:{split}:2"]
        assert all(set(row) == {"text", "label"} for row in corpus[split])
        assert len({row.source for row in corpus[split]}) == len(corpus[split])


def test_documents_are_short_and_differ(corpus):
    lengths = sorted(len(row["text"]) for row in corpus["train"])
    assert 60 < lengths[len(lengths) // 2] < 120
    assert lengths[-1] < 300
    texts = {row["text"] for rows in corpus.values() for row in rows}
    assert len(texts) == sum(map(len, corpus.values()))


def test_joiners_are_as_frequent_in_every_locale(corpus):
    for locale in cldr.LOCALES:
        lines = [row["text"] for row in corpus["train"] if row["label"] == locale]
        share = sum("\n" in line for line in lines) / len(lines)
        assert 0.05 < share < 0.4, locale  # one of five; an item itself holds no line end


def test_same_arguments_same_rows_and_another_seed_other_rows(corpus):
    chosen = ["sv", "ja"]
    first, again = (list(cldr.documents("test", chosen, seed=0)) for _ in range(2))
    assert first == again
    assert first[:15] == [row for row in corpus["test"] if row["label"] == "sv"]
    other = list(cldr.documents("test", chosen, seed=1))
    assert not {row["text"] for row in first} & {row["text"] for row in other}
    assert [row["label"] for row in first] == [row["label"] for row in other]


def test_rows_do_not_depend_on_the_hash_seed_of_the_process():
    code = "from zoo.data.cldr import documents as cldr; print(ascii([*cldr.documents('valid', ['sv', 'th'], 30)]))"
    here = ascii([*cldr.documents("valid", ["sv", "th"], 30)])
    made = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONHASHSEED": "7", "PYTHONPATH": "."},
    )
    assert made.stdout.strip() == here


@pytest.mark.parametrize("locale", SCRIPTS)
def test_each_locale_writes_its_own_script(locale, corpus):
    low, high = SCRIPTS[locale]
    text = "".join(row["text"] for row in corpus["test"] if row["label"] == locale)
    letters = [letter for letter in text if letter.isalpha()]
    assert len(letters) > 200
    assert sum(low <= letter <= high for letter in letters) / len(letters) > 0.9


def test_items_have_keys_that_are_the_same_in_all_locales():
    english, swedish, japanese = (
        {item.key: item.text for item in cldr.items_of(locale)} for locale in ("en", "sv", "ja")
    )
    assert swedish["territory", "SE"] == "Sverige"
    assert japanese["language", "sv"] == "スウェーデン語"
    assert swedish["unit", "length-kilometer"] == "kilometer"
    assert len(english.keys() & japanese.keys()) > 1200
    kinds = {key[0] for key in english}
    assert kinds == NAMES | {"unit", "date", "time", "duration", "relative", "amount", "measure"}
    for (kind, value, *_), text in english.items():
        if kind in ("duration", "relative", "amount", "measure"):
            assert value.lstrip("-") in text.replace(",", "")  # 11 weeks are not said as 3 months


def test_what_is_said_as_in_cldr_root_is_left_out() -> None:
    assert "relative" in {item.key[0] for item in cldr.items_of("sv")}
    assert "relative" not in {item.key[0] for item in cldr.items_of("sat")}  # "-3 d", not Santali
    times = {item.text for item in cldr.items_of("sv") if item.key[0] == "time"}
    assert len(times) == 20  # "14:05" has no letters: it is everybody's


def test_no_item_is_a_code_or_holds_a_line_end_or_a_direction_mark():
    for locale in cldr.LOCALES:
        for key, text in cldr.items_of(locale):
            assert 0 < len(text) <= cldr.LONGEST_ITEM
            assert text != key[-1]
            assert text == " ".join(text.split())
            assert not set("\u200e\u200f\u061c\u00a0\u202f") & set(text)
            assert key[0] in NAMES or key[-1] not in text or key[-1] in phrases.PERIODS


def test_default_locales_follow_the_rule():
    names = {
        locale: {item.text for item in cldr.items_of(locale) if item.key[0] in NAMES}
        for locale in cldr.LOCALES
    }
    assert list(cldr.LOCALES) == sorted(set(cldr.LOCALES))
    assert min(map(len, names.values())) >= cldr.FEWEST_NAMES
    for one, other in combinations(names, 2):
        shared = len(names[one] & names[other]) / min(len(names[one]), len(names[other]))
        assert shared <= cldr.MOST_SHARED, (one, other)


def test_settings_that_cannot_be_used_are_named_at_once():
    def refused(*arguments, **settings):
        with pytest.raises(InputError) as error:
            cldr.documents(*arguments, **settings)
        assert "\n" not in str(error.value)
        return str(error.value)

    assert refused("train", ["sv", "klingon"]).startswith("cldr: no locale 'klingon'")
    assert "no locale False" in refused("train", [False])  # what YAML makes of `no`
    assert "did you mean pt_BR?" in refused("train", ["pt-BR"])
    assert "'../sv'" in refused("train", ["../sv"])
    assert "'dev' is none of train, valid, test" in refused("dev")
    assert "locales" in refused("train", [])
    assert "documents=0" in refused("train", documents=0)
    assert "items=(3, 2)" in refused("train", items=(3, 2))
    assert "items=(0, 2)" in refused("train", items=(0, 2))
    assert "root" in refused("train", ["root"])


def test_a_locale_without_enough_text_is_named() -> None:
    with pytest.raises(InputError, match=r"locale sv has .* for test, too few for 999"):
        next(cldr.documents("test", ["sv"], items=(1, 999)))


def test_every_item_is_used_before_any_is_used_again():
    count = sum(cldr.split_of(text) == "test" for text in {i.text for i in cldr.items_of("ja")})
    texts = [row["text"] for row in cldr.documents("test", ["ja"], 10 * count, items=(1, 1))]
    assert len(texts) == len(set(texts)) == count
