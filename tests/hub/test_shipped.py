"""Shipped models: their list and recipes, and a retraining by a recipe of two steps."""

from __future__ import annotations

import json
import logging
import re
import shlex
import shutil
import signal
from contextlib import contextmanager
from dataclasses import asdict, replace
from itertools import count
from pathlib import Path

import pytest
import torch
from conftest import DATA, ROOT, lines, settings
from safetensors.torch import load_file

import zoo
from zoo import run
from zoo.config import arguments, check, compose
from zoo.data.corpora import CORPORA, open_corpus
from zoo.errors import InputError
from zoo.generation.config import GenerationConfig
from zoo.hub import __main__ as cli
from zoo.hub import retrain as making
from zoo.hub import shipped as shelf
from zoo.hub.retrain import FORMS, differences, examples, retrain
from zoo.model_folder import verify
from zoo.model_folder.citations import SOURCES
from zoo.model_folder.verify import read_config, read_expected, sha256
from zoo.training import build, pipeline

RECIPES = json.loads(shelf.RECIPES.read_text("utf-8"))
NAME = "classify/toy"
QUICK = [
    "device=cpu",
    "precision=fp32",
    "baseline=false",
    "train.epochs=2",
    "train.batch_rows=8",
    "train.batch_tokens=256",
    "train.ema_decay=0",
]
SIZE = ["backbone.embedding_size=16", "backbone.hidden_size=16", "backbone.bidirectional=false"]
TOY = {
    "steps": [
        ["task=generate", "data=wikitext2", "task.softmax=full", *QUICK, *SIZE],
        ["task=classify", "data=imdb", "train.learning_rate=2e-2", *QUICK],
    ],
    "weights": "int8",
    "languages": "English of toys",
    "limits": "Twelve kinds of sentences, and nothing else.",
    "inputs": ["Gulls follow the trawler home.", "Snow closed the pass.", ""],
}
DREW = GenerationConfig(
    sample=True, seed=3, temperature=0.9, top_k=7, max_length=9, stop=("dog", "\n\n")
)


@pytest.fixture(autouse=True)
def _no_old_log():
    """Remove log handlers of other tests, whose streams are closed."""
    logging.getLogger("zoo").handlers = []


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Write two corpora of toy rows into one folder: running text, and labelled texts."""
    folder = tmp_path_factory.mktemp("corpus")
    texts = [row["text"] for row in lines(DATA / "generate.jsonl")]
    rows = (DATA / "classify.jsonl").read_text("utf-8").splitlines(keepends=True)
    for name, part in (("train", slice(0, 60)), ("valid", slice(60, 70)), ("test", slice(70, 80))):
        (folder / f"{name}.txt").write_text("\n".join(texts[part]) + "\n")
    (folder / "train.jsonl").write_text("".join(rows[:72]))
    (folder / "test.jsonl").write_text("".join(rows[72:]))
    return folder


@contextmanager
def shelved(place, **recipes):
    """Replace the recipes and the folder of the shipped models."""
    with pytest.MonkeyPatch.context() as patch:
        place.mkdir(exist_ok=True)
        (place / "recipes.json").write_text(json.dumps(recipes))
        patch.setattr(shelf, "RECIPES", place / "recipes.json")
        for module in (verify, shelf, making):
            patch.setattr(module, "SHIPPED", place)
        yield patch


@pytest.fixture(scope="module")
def made(tmp_path_factory, corpus):
    """Retrain the toy model by the command; return its folder."""
    out = tmp_path_factory.mktemp("made") / "out"
    with shelved(out.parent / "shelf", **{NAME: TOY}):
        assert cli.main(["retrain", NAME, f"data.path={corpus}", "--out", str(out)]) == 0
    return out


@pytest.fixture
def toy(tmp_path):
    """Install the recipe of the toy model, without shipped models."""
    with shelved(tmp_path / "shelf", **{NAME: TOY}) as patch:
        yield patch


@pytest.fixture
def shipped(made, tmp_path):
    """Ship the toy model; return the folder of the shipped models."""
    with shelved(tmp_path / "shelf", **{NAME: TOY}):
        shutil.copytree(made / "model", tmp_path / "shelf" / NAME)
        yield tmp_path / "shelf"


def metadata(folder) -> dict:
    return read_config(folder)["metadata"]


def language(place: Path, config: GenerationConfig) -> Path:
    """Save an untrained language model with this generation config; return its folder."""
    torch.manual_seed(0)
    chosen = settings(None, "tokenizer.kind=words", task="generate")
    task = build.build(chosen, open_corpus(chosen.data)).eval()
    task.generation = config
    task.save(place / "model")
    return place / "model"


def says(capsys, folder, *words) -> str:
    """Return the answer of mode=predict to a prompt."""
    words = ["mode=predict", f"model={folder}", "device=cpu", "text=a dog", *words]
    assert run.main(words) == 0
    return capsys.readouterr().out.removesuffix("\n")


# recipes


@pytest.mark.parametrize("name", RECIPES)
def test_the_steps_of_a_recipe_are_settings_that_can_be(name):
    recipe = shelf.recipe(name)
    for number, step in enumerate(recipe.steps):
        composed = compose([*step, *(["data.path=FOLDER"] if wants_path(step) else [])])
        chosen = check(composed)
        kind, _, _ = build.check_options(chosen)
        assert kind.name.fget(kind.__new__(kind)) == chosen.task["name"]
        rest = {key: value for key, value in chosen.data.items() if key != "name"}
        arguments(CORPORA[chosen.data["name"]], rest, "data", {"by"})
        arguments(GenerationConfig, chosen.generation, "generation")
        given = {setting.partition("=")[0] for setting in step}
        assert not given & {"out", "init", "model", "mode", "resume", "data.path"}
        if number:  # its backbone and tokenizer are those of the step before
            assert not [key for key in given if key.startswith(("backbone.", "tokenizer"))]
    assert recipe.steps
    assert name.startswith(f"{chosen.task['name']}/")
    assert chosen.data["name"] in SOURCES


def wants_path(step) -> bool:
    names = [setting.removeprefix("data=") for setting in step if setting.startswith("data=")]
    return bool(names) and "path: ???" in (ROOT / f"configs/data/{names[0]}.yaml").read_text()


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
    path = ["data.path=FOLDER"] if "data.path=FOLDER" in said["evaluate"] else []
    assert (said["name"], said["steps"]) == (name, [[*step, *path] for step in recipe.steps])
    assert (said["languages"], said["limits"]) == (recipe.languages, recipe.limits)
    assert said["weights"] == FORMS[recipe.weights]
    assert said["metric"] in said["test"]
    assert said["test"].keys() == said["trained"].keys()
    assert [case["input"] for case in read_expected(name)] == recipe.inputs
    folder = verify.SHIPPED / name
    listed = verify.manifest_of(folder)
    assert {path.name for path in folder.iterdir()} == {*listed, "manifest.json"}
    assert zoo.load(name).metric == said["metric"]
    card = (folder / "README.md").read_text("utf-8")
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


# one model made again


def test_each_step_starts_from_the_one_before(made, corpus):
    first, second = zoo.load(made / "1"), zoo.load(made / "2")
    assert (first.name, second.name) == ("generate", "classify")
    assert second.tokenizer.tokens == first.tokenizer.tokens
    assert second.backbone.options["hidden_size"] == first.backbone.options["hidden_size"] == 16
    assert not second.backbone.lstm.bidirectional
    for number, begun in (("1", None), ("2", str(made / "1"))):
        report = json.loads((made / number / "report.json").read_text("utf-8"))
        assert report["settings"]["init"] == begun
        assert report["settings"]["data"]["path"] == str(corpus)


def test_the_model_is_the_last_step_in_the_recipes_form(made):
    task, trained = zoo.load(made / "model"), zoo.load(made / "2")
    held = load_file(made / "model" / "model.safetensors")
    assert "head.weight.scale" in held
    for name, weight in trained.state_dict().items():
        near = task.state_dict()[name]
        assert float((near - weight).abs().max()) <= float(weight.abs().max()) / 250
    assert metadata(made / "model")["weights"] == FORMS["int8"]


def test_its_figures_are_those_of_its_own_form(made, corpus, tmp_path, capsys):
    said = metadata(made / "model")
    report = json.loads((made / "2" / "report.json").read_text("utf-8"))
    assert said["trained"] == report["test"] == metadata(made / "2")["test"]
    assert said["test"].keys() == report["test"].keys()
    assert said["test"]["loss"] != report["test"]["loss"]
    assert report["baseline"] is None
    assert 0 < said["baseline"]["accuracy"] <= 1
    words = shlex.split(said["evaluate"].replace("FOLDER", str(corpus)))
    assert words[:4] == ["python", "-m", "zoo.run", "mode=evaluate"]
    words = [word.replace(f"model={NAME}", f"model={made / 'model'}") for word in words[3:]]
    capsys.readouterr()
    assert run.main([*words, f"out={tmp_path}"]) == 0
    assert json.loads((tmp_path / "report.json").read_text("utf-8"))["test"] == said["test"]
    printed = capsys.readouterr().out.splitlines()
    assert printed == [f"{name} {value:.4f}" for name, value in said["test"].items()]


def test_it_is_measured_in_the_precision_of_its_figures_unless_another_is_given(
    made, corpus, tmp_path, monkeypatch
):
    seen, real = [], pipeline.set_up_process
    monkeypatch.setattr(
        pipeline, "set_up_process", lambda chosen: seen.append(chosen.precision) or real(chosen)
    )
    shutil.copytree(made / "2", tmp_path / "plain")  # of a training, which says nothing about it
    data = ["data=imdb", f"data.path={corpus}", "task=classify", "mode=evaluate"]
    for model in (made / "model", tmp_path / "plain"):
        for precision in ("auto", "fp32"):
            pipeline.evaluate_saved(
                check(compose([*data, f"model={model}", f"precision={precision}"]))
            )
    assert seen == ["fp32", "fp32", "auto", "fp32"]


def test_its_expected_answers_are_given_again(made, capsys):
    cases = read_expected(made / "model")
    assert [case["input"] for case in cases] == TOY["inputs"]
    assert {case["answer"] for case in cases} <= {"sea", "mountain"}
    assert examples(zoo.load(made / "model"), TOY["inputs"]) == cases
    assert cli.main(["check", str(made / "model")]) == 0
    assert capsys.readouterr().out == f"{made / 'model'}: 3 of 3 answers as expected\n"


def test_nothing_in_it_knows_the_machine(made, corpus):
    for name in ("config.json", "README.md", "expected.json", "manifest.json"):
        text = (made / "model" / name).read_text("utf-8")
        for path in (made, corpus, made.parent, ROOT, Path.home()):
            assert str(path) not in text
    assert "command" not in metadata(made / "model")


def test_its_card_says_all_that_is_known(made):
    card, said = (made / "model" / "README.md").read_text("utf-8"), metadata(made / "model")
    assert card.startswith(f"# {NAME}\n\nReads `h_n` of the LSTM: ")
    source = SOURCES["imdb"]
    for text in (
        source.about,
        source.licence,
        source.cite,
        TOY["limits"],
        TOY["languages"],
        FORMS["int8"],
        "`data=imdb`",
        f'zoo.load("{NAME}")',
    ):
        assert text in card
    commands = re.findall(r"```\n(.*?)\n```", card, re.DOTALL)
    shown = [[*step, "data.path=FOLDER"] for step in TOY["steps"]]
    steps = [shlex.join(["python", "-m", "zoo.run", *step]) for step in shown]
    assert commands == ["\n".join(steps), said["retrain"], said["evaluate"]]
    assert said["retrain"] == f"python -m zoo.hub retrain {NAME} data.path=FOLDER"
    assert said["evaluate"] == (
        f"python -m zoo.run mode=evaluate model={NAME} data=imdb data.path=FOLDER"
    )
    row = [f"{said[key]['loss']:.4f}" for key in ("test", "trained", "valid")]
    assert f"| loss | {' | '.join(row)} |" in card
    assert "| metric | test | test, full weights | validation |" in card


def test_what_is_there_is_gone_on_with(made, corpus, tmp_path, toy):
    shutil.copytree(made, tmp_path / "out")
    shutil.rmtree(tmp_path / "out" / "model")
    toy.setattr(pipeline, "run", None)
    seen, real = [], pipeline.set_up_process
    toy.setattr(
        pipeline, "set_up_process", lambda chosen: seen.append(chosen.precision) or real(chosen)
    )
    model = retrain(NAME, [f"data.path={corpus}"], tmp_path / "out")
    assert model == tmp_path / "out" / "model"
    assert seen == ["fp32", "fp32"]  # of the trained weights, and of those in fewer bytes
    assert {path.name for path in model.iterdir()} == {p.name for p in (made / "model").iterdir()}
    for name in ("model.safetensors", "expected.json", "vocabulary.json"):
        assert (model / name).read_bytes() == (made / "model" / name).read_bytes(), name
    one, two = metadata(model), metadata(made / "model")
    assert one | {"baseline": None} == two | {"baseline": None}  # that has its seconds
    (model / "stray.txt").write_text("of another time")
    retrain(NAME, [f"data.path={corpus}"], tmp_path / "out")
    assert not (model / "stray.txt").exists()


def test_an_interrupted_step_is_resumed(made, corpus, tmp_path, toy):
    out, epochs = tmp_path / "out", count(1)
    stops = {1, 3}  # the first epoch of each step
    real = zoo.training.progress.Bar.epoch

    def epoch(*given, **named):
        if next(epochs) in stops:
            signal.raise_signal(signal.SIGTERM)
        return real(*given, **named)

    toy.setattr("zoo.training.loop.Bar.epoch", epoch)
    for number in (1, 2):
        with pytest.raises(InputError, match="interrupted"):
            retrain(NAME, [f"data.path={corpus}"], out)
        assert len(lines(out / str(number) / "metrics.jsonl")) == 1
        assert not (out / "model").exists()
    model = retrain(NAME, [f"data.path={corpus}"], out)
    assert next(epochs) == 5
    for number in ("1", "2", "model"):
        place = f"{number}/model.safetensors"
        assert (out / place).read_bytes() == (made / place).read_bytes(), place
    assert metadata(model)["test"] == metadata(made / "model")["test"]
    assert read_expected(model) == read_expected(made / "model")


def test_the_figures_are_compared_with_those_that_were_shipped(made, shipped, corpus, capsys):
    capsys.readouterr()
    assert cli.main(["retrain", NAME, f"data.path={corpus}", "--out", str(made)]) == 0
    value = metadata(made / "model")["test"]["accuracy"]
    printed = capsys.readouterr().out
    assert f"accuracy: {value:.4f}, shipped {value:.4f}\n" in printed
    assert printed.endswith(f"made: {made / 'model'}\n")
    config = json.loads((shipped / NAME / "config.json").read_text("utf-8"))
    config["metadata"]["test"]["accuracy"] = 2.0
    (shipped / NAME / "config.json").write_text(json.dumps(config))
    assert ("accuracy", 2.0, value) in differences(NAME, made / "model")
    shutil.rmtree(shipped / NAME)
    assert differences(NAME, made / "model") == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["classify/nope"], "classify/nope: no such model; there are: classify/toy"),
        ([NAME], "data.path"),
        ([NAME, "data.path=/nowhere"], "/nowhere: no train"),
        ([NAME, "data.path=/nowhere", "train.epochs=0"], "train.epochs=0: "),
        ([NAME, "data.path=/nowhere", "surprise=1"], "surprise: no such setting"),
    ],
)
def test_what_cannot_be_made_is_said_in_one_line(toy, tmp_path, monkeypatch, capsys, words, said):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["retrain", *words, "--out", "out"]) == 2
    printed = capsys.readouterr().err
    assert printed.startswith("error: ")
    assert said in printed
    assert printed.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_settings_may_stand_behind_the_folder(toy, tmp_path, capsys):
    words = ["--out", str(tmp_path / "out"), "data.path=/nowhere"]
    assert cli.main(["retrain", NAME, *words]) == 2
    assert "/nowhere: no train" in capsys.readouterr().err


def test_metrics_are_computed_with_the_models_generation_config(tmp_path):
    data = ["data=files", f"data.train={DATA / 'translate.jsonl'}"]
    step = [
        "task=translate",
        *data,
        *QUICK,
        *SIZE[:2],
        "tokenizer.kind=characters",
        "tokenizer.min_count=1",
        "generation.beam_size=1",
        "generation.max_length=2",
    ]
    recipe = TOY | {"steps": [step], "weights": "fp32"}
    with shelved(tmp_path / "shelf", **{"translate/toy": recipe}):
        model = retrain("translate/toy", out=tmp_path / "out")
    assert read_config(model)["generation"] == {"beam_size": 1, "max_length": 2}
    words = [f"model={model}", "mode=evaluate", "device=cpu", *data, f"out={tmp_path}"]
    assert run.main(words) == 0
    found = json.loads((tmp_path / "report.json").read_text("utf-8"))["test"]
    assert metadata(model)["test"] == found


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


def test_an_empty_shelf_is_an_empty_list(toy, capsys):
    assert zoo.list_models() == verify.shipped() == []
    assert [cli.main([word]) for word in ("list", "check")] == [0, 0]
    assert cli.main(["check", NAME]) == 2
    said = f"error: {NAME}: neither a model folder nor a shipped model; shipped: none\n"
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


# the generation config of a model


def test_a_folder_keeps_the_generation_settings_that_differ_from_the_default(tmp_path):
    folder = language(tmp_path, DREW)
    assert read_config(folder)["generation"] == {
        "max_length": 9,
        "sample": True,
        "temperature": 0.9,
        "top_k": 7,
        "stop": ["dog", "\n\n"],
        "seed": 3,
    }
    assert zoo.load(folder).generation == DREW
    zoo.load(folder).save(tmp_path / "again")
    assert zoo.load(tmp_path / "again").generation == DREW


def test_a_model_predicts_with_its_generation_config(tmp_path, capsys):
    folder = language(tmp_path, replace(DREW, stop=()))
    wanted = zoo.load(folder).predict("a dog")[0]
    assert says(capsys, folder) == wanted
    other = GenerationConfig(sample=True, seed=4, temperature=0.9, top_k=7, max_length=9)
    assert zoo.load(folder).predict("a dog", other)[0] != wanted


@pytest.mark.parametrize(
    "change", [{"seed": 4}, {"max_length": 3}, {"sample": False, "beam_size": 1}, {"top_k": 1}]
)
def test_generation_settings_of_the_command_line_override_the_models(tmp_path, capsys, change):
    folder = language(tmp_path, replace(DREW, stop=()))
    words = [f"generation.{name}={str(value).lower()}" for name, value in change.items()]
    wanted = zoo.load(folder).predict("a dog", replace(DREW, stop=(), **change))[0]
    found = says(capsys, folder, *words)
    assert found == wanted
    assert found != says(capsys, folder)


def test_a_model_is_evaluated_with_its_generation_config(tmp_path, capsys):
    torch.manual_seed(0)
    chosen = settings(
        None, "generation.max_length=2", "tokenizer.kind=characters", task="translate"
    )
    build.build(chosen, open_corpus(chosen.data)).save(tmp_path / "model")
    data = ["data=files", f"data.train={DATA / 'translate.jsonl'}", "device=cpu"]
    words = ["mode=evaluate", f"model={tmp_path / 'model'}", "precision=fp32", *data]
    figures = []
    for more in ([], ["generation.max_length=2"], ["generation.max_length=20"]):
        assert run.main([*words, *more]) == 0
        figures.append(capsys.readouterr().out)
    assert figures[0] == figures[1] != figures[2]


EARLIER = {"generation": "search", "end_ids": "closing", "metadata": "facts"}


def rewritten(folder, change):
    """Change the folder's config.json, and write its hash into the manifest."""
    config = change(json.loads((folder / "config.json").read_text("utf-8")))
    (folder / "config.json").write_text(json.dumps(config), "utf-8")
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"]["config.json"] = sha256(folder / "config.json")
    (folder / "manifest.json").write_text(json.dumps(manifest))


def test_a_folder_with_the_earlier_names_of_format_1_answers_the_same(tmp_path, capsys):
    folder = language(tmp_path, DREW)
    before, said = zoo.load(folder), says(capsys, folder)

    def earlier(config):
        config = {EARLIER.get(name, name): value for name, value in config.items()}
        config["search"]["beam"] = config["search"].pop("beam_size", 5)
        return config

    rewritten(folder, earlier)
    after = zoo.load(folder)
    assert after.generation == before.generation
    assert after.metadata == before.metadata
    assert says(capsys, folder) == said


def test_an_earlier_folder_has_no_generation_config(tmp_path, capsys):
    folder = language(tmp_path, DREW)
    rewritten(folder, lambda config: {k: v for k, v in config.items() if k != "generation"})
    assert zoo.load(folder).generation == GenerationConfig()
    recipe = compose(["task=generate"])["generation"] | {"seed": 1, "stop": ()}
    wanted = zoo.load(folder).predict("a dog", GenerationConfig(**recipe))[0]
    assert says(capsys, folder) == wanted


def test_a_model_that_does_not_draw_does_not_draw_on_the_command_line(tmp_path, capsys):
    folder = language(tmp_path, GenerationConfig(beam_size=1, max_length=9))
    assert says(capsys, folder) == zoo.load(folder).predict("a dog")[0]


def test_another_seed_of_the_run_draws_another_text(tmp_path, capsys):
    torch.manual_seed(0)
    chosen = settings(None, "tokenizer.kind=words", task="generate")
    build.build(chosen, open_corpus(chosen.data)).save(tmp_path / "model")
    assert says(capsys, tmp_path / "model", "seed=5") != says(capsys, tmp_path / "model", "seed=6")


@pytest.mark.parametrize(
    "word", ["+generation.seed=4", "++generation.seed=4", "generation={seed: 4}"]
)
def test_generation_settings_in_another_spelling_override_the_models(tmp_path, capsys, word):
    folder = language(tmp_path, replace(DREW, stop=()))
    assert says(capsys, folder, word) == says(capsys, folder, "generation.seed=4")


def test_expected_answers_of_a_model_that_draws_are_its_likeliest(tmp_path):
    folder = language(tmp_path, replace(DREW, max_length=40, stop=()))
    found = examples(zoo.load(folder), ["a dog", ""])
    likeliest = GenerationConfig(beam_size=1, max_length=16, temperature=0.9, top_k=7, seed=3)
    wanted = zoo.load(folder).predict(["a dog", ""], likeliest)
    assert [case["input"] for case in found] == ["a dog", ""]
    assert [case["answer"] for case in found] == [" ".join(text.splitlines()) for text in wanted]
