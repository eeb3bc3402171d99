"""The choice on a CPU: the tokens and log-probabilities of one pass over everything."""

from __future__ import annotations

import pytest
import torch

from zoo.generation.config import GenerationConfig
from zoo.generation.sampling import draw
from zoo.generation.writing import choice

OPTIONS = [
    {},
    {"temperature": 0.4},
    {"temperature": 1e-5},
    {"temperature": 3.0},
    {"top_k": 3},
    {"top_p": 0.6},
    {"top_k": 40, "top_p": 0.9, "temperature": 1.4},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("size", [5, 256, 700, 1025])
@pytest.mark.parametrize("bars", [False, True])
def test_tokens_are_those_of_one_lookup_among_all_probabilities(monkeypatch, options, size, bars):
    monkeypatch.setattr(choice, "CACHED", 3 * size)  # three rows at a time
    config = GenerationConfig(sample=True, **options)
    torch.manual_seed(size)
    logits = 3 * torch.randn(40, size, dtype=torch.float64)
    logits[:, :3] = -torch.inf
    barred = (
        torch.zeros(size).index_fill_(0, torch.arange(3, size, 2), -torch.inf) if bars else None
    )
    logs = logits.log_softmax(-1)
    allowed = logs if barred is None else logs + barred
    for numbers in (torch.rand(40, dtype=torch.float64), torch.zeros(40, dtype=torch.float64)):
        ids, gained = choice.choose(logits.clone(), config, numbers, barred)
        assert torch.equal(ids, draw(allowed, config, numbers))
        torch.testing.assert_close(gained, logs.gather(1, ids[:, None])[:, 0])
    ids, _ = choice.choose(logits, config, torch.ones(40, dtype=torch.float64), barred)
    assert allowed.gather(1, ids[:, None]).isfinite().all()  # where rounding ends, too
    ids, gained = choice.choose(logits, config, None, barred)
    assert torch.equal(ids, allowed.argmax(-1))
    torch.testing.assert_close(gained, logs.gather(1, ids[:, None])[:, 0])


def test_float32_draws_each_token_as_often_as_it_is_probable():
    config = GenerationConfig(sample=True)
    torch.manual_seed(1)
    logits = 2 * torch.randn(1, 1000)
    numbers = (torch.arange(50_000, dtype=torch.float64) + 0.5) / 50_000
    ids, _ = choice.choose(logits.expand(len(numbers), -1), config, numbers, None)
    found = torch.bincount(ids, minlength=1000) / len(numbers)
    assert float((found - logits.softmax(-1)[0]).abs().max()) < 4e-5


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_logits_that_are_no_numbers_give_an_id_and_no_number(options):
    config = GenerationConfig(sample=True, **options)
    ids, gained = choice.choose(torch.full((2, 700), torch.nan), config, torch.rand(2), None)
    assert (ids < 700).all()
    assert gained.isnan().all()
