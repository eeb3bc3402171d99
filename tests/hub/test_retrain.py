"""A retraining by a recipe of two steps: its model, its figures, and its resumption."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import signal
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest
import torch
from babel.messages.catalog import Catalog
from babel.messages.mofile import write_mo
from conftest import DATA, ROOT, lines
from folder_cases import untrained
from safetensors.torch import load_file
from shelf_cases import NAME, QUICK, SIZE, TOY, metadata, shelved

import zoo
from zoo import run
from zoo.config import check, compose
from zoo.errors import InputError
from zoo.generation.config import GenerationConfig
from zoo.hub import __main__ as cli
from zoo.hub.retrain import FORMS, differences, examples, retrain
from zoo.model_folder.citations import SOURCES
from zoo.model_folder.verify import read_config, read_expected
from zoo.training import pipeline


def test_each_step_starts_from_the_one_before(made, corpus):
    first, second = zoo.load(made / "1"), zoo.load(made / "2")
    assert (first.name, second.name) == ("generate", "classify")
    assert second.tokenizer.tokens == first.tokenizer.tokens
    assert second.backbone.config.hidden_size == first.backbone.config.hidden_size == 16
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
    printed = " ".join(capsys.readouterr().out.replace("│", " ").split())
    for name, value in said["test"].items():
        assert f"{name} {value:.4f}" in printed


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
    assert card.startswith("---\n")  # the header of the hub
    assert f"\n---\n\n# {NAME}\n\nReads `h_n` of the LSTM: " in card
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
    for name in ("model.safetensors", "expected.json", "tokenizer.json"):
        assert (model / name).read_bytes() == (made / "model" / name).read_bytes(), name
    one, two = metadata(model), metadata(made / "model")
    assert one | {"baseline": None} == two | {"baseline": None}  # that has its seconds
    (model / "stray.txt").write_text("of another time")
    with pytest.raises(InputError, match=r"holds stray\.txt, which is no file of a model"):
        retrain(NAME, [f"data.path={corpus}"], tmp_path / "out")
    assert (model / "stray.txt").read_text() == "of another time"
    (model / "stray.txt").rename(tmp_path / "out" / "stray.txt")
    with pytest.raises(InputError, match=r"holds stray\.txt, which is of no retraining"):
        retrain(NAME, [f"data.path={corpus}"], tmp_path / "out")
    (tmp_path / "out" / "stray.txt").unlink()
    retrain(NAME, [f"data.path={corpus}"], tmp_path / "out")
    assert metadata(model)["test"] == one["test"]


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
    saved = read_config(model)["config"]["generation"]
    assert (saved["beam_size"], saved["max_length"]) == (1, 2)
    words = [f"model={model}", "mode=evaluate", "device=cpu", *data, f"out={tmp_path}"]
    assert run.main(words) == 0
    found = json.loads((tmp_path / "report.json").read_text("utf-8"))["test"]
    assert metadata(model)["test"] == found


def test_expected_answers_of_a_model_that_draws_are_its_likeliest():
    torch.manual_seed(0)
    task = untrained("tokenizer.kind=words", task="generate")
    drew = GenerationConfig(sample=True, seed=3, temperature=0.9, top_k=7, max_length=40)
    task.config = replace(task.config, generation=drew)
    found = examples(task, ["a dog", ""])
    likeliest = GenerationConfig(beam_size=1, max_length=16, temperature=0.9, top_k=7, seed=3)
    wanted = task.predict(["a dog", ""], likeliest)
    assert [case["input"] for case in found] == ["a dog", ""]
    assert [case["answer"] for case in found] == [" ".join(text.splitlines()) for text in wanted]


def test_a_folder_that_a_recipe_leaves_to_its_user_is_asked_for_and_named_on_the_card(tmp_path):
    words = {"de": "Haus Baum Wasser Himmel Garten", "sv": "huset trädet vattnet himlen gatan"}
    rows = [
        {"text": f"{word} {other} {number}", "label": label, "source": "udhr:x"}
        for label, known in words.items()
        for number, word in enumerate(known.split())
        for other in known.split()
    ]
    texts = tmp_path / "texts"
    texts.mkdir()
    (texts / "sentences.jsonl").write_text("\n".join(map(json.dumps, rows)), "utf-8")
    catalog = Catalog()
    catalog.add("window", "fönstret")
    place = tmp_path / "catalogs" / "sv" / "LC_MESSAGES"
    place.mkdir(parents=True)
    with (place / "x.mo").open("wb") as file:
        write_mo(file, catalog)
    corpus = ["data=sentences", "data.train=[udhr]", "data.test=[udhr]"]
    size = ["task.ngrams=none", "tokenizer.size=60"]
    step = ["task=classify", *corpus, "data.catalogs=???", *size, *QUICK, *SIZE]
    recipe = TOY | {"steps": [step], "inputs": ["Haus"]}
    with shelved(tmp_path / "shelf", **{NAME: recipe}):
        given = [f"data.path={texts}"]
        with pytest.raises(InputError, match=r"^data\.catalogs is missing: add data\.catalogs="):
            retrain(NAME, given, tmp_path / "out")
        given.append(f"data.catalogs={tmp_path / 'catalogs'}")
        model = retrain(NAME, given, tmp_path / "out")
    said = metadata(model)
    folders = "data.path=FOLDER data.catalogs=CATALOGS"
    assert said["retrain"] == f"python -m zoo.hub retrain {NAME} {folders}"
    assert said["evaluate"].endswith(shlex.join([*corpus, "data.path=FOLDER"]))
    asked = [text for text in step if not text.endswith("???")]
    assert said["steps"] == [[*asked, *folders.split()]]
    assert str(tmp_path) not in json.dumps(said)
