"""Length bounds on log-probabilities, and the score of a hypothesis."""

from __future__ import annotations

import math

import pytest
import torch

from zoo.generation.config import GenerationConfig
from zoo.generation.step_model import bounded, hypothesis
from zoo.text.special_ids import EOS

SIZE = 7  # of the vocabulary


@pytest.mark.parametrize(("penalty", "score"), [(0.0, -6.0), (0.5, -3.0), (1.0, -1.5)])
def test_a_score_is_the_log_probability_over_the_length_with_its_end(penalty, score):
    found = hypothesis([4, 5, 6], -6.0, GenerationConfig(length_penalty=penalty))
    assert (found.ids, found.log_probability) == ([4, 5, 6], -6.0)
    assert found.score == pytest.approx(score)  # -6 / 4 ** penalty
    assert hypothesis([], -2.0, GenerationConfig(length_penalty=penalty)).score == -2.0


def test_before_the_minimum_no_end_and_at_the_limit_only_the_end():
    logs = torch.randn(2, 3, SIZE, generator=torch.Generator().manual_seed(0)).log_softmax(-1)
    others = torch.arange(SIZE) != EOS
    early = bounded(logs, EOS, 1, torch.tensor([5, 1]), 3)
    assert torch.equal(early[0][:, others], logs[0][:, others])
    assert early[0][:, EOS].eq(-math.inf).all()
    assert early[1][:, others].eq(-math.inf).all()  # the limit goes before the minimum
    assert torch.equal(early[1][:, EOS], logs[1][:, EOS])
    assert torch.equal(bounded(logs, EOS, 3, torch.tensor([5, 4]), 3), logs)


def test_before_the_minimum_a_text_without_another_token_ends():
    logs = torch.full((1, 2, SIZE), -torch.inf)
    logs[..., EOS] = 0
    logs[0, 1, 4] = -1.0
    found = bounded(logs, EOS, 0, torch.tensor([5]), 3)
    assert found[0, :, EOS].tolist() == [0, -math.inf]
    assert found[0, 1, 4] == -1.0


@pytest.mark.parametrize("least", [0, 2])
def test_the_cut_of_a_text_without_an_end_has_log_probability_0(least):
    logs = torch.randn(3, 2, SIZE).log_softmax(-1)
    logs[..., EOS] = -torch.inf
    for written in range(4):
        found = bounded(logs, EOS, written, torch.tensor([2, 1, 9]), least, ends=False)
        for row, limit in enumerate((2, 1, 9)):
            only_end = torch.full((2, SIZE), -torch.inf)
            only_end[:, EOS] = 0
            assert torch.equal(found[row], only_end if written >= limit else logs[row])
