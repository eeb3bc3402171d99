"""The files of the page: strings in every language, no foreign host, no text that becomes markup."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser

import pytest
from conftest import ROOT

PAGE = ROOT / "zoo" / "serving" / "page"
TEXTS = json.loads((PAGE / "texts.json").read_text("utf-8"))
SCRIPTS = {path.name: path.read_text("utf-8") for path in sorted(PAGE.glob("*.js"))}
ALL = {path.name: path.read_text("utf-8") for path in sorted(PAGE.iterdir())}


class Strings(HTMLParser):
    """Collects the text of a page, without that of its head."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.named: set[str] = set()
        self.within: list[str] = []

    def handle_starttag(self, tag, attributes):
        self.within.append(tag)
        given = dict(attributes)
        self.named |= {given[name] for name in ("data-text", "data-label") if name in given}

    def handle_endtag(self, tag):
        while self.within and self.within.pop() != tag:
            pass

    def handle_data(self, data):
        if data.strip() and "body" in self.within:
            self.found.append(data.strip())


def test_each_string_stands_in_each_language():
    assert set(TEXTS) == {"en", "ja", "zh-TW"}
    for language, texts in TEXTS.items():
        assert texts.keys() == TEXTS["en"].keys(), language
        assert all(texts.values()), language


def test_strings_have_the_same_values_and_code_in_each_language():
    for name, english in TEXTS["en"].items():
        wanted = sorted(re.findall(r"\{\w+\}|`[^`]*`", english))
        for language in ("ja", "zh-TW"):
            found = sorted(re.findall(r"\{\w+\}|`[^`]*`", TEXTS[language][name]))
            assert found == wanted, (language, name)


def test_the_html_has_no_string_of_its_own():
    page = Strings()
    page.feed(ALL["index.html"])
    assert page.found == ["sequence-zoo"]
    assert page.named <= TEXTS["en"].keys()


def test_every_string_that_a_script_names_is_there():
    named = {n for s in SCRIPTS.values() for n in re.findall(r'\btext\("([\w.]+)"', s)}
    assert len(named) > 40
    assert named <= TEXTS["en"].keys()


@pytest.mark.parametrize("name", ALL)
def test_no_file_names_another_host(name):
    addresses = re.findall(r"(?:https?:)?//[\w-]+\.[\w.-]+", re.sub(r"//\s.*", "", ALL[name]))
    assert {a for a in addresses if a != "http://www.w3.org"} == set()


@pytest.mark.parametrize("name", SCRIPTS)
def test_no_script_makes_markup_or_code_of_text(name):
    unsafe = (
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function|DOMParser"
    )
    assert re.findall(unsafe, SCRIPTS[name]) == []
