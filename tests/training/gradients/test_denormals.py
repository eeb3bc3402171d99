"""Denormal numbers are 0 while a training computes, in all its threads, and nowhere else."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext

import pytest
import torch
from conftest import train

from zoo.training import loop
from zoo.training.gradients.denormals import flushed, is_flushing

MANY = 1 << 17  # numbers that torch splits over two threads


@pytest.fixture(autouse=True)
def supported():
    if not torch.set_flush_denormal(True):
        pytest.skip("this processor cannot flush denormal numbers")
    torch.set_flush_denormal(False)
    yield
    assert not is_flushing()


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_both_halves_of_a_split_operation_are_flushed_and_then_are_not(two_threads):
    small = torch.full((MANY,), 1e-30)
    assert (small * 1e-10).count_nonzero() == MANY
    with flushed():
        inside = small * 1e-10
    assert inside.count_nonzero() == 0
    assert (small * 1e-10).count_nonzero() == MANY


def test_threads_of_others_compute_as_before():
    with ThreadPoolExecutor(1) as other:
        assert not other.submit(is_flushing).result()  # the thread begins here
        with flushed():
            assert is_flushing()
            assert not other.submit(is_flushing).result()


def test_who_flushes_already_goes_on_doing_so():
    torch.set_flush_denormal(True)
    try:
        with flushed():
            assert is_flushing()
        assert is_flushing()
    finally:
        torch.set_flush_denormal(False)


def test_a_training_flushes_until_an_epoch_ends_or_fails(tmp_path, monkeypatch):
    seen = []
    step, evaluate = loop.step, loop.evaluate
    monkeypatch.setattr(loop, "step", lambda *given: seen.append(is_flushing()) or step(*given))
    monkeypatch.setattr(
        loop, "evaluate", lambda *given: seen.append(is_flushing()) or evaluate(*given)
    )
    train(tmp_path / "run", "train.epochs=1")
    assert seen[-1] is False
    assert {*seen[:-1]} == {True}

    def broken(*given):
        raise RuntimeError("broken")

    monkeypatch.setattr(loop, "step", broken)
    with pytest.raises(RuntimeError, match="broken"):
        train(tmp_path / "other", "train.epochs=1")
    assert not is_flushing()


def trained_rows(context):
    """Train an embedding for 1,000 steps, of which its last row is in few; its weight and mean."""
    torch.manual_seed(0)
    embedding = torch.nn.Embedding(4, 3)
    optimizer = torch.optim.AdamW(embedding.parameters(), lr=1e-3, betas=(0.9, 0.99), fused=True)
    with context:
        for step in range(1_000):
            ids = torch.tensor([step % 3, 3 if step in (0, 990) else 1])
            embedding(ids).square().sum().backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=False)
            if step == 989:
                rare = optimizer.state[embedding.weight]["exp_avg"][3].clone()
    return embedding.weight.detach(), rare


def test_the_mean_of_a_rare_row_is_0_instead_of_denormal_and_no_weight_changes():
    plain, rare = trained_rows(nullcontext())
    assert 0 < rare.abs().max() < torch.finfo(torch.float32).tiny
    found, zero = trained_rows(flushed())
    assert not zero.any()
    assert torch.equal(found, plain)
