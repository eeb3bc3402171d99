"""A GRU wherever an LSTM is: streams and resuming, other tasks' backbones, heads, exports."""

from __future__ import annotations

import itertools
import os
import signal

import numpy as np
import pytest
import torch
from conftest import DATA, build_task, fails, resume, same, settings, train
from every_task import answering_batch, asked, toys, untrained, untrained_heads

import zoo
import zoo.runtime
from zoo.errors import InputError
from zoo.export import whole
from zoo.generation.config import GenerationConfig
from zoo.generation.writing.prepared_step import obstacle
from zoo.rnn.gru.gru import GRU
from zoo.text.special_ids import EOS
from zoo.training import state

GRU_STREAM = ["backbone.cell=gru", "task.stream=true", "train.epochs=2"]


@pytest.fixture(scope="module")
def stream(tmp_path_factory):
    """The folder of a language model on a GRU that was trained over a stream."""
    folder = tmp_path_factory.mktemp("stream") / "run"
    train(folder, *GRU_STREAM, task="generate")
    return folder


def test_a_resumed_stream_is_the_uninterrupted_one(stream, tmp_path, monkeypatch):
    real = state.TrainingState.__init__
    steps = itertools.count(1)

    def begin(self, *given):
        real(self, *given)
        update = self.optimizer.step

        def step():
            update()
            if next(steps) == 3:
                os.kill(os.getpid(), signal.SIGTERM)

        self.optimizer.step = step

    monkeypatch.setattr(state.TrainingState, "__init__", begin)
    with pytest.raises(InputError, match="interrupted"):
        train(tmp_path / "run", *GRU_STREAM, task="generate")
    monkeypatch.undo()
    resume(tmp_path / "run")
    assert same(tmp_path / "run", stream)


def test_another_task_starts_from_its_backbone_in_both_directions(stream):
    task = build_task(settings(None, f"init={stream}", "directions=both"))
    origin = zoo.load(stream)
    assert task.backbone.config.cell == "gru"
    assert isinstance(task.backbone.rnn, GRU)
    for way in ("", "_reverse"):
        weight = task.backbone.rnn.get_parameter(f"weight_hh_l0{way}")
        assert torch.equal(weight, origin.backbone.rnn.weight_hh_l0)


def test_what_a_gru_does_not_have_is_refused_in_one_line(capsys, tmp_path):
    words = ["data=files", f"data.train={DATA / 'classify.jsonl'}", f"out={tmp_path / 'run'}"]
    said = fails(capsys, *words, "backbone.cell=gru", "backbone.layer_norm=true")
    assert "set cell=lstm or layer_norm=false" in said
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "config",
    [
        GenerationConfig(max_length=8),
        GenerationConfig(beam_size=3, max_length=8),
        GenerationConfig(sample=True, seed=1, n_best=2, max_length=8),
    ],
)
def test_a_language_model_writes_as_it_reads(config):
    task = untrained("generate", "backbone.cell=gru", "backbone.num_layers=2")
    assert obstacle(task) is not None  # the general path
    batch = answering_batch(task, ["The sea"])
    ((best, *_),) = task.generate(batch, config)
    ids = [*batch.inputs[0].tolist(), *best.ids]
    with torch.no_grad():
        logits = task(task.collate([{"inputs": ids}]))[0]
    logits[:, :EOS] = -torch.inf  # never written
    logs = logits.log_softmax(-1)
    places = range(len(ids) - len(best.ids) - 1, len(ids) - 1)
    read = sum(float(logs[place, ids[place + 1]]) for place in places)
    assert len(best.ids) > 1
    if not config.sample and config.beam_size == 1:
        greedy = [int(logs[place].argmax()) for place in places]
        assert greedy == best.ids
    assert np.isfinite(read)


def test_heads_share_a_gru(tmp_path):
    model = untrained_heads(cell="gru")
    model.save(tmp_path / "model")
    loaded = zoo.load(tmp_path / "model")
    for name, head in model.each():
        rows = asked(head, toys(head.name))[:3]
        assert loaded.heads[name].predict(rows) == head.predict(rows)


@pytest.mark.parametrize("name", ["classify", "translate", "generate", "forecast"])
def test_an_exported_task_answers_as_its_model(name, tmp_path):
    """`save` compares the answers of ONNX Runtime, and writes nothing where they differ."""
    pytest.importorskip("onnxruntime")
    task = untrained(name, "backbone.cell=gru", "backbone.learned_state=true")
    for form in ("fp32", "int8"):
        whole.save(task, tmp_path / form, form)
    if name == "generate":
        found = zoo.runtime.load(tmp_path / "fp32").score("The sea")
        assert np.isfinite(found).all()
