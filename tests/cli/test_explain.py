"""Explanations: the gates over a text, in numbers and as a plot, and the LSTM's kernel calls."""

from __future__ import annotations

import pytest
import torch
from conftest import DATA
from tag_cases import SPANS, tagger
from torch.overrides import TorchFunctionMode
from torch.testing import assert_close

import zoo
from tasks.classify import Classify
from zoo import LSTM, run
from zoo.cli import explain
from zoo.data.batch import Batch
from zoo.data.processors import LabelEncoder
from zoo.data.readers import Row
from zoo.nn.backbone import Backbone, BackboneConfig
from zoo.rnn import kernels
from zoo.text.special_ids import PAD, UNK
from zoo.text.tokenizers import Words

TEXT = "Gulls follow the trawler home."
TAGGED = "Ann Lee didn't go to Rome"


def batch(task, *texts):
    return task.collate([task.encode(Row({"text": t}, "here")) for t in texts])


def classify(**options):
    """Return an untrained task with a small vocabulary, and dropout everywhere."""
    torch.manual_seed(0)
    words = Words.train(["one two three four"], 50)
    shares = dict.fromkeys(("input_dropout", "word_dropout", "output_dropout"), 0.5)
    shape = {"vocabulary_size": len(words), "embedding_size": 6, "hidden_size": 5}
    backbone = Backbone(BackboneConfig(**shape, **shares, **options))
    return Classify(backbone, {"tokenizer": words, "labels": LabelEncoder(["a", "b"])})


def test_the_tokens_of_a_trained_model_are_those_of_the_text(trained):
    task = zoo.load(trained)
    given = batch(task, TEXT, "Snow.")
    tokens, seen = explain.gates(task, given)
    ids = task.tokenizer.encode(TEXT)
    assert tokens == [task.tokenizer.decode([number]) for number in ids]
    assert " ".join(tokens) == task.tokenizer.decode(ids)
    assert "gulls" in tokens
    assert {tuple(gate.shape) for gate in seen} == {(2, len(ids), 16)}


@pytest.mark.parametrize(
    "options",
    [
        {"bidirectional": False},
        {"num_layers": 3},
        {"num_layers": 2, "layer_norm": True},
        {"num_layers": 2, "learned_state": True, "dropout": 0.5, "weight_dropout": 0.5},
    ],
    ids=str,
)
def test_gates_and_cells_are_those_that_the_model_runs_with(options):
    task = classify(**options).train()
    if options.get("learned_state"):
        torch.nn.init.normal_(task.backbone.lstm.c_0)
    given = batch(task, "one four two unknown", "three two one one two three four")
    tokens, (i, f, g, o, c) = explain.gates(task, given)
    lstm = task.backbone.lstm
    layers, sides = lstm.num_layers, 1 + lstm.bidirectional
    assert len(tokens) == 4
    assert all(gate.shape == (layers * sides, 4, 5) for gate in (i, f, g, o, c))
    assert not task.training
    with torch.no_grad():
        encoded = task.backbone(given.inputs[:1, :4])
    top = c[-sides:]  # (directions, time, hidden): the top layer's
    if lstm.layer_norm:
        scale = [getattr(lstm, "norm_weight" + suffix)[4] for suffix in lstm.suffixes[-sides:]]
        top = torch.stack(
            [torch.nn.functional.layer_norm(c_, (5,), s) for c_, s in zip(top, scale, strict=True)]
        )
    assert_close(torch.cat([*(o[-sides:] * top.tanh())], -1), encoded.output[0])
    ends = [3 if way == 0 else 0 for _ in range(layers) for way in range(sides)]
    assert_close(c[range(layers * sides), ends], encoded.c_n[:, 0])
    for shares in (i, f, o):
        assert 0 < shares.min() <= shares.max() < 1
    before = c.clone()  # c = f * the cell before + i * g
    before[0, 0] = lstm.c_0[0, 0] if lstm.learned_state else 0
    before[0, 1:] = c[0, :-1]
    assert_close((f * before + i * g)[0], c[0])


def test_specials_have_tokens_too():
    task = classify()
    given = Batch(torch.tensor([[UNK, 4, PAD, PAD]]), torch.tensor([3]))
    tokens, seen = explain.gates(task, given)
    assert tokens == ["<unk>", task.tokenizer.decode([4]), "<pad>"]
    assert seen.c.shape == (2, 3, 5)


def test_an_empty_row_has_no_gates():
    task = classify()
    with pytest.raises(ValueError, match="an empty text has no gates to show"):
        explain.gates(task, batch(task, "", "one"))


def explained(capsys, *words):
    assert run.main(["mode=explain", *words]) == 0
    return capsys.readouterr().out


def test_the_command_line_draws_the_gates_of_a_text_and_says_where(capsys, tmp_path, trained):
    out = tmp_path / "deep" / "folder"
    printed = explained(capsys, f"model={trained}", f"text={TEXT} $5, 日本", f"out={out}")
    path = out / "gates.png"
    assert printed.splitlines()[-1] == f"gates over the tokens: {path}"
    assert "classify reads h_n" in printed
    assert sorted(out.iterdir()) == [path, out / "why.html", out / "why.png"]
    label = zoo.load(trained).predict(f"{TEXT} $5, 日本")[0]
    assert printed.startswith(f"answer: {label}  (probability 0.")
    assert "what mattered: the fall of the log-probability without a token" in printed
    assert "norm of output at each step" in printed
    html = (out / "why.html").read_text("utf-8")
    assert "$5" in html
    assert html.count("data:image/png;base64,") == 2
    data = path.read_bytes()
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    assert data.endswith(b"IEND\xaeB`\x82")
    width, height = (int.from_bytes(data[at : at + 4], "big") for at in (16, 20))
    assert 300 < width < 3000
    assert 500 < height < 3000


def test_without_a_model_the_gates_of_an_untrained_one_are_drawn(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("zoo.training.build.build", lambda *_, **__: classify())
    printed = explained(capsys, "text=one two")
    assert printed.splitlines()[-1] == "gates over the tokens: runs/explain-classify/gates.png"
    assert (tmp_path / "runs/explain-classify/gates.png").is_file()


@pytest.mark.parametrize("text", [None, ""])
def test_without_a_text_nothing_is_drawn(capsys, tmp_path, trained, text):
    words = [] if text is None else [f"text={text}"]
    data = ["data=files", f"data.train={DATA}/classify.jsonl"]
    printed = explained(capsys, f"model={trained}", f"out={tmp_path}", *words, *data)
    assert "gates" not in printed
    assert "h_n" in printed
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize(("words", "steps"), [("word+char", 7), ("subword", 20)])
def test_a_tagger_shows_what_it_reads_and_the_gates_over_a_text(capsys, tmp_path, words, steps):
    tagger(SPANS, words, scale=0.7).save(tmp_path / "model")
    text = f"text={TAGGED}"
    printed = explained(capsys, f"model={tmp_path / 'model'}", text, f"out={tmp_path}")
    assert "tag reads output: a label for every word needs a vector for every word" in printed
    assert "read from output" in printed
    assert printed.count(f"(1, {steps}, 16)") == 2  # output, and what is read
    assert "(1, 7, 5)" in printed  # logits: a step of five labels for each word
    assert (tmp_path / "gates.png").read_bytes().startswith(b"\x89PNG")
    assert run.main(["mode=predict", f"model={tmp_path / 'model'}", text, "device=cpu"]) == 0
    answer = capsys.readouterr().out
    assert [pair.split("/")[0] for pair in answer.split()] == [
        "Ann",
        "Lee",
        "did",
        "n't",
        "go",
        "to",
        "Rome",
    ]


class Calls(TorchFunctionMode):
    """Records the layers and directions of each call of torch's LSTM."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if getattr(func, "__name__", "") == "lstm":
            self.seen = max(getattr(self, "seen", (1, False)), (args[4], args[7]))
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    ("options", "training", "lengths"),
    [
        ({}, True, None),
        ({}, True, [3, 5]),
        ({"dropout": 0.5}, True, None),
        ({"weight_dropout": 0.5}, True, None),
        ({"weight_dropout": 0.5}, False, [3, 5]),
        ({"dropout": 0.5}, False, None),
        ({"weight_dropout": 0.5}, False, None),
        ({"output_dropout": 0.5}, True, None),
        ({"learned_state": True}, True, None),
    ],
)
def test_calls_per_layer_are_explained_as_they_are_made(options, training, lengths):
    lstm = LSTM(2, 3, 2, bidirectional=True, **options).train(training)
    with torch.set_grad_enabled(training), Calls() as calls:
        lstm(torch.ones(5, 2, 2), lengths=None if lengths is None else torch.tensor(lengths))
    found = lstm.explain(2, 5, kernels.H100, torch.float16, lengths is not None)
    said = {condition.requirement: condition.holds for condition in found.conditions}
    one = said["one layer in a call"], said["one direction in a call"]
    assert one == (calls.seen == (1, False),) * 2
