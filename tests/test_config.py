"""Settings: composed, quoted and checked."""

from __future__ import annotations

from typing import Literal

import pytest
from hypothesis import given
from hypothesis import settings as limits
from hypothesis import strategies as st

from zoo.config import Count, Share, arguments, check, compose
from zoo.data import corpora
from zoo.errors import InputError


def function(size: Count, share: Share = 0.5, kind: Literal["a", "b"] = "a", other: object = 1):
    """Something whose signature is a schema."""


def test_a_signature_is_a_schema():
    found = arguments(function, {"size": 3, "kind": "b"}, "part", given={"other"})
    assert found == {"size": 3, "share": 0.5, "kind": "b"}


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({}, "part.size is missing: add part.size=…"),
        ({"size": 0}, "part.size=0: Input should be greater than or equal to 1"),
        ({"size": 1.5}, "part.size=1.5: Input should be a valid integer"),
        ({"size": 1, "share": 1}, "part.share=1: Input should be less than 1"),
        ({"size": 1, "share": float("inf")}, "part.share=inf: Input should be a finite number"),
        ({"size": 1, "kind": "c"}, "part.kind=c: Input should be 'a' or 'b'"),
        ({"size": 1, "sise": 1}, "part.sise: no such setting; there are: size, share, kind"),
        ({"size": 1, "other": 2}, "part.other: no such setting"),
    ],
)
def test_what_does_not_fit_a_signature_is_named(values, line):
    with pytest.raises(InputError) as error:
        arguments(function, values, "part", given={"other"})
    assert str(error.value).startswith(line)


def test_the_defaults_are_valid_and_the_command_line_goes_over_the_recipe():
    settings = check(compose([]))
    assert settings.task["name"] == "classify"
    assert settings.tokenizer.kind == "subwords"  # of the recipe classify_cldr
    assert check(compose(["tokenizer.kind=words"])).tokenizer.kind == "words"
    assert check(compose(["data=imdb", "data.path=x"])).task["max_length"] > 400
    assert check(compose(["data=files", "data.train=x"])).task["max_length"] == 400


@limits(deadline=None)  # a busy machine is no error
@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=20))
def test_any_text_and_any_path_come_through_as_they_are(text):
    composed = compose([f"text={text}", "data=files", f"data.train=a {text}"])
    assert composed["text"] == text
    assert composed["data"]["train"] == f"a {text}"


@pytest.mark.parametrize(
    "path", ["2024", "null-and-void", "[odd", "it's", "c:\\rows\\", "a,b", "$x"]
)
def test_paths_that_look_like_something_else_stay_paths(path):
    assert compose(["data=files", f"data.train={path}"])["data"]["train"] == path


def test_numbers_lists_and_null_of_a_corpus_are_no_paths():
    settings = check(compose(["data.documents=7", "data.items=[1,2]", "data.locales=null"]))
    values = {name: value for name, value in settings.data.items() if name != "name"}
    found = arguments(corpora.CORPORA["cldr"], values, "data")
    assert [found[name] for name in ("documents", "items", "locales")] == [7, (1, 2), None]
