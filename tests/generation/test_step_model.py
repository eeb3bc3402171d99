"""Length bounds on log-probabilities, and the score of a hypothesis."""

from __future__ import annotations

import math

import pytest
import torch

from zoo.generation.step_model import bounded, is_end
from zoo.text.special_ids import EOS, PAD

SIZE = 7  # of the vocabulary


def test_before_the_minimum_no_end_and_at_the_limit_only_the_end():
    logs = torch.randn(2, 3, SIZE, generator=torch.Generator().manual_seed(0)).log_softmax(-1)
    logs[..., PAD] = -torch.inf
    others = torch.arange(SIZE) != EOS
    early = bounded(logs, [EOS], 1, torch.tensor([5, 1]), 3)
    assert torch.equal(early[0][:, others], logs[0][:, others])
    assert early[0][:, EOS].eq(-math.inf).all()
    assert early[1][:, others].eq(-math.inf).all()  # the limit goes before the minimum
    assert torch.equal(early[1][:, EOS], logs[1][:, EOS])
    assert torch.equal(bounded(logs, [EOS], 3, torch.tensor([5, 4]), 3), logs)


def test_before_the_minimum_a_text_without_another_token_ends():
    logs = torch.full((1, 2, SIZE), -torch.inf)
    logs[..., EOS] = 0
    logs[0, 1, 4] = -1.0
    found = bounded(logs, [EOS], 0, torch.tensor([5]), 3)
    assert found[0, :, EOS].tolist() == [0, -math.inf]
    assert found[0, 1, 4] == -1.0


@pytest.mark.parametrize("least", [0, 2])
def test_without_stop_ids_pad_ends_a_text_at_its_limit_with_log_probability_0(least):
    logs = torch.randn(3, 2, SIZE).log_softmax(-1)
    logs[..., PAD] = -torch.inf
    for written in range(4):
        found = bounded(logs, (), written, torch.tensor([2, 1, 9]), least)
        for row, limit in enumerate((2, 1, 9)):
            only_end = torch.full((2, SIZE), -torch.inf)
            only_end[:, PAD] = 0
            assert torch.equal(found[row], only_end if written >= limit else logs[row])


def test_pad_and_all_stop_ids_end_a_text():
    ids = torch.arange(SIZE)
    assert is_end(ids, ()).nonzero().flatten().tolist() == [PAD]
    assert is_end(ids, (EOS, 5)).nonzero().flatten().tolist() == [PAD, EOS, 5]
