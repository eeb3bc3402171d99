"""Settings: composed, quoted and checked."""

from __future__ import annotations

import dataclasses
import json
from typing import ClassVar, Literal

import pytest
import yaml
from conftest import ROOT
from hypothesis import given
from hypothesis import settings as limits
from hypothesis import strategies as st

from zoo.config import (
    SECTIONS,
    ServeConfig,
    Settings,
    TokenizerConfig,
    TrainConfig,
    check,
    compose,
    find_configs,
    recipes,
    sources,
    values_of,
)
from zoo.data import corpora
from zoo.errors import InputError
from zoo.evaluation.config import EvaluationConfig
from zoo.generation.config import GenerationConfig
from zoo.nn.backbone import BackboneConfig
from zoo.option_classes import Count, Share, arguments, checked_dataclass, flat, options
from zoo.registry import find, known_files


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
    assert check(compose(["data=files", "data.train=x"])).task == {"name": "classify"}
    assert check(compose(["data=files", "data.train=x"])).train == TrainConfig()


@limits(max_examples=30, deadline=None)  # each composes all files; a busy machine is no error
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


@checked_dataclass
class Inner:
    """Options inside of others."""

    section: ClassVar[str] = "inner"

    width: Count = 5
    """How wide."""

    stop: tuple[str, ...] = ()
    """Where it ends."""

    def __post_init__(self):
        if self.width > 100:
            raise ValueError("too wide")


@checked_dataclass
class Base:
    section: ClassVar[str] = "outer"

    share: Share = 0.5
    """Which share
    it is."""


@checked_dataclass
class Outer(Base):
    inner: Inner = Inner()
    kind: Literal["a", "b"] | None = None
    """Which kind."""


@pytest.mark.parametrize(
    ("cls", "values", "line"),
    [
        (Inner, {"width": 0}, "inner.width=0: Input should be greater than or equal to 1"),
        (Inner, {"stop": "END"}, "inner.stop=END: Input should be a valid tuple"),
        (Inner, {"widht": 3}, "inner.widht: no such setting; did you mean inner.width?"),
        (Inner, {"width": 101}, "inner: too wide"),
        (Outer, {"share": float("nan")}, "outer.share=nan: Input should be a finite number"),
        (Outer, {"inner": {"width": 0}}, "inner.width=0: Input should be greater than or equal"),
        (Outer, {"inner": {"widht": 1}}, "inner.widht: no such setting; did you mean inner.width?"),
        (Outer, {"inner": {"width": 101}}, "inner: too wide"),
        (Outer, {"kind": "c"}, "outer.kind"),
    ],
)
def test_a_wrong_option_is_one_line_with_its_place(cls, values, line):
    with pytest.raises(InputError) as error:
        cls(**values)
    assert str(error.value).startswith(line)
    assert "\n" not in str(error.value)


def test_an_option_class_is_a_frozen_dataclass():
    made = Outer(share="0.25", inner={"width": 7})
    assert made == Outer(share=0.25, inner=Inner(width=7))
    assert hash(made) == hash(dataclasses.replace(Outer(inner=Inner(7)), share=0.25))
    assert dataclasses.asdict(made)["inner"] == {"width": 7, "stop": ()}
    with pytest.raises(dataclasses.FrozenInstanceError):
        made.share = 0.1
    with pytest.raises(InputError, match=r"outer.share=1: Input should be less than 1"):
        dataclasses.replace(made, share=1)
    shown = {option.name: option for option in options(Outer)}
    assert shown["share"].description == "Which share it is."
    assert (shown["kind"].default, shown["kind"].type) == (None, "a | b | null")


def test_the_recipes_of_a_run_are_a_tasks_and_a_corpuss():
    assert recipes(["task=classify", "data=files", "data.train=x"]) == []
    assert recipes(["task=generate"]) == ["generate/default", "generate/pydoc"]
    assert recipes(["task=tag", "data=ud_ewt", "data.path=x"]) == ["tag/default", "tag/ud_ewt"]
    found = sources(["task=tag", "train.epochs=3", "+generation={top_k: 3}"])
    assert found["task.name"] == "command line"
    assert found["data.form"] == "recipe tag/cldr"
    assert found["tokenizer.kind"] == "recipe tag/default"
    assert found["train.epochs"] == found["generation.top_k"] == "command line"
    assert "train.patience" not in found


def test_every_recipe_belongs_to_a_task_and_a_corpus_and_is_valid():
    folder = find_configs()
    corpora_ = {path.stem for path in (folder / "data").glob("*.yaml")}
    for path in (folder / "recipe").rglob("*.yaml"):
        task, corpus = path.parent.name, path.stem
        assert corpus in {"default", *corpora_}
        values = yaml.safe_load(path.read_text("utf-8"))
        find(task).config_class(**values.get("task", {}))
        BackboneConfig(**values.get("backbone", {}))
        TrainConfig(**values.get("train", {}))
        TokenizerConfig(**values.get("tokenizer", {}))
        GenerationConfig(**values.get("generation", {}))
        assert path.read_text("utf-8").startswith("# @package _global_\n")


def test_the_generation_config_of_a_model_is_not_that_of_a_recipe():
    assert compose(["task=generate"])["generation"]["top_k"] == 40
    found = compose(["task=generate", "model=x", "generation.top_p=0.5"])
    assert found["generation"] == {"top_p": 0.5}


def row(prefix, option):
    """A row of configs/README.md."""
    values = option.type.replace(" | ", ", ")
    default = '"-"' if option.default == "-" else json.dumps(option.default).strip('"')
    return f"| `{prefix}{option.name}` | `{default}` | {values} | {option.description} |"


def test_the_readme_shows_every_option_of_every_class():
    parts = [
        ("", Settings, SECTIONS),
        ("tokenizer.", TokenizerConfig, ()),
        ("train.", TrainConfig, ()),
        ("backbone.", BackboneConfig, ("vocabulary_size", "input_size")),
        *(("task.", find(name).config_class, ("generation",)) for name in known_files()),
        ("generation.", GenerationConfig, ()),
        ("evaluate.", EvaluationConfig, ()),
        ("serve.", ServeConfig, ()),
    ]
    wanted = [
        row(prefix, option)
        for prefix, owner, left_out in parts
        for option in options(owner)
        if option.name not in left_out
    ]
    assert all(option.description for _, owner, _ in parts for option in options(owner))
    text = (ROOT / "configs" / "README.md").read_text("utf-8")
    shown = text[text.index("## All settings") : text.index("### Data")].splitlines()
    told = [line for line in shown if line.startswith("| `") and line.count("|") == 5]
    assert told == wanted


def test_all_settings_of_a_section_come_from_one_given_dict():
    composed = compose(["task=classify", "backbone={hidden_size: 7}"])
    assert composed["backbone"]["hidden_size"] == 7
    assert composed["backbone"]["word_dropout"] == 0.3  # of the recipe
    assert flat({"a": {"b": 1, "c": {}}}) == {"a.b": 1, "a.c": {}}


@pytest.mark.parametrize("words", ["seed={}", "data.locales=[{}]", "generation.min_length={}"])
def test_a_number_of_too_many_digits_is_one_line(words):
    name, _, _ = words.partition("=")
    with pytest.raises(InputError, match=f"{name}: Exceeds the limit") as error:
        compose(["task=classify", words.format("9" * 5000)])
    assert len(str(error.value)) < 200
    assert values_of(words.format("9" * 5000)) == [words.format("9" * 5000)]
