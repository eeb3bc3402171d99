"""What does not fit into the memory is refused before it is made."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch
from conftest import DATA, ROOT, SMALL, build_task, fails, settings, train
from search_cases import LIMITS, TEXTS, RandomStepModel

import zoo
from zoo import memory
from zoo.errors import InputError
from zoo.generation.config import GenerationConfig
from zoo.generation.generate import generate
from zoo.nn.backbone import Backbone, BackboneConfig, count_parameters
from zoo.training import build, loop

MEMINFO = "MemTotal: 9000 kB\nMemAvailable: 4000 kB\nSwapFree: 1000 kB\n"


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine with 5,000 kB free, and the folder of its control group."""
    (tmp_path / "meminfo").write_text(MEMINFO)
    monkeypatch.setattr(memory, "MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(memory, "CGROUP", tmp_path)
    return tmp_path


SHAPES = """
import re, sys
import torch
import zoo
lstm = zoo.LSTM(64, 64, batch_first=True).eval()

def resident():
    return int(re.search(r"VmRSS:\\s+(\\d+)", open("/proc/self/status").read())[1]) / 1024

torch.set_num_threads(1)
with torch.no_grad():
    for time in range(1, 901):
        if time == 601:
            before = resident()
        lstm(torch.zeros(1 + time % 8, 1 + time // 8, 64))
print(resident() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_does_not_grow_with_the_shapes_of_batches():
    done = subprocess.run([sys.executable, "-c", SHAPES], cwd=ROOT, capture_output=True, text=True)
    assert float(done.stdout) < 10, done.stderr  # MB; 300 kernels that are kept take 60


def test_the_environment_decides_first(monkeypatch):
    monkeypatch.setenv(memory.KERNELS, "7")
    memory.limit_kernels()
    assert os.environ[memory.KERNELS] == "7"
    monkeypatch.delenv(memory.KERNELS)
    zoo.LSTM(2, 2)
    assert os.environ[memory.KERNELS] == str(memory.MOST_KERNELS)


def test_free_memory_is_the_machines_with_its_swap(machine):
    assert memory.free_memory() == memory.free_memory(torch.device("cpu")) == 5000 * 1024
    (machine / "memory.max").write_text("max\n")
    assert memory.free_memory() == 5000 * 1024
    (machine / "meminfo").unlink()
    assert memory.free_memory() is None
    memory.check_fits(1e30, "something", "nothing")  # the system does not tell


@pytest.mark.parametrize("names", memory.LIMITS)
def test_free_memory_is_what_the_control_group_leaves(machine, names):
    (machine / "memory").mkdir()
    total = "total_" if "/" in names[0] else ""
    contents = "3000000\n", "1000000\n", f"anon 5\n{total}inactive_file 250000\n"
    for name, text in zip(names, contents, strict=True):
        (machine / name).write_text(text)
    assert memory.free_memory() == 2_250_000
    (machine / names[1]).write_text("4000000\n")
    (machine / names[2]).write_text("")
    assert memory.free_memory() == 1  # all of it is taken


def test_what_is_larger_than_the_free_memory_is_one_line(machine):
    memory.check_fits(5000 * 1024, "this", "less")
    with pytest.raises(InputError) as error:
        memory.check_fits(5.5e6, "this", "less")
    line = "this would take 5.5 MB of memory, and the machine has 5.1 MB free: less"
    assert str(error.value) == line


@pytest.mark.parametrize("sample", [False, True])
def test_a_beam_that_does_not_fit_is_refused_after_one_step(machine, sample):
    wide = GenerationConfig(beam_size=500, n_best=500, max_length=2, sample=sample)
    few = GenerationConfig(beam_size=9, n_best=9, max_length=2, sample=sample)
    step_model = RandomStepModel(TEXTS, size=2000)
    line = (
        r"^generating 7 texts at once, 500 of each, would take 84.0 MB .* has 5.1 MB free: choose"
    )
    with pytest.raises(InputError, match=line):
        generate(step_model, torch.tensor(LIMITS), wide)
    assert len(step_model.counts) == 1
    assert generate(RandomStepModel(TEXTS, size=2000), torch.tensor(LIMITS), few)


@pytest.mark.parametrize("kind", ["ids", "floats"])
@pytest.mark.parametrize(
    "options",
    [{}, {"num_layers": 3}, {"bidirectional": False, "layer_norm": True}, {"learned_state": True}],
)
def test_weights_are_counted_as_they_are_built(kind, options):
    size = {"vocabulary_size": 11} if kind == "ids" else {"input_size": 3}
    config = BackboneConfig(embedding_size=5, hidden_size=7, **size, **options)
    built = sum(weight.numel() for weight in Backbone(config).parameters())
    assert count_parameters(config) == built


@pytest.mark.parametrize("task", ["classify", "tag", "translate", "generate"])
def test_a_task_is_counted_without_drawing_a_number(task, monkeypatch):
    counted = []
    monkeypatch.setattr(build, "check_memory", lambda count, _: counted.append(count))
    torch.manual_seed(5)
    whole = build_task(settings(None, task=task))
    drawn = torch.get_rng_state()
    assert counted[-1] == sum(weight.numel() for weight in whole.parameters())
    monkeypatch.setattr(build, "_count_parameters", lambda *_: 0)
    torch.manual_seed(5)
    build_task(settings(None, task=task))
    assert torch.equal(torch.get_rng_state(), drawn)


def test_a_model_that_does_not_fit_is_one_line(capsys, tmp_path):
    data = ["data=files", f"data.train={DATA / 'classify.jsonl'}", f"out={tmp_path / 'run'}"]
    big = ["backbone.hidden_size=65536", "backbone.num_layers=64"]
    error = fails(capsys, *data, *SMALL, *big)
    assert "weights would take " in error
    assert error.endswith(build.SMALLER)
    assert not (tmp_path / "run").exists()


def test_a_batch_that_does_not_fit_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr("zoo.training.pipeline.batch_size", lambda *_: 10**15)
    with pytest.raises(InputError, match=r"batches of train.batch_tokens=128 .* choose smaller"):
        train(tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_training_says_what_it_takes(tmp_path, caplog):
    caplog.set_level("INFO")
    train(tmp_path / "run", "train.epochs=1")
    (line,) = [r.getMessage() for r in caplog.records if r.getMessage().startswith("memory: ")]
    assert "for the weights and their training" in line


def test_freed_memory_is_given_back_now_and_then(monkeypatch):
    given = []
    monkeypatch.setattr(memory, "_malloc_trim", lambda: given.append)
    monkeypatch.setattr(memory.time, "monotonic", lambda: 100.0)
    assert memory.release_memory(95.0) == 95.0
    assert not given
    assert memory.release_memory(80.0) == 100.0
    assert given == [0]
    monkeypatch.setattr(memory, "_malloc_trim", lambda: None)  # another C library
    assert memory.release_memory(80.0) == 80.0


GAPS = """
import re, torch
from zoo import memory

def resident():
    return int(re.search(r"VmRSS:\\s+(\\d+)", open("/proc/self/status").read())[1]) / 1024

made = [torch.ones(25_000) for _ in range(4_000)]  # below the size that the system maps
del made[::2], made[1:-1]
before = resident()
assert memory.release_memory(memory.time.monotonic() - 60) > 0
print(before - resident())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_gaps_between_what_is_in_use_are_given_back():
    done = subprocess.run([sys.executable, "-c", GAPS], cwd=ROOT, capture_output=True, text=True)
    assert float(done.stdout) > 100, done.stderr  # MB, of 400 that were freed


def test_a_training_gives_memory_back_while_an_epoch_goes_on(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(loop, "release_memory", lambda since: calls.append(since) or since + 1)
    train(tmp_path / "run", "train.epochs=1")
    in_epoch = [call - calls[0] for call in calls[:-1]]  # the last call is behind the epoch
    assert len(in_epoch) > 1
    assert in_epoch == pytest.approx([*range(len(in_epoch))])
