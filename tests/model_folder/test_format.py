"""The model folder: saved and loaded again, refused after any change, and never run."""

from __future__ import annotations

import json
import os
import pickle
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

import zoo
from tasks.classify import Classify
from zoo.errors import InputError
from zoo.model_folder import verify

FILES = ["config.json", "model.safetensors", "vocabulary.json", "README.md"]


@pytest.fixture
def folder(tmp_path, trained):
    """Return a copy of a trained model that a test may change."""
    for name in [*FILES, "manifest.json"]:
        shutil.copy(trained / name, tmp_path / name)
    return tmp_path


def sign(folder):
    """Write the present hashes into the manifest, so that only the loader can find an error."""
    manifest = {"files": {name: verify.sha256(folder / name) for name in FILES}}
    (folder / "manifest.json").write_text(json.dumps(manifest))


def test_a_folder_is_loaded_by_name_and_predicts(folder):
    texts = ["Gulls follow the trawler home.", "Snow closed the pass for three days."]
    assert zoo.load(folder).predict(texts) == ["sea", "mountain"]
    assert Classify.from_pretrained(folder).predict(texts[0]) == ["sea"]
    metadata = zoo.load(str(folder)).metadata
    assert metadata["test"]["accuracy"] >= 0.9


def test_saving_again_gives_the_same_files(folder, tmp_path):
    zoo.load(folder).save(tmp_path / "again")
    for name in [*FILES, "manifest.json"]:
        assert (tmp_path / "again" / name).read_bytes() == (folder / name).read_bytes()


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("harm", ["flip", "truncate", "remove", "swap", "pickle"])
def test_any_harm_to_any_file_is_refused_and_named(folder, name, harm):
    path = folder / name
    data = bytearray(path.read_bytes())
    if harm == "flip":
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    elif harm == "truncate":
        path.write_bytes(data[:-1])
    elif harm == "remove":
        path.unlink()
    elif harm == "swap":
        shutil.copy(folder / FILES[FILES.index(name) - 1], path)
    else:
        path.write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(InputError, match=name):
        zoo.load(folder)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "vocabulary.json"])
def test_a_pickle_with_the_right_hash_is_refused_and_not_run(folder, name):
    class Bomb:
        def __reduce__(self):
            return (os.mkdir, (str(folder / "executed"),))

    (folder / name).write_bytes(pickle.dumps(Bomb()))
    sign(folder)
    with pytest.raises(InputError, match=name):
        zoo.load(folder)
    torch.save(Bomb(), folder / name)
    sign(folder)
    with pytest.raises(InputError, match=name):
        zoo.load(folder)
    assert not (folder / "executed").exists()


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
        ("task", "nope", "no such task"),
        ("task", "../zoo/run", "no such task"),
        ("tokenizer", "os", "tokenizer 'os' is unknown"),
        ("format", 2, "format 2, not 1"),
        ("surprise", 1, "unknown or missing key 'surprise'"),
        ("options", {"labels": ["a", "b"], "dropout": 2}, "options.dropout=2"),
        ("options", {"labels": ["a", "b"], "pol": "max"}, "options.pol: no such setting"),
        ("options", {"labels": "ab"}, "options.labels"),
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


def test_a_manifest_reaches_no_file_outside_its_folder(folder):
    (folder.parent / "outside").write_text("x")
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"]["../outside"] = verify.sha256(folder.parent / "outside")
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(InputError, match=r"outside: manifest\.json lists it"):
        zoo.load(folder)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"files": []}', '{"files": {}}'])
def test_a_broken_manifest_is_named(folder, text):
    (folder / "manifest.json").write_text(text)
    with pytest.raises(InputError, match=r"manifest\.json"):
        zoo.load(folder)


def test_what_is_no_model_is_said_so(tmp_path):
    with pytest.raises(InputError, match="neither a model folder nor a shipped model"):
        zoo.load(tmp_path / "nothing")
    with pytest.raises(InputError, match=r"no manifest\.json: no model"):
        zoo.load(tmp_path)


def test_a_save_that_fails_leaves_no_folder_that_loads(folder, monkeypatch):
    task = zoo.load(folder)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("zoo.model_folder.format.card", full)
    with pytest.raises(OSError, match="No space"):
        task.save(folder)
    with pytest.raises(InputError, match=r"no manifest\.json"):
        zoo.load(folder)
