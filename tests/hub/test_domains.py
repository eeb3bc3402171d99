"""What the cards of shipped models say of their domains."""

from __future__ import annotations

import pytest

import zoo

GREETINGS = {
    "en": "Good morning, how are you?",
    "de": "Guten Tag, wie geht es Ihnen?",
    "fr": "Bonjour, comment allez-vous ?",
    "es": "¡Buenos días! ¿Cómo estás?",
    "it": "Buongiorno, come stai?",
    "pt": "Bom dia, como você está?",
    "nl": "Goedemorgen, hoe gaat het met je?",
    "sv": "God morgon, hur mår du?",
    "pl": "Dzień dobry, jak się masz?",
    "cs": "Dobrý den, jak se máte?",
    "fi": "Hyvää huomenta, mitä kuuluu?",
    "hu": "Jó reggelt, hogy vagy?",
    "tr": "Günaydın, nasılsın?",
    "ru": "Доброе утро, как дела?",
    "el": "Καλημέρα, τι κάνεις;",
    "ja": "おはようございます、お元気ですか？",
    "ko": "안녕하세요, 잘 지내세요?",
    "zh_Hans": "早上好，你好吗？",
    "ar": "صباح الخير، كيف حالك؟",
    "vi": "Chào buổi sáng, bạn khỏe không?",
}


def test_the_language_of_greetings_is_found():
    found = zoo.load("classify/langid").predict([*GREETINGS.values()])
    assert sum(map(str.__eq__, found, GREETINGS)) == 19, found  # its card says so


def test_everyday_japanese_is_translated_whatever_the_width_of_its_digits():
    asked = ["私は泳げません。", "この本はとても面白い。", "窓を開けてください。"]
    found = zoo.load("translate/ja-en").predict([*asked, "７時に起きます。", "7時に起きます。"])
    said = ["I can't swim.", "This book is very interesting.", "Open the window, please."]
    assert found[:3] == said
    assert found[3] == found[4]


def test_everyday_english_is_translated_whatever_its_case_and_apostrophes():
    asked = ["I can't swim.", "I CAN’T SWIM.", "This book is very interesting."]
    found = zoo.load("translate/en-ja").predict(asked)
    assert found == ["私は泳げない。", "私は泳げない。", "この本はとても面白い。"]


@pytest.mark.parametrize("blank", [" ", "\u00a0", "\u202f"])
def test_dates_times_and_amounts_of_any_size_are_localised(blank):
    said = {
        "Monday, January 1, 1": "1年1月1日月曜日",
        "October 26, 1899": "1899年10月26日",
        "Tuesday, December 31, 2999": "2999年12月31日火曜日",
        "7:45:03 PM": "19:45:03",
        "12:05 AM": "0:05",
        "285,151,210,013.50 US dollars": "285,151,210,013.50米ドル",
        "-12,345.07 euros": "-12,345.07ユーロ",
    }
    asked = [text.replace(" ", blank) for text in said]
    assert zoo.load("translate/localise-en-ja").predict(asked) == [*said.values()]
