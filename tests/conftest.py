"""What several tests share: toy rows, and a small model that was trained on them."""

from __future__ import annotations

import json
import logging
import os
import time
from pathlib import Path

os.environ["LANGUAGE"] = "en"  # what is printed is compared in English
if "PYTEST_XDIST_WORKER" in os.environ:  # several workers share the cores: a thread for each
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch
from forked import Forked
from hypothesis import settings as limits
from safetensors.torch import load_file

from zoo import run
from zoo.config import check, compose
from zoo.data.corpora import open_corpus
from zoo.training import build, pipeline
from zoo.training.options import options_of

limits.register_profile("zoo", deadline=None)  # a busy machine is no error
limits.load_profile("zoo")

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT / "tests" / "data"

# A small, quick, repeatable setting for every training in the tests.
SMALL = [
    "device=cpu",
    "precision=fp32",
    "baseline=false",
    "from_data=false",
    "tokenizer.min_count=1",
    "backbone.embedding_size=16",
    "backbone.hidden_size=16",
    "train.batch_rows=8",
    "train.epochs=2",
    "train.learning_rate=2e-2",
    "train.ema_decay=0.9",
    "train.batch_tokens=128",
]


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _log_of_its_own():
    """What `zoo.run` has set up to log to a stream of one test ends with that test."""
    yield
    log = logging.getLogger("zoo")
    log.handlers, log.propagate = [], True
    log.setLevel(logging.NOTSET)


def settings(out: Path | None, *overrides: str, task: str = "classify"):
    """Checked settings of a small training on a task's toy rows."""
    data = ["data=files", f"data.train={DATA / task}.jsonl", f"task={task}"]
    place = [] if out is None else [f"out={out}"]
    return check(compose([*data, *SMALL, *place, *overrides]))


def build_task(chosen, splits=None, rows: int | None = None):
    """The untrained task of checked settings; its processors are learned from `splits`."""
    options = options_of(chosen)
    splits = open_corpus(chosen.data, options.kind.input_columns[0]) if splits is None else splits
    return build.build(options, chosen, splits, rows=rows)


def train(out: Path, *overrides: str, task: str = "classify"):
    """Train small; the report."""
    return pipeline.run(settings(out, *overrides, task=task), "a test", time.time())[1]


def arguments(out: Path, *overrides: str) -> list[str]:
    """The command line of a small training."""
    data = ["data=files", f"data.train={DATA / 'classify.jsonl'}", "threads=1"]
    return [*data, *SMALL, f"out={out}", *overrides]


def command(*words: str, given: str = "", **options) -> Forked:
    """`python -m zoo.run …`, ended, in a process that has imported what is slow to import."""
    done = Forked(words, given, **options)
    done.wait(240)
    return done


def fails(capsys, *words) -> str:
    """The one line on standard error of a run that ends with status 2."""
    status = run.main([*words])
    out, err = capsys.readouterr()
    assert (status, err[:7], err.count("\n")) == (2, "error: ", 1), out + err
    return err.removeprefix("error: ").strip()


def write(path: Path, rows) -> Path:
    """Rows as a jsonl file; its path."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def lines(path: Path) -> list[dict]:
    """The objects of a jsonl file."""
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def weights(folder: Path) -> dict:
    """The weights in a model folder."""
    return load_file(folder / "model.safetensors")


def same(first: Path, second: Path) -> bool:
    """Whether two trainings ended with the same weights, after the same losses."""
    one, two = weights(first), weights(second)
    losses = [[entry["loss"] for entry in lines(at / "metrics.jsonl")] for at in (first, second)]
    equal = one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)
    return equal and losses[0] == losses[1]


def scaled(step, factor: float):
    """The result of a training step with its loss times a factor."""
    return step._replace(loss=step.loss * factor)


def resume(folder: Path) -> None:
    """Go on with an interrupted training, in this process."""
    pipeline.run(settings(None, f"resume={folder}"), "", time.time())


@pytest.fixture(scope="session")
def trained(tmp_path_factory) -> Path:
    """The folder of a finished small training."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    train(folder, "train.epochs=10", "train.patience=0")
    return folder
