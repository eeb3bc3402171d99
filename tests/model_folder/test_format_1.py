"""Format 1 of model folders: it is read as the same plain data, and as strictly as before."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import pytest
import torch
from folder_cases import sign, untrained
from tag_cases import ROWS, tagger

import zoo
from zoo.errors import InputError
from zoo.generation.config import GenerationConfig
from zoo.model_folder import verify
from zoo.model_folder.verify import read_generation

TEXTS = ["Gulls follow the trawler home.", "Ann saw Rome"]
FILES = {".json": "vocabulary.json", ".model": "sentencepiece.model"}


def options_of(task) -> dict:
    """The options of format 1: those of the config, and what the task learned."""
    found = {k: v for k, v in asdict(task.config).items() if k != "generation"}
    labels = task.processors.get("labels")
    if labels is not None:
        found["labels"] = labels.labels
    if task.name == "classify":
        found["label_counts"] = labels.counts
    if task.name == "tag":
        found["exceptions"] = labels.exceptions
        found["alphabet"] = task.processors["characters"].characters
        found["seen"] = "\n".join(task.processors["seen"].counts)
    return found


def write(task, folder):
    """Save a task and rewrite its folder in format 1."""
    task.save(folder)
    files = ["config.json", "model.safetensors", "README.md"]
    for name, processor in task.processors.items():
        path = folder / f"{name}{processor.suffix}"
        if name in ("tokenizer", "target_tokenizer"):
            files.append(f"{'target.' * (name != 'tokenizer')}{FILES[processor.suffix]}")
            path.rename(folder / files[-1])
        else:
            path.unlink()
    generation = getattr(task.config, "generation", GenerationConfig())
    config = {
        "format": 1,
        "task": task.name,
        "options": options_of(task),
        "generation": asdict(generation),
        "end_ids": [],
        "backbone": asdict(task.backbone.config),
        "tokenizer": task.tokenizer.kind,
        "metadata": {"data": "toys"},
    }
    (folder / "config.json").write_text(json.dumps(config), "utf-8")
    (folder / "manifest.json").write_text(json.dumps({"files": {}}))
    sign(folder, *files)
    return folder


def change(folder, edit) -> None:
    """Change the config of a folder, and write its hash into the manifest."""
    config = json.loads((folder / "config.json").read_text("utf-8"))
    edit(config)
    (folder / "config.json").write_text(json.dumps(config), "utf-8")
    sign(folder)


@pytest.fixture
def folder(tmp_path):
    """A classifier in format 1."""
    return write(untrained(task="classify"), tmp_path / "model")


@pytest.mark.parametrize(
    ("task", "settings"),
    [
        ("classify", ["task.class_weights=balanced", "task.pool=attention"]),
        ("tag", ["task.crf=true"]),
        ("tag", ["task.words=subword", "tokenizer.kind=subwords", "tokenizer.size=60"]),
        ("translate", ["tokenizer.shared=false", "generation.beam_size=2"]),
        ("generate", ["generation.max_length=5", "generation.sample=false"]),
    ],
)
def test_it_answers_as_the_present_format_does(tmp_path, task, settings):
    torch.manual_seed(0)
    model = untrained(*settings, task=task)
    loaded = zoo.load(write(model, tmp_path / "old"))
    assert loaded.config == model.config
    assert loaded.metadata == {"data": "toys"}
    assert loaded.predict(TEXTS) == model.predict(TEXTS)
    loaded.save(tmp_path / "new")
    again = zoo.load(tmp_path / "new")
    assert again.predict(TEXTS) == model.predict(TEXTS)
    assert json.loads((tmp_path / "new" / "config.json").read_text("utf-8"))["format"] == 2


def test_its_words_have_no_counts_so_that_none_occurs_once(tmp_path):
    model = tagger(ROWS)
    assert model.singletons.any()
    loaded = zoo.load(write(model, tmp_path / "old"))
    assert {*loaded.processors["seen"].counts} == {*model.processors["seen"].counts}
    assert {*loaded.processors["seen"].counts.values()} == {2}
    assert not loaded.singletons.any()


@pytest.mark.parametrize("name", verify.shipped())
def test_the_shipped_models_are_read(name):
    task = zoo.load(name)
    assert task.name == name.partition("/")[0]
    assert read_generation(name) == getattr(task.config, "generation", GenerationConfig())


def test_earlier_names_are_understood(tmp_path):
    model = untrained("generation.beam_size=2", "generation.max_length=7", task="generate")
    folder = write(model, tmp_path / "old")

    def earlier(config):
        config["search"] = config.pop("generation")
        config["search"]["beam"] = config["search"].pop("beam_size")
        config["closing"] = config.pop("end_ids")
        config["facts"] = config.pop("metadata")

    change(folder, earlier)
    loaded = zoo.load(folder)
    assert loaded.config.generation == model.config.generation == read_generation(folder)
    assert loaded.metadata == {"data": "toys"}
    assert verify.read_config(folder)["metadata"] == {"data": "toys"}


def test_the_earliest_folders_have_no_generation_config(tmp_path):
    model = untrained("generation.beam_size=2", task="generate")
    folder = write(model, tmp_path / "old")
    change(folder, lambda config: [config.pop("generation"), config.pop("end_ids")])
    assert zoo.load(folder).config == replace(model.config, generation=GenerationConfig())
    assert read_generation(folder) is None


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda c: c.pop("options"), "unknown or missing key 'options'"),
        (lambda c: c.update(surprise=1), "unknown or missing key 'surprise'"),
        (lambda c: c.update(config={}), "unknown or missing key 'config'"),
        (lambda c: c.update(options=[]), "options: not an object"),
        (lambda c: c["options"].pop("labels"), "options.labels is missing"),
        (lambda c: c["options"].update(labels="ab"), "options.labels: "),
        (lambda c: c["options"].update(labels=["a", 1]), "options.labels: "),
        (lambda c: c["options"].update(label_counts=[1]), "options.counts: "),
        (lambda c: c["options"].update(dropout=2), "dropout=2"),
        (lambda c: c["options"].update(pol="max"), "pol: no such setting"),
        (lambda c: c["options"].update(seen="a"), "seen: no such setting"),
        (lambda c: c["options"].update(generation={}), "generation: no such setting"),
        (lambda c: c.update(generation=[]), "generation: not an object"),
        (lambda c: c["generation"].update(surprise=1), "generation.surprise: no such setting"),
        (lambda c: c["generation"].update(beam_size=0), "generation.beam_size=0"),
        (lambda c: c["generation"].update(self=0), "generation"),
        (lambda c: c.update(end_ids=[10**6]), "end_ids=[1000000]: not ids of the tokenizer"),
        (lambda c: c.update(end_ids="x"), "end_ids=x: not ids of the tokenizer"),
        (lambda c: c.update(tokenizer="os"), "tokenizer 'os' is unknown"),
        (lambda c: c.update(tokenizer=[]), "tokenizer [] is unknown"),
        (lambda c: c.update(metadata=1), "metadata is no object"),
        (lambda c: c.update(backbone=1), "backbone is no object"),
        (lambda c: c["backbone"].update(hidden_size=0), "backbone.hidden_size=0"),
        (lambda c: c["backbone"].update(vocabulary_size=10), "the tokenizer has"),
        (lambda c: c.update(task="../zoo/run"), "which is not one of the zoo"),
        (lambda c: c.update(task=None), "task None is no name"),
        (lambda c: c.update(task=["tag"]), "task ['tag'] is no name"),
        (lambda c: c.update(task="tag"), "options.alphabet is missing"),
        (lambda c: c.update(task="multitask"), "options: "),
    ],
)
def test_what_is_wrong_in_its_config_is_named(folder, edit, said):
    change(folder, edit)
    with pytest.raises(InputError) as caught:
        zoo.load(folder)
    message = str(caught.value)
    assert message.startswith(str(folder))
    assert said in message
    assert "\n" not in message


def test_a_tokenizer_that_is_not_listed_or_not_there_is_named(folder):
    change(folder, lambda config: config.update(tokenizer="subwords"))
    with pytest.raises(InputError, match=r"manifest\.json: does not list the tokenizer"):
        zoo.load(folder)
    change(folder, lambda config: config.update(tokenizer="words"))
    (folder / "labels.json").write_text("{}")
    sign(folder, "labels.json")
    with pytest.raises(InputError, match=r"labels\.json: manifest\.json lists it: no file of a"):
        zoo.load(folder)
