"""Checkpoint files and the states of the random generators."""

import re
import struct
import zipfile

import pytest
import torch

from zoo.errors import InputError
from zoo.training import checkpoint


@pytest.mark.parametrize("mmap", [False, True])
def test_a_state_comes_back_as_it_was_saved(tmp_path, mmap):
    state = {"weight": torch.tensor([1.5, -2.0]), "epoch": 3, "history": [{"loss": 0.25}]}
    checkpoint.save(state, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.pt"]
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


def test_a_flipped_bit_is_noticed(tmp_path):
    checkpoint.save({"weights": torch.arange(1000.0), "step": 3, "name": "x" * 50}, tmp_path)
    path = tmp_path / checkpoint.FILE
    whole = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        parts = [(i.filename, i.header_offset, i.file_size) for i in archive.infolist()]
    assert torch.equal(checkpoint.load(tmp_path)["weights"], torch.arange(1000.0))
    for name, offset, size in parts:
        if size < 50:
            continue
        name_length, extra = struct.unpack("<HH", whole[offset + 26 : offset + 30])
        start = offset + 30 + name_length + extra
        broken = bytearray(whole)
        broken[start + size // 2] ^= 4
        path.write_bytes(broken)
        for mmap in (False, True):
            with pytest.raises(InputError, match=r"checkpoint.pt: not a checkpoint: .* is damaged"):
                checkpoint.load(tmp_path, mmap)
        assert name
