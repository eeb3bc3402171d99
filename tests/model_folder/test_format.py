"""The model folder: saved and loaded again, and the generation config that it keeps."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from conftest import DATA
from folder_cases import sign, untrained
from safetensors.torch import load_file, save_file

import zoo
from tasks.classify import Classify
from zoo import run
from zoo.errors import InputError
from zoo.generation.config import GenerationConfig
from zoo.model_folder.format import load_processors
from zoo.model_folder.verify import read_config

FILES = [
    "config.json",
    "model.safetensors",
    "tokenizer.json",
    "labels.json",
    "README.md",
    "manifest.json",
]
DREW = GenerationConfig(
    sample=True, seed=3, temperature=0.9, top_k=7, max_length=9, stop=("dog", "\n\n")
)


@pytest.fixture
def folder(tmp_path, trained):
    """Return a copy of a trained model that a test may change."""
    for name in FILES:
        shutil.copy(trained / name, tmp_path / name)
    return tmp_path


def test_a_folder_is_loaded_by_name_and_predicts(folder):
    texts = ["Gulls follow the trawler home.", "Snow closed the pass for three days."]
    assert zoo.load(folder).predict(texts) == ["sea", "mountain"]
    assert Classify.from_pretrained(folder).predict(texts[0]) == ["sea"]
    metadata = zoo.load(str(folder)).metadata
    assert metadata["test"]["accuracy"] >= 0.9


def test_saving_again_gives_the_same_files(folder, tmp_path):
    zoo.load(folder).save(tmp_path / "again")
    for name in FILES:
        assert (tmp_path / "again" / name).read_bytes() == (folder / name).read_bytes()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w.pop("head.bias"), "Missing key.*head.bias"),
        (lambda w: w.update(extra=torch.zeros(1)), "Unexpected key.*extra"),
        (lambda w: w.update({"head.bias": torch.zeros(5)}), "size mismatch for head.bias"),
    ],
)
def test_missing_extra_and_misshapen_tensors_are_named(folder, change, message):
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors")
    sign(folder)
    with pytest.raises(InputError, match=f"model.safetensors: .*{message}"):
        zoo.load(folder)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("config", {"dropout": 2}, "task.dropout=2"),
        ("config", {"pol": "max"}, "task.pol: no such setting"),
        ("config", {"labels": ["a", "b"]}, "task.labels: no such setting"),
        ("backbone", {"vocabulary_size": 10, "hidden_size": 0}, "backbone.hidden_size=0"),
        ("backbone", {"vocabulary_size": 10}, "the tokenizer has"),
    ],
)
def test_wrong_values_in_the_config_are_named(folder, key, value, message):
    config = json.loads((folder / "config.json").read_text())
    config[key] = value
    (folder / "config.json").write_text(json.dumps(config))
    sign(folder)
    with pytest.raises(InputError, match=message):
        zoo.load(folder)


def test_what_was_learned_stands_in_files_and_the_config_is_small(tmp_path):
    task = untrained("task.crf=true", task="tag")
    task.save(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text("utf-8"))
    assert config["processors"] == {
        "labels": "labels",
        "characters": "alphabet",
        "seen": "word_counts",
        "tokenizer": "lowercase",
    }
    assert config["config"]["crf"] is True
    assert "labels" not in config["config"]
    assert config["backbone"] == asdict(task.backbone.config)
    loaded = load_processors(tmp_path, config["processors"])
    assert {name: one.kind for name, one in loaded.items()} == config["processors"]
    assert loaded["seen"].counts == task.processors["seen"].counts
    with pytest.raises(InputError, match=r"nothing\.json"):
        load_processors(tmp_path, {"nothing": "labels"})


def test_a_save_that_fails_leaves_no_folder_that_loads(folder, monkeypatch):
    task = zoo.load(folder)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("zoo.model_folder.format.card", full)
    with pytest.raises(OSError, match="No space"):
        task.save(folder)
    with pytest.raises(InputError, match=r"no manifest\.json"):
        zoo.load(folder)


# the generation config of a model


def language(place: Path, config: GenerationConfig) -> Path:
    """Save an untrained language model with this generation config; return its folder."""
    torch.manual_seed(0)
    task = untrained("tokenizer.kind=words", task="generate")
    task.config = replace(task.config, generation=config)
    task.save(place / "model")
    return place / "model"


def says(capsys, folder, *words) -> str:
    """Return the answer of mode=predict to a prompt."""
    words = ["mode=predict", f"model={folder}", "device=cpu", "text=a dog", *words]
    assert run.main(words) == 0
    return capsys.readouterr().out.removesuffix("\n")


def test_a_folder_keeps_all_generation_settings(tmp_path):
    folder = language(tmp_path, DREW)
    kept = read_config(folder)["config"]["generation"]
    assert GenerationConfig(**kept) == DREW
    assert kept.keys() == asdict(DREW).keys()  # a default may change later
    assert zoo.load(folder).config.generation == DREW
    zoo.load(folder).save(tmp_path / "again")
    assert zoo.load(tmp_path / "again").config.generation == DREW


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
    words = ["generation.max_length=2", "tokenizer.kind=characters"]
    untrained(*words, task="translate").save(tmp_path / "model")
    data = ["data=files", f"data.train={DATA / 'translate.jsonl'}", "device=cpu"]
    words = ["mode=evaluate", f"model={tmp_path / 'model'}", "precision=fp32", *data]
    figures = []
    for more in ([], ["generation.max_length=2"], ["generation.max_length=20"]):
        assert run.main([*words, *more]) == 0
        figures.append(capsys.readouterr().out)
    assert figures[0] == figures[1] != figures[2]


def test_a_model_that_does_not_draw_does_not_draw_on_the_command_line(tmp_path, capsys):
    folder = language(tmp_path, GenerationConfig(beam_size=1, max_length=9))
    assert says(capsys, folder) == zoo.load(folder).predict("a dog")[0]


def test_another_seed_of_the_run_draws_another_text(tmp_path, capsys):
    torch.manual_seed(0)
    untrained("tokenizer.kind=words", task="generate").save(tmp_path / "model")
    assert says(capsys, tmp_path / "model", "seed=5") != says(capsys, tmp_path / "model", "seed=6")


@pytest.mark.parametrize(
    "word", ["+generation.seed=4", "++generation.seed=4", "generation={seed: 4}"]
)
def test_generation_settings_in_another_spelling_override_the_models(tmp_path, capsys, word):
    folder = language(tmp_path, replace(DREW, stop=()))
    assert says(capsys, folder, word) == says(capsys, folder, "generation.seed=4")
