"""Checkpoint files and the states of the random generators."""

import errno
import io
import os
import random
import re
from contextlib import contextmanager, suppress

import pytest
import torch

from zoo.errors import InputError
from zoo.training import checkpoint


@pytest.mark.parametrize("mmap", [False, True])
def test_a_state_comes_back_as_it_was_saved(tmp_path, mmap):
    state = {"weight": torch.tensor([1.5, -2.0]), "epoch": 3, "history": [{"loss": 0.25}]}
    checkpoint.save(state, tmp_path)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["checkpoint.pt", "checkpoint.sha256"]
    found = checkpoint.load(tmp_path, mmap)
    assert found.keys() == state.keys()
    assert torch.equal(found["weight"], state["weight"])
    assert (found["epoch"], found["history"]) == (3, [{"loss": 0.25}])


@pytest.mark.parametrize("finished", [False, True])
def test_a_checkpoint_that_is_missing_says_why(tmp_path, finished):
    if finished:
        (tmp_path / "manifest.json").write_text("{}")
    why = "this run is finished" if finished else "there is nothing to go on with"
    line = f"resume={tmp_path}: no checkpoint/checkpoint.pt: {why}"
    with pytest.raises(InputError, match=f"^{re.escape(line)}$"):
        checkpoint.load(tmp_path / "checkpoint")


def test_a_broken_checkpoint_is_one_line_with_its_path(tmp_path):
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(b"not a zip file")
    with pytest.raises(InputError, match=f"^{re.escape(str(path))}: not a checkpoint: .+$"):
        checkpoint.load(tmp_path)


def test_random_numbers_repeat_from_a_restored_state():
    state = checkpoint.random_state()
    first = torch.rand(4)
    assert not torch.equal(torch.rand(4), first)
    checkpoint.restore_random_state(state)
    assert torch.equal(torch.rand(4), first)


STATE = {"weights": torch.arange(1000.0), "step": 3, "name": "x" * 50}


def flip(path, bit):
    data = bytearray(path.read_bytes())
    data[bit // 8] ^= 1 << bit % 8
    path.write_bytes(data)


def test_every_flipped_bit_is_noticed(tmp_path):
    checkpoint.save(STATE, tmp_path)
    path = tmp_path / checkpoint.FILE
    bits = path.stat().st_size * 8
    generator = random.Random(1)
    for bit in generator.sample(range(bits), 200):
        flip(path, bit)
        for mmap in (False, True):
            with pytest.raises(InputError, match=r"checkpoint.pt: not a checkpoint: it is damaged"):
                checkpoint.load(tmp_path, mmap)
        flip(path, bit)
    assert torch.equal(checkpoint.load(tmp_path)["weights"], STATE["weights"])


@pytest.mark.parametrize("damage", ["flip", "cut", "remove"])
def test_of_a_damaged_checkpoint_the_one_before_is_used_and_that_is_said(tmp_path, caplog, damage):
    path = tmp_path / checkpoint.FILE
    for step in (1, 2, 3):
        checkpoint.save(STATE | {"step": step}, tmp_path)
    checkpoint.mend(tmp_path)
    assert (checkpoint.load(tmp_path)["step"], caplog.messages) == (3, [])
    if damage == "remove":
        path.unlink()
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[:-9])
    else:
        flip(path, 9999)
    checkpoint.check(tmp_path)
    checkpoint.mend(tmp_path)
    assert checkpoint.load(tmp_path)["step"] == 2
    state = "is missing" if damage == "remove" else "is damaged"
    assert caplog.messages == [f"{path} {state}: going on from the checkpoint before it"]
    checkpoint.save(STATE | {"step": 3}, tmp_path)
    assert checkpoint.load(tmp_path)["step"] == 3


def test_a_damaged_checkpoint_before_is_said_and_removed(tmp_path, caplog):
    for step in (1, 2):
        checkpoint.save(STATE | {"step": step}, tmp_path)
    flip(tmp_path / checkpoint.PREVIOUS, 777)
    checkpoint.mend(tmp_path)
    assert checkpoint.load(tmp_path)["step"] == 2
    assert caplog.messages == [
        f"{tmp_path / checkpoint.PREVIOUS} is damaged; it is not needed and removed"
    ]


@pytest.mark.parametrize("stop", range(5))
def test_killed_while_it_is_written_a_checkpoint_is_there(tmp_path, monkeypatch, stop):
    """Whatever is the last thing that a process does to the folder."""
    for step in (1, 2):
        checkpoint.save(STATE | {"step": step}, tmp_path)
    real, done = os.replace, []

    def replace(*paths):
        if len(done) == stop:
            raise KeyboardInterrupt
        done.append(paths)
        real(*paths)

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", replace)
        with suppress(KeyboardInterrupt):
            checkpoint.save(STATE | {"step": 3}, tmp_path)
    checkpoint.check(tmp_path)
    checkpoint.mend(tmp_path)
    assert checkpoint.load(tmp_path)["step"] == (2 if stop < 3 else 3)
    assert len(done) == min(stop, 4)


class Full(io.BytesIO):
    """A disk that is full after some bytes."""

    def write(self, data):
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_is_one_line_and_the_checkpoint_before_stays(tmp_path, monkeypatch):
    folder = tmp_path / "run" / "checkpoint"
    line = f"^{re.escape(str(folder / checkpoint.FILE))}: No space left on device"

    @contextmanager
    def full(path):
        yield Full()

    with monkeypatch.context() as patched:
        patched.setattr(checkpoint, "atomic", full)
        with pytest.raises(InputError, match=f"{line}$"):
            checkpoint.save(STATE, folder)
    checkpoint.save(STATE, folder)
    monkeypatch.setattr(checkpoint, "atomic", full)
    with pytest.raises(InputError, match=f"{line}; the checkpoint before it is kept; .*resume="):
        checkpoint.save(STATE | {"step": 4}, folder)
    assert checkpoint.load(folder)["step"] == 3
