"""A language model on a stream: what one window leaves behind, the next one goes on from."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from backbone_cases import make_backbone
from conftest import DATA

from tasks.generate import Generate, GenerateConfig
from zoo.data.readers import read as read_rows
from zoo.data.stream import Stream
from zoo.task import predict_dataset
from zoo.text.tokenizers import Words

ROWS = list(read_rows(DATA / "generate.jsonl"))[:12]
KINDS = [{}, {"softmax": "adaptive"}, {"num_layers": 2, "learned_state": True}]
SHAPE = {"num_layers", "learned_state"}


def generate(**options) -> Generate:
    """An untrained model in float64 with large random weights."""
    torch.manual_seed(0)
    words = Words.train([row["text"] for row in ROWS], 60)
    shape = {name: options.pop(name) for name in SHAPE & {*options}}
    backbone = make_backbone(
        len(words), embedding_size=8, hidden_size=6, bidirectional=False, **shape
    )
    task = Generate(backbone, {"tokenizer": words}, GenerateConfig(**options)).double()
    with torch.no_grad():
        for weight in task.parameters():
            weight.normal_(std=0.7)
    return task


def windows(task, folder, *lengths):
    """The rows in three columns, once in windows of each of these lengths."""
    stream = Stream.write(ROWS, task.encode, folder / "store")
    return [
        [task.collate(stream.examples(window)) for window in stream.sampler(3 * steps, 3)]
        for steps in lengths
    ]


def total(task, batches) -> float:
    """The loss of all targets of batches, one after the other."""
    found, state = 0.0, None
    for batch in batches:
        loss, count, state = task.training_step(batch, state)
        found += loss.item() * count
    return found


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
    first = task.training_step(one)
    first.loss.backward()
    assert not any(part.requires_grad for part in first.state)
    task.training_step(two, first.state).loss.backward()  # the first window's graph is gone


def test_only_windows_of_a_stream_leave_a_state(tmp_path):
    task = generate()
    rows = task.collate([task.encode(row) for row in ROWS[:3]])
    ((first, second, *_),) = windows(task, tmp_path, 5)
    alone = task.training_step(rows).loss.item()
    state = task.training_step(first).state
    assert task.training_step(rows, state).loss.item() == alone  # rows continue nothing
    assert task.training_step(second, state).loss.item() != task.training_step(second).loss.item()
    assert len(list(predict_dataset(task, Stream(tmp_path / "store")))) == len(ROWS)
    other = generate(stream=False)
    assert other.training_step(other.collate([other.encode(ROWS[0])])).state is None


@pytest.mark.parametrize("kind", KINDS)
def test_columns_that_have_ended_count_nothing(tmp_path, kind):
    """So it is in the last window, where one process can have only those that are over."""
    task = generate(**kind)
    stream = Stream.write(ROWS, task.encode, tmp_path / "store")
    first, over = (
        task.collate(stream.examples(np.array(window)))
        for window in ([[0, 5, 0], [5, 9, 0]], [[5, 5, 1], [9, 9, 1]])
    )
    loss, count, _ = task.training_step(over, task.training_step(first).state)
    loss.backward()
    assert (loss.item(), count) == (0, 0)
    assert task.tokens.bias.grad is not None
    assert not any(bool(w.grad.ne(0).any()) for w in task.parameters() if w.grad is not None)


def test_without_a_stream_each_row_is_a_text(tmp_path):
    task = generate(stream=False)
    store = task.dataset_class.write(ROWS, task.encode, tmp_path / "store")
    batches = [task.collate(store.examples(numbers)) for numbers in store.sampler(40, 4)]
    assert len(batches) > 2
    losses = [total(task, [batch]) for batch in batches]
    assert [total(task, [batch]) for batch in batches[::-1]] == losses[::-1]
    alone = sum(total(task, [task.collate([task.encode(row)])]) for row in ROWS)
    assert total(task, batches) == pytest.approx(alone, abs=1e-6)
