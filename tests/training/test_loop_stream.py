"""Training on a stream: what one window leaves behind, the next one goes on from."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import DATA, ROOT, lines, settings, train
from safetensors.torch import load_file

from tasks.generate import Generate
from zoo.data.dataset import Batch
from zoo.data.readers import read as read_rows
from zoo.data.stream import Stream
from zoo.errors import InputError
from zoo.nn.backbone import Backbone
from zoo.text.tokenizers import Words
from zoo.training import checkpoint, loop, pipeline
from zoo.training import state as training
from zoo.training.build import build, encode, open_rows
from zoo.training.loop import NotFinite, fit

ROWS = list(read_rows(DATA / "generate.jsonl"))[:12]
KINDS = [{}, {"softmax": "adaptive"}, {"num_layers": 2, "learned_state": True}]
SHAPE = {"num_layers", "learned_state"}
WORDS = ("tokenizer.kind=words", "train.patience=0")


def generate(**options) -> Generate:
    """An untrained model in float64 with large random weights."""
    torch.manual_seed(0)
    words = Words.train([row["text"] for row in ROWS], 60)
    shape = {name: options.pop(name) for name in SHAPE & {*options}}
    backbone = Backbone(len(words), embedding_size=8, hidden_size=6, bidirectional=False, **shape)
    task = Generate(backbone, words, **options).double()
    with torch.no_grad():
        for weight in task.parameters():
            weight.normal_(std=0.7)
    return task


def windows(task, folder, *lengths):
    """The rows in three columns, once in windows of each of these lengths."""
    stream = Stream.write(ROWS, task.encode, folder / "store")
    return [[*map(stream.batch, stream.sampler(3 * steps, 3))] for steps in lengths]


def total(task, batches) -> float:
    """The loss of all targets of batches, one after the other."""
    return sum(float(task.loss(batch).detach()) * task.count_targets(batch) for batch in batches)


@pytest.mark.parametrize("kind", KINDS)
def test_windows_that_go_on_are_one_long_window(tmp_path, kind):
    task = generate(**kind)
    (whole,), parts = windows(task, tmp_path, 1000, 5)
    assert len(parts) > 4
    wanted = total(task, [whole])
    assert total(task, parts) == pytest.approx(wanted, abs=1e-6)
    assert total(task, parts) == pytest.approx(wanted, abs=1e-6)  # an epoch begins anew
    forgotten = total(task, [replace(part, continues=False) for part in parts])
    assert abs(forgotten - wanted) > 1e-2


def test_no_gradient_goes_into_the_window_before(tmp_path):
    task = generate()
    ((one, two, *_),) = windows(task, tmp_path, 5)
    task.loss(one).backward()
    assert not any(state.requires_grad for state in task.carried_state)
    task.loss(two).backward()  # the first window's graph is gone


def test_only_windows_of_a_stream_leave_a_state(tmp_path):
    task = generate()
    rows = Batch.collate([task.encode(row) for row in ROWS[:3]], range(3))
    ((first, second, *_),) = windows(task, tmp_path, 5)
    stream = Stream(tmp_path / "store")
    alone = task.loss(rows).item()
    assert task.carried_state is None
    task.loss(first)
    left = task.carried_state
    assert task.loss(rows).item() == alone
    assert len(list(task.predict_dataset(stream))) == len(ROWS)
    task.preview()
    assert task.carried_state is left
    task.train().loss(second)
    assert not torch.equal(task.carried_state[0], left[0])


@pytest.mark.parametrize("kind", KINDS)
def test_columns_that_have_ended_count_nothing(tmp_path, kind):
    """So it is in the last window, where one process can have only those that are over."""
    task = generate(**kind)
    stream = Stream.write(ROWS, task.encode, tmp_path / "store")
    task.loss(stream.batch(np.array([[0, 5, 0], [5, 9, 0]])))
    over = stream.batch(np.array([[5, 5, 1], [9, 9, 1]]))
    loss = task.loss(over)
    loss.backward()
    assert (loss.item(), task.count_targets(over)) == (0, 0)
    assert task.tokens.bias.grad is not None
    assert not any(bool(w.grad.ne(0).any()) for w in task.parameters() if w.grad is not None)


def test_without_a_stream_each_row_is_a_text(tmp_path):
    task = generate(stream=False)
    store = task.dataset_class.write(ROWS, task.encode, tmp_path / "store")
    batches = [store.batch(numbers) for numbers in store.sampler(40, 4)]
    assert len(batches) > 2
    losses = [task.loss(batch).item() for batch in batches]
    assert [task.loss(batch).item() for batch in batches[::-1]] == losses[::-1]
    alone = sum(total(task, [Batch.collate([task.encode(row)], [0])]) for row in ROWS)
    assert total(task, batches) == pytest.approx(alone, abs=1e-6)
    assert task.carried_state is None


def same(*folders):
    """Whether two trainings ended with the same weights, and had the same losses before."""
    one, two = (load_file(folder / "model.safetensors") for folder in folders)
    losses = [[entry["loss"] for entry in lines(f / "metrics.jsonl")] for f in folders]
    return losses[0] == losses[1] and all(torch.equal(one[name], two[name]) for name in two)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stream") / "run"
    train(folder, *WORDS, task="generate")
    return folder


def stopping(monkeypatch, last, stop):
    """Trainings call `stop` after their step number `last`."""
    real, steps = loop.step, iter(range(1, 100))

    def step(*given):
        done = real(*given)
        return stop() if next(steps) == last else done

    monkeypatch.setattr(loop, "step", step)


@pytest.mark.parametrize(
    ("last", "stop", "error", "place"),
    [
        (8, lambda: os.kill(os.getpid(), signal.SIGTERM), InputError, (1, 3)),
        (4, lambda: 1 / 0, ZeroDivisionError, (0, 2)),
    ],
)
def test_a_stream_goes_on_to_the_bits(tmp_path, monkeypatch, whole, last, stop, error, place):
    """Where it was told to stop, and of one that died from its last checkpoint."""
    stopping(monkeypatch, last, stop)
    with pytest.raises(error):
        train(tmp_path / "run", *WORDS, "train.checkpoint_steps=2", task="generate")
    monkeypatch.undo()
    state = checkpoint.load(tmp_path / "run" / "checkpoint")
    assert (state["progress"]["epoch"], state["progress"]["batch"]) == place
    assert [s.shape for s in state["carried"][0]] == [(1, 8, 16)] * 2
    pipeline.run(settings(None, f"resume={tmp_path / 'run'}"), "", time.time())
    assert same(tmp_path / "run", whole)


def in_columns(folder):
    """What an epoch without dropout finds, in 7 columns and in 1."""
    found = []
    for columns in (7, 1):
        exact = [f"backbone.{name}_dropout=0" for name in ("input", "output", "weight")]
        some = ["train.epochs=1", f"train.batch_rows={columns}"]
        chosen = settings(None, *WORDS, *exact, *some, task="generate")
        accelerator, _ = pipeline.set_up_process(chosen)
        splits, place = open_rows(chosen, Generate), folder / str(columns)
        task = build(chosen, splits)
        store = encode(task, splits.train, place / "train")
        valid = encode(task, splits.valid, place / "valid"), list(splits.valid)
        found += fit(task, store, valid, chosen.train, 1, accelerator, place).history
    return [accelerator.num_processes, *({"loss": e["loss"]} | e["valid"] for e in found)]


SCRIPT = """
import json, sys
from pathlib import Path
sys.path[:0] = ["tests", "."]
from training.test_loop_stream import in_columns
print(json.dumps(in_columns(Path(sys.argv[1]))))
"""


def test_two_processes_read_the_stream_that_one_does(tmp_path):
    """Each has its columns; of one column the second process has none."""
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(20_000 + os.getpid() % 20_000)}
    shared = os.environ | place | {"WORLD_SIZE": "2", "OMP_NUM_THREADS": "1"}
    running = [
        subprocess.Popen(
            [sys.executable, "-c", SCRIPT, str(tmp_path / rank)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            env=shared | {"RANK": rank, "LOCAL_RANK": rank},
        )
        for rank in "01"
    ]
    processes, *one = in_columns(tmp_path / "one")
    assert (processes, len(one)) == (1, 2)
    for process in running:
        processes, *two = json.loads(process.communicate(timeout=120)[0])
        assert processes == 2
        for entry, other in zip(one, two, strict=True):
            assert entry == pytest.approx(other, rel=1e-5)


def test_the_epoch_with_the_lowest_perplexity_is_kept(tmp_path, monkeypatch):
    said, seen, real = iter([9.0, 5.0, 7.0, 8.0]), [], Generate.compute_metrics

    def score(self, answers, rows):
        seen.append({name: weight.clone() for name, weight in self.state_dict().items()})
        return real(self, answers, rows) | {"perplexity": next(said)}

    monkeypatch.setattr(Generate, "compute_metrics", score)
    folder = tmp_path / "run"
    report = train(folder, *WORDS, "train.epochs=5", "train.patience=1", task="generate")
    assert (report["best_epoch"], report["epochs"]) == (2, 3)
    assert (report["valid"]["perplexity"], report["test"]["perplexity"]) == (5, 8)
    found = load_file(folder / "model.safetensors")
    kept = [all(torch.equal(w, at[name]) for name, w in found.items()) for at in seen]
    assert kept == [False, True, False, True]


def test_a_loss_that_is_no_number_names_the_tokens(tmp_path, monkeypatch):
    real, batches = training.LossModule.forward, []

    def forward(self, batch):
        batches.append(batch)
        return real(self, batch) * (float("nan") if len(batches) == 3 else 1)

    monkeypatch.setattr(training.LossModule, "forward", forward)
    with pytest.raises(NotFinite, match="the loss is nan") as caught:
        train(tmp_path / "run", *WORDS, task="generate")
    first, count = int(batches[-1].row_numbers[0]), int(batches[-1].lengths[0])
    tokens = f"tokens {first + 1:,} to {first + count:,} of the training stream"
    place = f"{tokens}, and 7 columns beside"
    assert f"in epoch 1, batch 3 ({place}): lower train.learning_rate" in str(caught.value)


def test_a_sketch_after_an_epoch_changes_nothing(tmp_path, monkeypatch, caplog):
    shown, real = [], Generate.preview
    words = (*WORDS, "train.ema_decay=0")  # the model that is trained is the one that writes
    monkeypatch.setattr(Generate, "preview", lambda self: shown.append(real(self)) or shown[-1])
    with caplog.at_level("INFO", "zoo"):
        train(tmp_path / "with", *words, task="generate")
    said = [record.getMessage() for record in caplog.records]
    sketches = [text.splitlines() for text in said if text.startswith("    | ")]
    wanted = [text.strip("\n").splitlines() for text in shown]
    assert len(wanted) == 2
    assert sketches == [[f"    | {line}" for line in text] for text in wanted]
    monkeypatch.setattr(Generate, "preview", lambda self: None)
    train(tmp_path / "without", *words, task="generate")
    assert same(tmp_path / "with", tmp_path / "without")
