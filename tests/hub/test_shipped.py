"""Shipped models: their recipes, their list, and their expected answers."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import asdict, replace
from xml.etree import ElementTree

import pytest
from conftest import ROOT
from shelf_cases import NAME, TOY, metadata

import zoo
from zoo.config import SHAPE, check, compose
from zoo.data.corpora import CORPORA
from zoo.errors import InputError
from zoo.hub import __main__ as cli
from zoo.hub import shipped as shelf
from zoo.hub.retrain import FOLDERS, FORMS, MISSING
from zoo.model_folder import verify
from zoo.model_folder.card import card as card_of
from zoo.model_folder.citations import SOURCES
from zoo.model_folder.verify import read_expected
from zoo.option_classes import arguments
from zoo.training.options import options_of

RECIPES = json.loads(shelf.RECIPES.read_text("utf-8"))
# recipes


@pytest.mark.parametrize("name", RECIPES)
def test_the_steps_of_a_recipe_are_settings_that_can_be(name):
    recipe = shelf.recipe(name)
    for number, step in enumerate(recipe.steps):
        composed = compose([*step, *asked_for(step)])
        chosen = check(composed)
        assert options_of(chosen).kind.task_name == chosen.task["name"]
        rest = {key: value for key, value in chosen.data.items() if key != "name"}
        arguments(CORPORA[chosen.data["name"]], rest, "data", {"by"})
        given = {setting.partition("=")[0] for setting in step}
        assert not given & {"out", "init", "model", "mode", "resume", "data.path"}
        assert {text for text in step if text.endswith(MISSING)} <= {f"{n}=???" for n in FOLDERS}
        if number:  # its backbone and tokenizer are those of the step before
            assert not given & {f"backbone.{name}" for name in SHAPE}  # dropouts may change
            assert not [key for key in given if key.startswith("tokenizer")]
    assert recipe.steps
    assert name.startswith(f"{chosen.task['name']}/")
    assert chosen.data["name"] in SOURCES


def asked_for(step) -> list[str]:
    """Return the folders that a step's user must give, as a card shows them."""
    names = [setting.removeprefix("data=") for setting in step if setting.startswith("data=")]
    left = [setting.removesuffix(MISSING) for setting in step if setting.endswith(MISSING)]
    if names and "path: ???" in (ROOT / f"configs/data/{names[0]}.yaml").read_text():
        left.insert(0, "data.path")
    return [f"{name}={FOLDERS[name]}" for name in left]


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_says_what_its_model_is(name):
    recipe = shelf.recipe(name)
    assert re.fullmatch(r"[a-z]+/[a-z0-9][a-z0-9-]*", name)
    assert recipe.weights in FORMS
    assert recipe.languages[:1].strip()
    assert recipe.limits.endswith(".")
    assert len(recipe.inputs) == len({*recipe.inputs}) >= 3


def test_an_unknown_recipe_lists_those_there_are():
    with pytest.raises(InputError, match=r"^classify/nope: no such model; there are: .*langid"):
        shelf.recipe("classify/nope")


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_has_its_model(name):
    if not (verify.SHIPPED / name).is_dir():
        pytest.skip("not shipped yet")
    assert name in verify.shipped()


@pytest.mark.parametrize("name", verify.shipped())
def test_a_shipped_model_is_that_of_its_recipe(name):
    recipe, said = shelf.recipe(name), metadata(name)
    given = asked_for(recipe.steps[-1])
    steps = [[text for text in step if not text.endswith(MISSING)] for step in recipe.steps]
    assert (said["name"], said["steps"]) == (name, [[*step, *given] for step in steps])
    assert (said["languages"], said["limits"]) == (recipe.languages, recipe.limits)
    assert said["weights"] == FORMS[recipe.weights]
    assert said["metric"] in said["test"]
    assert said["test"].keys() == said["trained"].keys()
    assert [case["input"] for case in read_expected(name)] == recipe.inputs
    folder = verify.SHIPPED / name
    listed = verify.manifest_of(folder)
    assert {path.name for path in folder.iterdir()} == {*listed, "manifest.json"}
    task = zoo.load(name)
    assert task.metric == said["metric"]
    card = (folder / "README.md").read_text("utf-8")
    about = task.name, task.reads, task.why, task.parameter_count, task.processors
    assert card == card_of(*about, said)
    for text in (recipe.limits, SOURCES[said["data"]].licence, said["retrain"], said["evaluate"]):
        assert text in card
    for path in ("/tmp", "/home/", "/root", "/work", str(ROOT)):
        assert path not in card
        assert path not in json.dumps(said)  # its options hold words of the training rows


@pytest.mark.parametrize("name", verify.shipped())
def test_a_shipped_model_answers_as_it_did(name, capsys):
    assert cli.main(["check", name]) == 0
    many = len(read_expected(name))
    assert capsys.readouterr().out == f"{name}: {many} of {many} answers as expected\n"


def test_the_list_has_every_shipped_model(capsys):
    found = {model.name: model for model in zoo.list_models()}
    assert [*found] == verify.shipped()
    for name, model in found.items():
        assert (model.value, model.reads) == (
            metadata(name)["test"][model.metric],
            metadata(name)["reads"],
        )
        assert model.size > (verify.SHIPPED / name / "model.safetensors").stat().st_size
    assert cli.main(["list"]) == 0
    printed = capsys.readouterr().out
    assert [name for name in found if name not in printed] == []


# the list


def test_the_list_shows_what_a_shipped_model_is(shipped, made, capsys):
    said, (model,) = metadata(made / "model"), zoo.list_models()
    size = sum(path.stat().st_size for path in (made / "model").iterdir())
    assert asdict(model) == {
        "name": NAME,
        "task": "classify",
        "reads": "h_n",
        "languages": TOY["languages"],
        "size": size,
        "metric": "accuracy",
        "value": said["test"]["accuracy"],
    }
    assert zoo.load(NAME).predict("Gulls follow the trawler home.")
    capsys.readouterr()
    assert cli.main(["list"]) == 0
    (row,) = [line for line in capsys.readouterr().out.splitlines() if NAME in line]
    cells = re.split(r"\s{2,}", row.strip(" │").replace("│", "  "))
    assert cells == [
        NAME,
        "classify",
        "h_n",
        TOY["languages"],
        f"{size / 1e6:.1f}",
        f"accuracy {model.value:.4g}",
    ]
    assert cli.main(["check"]) == 0
    assert capsys.readouterr().out == f"{NAME}: 3 of 3 answers as expected\n"


def test_a_name_in_the_list_can_be_typed(shipped, capsys, monkeypatch):
    name, wide = "translate/localise-en-ja-of-1991", "all the languages that CLDR has phrases of"
    model = replace(*zoo.list_models(), name=name, languages=wide)
    monkeypatch.setattr(shelf, "list_models", lambda: [model])
    monkeypatch.setenv("COLUMNS", "80")
    cli.main(["list"])
    assert name in capsys.readouterr().out


def test_a_notebook_shows_the_list_as_an_html_table(shipped, made):
    model = replace(*zoo.list_models(), name="classify/<b>", languages="de & en")
    shown = ElementTree.fromstring(shelf.ModelTable([model])._repr_html_())
    header, row = ([cell.text for cell in line] for line in shown.iter("tr"))
    assert header == ["name", "task", "reads", "languages", "MB", "test"]
    size, result = f"{model.size / 1e6:.1f}", f"accuracy {model.value:.4g}"
    assert row == ["classify/<b>", "classify", "h_n", "de & en", size, result]


def test_an_empty_shelf_is_an_empty_list(toy, capsys):
    assert zoo.list_models() == verify.shipped() == []
    assert [cli.main([word]) for word in ("list", "check")] == [0, 0]
    assert cli.main(["check", NAME]) == 2
    cure = f"if it is on the hub: python -m zoo.hub pull {NAME}"
    said = f"error: {NAME}: neither a model folder nor a shipped model; shipped: none; {cure}\n"
    assert capsys.readouterr().err == said


def test_a_check_fails_when_one_model_of_several_does(shipped, made, capsys):
    shutil.copytree(shipped / NAME, shipped / "classify/other")
    cases = read_expected("classify/other")
    cases[0]["answer"] = "desert"
    zoo.load(NAME).save(shipped / "classify/other", metadata(NAME), "int8", cases)
    assert cli.main(["check"]) == 1
    first, second, third = capsys.readouterr().out.splitlines()
    assert first == "classify/other: 2 of 3 answers as expected"
    assert second.startswith(f"  {TOY['inputs'][0]}: desert, now ")
    assert third == f"{NAME}: 3 of 3 answers as expected"
