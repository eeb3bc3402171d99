"""Exported programs compute what the model computes, or are not written."""

from __future__ import annotations

import json
import subprocess
import sys

import onnxruntime
import pytest
import torch
from torch.testing import assert_close

import zoo
from tasks.classify import Classify, ClassifyConfig
from zoo import LSTM
from zoo.data.batch import Batch
from zoo.data.processors import LabelEncoder
from zoo.errors import InputError
from zoo.export import program
from zoo.nn.backbone import Backbone, BackboneConfig
from zoo.text.tokenizers import Words

SHAPES = [(1, 5), (7, 5), (1, 33), (7, 33), (2, 1)]  # batch and time
WORDS = Words.train(["one two three four five six"], 50)


def random(model):
    """Set random weights, so that each part of the model matters."""
    torch.manual_seed(0)
    with torch.no_grad():
        for weight in model.parameters():
            weight.normal_(std=0.4)
    return model


def classify(pool="merged", **options):
    shape = {"embedding_size": 6, "hidden_size": 5, "vocabulary_size": len(WORDS)}
    backbone = Backbone(BackboneConfig(**shape, **options))
    processors = {"tokenizer": WORDS, "labels": LabelEncoder(["a", "b", "c"])}
    return random(Classify(backbone, processors, ClassifyConfig(pool=pool)))


def made(batch, time, size):
    """Return noise (batch, time, size), or ids (batch, time) without size, and ragged lengths."""
    torch.manual_seed(batch * time)
    lengths = torch.randint(1, time + 1, (batch,))
    lengths[batch // 2] = time
    ids = torch.randint(1, len(WORDS), (batch, time))
    return torch.randn(batch, time, size) if size else ids, lengths


def loaded(path):
    """Return the file as a function of (x or ids, lengths), without using this package."""
    if path.suffix == ".pt2":
        return torch.export.load(path).module()
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    first, second = (given.name for given in session.get_inputs())
    assert second == "lengths"

    def run(x, lengths):
        found = session.run(["output", "h_n", "c_n"], {first: x.numpy(), second: lengths.numpy()})
        return tuple(map(torch.from_numpy, found))

    return run


def eager(model):
    """Return the model as a function: logits of a task, otherwise output, h_n and c_n."""

    def run(x, lengths):
        if isinstance(model, Classify):
            return (model(Batch(inputs=x, lengths=lengths)),)
        if isinstance(model, LSTM):
            output, state = model(x, lengths=lengths)
            return output, *state
        encoded = model(x, lengths)
        return encoded.output, encoded.h_n, encoded.c_n

    return torch.no_grad()(run)


def compare(path, model, size=None):
    """Check that file and model agree at every shape, whatever the padding holds."""
    run = loaded(path)
    for batch, time in SHAPES:
        x, lengths = made(batch, time, size)
        padding = torch.arange(time) >= lengths.unsqueeze(1)  # (batch, time)
        junk = x.clone()
        junk[padding] = 1e30 if size else torch.randint(len(WORDS), x.shape)[padding]
        if isinstance(model, LSTM) and not model.batch_first:
            x, junk = x.transpose(0, 1).contiguous(), junk.transpose(0, 1).contiguous()
        expected = eager(model.eval())(x, lengths)
        for given in (x, junk):
            found = run(given, lengths)
            assert len(found) == len(expected)
            for one, other in zip(found, expected, strict=True):
                assert one.shape == other.shape
                assert_close(one, other, rtol=0, atol=1e-5)


def saved(model, path):
    """Save; check the difference, and that there is one file."""
    difference = program.save(model, path)
    assert 0 <= difference <= program.TOLERANCES[path.suffix]
    assert [*path.parent.iterdir()] == [path]
    return path


BOTH = {"num_layers": 2, "bidirectional": True}
DROPOUT = {"dropout": 0.5, "weight_dropout": 0.5, "output_dropout": 0.5, "locked_dropout": True}
LSTMS = {
    "one layer": {}, "both directions": BOTH | {"bias": False, "batch_first": True},
    "learned state": BOTH | {"learned_state": True}, "dropout": {"num_layers": 2} | DROPOUT,
    "hoisted": BOTH | {"engine": "hoisted"}, "reference": {"engine": "reference"},
    "projection": {"proj_size": 2},
}  # fmt: skip
REFUSED = {("hoisted", "pt2"), ("reference", "pt2"), ("projection", "onnx")}


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
@pytest.mark.parametrize(
    ("name", "ending"), sorted({(n, e) for n in LSTMS for e in ("onnx", "pt2")} - REFUSED)
)
def test_an_lstm_in_a_file_gives_its_results(tmp_path, name, ending):
    lstm = random(LSTM(3, 4, **LSTMS[name]))
    compare(saved(lstm, tmp_path / f"lstm.{ending}"), lstm, size=3)


@pytest.mark.parametrize("ending", ["onnx", "pt2"])
@pytest.mark.parametrize("size", [None, 3], ids=["ids", "features"])
def test_a_backbone_in_a_file_gives_its_results(tmp_path, size, ending):
    options = {"vocabulary_size": len(WORDS)} if size is None else {"input_size": size}
    shape = BackboneConfig(**options, embedding_size=6, hidden_size=5, num_layers=2)
    backbone = random(Backbone(shape))
    compare(saved(backbone, tmp_path / f"backbone.{ending}"), backbone, size)


@pytest.mark.parametrize("pool", ["merged", "mean", "max", "last", "attention"])
def test_a_task_in_a_file_gives_its_logits(tmp_path, pool):
    task = classify(pool)
    compare(saved(task, tmp_path / "task.pt2"), task)


def test_of_a_task_onnx_holds_the_backbone(tmp_path):
    task = classify(num_layers=2, learned_state=True)
    compare(saved(task, tmp_path / "task.onnx"), task.backbone)


ALONE = """
import sys, torch
sys.modules["zoo"] = sys.modules["tasks"] = None
ids = torch.tensor([[4, 5, 6], [7, 0, 0]])
print(torch.export.load(sys.argv[1]).module()(ids, torch.tensor([3, 1]))[0].tolist())
"""


def test_a_program_runs_without_this_package(tmp_path):
    task = classify().eval()
    path = saved(task, tmp_path / "task.pt2")
    done = subprocess.run(
        [sys.executable, "-c", ALONE, str(path)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    [logits] = eager(task)(torch.tensor([[4, 5, 6], [7, 0, 0]]), torch.tensor([3, 1]))
    assert_close(torch.tensor(json.loads(done.stdout)), logits, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "name", "line"),
    [
        ({}, "lstm.pt", "lstm.pt: the ending says what is written: .pt2 or .onnx"),
        ({"layer_norm": True}, "lstm.onnx", "knows neither layer norm nor projection"),
        ({"proj_size": 2}, "lstm.onnx", "knows neither layer norm nor projection"),
        ({"layer_norm": True}, "lstm.pt2", "layer_norm, and engines other than torch's, loop"),
        ({"engine": "hoisted"}, "lstm.pt2", "layer_norm, and engines other than torch's, loop"),
        ({"dtype": torch.float64}, "lstm.onnx", "float64"),
    ],
)  # fmt: skip
def test_what_cannot_be_exported_is_refused(tmp_path, options, name, line):
    with pytest.raises(InputError, match=line):
        program.save(LSTM(3, 4, **options), tmp_path / name)
    assert not [*tmp_path.iterdir()]


def test_a_model_in_training_is_so_afterwards(tmp_path):
    lstm = LSTM(3, 4).train()
    program.save(lstm, tmp_path / "lstm.onnx")
    assert lstm.training


@pytest.mark.parametrize("package", ["onnx", "onnxruntime"])
def test_a_missing_package_is_named_with_its_cure(tmp_path, monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(InputError, match=r'ONNX needs onnx and .* pip install -e "\.\[export\]"'):
        program.save(LSTM(3, 4), tmp_path / "lstm.onnx")
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize(("ending", "found"), [("pt2", 1), ("onnx", 1.1e-4), ("onnx", torch.nan)])
def test_a_file_that_differs_is_not_left_behind(tmp_path, monkeypatch, found, ending):
    path = tmp_path / f"lstm.{ending}"
    program.save(LSTM(3, 4), path)
    older = path.read_bytes()
    monkeypatch.setattr(program, "difference", lambda *_: found)
    with pytest.raises(InputError, match=r"differs from the model by .*: not written"):
        program.save(LSTM(3, 4), path, overwrite=True)
    assert [p.read_bytes() for p in tmp_path.iterdir()] == [older]


@pytest.mark.parametrize("which", [0, 1, 2])
@pytest.mark.parametrize("wrong", [1e-3, torch.nan])
def test_a_difference_anywhere_is_found(which, wrong):
    lstm = LSTM(3, 4).eval()

    def run(x, lengths):
        output, state = lstm(x, lengths=lengths)
        results = [output, *state]
        results[which].view(-1)[-1] += wrong
        return results

    assert not program.difference(lstm, run) <= program.TOLERANCES[".pt2"]


@pytest.mark.parametrize("ending", ["onnx", "pt2"])
def test_the_command_line_writes_a_trained_model(capsys, tmp_path, trained, ending):
    path = tmp_path / f"model.{ending}"
    assert program.main([str(trained), str(path)]) == 0
    out, err = capsys.readouterr()
    assert (out.count("\n"), err) == (1, "")
    assert out.startswith(f"{path}: written; differs from the model by ")
    assert [*tmp_path.iterdir()] == [path]
    task = zoo.load(str(trained)).eval()
    ids, lengths = torch.tensor([[4, 5, 6], [7, 5, 0]]), torch.tensor([3, 2])
    expected = eager(task.backbone if ending == "onnx" else task)(ids, lengths)
    assert_close(loaded(path)(ids, lengths)[0], expected[0], rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("model", "name", "line"),
    [
        ("nowhere", "model.onnx", "nowhere: neither a model folder nor a shipped model"),
        (None, "model.bin", "model.bin: the ending says what is written: .pt2 or .onnx"),
        (None, "missing/model.onnx", "missing/model.onnx"),
    ],
)
def test_the_command_line_says_what_is_wrong(capsys, tmp_path, trained, model, name, line):
    assert program.main([model or str(trained), str(tmp_path / name)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert line in err
    assert not [*tmp_path.iterdir()]
