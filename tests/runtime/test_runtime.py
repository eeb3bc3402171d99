"""Exported models answer as the models do, without torch, and refuse what they do not know."""

from __future__ import annotations

import json
import sys

import pytest
import torch
from runtime_cases import without_torch

import zoo.runtime
from tasks.classify import Classify, ClassifyConfig
from zoo.data.processors import LabelEncoder, LabelSetEncoder, Scaler
from zoo.errors import InputError
from zoo.export import program, whole
from zoo.nn.backbone import Backbone, BackboneConfig
from zoo.task import input_rows, predict_rows
from zoo.text import word_splitter
from zoo.text.ngrams import NgramVocabulary
from zoo.text.tokenizers import TOKENIZERS

TEXTS = ["one two three four five six", "two, two! Three?", "", "six " * 50, "Ünïcode seven"]


def random(task):
    """Set random weights, so that each part of the model matters."""
    torch.manual_seed(0)
    with torch.no_grad():
        for weight in [*task.parameters(), *task.buffers()]:
            if weight.is_floating_point():
                weight.normal_(std=0.4)
    return task.eval()


def backbone(vocabulary, **options):
    shape = {"embedding_size": 6, "hidden_size": 5, "vocabulary_size": vocabulary}
    return Backbone(BackboneConfig(**(shape | options)))


def classify(kind="words", several=False, **options):
    tokenizer = TOKENIZERS[kind].train(TEXTS[:3] * 3, 60)
    labels = LabelSetEncoder(list("abc"), [1, 1, 2], 3) if several else LabelEncoder(list("abc"))
    processors = {"tokenizer": tokenizer, "labels": labels}
    if "ngrams" in options:
        processors["ngrams"] = NgramVocabulary.learn(TEXTS, options["ngrams"], 50)
    own = "num_layers", "bidirectional", "layer_norm"
    shape = {n: options.pop(n) for n in own if n in options}
    shape["learned_state"] = options.pop("learned_state", False)
    config = ClassifyConfig(**({"max_length": 20} | options))
    return random(Classify(backbone(len(tokenizer), **shape), processors, config))


def exported(task, folder, form="fp32"):
    whole.save(task, folder, form)
    return zoo.runtime.load(folder)


def wanted(task, inputs):
    return [*predict_rows(task, input_rows(task, inputs))]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"pool": "mean", "num_layers": 2, "append_eos": True},
        {"pool": "max", "kind": "subwords"},
        {"pool": "last", "bidirectional": False},
        {"pool": "attention", "learned_state": True},
        {"pool": "attention", "layer_norm": True, "num_layers": 2},
        {"layer_norm": True, "learned_state": True, "append_eos": True},
        {"ngrams": "words", "learned_state": True},
        {"ngrams": "characters", "several": True, "kind": "characters"},
    ],
    ids=str,
)
def test_a_classifier_answers_as_its_model(tmp_path, options):
    task = classify(**options)
    model = exported(task, tmp_path / "out")
    for one, other in zip(model.answers(TEXTS), wanted(task, TEXTS), strict=True):
        assert one.pop("probabilities") == pytest.approx(other.pop("probabilities"), abs=1e-5)
        assert one == other
    assert model.predict(TEXTS) == task.predict(TEXTS)
    assert [*model.answers(TEXTS[0], top=2)[0]["probabilities"].values()] == sorted(
        model.predict(TEXTS[0], probabilities=True)[0].values(), reverse=True
    )[:2]


def test_a_classifier_reads_features(tmp_path):
    net = Backbone(BackboneConfig(input_size=2, hidden_size=5))
    processors = {"scaler": Scaler([1.0, 2.0], [3.0, 0.5]), "labels": LabelEncoder(["x", "y"])}
    task = random(Classify(net, processors, ClassifyConfig()))
    model = exported(task, tmp_path / "out")
    series = [torch.randn(steps, 2).numpy() for steps in (1, 30, 7)]
    assert model.predict(series) == task.predict(series)


@pytest.mark.parametrize("layer_norm", [False, True])
def test_int8_answers_do_not_depend_on_their_neighbours(tmp_path, layer_norm):
    model = exported(classify(layer_norm=layer_norm), tmp_path / "out", "int8")
    together = model.answers(TEXTS)
    assert together == [model.answers([text])[0] for text in TEXTS]
    assert (tmp_path / "out" / "model.onnx").stat().st_size > 0


def test_answers_need_no_other_packages(tmp_path):
    task = classify()
    whole.save(task, tmp_path / "out")
    code = f"""
import json
import zoo.runtime
print(json.dumps(zoo.runtime.load({str(tmp_path / "out")!r}).predict({TEXTS!r})))
assert "torch" not in sys.modules and "regex" not in sys.modules
"""
    assert json.loads(without_torch(code)) == task.predict(TEXTS)


def test_splitting_into_words_says_that_it_needs_regex(monkeypatch):
    monkeypatch.setitem(sys.modules, "regex", None)
    word_splitter._pattern.cache_clear()
    word_splitter._split.cache_clear()
    with pytest.raises(InputError, match="needs regex: pip install regex"):
        word_splitter.split("two words")


def change(path, old, new):
    path.write_text(path.read_text("utf-8").replace(old, new), "utf-8")


def rewrite(folder, file, old, new):
    """Change a file and its hash."""
    change(folder / file, old, new)
    marker = json.loads((folder / "runtime.json").read_text())
    marker["files"][file] = whole.sha256(folder / file)
    (folder / "runtime.json").write_text(json.dumps(marker))


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (lambda f: (f / "model.onnx").unlink(), r"model\.onnx: missing"),
        (lambda f: change(f / "labels.json", '"a"', '"z"'), r"labels\.json: .*sha256 differs"),
        (lambda f: (f / "more.onnx").write_bytes(b""), r"more\.onnx: .*does not list it"),
        (lambda f: (f / "runtime.json").unlink(), r"no runtime\.json, so no exported model"),
        (lambda f: change(f / "runtime.json", '"runtime": 1', '"runtime": 2'), r"format 2, not 1"),
        (lambda f: rewrite(f, "config.json", '"form"', '"shape"'), r"unknown or missing key"),
        (lambda f: rewrite(f, "config.json", '"classify"', '"sing"'), r"task 'sing' is unknown"),
        (lambda f: rewrite(f, "config.json", '"fp32"', '"fp4"'), r"form 'fp4' is none of"),
        (lambda f: rewrite(f, "config.json", '"words"', '"pickle"'), r"'pickle' is unknown"),
        (lambda f: broken(f), r"model\.onnx: ONNX Runtime cannot load"),
    ],
    ids=range(10),
)
def test_what_is_not_an_export_is_refused_in_one_line(tmp_path, fault, message):
    folder = tmp_path / "out"
    whole.save(classify(), folder)
    fault(folder)
    with pytest.raises(InputError, match=message) as caught:
        zoo.runtime.load(folder)
    assert "\n" not in str(caught.value)


def broken(folder):
    """Put noise in the place of a graph, with its right hash."""
    (folder / "model.onnx").write_bytes(b"noise")
    marker = json.loads((folder / "runtime.json").read_text())
    marker["files"]["model.onnx"] = whole.sha256(folder / "model.onnx")
    (folder / "runtime.json").write_text(json.dumps(marker))


def test_only_an_unchanged_export_is_replaced(tmp_path, capsys):
    task, folder = classify(), tmp_path / "out"
    whole.save(task, folder)
    with pytest.raises(InputError, match=r"exists already: .*--overwrite"):
        whole.save(task, folder)
    whole.save(task, folder, "int8", overwrite=True)
    assert zoo.runtime.load(folder).folder.form == "int8"
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"notes\.txt: is no file of the export"):
        whole.save(task, folder, overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert program.main(["nothing", str(folder), "--overwrite"]) == 2
    assert program.main(["nothing", str(tmp_path / "new"), "quantise=int8"]) == 2
    assert "quantise=int8: is no setting of an export" in capsys.readouterr().err


def test_an_export_that_answers_otherwise_is_not_written(tmp_path, monkeypatch):
    task = classify()
    good = whole.graphs.Layers.merged
    monkeypatch.setattr(
        whole.graphs.Layers, "merged", lambda self, h, d: self.op("Neg", good(self, h, d))
    )
    with pytest.raises(
        InputError, match=r"probabilities differ from the model's by .* not written"
    ):
        whole.save(task, tmp_path / "out")
    assert not [*tmp_path.iterdir()]
