"""What the tests of whole trainings share: rows in files, reports, weights, an interruption."""

from __future__ import annotations

import io
import json
import os
import signal
import sys
import time

import pytest
import torch
from conftest import pipeline, settings, train, write
from safetensors.torch import load_file

from zoo import run
from zoo.errors import InputError
from zoo.training import state


def in_files(folder, rows, valid, test) -> list[str]:
    """The settings of training, validation and test rows in three files of a folder."""
    folder.mkdir(exist_ok=True)
    named = {"train": rows, "valid": valid, "test": test}
    return [f"data.{part}={write(folder / f'{part}.jsonl', some)}" for part, some in named.items()]


def report(folder) -> dict:
    return json.loads((folder / "report.json").read_text("utf-8"))


def same_weights(first, second) -> bool:
    left, right = (load_file(folder / "model.safetensors") for folder in (first, second))
    return left.keys() == right.keys() and all(torch.equal(left[k], right[k]) for k in left)


def interrupt_and_resume(monkeypatch, folder, *words, task, at) -> None:
    """Train with a SIGTERM after update `at`; resume without learning the tokenizers again."""
    begin, steps = state.TrainingState.__init__, iter(range(1, 1000))

    def begin_and_count(self, *given):
        begin(self, *given)
        update = self.optimizer.step

        def step():
            update()
            if next(steps) == at:
                os.kill(os.getpid(), signal.SIGTERM)

        self.optimizer.step = step

    with monkeypatch.context() as patched:
        patched.setattr(state.TrainingState, "__init__", begin_and_count)
        with pytest.raises(InputError, match=rf"interrupted; go on with: .* resume={folder}$"):
            train(folder, *words, task=task)
    with monkeypatch.context() as patched:
        patched.setattr("zoo.task._learn_tokenizer", None)
        pipeline.run(settings(None, f"resume={folder}"), "", time.time())


def predict(monkeypatch, capsysbinary, model, *words, given="") -> str:
    """What mode=predict prints, with `given` on standard input."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given.encode())))
    assert run.main(["mode=predict", f"model={model}", "device=cpu", *words]) == 0
    return capsysbinary.readouterr().out.decode()
