"""Training in a program of others: its globals are as they were, with its own Hydra beside it."""

from __future__ import annotations

import csv
import logging
import os
import random
import signal
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

import hydra
import numpy as np
import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, GradientState, PartialState
from conftest import DATA, SMALL
from every_task import untrained
from hydra.core.global_hydra import GlobalHydra

import zoo
from zoo.config import check, compose
from zoo.data.processors import LabelEncoder
from zoo.data.readers import Row
from zoo.errors import InputError
from zoo.task import predict_rows
from zoo.training import pipeline, state

TRAIN = ["task=classify", "data=files", f"data.train={DATA / 'classify.jsonl'}", *SMALL]
OTHER = ["threads=2", "deterministic=true", "seed=77", "train.epochs=1"]
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def train(*settings):
    """Train in this process; the report."""
    return zoo.train(*TRAIN, *settings)[1]


def globals_now() -> dict:
    """The state of the process that belongs to its owner."""
    return {
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "warn only": torch.is_deterministic_algorithms_warn_only_enabled(),
        "cudnn": (torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark),
        "tf32": (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32),
        "matmul": torch.get_float32_matmul_precision(),
        "threads": torch.get_num_threads(),
        "dtype": torch.get_default_dtype(),
        "grad": (torch.is_grad_enabled(), torch.is_inference_mode_enabled()),
        "torch": torch.get_rng_state().tolist(),
        "numpy": str(np.random.get_state()),  # noqa: NPY002  # the host's
        "random": random.getstate(),
        "hydra": (id(GlobalHydra.instance()), id(GlobalHydra.instance().hydra)),
        "filters": [*warnings.filters],
        "logging": (logging.root.level, [*logging.root.handlers], logging.getLogger("zoo").level),
        "signals": [signal.getsignal(number) for number in SIGNALS],
        "environment": dict(os.environ),
        "csv": csv.field_size_limit(),
        "accelerate": [
            id(k._shared_state) for k in (AcceleratorState, PartialState, GradientState)
        ],
        "folder": os.getcwd(),
    }


@pytest.fixture
def owned(monkeypatch):
    """A program with settings of its own, which are unlike the defaults and those of the zoo."""
    before = globals_now()
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.manual_seed(5)
    np.random.seed(6)  # noqa: NPY002
    random.seed(7)
    csv.field_size_limit(999)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    yield
    torch.use_deterministic_algorithms(before["deterministic"], warn_only=before["warn only"])
    csv.field_size_limit(before["csv"])
    signal.signal(signal.SIGTERM, before["signals"][1])


def changed(before) -> list[str]:
    now = globals_now()
    return [name for name in before if before[name] != now[name]]


@pytest.mark.parametrize("settings", [OTHER, ["threads=1", "deterministic=false"]], ids=len)
def test_a_training_leaves_the_globals_of_its_host(owned, settings):
    train("train.epochs=1")  # what is imported then is imported once
    before = globals_now()
    train(*settings)
    assert changed(before) == []


def test_reading_a_table_leaves_the_limit_of_its_cells(owned):
    """The other trainings read .jsonl."""
    zoo.train(*TRAIN[:2], f"data.train={DATA / 'tickets.csv'}", *SMALL, *OTHER)
    assert csv.field_size_limit() == 999


def test_a_training_that_fails_leaves_them_too(owned):
    train("train.epochs=1")
    before = globals_now()
    with pytest.raises(InputError):
        train(*OTHER, "train.learning_rate=1e30", "train.grad_clip=1e30")
    with pytest.raises(InputError):
        train(*OTHER, "data.train=nothing.jsonl")
    assert changed(before) == []


def test_an_evaluation_leaves_them_too(owned, trained):
    train("train.epochs=1")
    before = globals_now()
    given = [f"model={trained}", "mode=evaluate", *TRAIN[:3], "threads=2", "device=cpu"]
    pipeline.measure(check(compose([*given, "baseline=false"])))
    assert changed(before) == []


def test_heads_that_are_trained_leave_them_too(owned):
    head = untrained("classify", "task.append_eos=true")
    labels = LabelEncoder(["mountain", "sea"])
    assert head.labels == labels.labels
    model = zoo.multitask(head.backbone, {"topic": head})
    rows = [
        Row({"text": f"{word} {n}", "label": word}, "row")
        for n in range(6)
        for word in labels.labels
    ]
    train("train.epochs=1")
    before = globals_now()
    model.fit({"topic": (rows, rows[:4])}, "train.epochs=1", "threads=2", "seed=5", "device=cpu")
    assert changed(before) == []


def test_an_application_of_hydra_trains_and_goes_on(tmp_path):
    (tmp_path / "own.yaml").write_text("mine: 3\n")
    with hydra.initialize_config_dir(str(tmp_path), version_base="1.3"):
        hosts = GlobalHydra.instance(), GlobalHydra.instance().hydra
        base = hydra.version.getbase()
        train("train.epochs=1")
        assert (GlobalHydra.instance(), GlobalHydra.instance().hydra) == hosts
        assert hydra.version.getbase() == base
        assert hydra.compose("own") == {"mine": 3}
        with pytest.raises(InputError):
            train("data.nothing=1")
        assert hydra.compose("own") == {"mine": 3}
    assert not GlobalHydra.instance().is_initialized()


def test_an_accelerator_of_the_host_keeps_its_state():
    with state.host_kept():  # so that this test, too, leaves nothing behind
        own = Accelerator(cpu=True, mixed_precision="bf16", gradient_accumulation_steps=3)
        before = dict(vars(own.state)), dict(vars(own.gradient_state))
        train("precision=fp32", "train.epochs=1")
        assert (dict(vars(own.state)), dict(vars(own.gradient_state))) == before
        assert own.mixed_precision == "bf16"
        assert AcceleratorState().mixed_precision == "bf16"
        assert GradientState().num_steps == 3
        model, optimizer = torch.nn.Linear(2, 2), None
        model = own.prepare(model)
        optimizer = own.prepare(torch.optim.SGD(model.parameters(), 0.1))
        own.backward(model(torch.ones(1, 2)).sum())
        optimizer.step()


def test_trainings_in_threads_take_turns_and_give_what_each_gives_alone(caplog):
    seeds = (1, 2, 3)
    alone = [train(f"seed={seed}", "train.epochs=1")["valid"] for seed in seeds]
    before = globals_now()
    with caplog.at_level("INFO", "zoo"), ThreadPoolExecutor(3) as threads:
        found = [*threads.map(lambda s: train(f"seed={s}", "train.epochs=1")["valid"], seeds)]
    assert found == alone
    assert changed(before) == []
    assert any("this one waits" in record.getMessage() for record in caplog.records)


def test_a_training_in_a_thread_sets_no_signal_handler(monkeypatch):
    real, where = signal.signal, []

    def note(*given):
        where.append(threading.current_thread())
        return real(*given)

    with monkeypatch.context() as patched, ThreadPoolExecutor(1) as threads:
        patched.setattr(signal, "signal", note)
        assert threads.submit(train, "train.epochs=1").result()["test"]
    assert {*where} <= {threading.main_thread()}


def test_settings_are_composed_in_threads():
    barrier = threading.Barrier(4)

    def one(seed):
        barrier.wait()
        return [compose([*TRAIN, f"seed={seed}"])["seed"] for _ in range(3)]

    with ThreadPoolExecutor(4) as several:
        assert [*several.map(one, range(4))] == [[seed] * 3 for seed in range(4)]


@pytest.mark.parametrize("crf", [True, False])
def test_a_tagger_answers_in_inference_mode(crf):
    task = untrained("tag", f"task.crf={str(crf).lower()}")
    rows = [Row({"words": ["Rain", "fell", "on", "Oslo"]}, "here"), Row({"words": ["No"]}, "here")]
    wanted = [*predict_rows(task, rows)]
    with torch.inference_mode():
        assert [*predict_rows(task, rows)] == wanted
        made = untrained("tag", f"task.crf={str(crf).lower()}")
        found = [[*predict_rows(made, rows)]]
    found.append([*predict_rows(made, rows)])
    for each in found:  # another kernel may run: the last bit can differ
        for one, other in zip(each, wanted, strict=True):
            assert one["labels"] == other["labels"]
            assert one["probabilities"] == pytest.approx(other["probabilities"], rel=1e-5)
