"""The machine: what is chosen where, what is refused, and what reports say of it."""

from __future__ import annotations

import logging
import os
import platform

import pytest
import torch
from conftest import arguments, settings

from zoo import device as machine
from zoo import run
from zoo.errors import InputError
from zoo.training import pipeline

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


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_a_caller_without_gradients_gets_the_same_answer_about_bf16(mode):
    with mode():
        answer = machine.runs_bf16.__wrapped__()
    assert answer is machine.runs_bf16.__wrapped__()


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
    names = {"processor", "instructions", "bf16", "cores", "threads", "system"}
    assert names <= described.keys()
    assert not described.keys() & machine.versions().keys()  # they stand beside it in a report
    assert ("gpu" in described) == torch.cuda.is_available()
    assert described["threads"] == torch.get_num_threads()
    assert described["bf16"] in ("true", "false")
    assert described["processor"]
    assert all(isinstance(value, str | int) for value in described.values())


@pytest.fixture
def unset(monkeypatch):
    """No choice of algorithms and no setting of cuBLAS; what was chosen comes back."""
    cudnn = torch.backends.cudnn
    before = torch.are_deterministic_algorithms_enabled(), cudnn.deterministic, cudnn.benchmark
    monkeypatch.setenv(machine.WORKSPACE, "")  # so that it is put back
    monkeypatch.delenv(machine.WORKSPACE)
    torch.use_deterministic_algorithms(False)
    cudnn.deterministic, cudnn.benchmark = False, True
    yield monkeypatch
    torch.use_deterministic_algorithms(before[0])
    cudnn.deterministic, cudnn.benchmark = before[1:]


def chosen():
    cudnn = torch.backends.cudnn
    return torch.are_deterministic_algorithms_enabled(), cudnn.deterministic, cudnn.benchmark


@pytest.mark.parametrize("device", [CPU, CUDA], ids=str)
def test_only_algorithms_that_repeat_are_let_run_until_any_are(unset, device):
    unset.setattr(torch.cuda, "is_initialized", lambda: False)
    machine.set_deterministic(device, True)
    assert chosen() == (True, True, False)
    machine.set_deterministic(device, False)
    assert chosen() == (False, False, False)


@pytest.mark.parametrize("wanted", [False, True])
@pytest.mark.parametrize("started", [False, True])
def test_a_processor_needs_no_setting_of_cublas(unset, wanted, started):
    unset.setattr(torch.cuda, "is_initialized", lambda: started)
    machine.set_deterministic(CPU, wanted)
    machine.set_deterministic(CUDA, False)
    assert machine.WORKSPACE not in os.environ


@pytest.mark.parametrize(
    ("given", "started", "kept"),
    [
        (None, False, ":16:8"),
        (":16:8", False, ":16:8"),
        (":4096:8", False, ":4096:8"),
        (":16:8", True, ":16:8"),
        (":4096:8", True, ":4096:8"),
    ],
)
def test_cublas_is_set_once_for_cuda(unset, given, started, kept):
    if given is not None:
        unset.setenv(machine.WORKSPACE, given)
    unset.setattr(torch.cuda, "is_initialized", lambda: started)
    machine.set_deterministic(CUDA, True)
    assert os.environ[machine.WORKSPACE] == kept
    unset.setattr(torch.cuda, "is_initialized", lambda: True)
    machine.set_deterministic(CUDA, True)  # again in the same process, as two trainings in a row do
    assert os.environ[machine.WORKSPACE] == kept
    assert torch.are_deterministic_algorithms_enabled()


@pytest.mark.parametrize("wanted", [True, False])
def test_a_second_training_of_a_process_repeats_if_the_first_one_did(unset, wanted):
    """CUDA starts within the first one, and the variable is taken back behind it."""
    unset.setattr(machine, "_started_repeating", False)
    unset.setattr(torch.cuda, "is_initialized", lambda: bool(started))
    unset.setattr(torch.cuda, "get_rng_state_all", list)
    started = []
    with machine.process_kept():
        machine.set_deterministic(CUDA, wanted)
        started.append(True)
    assert machine.WORKSPACE not in os.environ
    with machine.process_kept():
        if wanted:
            machine.set_deterministic(CUDA, True)
            assert os.environ[machine.WORKSPACE] == machine.REPEATING[0]
        else:
            with pytest.raises(InputError, match="CUDA has started already"):
                machine.set_deterministic(CUDA, True)


@pytest.mark.parametrize(
    ("given", "started", "line"),
    [
        (":0:0", False, "deterministic=true: CUBLAS_WORKSPACE_CONFIG=:0:0 does not repeat; set it"),
        (
            "",
            False,
            "deterministic=true: CUBLAS_WORKSPACE_CONFIG= does not repeat; set it to :16:8",
        ),
        (":0:0", True, "CUBLAS_WORKSPACE_CONFIG=:0:0 does not repeat"),
        (None, True, "CUDA has started already; set CUBLAS_WORKSPACE_CONFIG=:16:8 before Python"),
    ],
)
def test_cuda_that_cannot_repeat_is_refused_and_nothing_is_changed(unset, given, started, line):
    if given is not None:
        unset.setenv(machine.WORKSPACE, given)
    unset.setattr(torch.cuda, "is_initialized", lambda: started)
    with pytest.raises(InputError, match=line):
        machine.set_deterministic(CUDA, True)
    assert os.environ.get(machine.WORKSPACE) == given
    assert chosen() == (False, False, True)


def test_a_deterministic_training_repeats_bit_by_bit(unset, tmp_path):
    seen = []
    fit = pipeline.fit
    unset.setattr(pipeline, "fit", lambda *given: seen.append(chosen()) or fit(*given))
    for name in "ab":
        words = ["deterministic=true", "backbone.num_layers=2", "backbone.dropout=0.2"]
        assert run.main(arguments(tmp_path / name, *words, "task.pool=attention")) == 0
    assert seen == [(True, True, False)] * 2
    first, second = ((tmp_path / name / "model.safetensors").read_bytes() for name in "ab")
    assert first == second
    assert not settings(None).deterministic  # unless it is asked for


def test_an_operation_that_cannot_repeat_is_one_line(unset, capsys, tmp_path):
    line = "x does not have a deterministic implementation"

    def refuse(*_, **__):
        raise RuntimeError(f"{line}, but you set\n'torch.use_deterministic_algorithms(True)'.")

    unset.setattr(pipeline, "run", refuse)
    assert run.main(arguments(tmp_path, "deterministic=true")) == 2
    _, err = capsys.readouterr()
    assert err.startswith(f"error: deterministic=true: {line}")
    assert err.count("\n") == 1


def test_torch_itself_refuses_what_cannot_repeat_with_that_line(unset):
    machine.set_deterministic(CPU, True)
    with pytest.raises(RuntimeError, match="does not have a deterministic implementation"):
        torch.ones(3, requires_grad=True).put(torch.zeros(2, dtype=int), torch.ones(2))


def test_any_other_error_of_torch_is_not_hidden(unset, tmp_path):
    def fail(*_, **__):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    unset.setattr(pipeline, "run", fail)
    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        run.main(arguments(tmp_path, "deterministic=true"))


def test_a_package_that_is_not_installed_as_one_has_no_version(monkeypatch):
    monkeypatch.setattr(machine, "PACKAGES", ("torch", "no-such-package"))
    found = machine.versions()
    assert found["no-such-package"] == "unknown"
    assert found["torch"] == torch.__version__
