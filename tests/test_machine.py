"""The machine: what is chosen where, what is refused, and what reports say of it."""

from __future__ import annotations

import logging
import platform

import pytest
import torch

from zoo import machine
from zoo.errors import InputError

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def pretend(monkeypatch, cuda=False, native=False, runs=False):
    """A machine with the given abilities."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(machine, "native_bf16", lambda: native)
    monkeypatch.setattr(machine, "runs_bf16", lambda: runs)


@pytest.mark.parametrize(
    ("name", "cuda", "chosen"),
    [("auto", False, "cpu"), ("auto", True, "cuda"), ("cpu", True, "cpu"), ("cuda", True, "cuda")],
)
def test_a_device_is_chosen(monkeypatch, name, cuda, chosen):
    pretend(monkeypatch, cuda=cuda)
    assert machine.find_device(name) == torch.device(chosen)


def test_a_device_that_is_not_there_is_refused(monkeypatch):
    pretend(monkeypatch)
    with pytest.raises(InputError, match="no CUDA device here; use device=auto or cpu"):
        machine.find_device("cuda")


@pytest.mark.parametrize(
    ("name", "device", "native", "runs", "chosen"),
    [
        ("auto", CPU, True, True, "bf16"),
        ("auto", CPU, True, False, "fp32"),
        ("auto", CPU, False, True, "fp32"),
        ("auto", CUDA, False, False, "fp16"),
        ("bf16", CPU, False, True, "bf16"),  # slow, but as it was asked for
        ("bf16", CUDA, False, False, "bf16"),
        ("fp16", CUDA, False, False, "fp16"),
        ("fp32", CPU, True, True, "fp32"),
        ("fp32", CUDA, True, True, "fp32"),
    ],
)
def test_a_precision_is_chosen(monkeypatch, name, device, native, runs, chosen):
    pretend(monkeypatch, native=native, runs=runs)
    assert machine.find_precision(name, device) == chosen


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("fp16", "precision=fp16 needs a CUDA device; use precision=auto, bf16 or fp32"),
        ("bf16", "does not run in bf16 on this processor; use fp32"),
    ],
)
def test_a_precision_that_does_not_run_is_refused(monkeypatch, name, complaint):
    pretend(monkeypatch, native=True)
    with pytest.raises(InputError, match=complaint):
        machine.find_precision(name, CPU)


def test_a_processor_that_refuses_bf16_is_found_out_and_said(monkeypatch, caplog):
    class Refusing(torch.nn.LSTM):
        def forward(self, *_):
            raise RuntimeError("could not create a primitive")

    monkeypatch.setattr(torch.nn, "LSTM", Refusing)
    with caplog.at_level(logging.WARNING, "zoo"):
        assert machine.runs_bf16.__wrapped__() is False
    assert "fp32 is used: could not create a primitive" in caplog.text


def test_the_trial_of_bf16_leaves_the_random_numbers_alone():
    before = torch.get_rng_state()
    answer = machine.runs_bf16.__wrapped__()
    assert answer is machine.runs_bf16()
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("precision", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)]
)
def test_autocast_computes_in_the_precision(precision, dtype):
    with machine.autocast(CPU, precision):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == dtype
    assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32


def test_versions_name_python_and_what_results_depend_on():
    versions = machine.versions()
    assert versions["python"] == platform.python_version()
    assert torch.__version__.startswith(versions["torch"].split("+")[0])
    assert {"python", *machine.PACKAGES} <= versions.keys()
    assert ("cuda" in versions) == torch.cuda.is_available()


def test_the_machine_is_described_in_plain_words():
    described = machine.describe()
    names = {"processor", "instructions", "bf16", "cores", "threads", "system", "torch", "python"}
    assert names <= described.keys()
    assert ("gpu" in described) == torch.cuda.is_available()
    assert described["threads"] == torch.get_num_threads()
    assert described["bf16"] in ("true", "false")
    assert described["processor"]
    assert all(isinstance(value, str | int) for value in described.values())
