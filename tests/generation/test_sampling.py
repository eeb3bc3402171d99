"""Sampling: the frequencies of samples against the probabilities of the model."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from itertools import count, pairwise

import pytest
import torch
from search_cases import LIMITS, SEEDS, SIZE, TEXTS, RandomStepModel, after, choices, hypotheses

from zoo.generation import sampling
from zoo.generation.config import GenerationConfig
from zoo.generation.generate import generate
from zoo.text.special_ids import BOS, EOS

DRAWS = 8_000
LIMIT = torch.tensor(LIMITS)
OPTIONS = [
    {}, {"temperature": 0.5}, {"temperature": 3.0}, {"top_k": 1}, {"top_k": 2}, {"top_k": 4},
    {"top_k": 99}, {"top_p": 1e-9}, {"top_p": 0.5}, {"top_p": 0.8}, {"top_p": 0.97},
    {"min_length": 1}, {"max_length": 1}, {"top_k": 2, "top_p": 0.6},
    {"temperature": 2.0, "top_k": 4, "top_p": 0.7, "min_length": 2},
]  # fmt: skip
options = pytest.mark.parametrize("options", OPTIONS, ids=str)


@pytest.fixture(autouse=True)
def _seed(monkeypatch):
    """Where the system would seed, these tests do, so that they find the same each time."""
    torch.manual_seed(1)
    seeds, real = count(1), sampling._generator

    def generator(config, device):
        if config.seed is None:
            config = replace(config, seed=next(seeds))
        return real(config, device)

    monkeypatch.setattr(sampling, "_generator", generator)


def token_probabilities(found, config):
    """Return {token: sampling probability} of {token: log-probability}."""
    order = sorted(found, key=found.get, reverse=True)
    top = max(found.values())
    drawn = {token: math.exp((found[token] - top) / config.temperature) for token in order}
    drawn = {token: drawn[token] for token in order[: config.top_k or None]}
    total = sum(drawn.values())
    kept, before = {}, 0.0
    for token, share in drawn.items():
        if before / total < config.top_p:
            kept[token] = share
        before += share
    return {token: share / sum(kept.values()) for token, share in kept.items()}


def text_probabilities(seed, limit, config, ids=(), chance=1.0):
    """Return {text: sampling probability}."""
    found = {}
    for token, share in token_probabilities(choices(seed, 0, ids, limit, config), config).items():
        if token == EOS:
            found[ids] = chance * share
        else:
            found |= text_probabilities(seed, limit, config, (*ids, token), chance * share)
    return found


def assert_frequencies(counts, wanted):
    """Check the counts: no other text, each within 4.5 standard deviations of its mean."""
    total = sum(counts.values())
    assert counts.keys() <= wanted.keys()
    assert sum(wanted.values()) == pytest.approx(1)
    for each, chance in wanted.items():
        bound = 4.5 * math.sqrt(total * chance * (1 - chance)) + 1
        assert abs(counts[each] - total * chance) < bound, each


def filtered(given, config):
    """Return the log-probabilities after top-k and top-p, over the whole vocabulary."""
    values, ids = sampling.top_k_top_p(given, config)
    return torch.full(given.shape, -math.inf, dtype=values.dtype).scatter(-1, ids, values)


@options
def test_texts_are_sampled_with_their_probability(options):
    config = GenerationConfig(sample=True, n_best=DRAWS, **options)
    for seed in range(3):
        (drawn,) = hypotheses(config, seed, [0], [2])
        wanted = text_probabilities(seed, 2, config)
        assert_frequencies(Counter(tuple(ids) for ids, *_ in drawn), wanted)
        first = Counter((*ids, EOS)[0] for ids, *_ in drawn)
        assert first.keys() == token_probabilities(choices(seed, 0, (), 2, config), config).keys()
        if config.top_k == 1 or config.top_p < 0.01:
            assert len(wanted) == 1


def test_draws_of_a_text_and_of_different_texts_are_independent():
    config = GenerationConfig(sample=True, n_best=2)
    found = sampling.sample(
        RandomStepModel([0] * DRAWS), torch.ones(DRAWS, dtype=torch.int64), config
    )
    first, second = ([tuple(each[i].ids) for each in found] for i in range(2))
    one = text_probabilities(0, 1, config)
    both = {(a, b): one[a] * one[b] for a in one for b in one}
    assert_frequencies(Counter(zip(first, second, strict=True)), both)
    assert_frequencies(Counter(pairwise(first)), both)
    assert_frequencies(Counter(zip(first[:-1], second[1:], strict=True)), both)


@options
def test_the_log_probability_of_a_draw_is_the_models_own(options):
    config = GenerationConfig(sample=True, n_best=20, length_penalty=0.5, **options)
    for seed in SEEDS:
        (drawn,) = hypotheses(config, seed, [0], [9])
        for ids, total, score in drawn:
            steps = zip([(BOS, *ids[:n]) for n in range(len(ids) + 1)], [*ids, EOS], strict=True)
            value = sum(float(after(seed, 0, at, SIZE)[token]) for at, token in steps)
            assert total == pytest.approx(value, abs=1e-12)
            assert score == pytest.approx(value / math.sqrt(len(ids) + 1), abs=1e-12)


def test_a_seed_repeats_its_draws():
    config = GenerationConfig(sample=True, n_best=5)
    seen = [hypotheses(replace(config, seed=seed)) for seed in (5, 5, 6)]
    assert seen[0] == seen[1] != seen[2]


def test_without_a_seed_each_call_draws_others_and_none_from_the_global_generator(monkeypatch):
    monkeypatch.undo()
    config, seen = GenerationConfig(sample=True, n_best=5), []
    before = torch.get_rng_state()
    for _ in range(2):
        torch.set_rng_state(before)
        seen.append(hypotheses(config))
    assert seen[0] != seen[1]
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [1, 2, 50, 32_000])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_top_k_and_top_p_keep_at_least_one_token_and_the_most_probable(dtype, size, options):
    config = GenerationConfig(sample=True, **options)
    given = (3 * torch.randn(4, 2, size, dtype=dtype)).log_softmax(-1)
    found = filtered(given, config).exp()
    assert torch.allclose(found.sum(-1), torch.ones((), dtype=torch.float64), rtol=0, atol=1e-5)
    kept = found > 0
    assert torch.equal(kept.any(-1), torch.ones(4, 2, dtype=torch.bool))
    lowest = given.masked_fill(~kept, torch.inf).amin(-1, keepdim=True)
    assert not (given > lowest)[~kept].any()
    if config.top_k:
        assert kept.sum(-1).le(config.top_k).all()


@pytest.mark.parametrize("options", [{"temperature": 1e-39}, {"top_p": 1e-46}], ids=str)
def test_the_smallest_temperature_and_top_p_choose_the_most_probable_token(options):
    given = torch.randn(2, 3, 9).log_softmax(-1)
    found = filtered(given, GenerationConfig(sample=True, **options))
    assert torch.equal(found.argmax(-1), given.argmax(-1))
    assert torch.equal(found.exp().amax(-1), torch.ones(2, 3))


def test_top_k_keeps_k_tokens_even_if_some_are_equally_probable():
    found = filtered(torch.zeros(1, 9).log_softmax(-1), GenerationConfig(sample=True, top_k=2))
    assert found.isfinite().sum() == 2


@pytest.mark.parametrize("least", [0, 3])
def test_steps_without_sampling_are_those_of_greedy_search(least):
    config = GenerationConfig(beam_size=1, min_length=least, max_length=9)
    for seed in SEEDS:
        ids, totals = [[] for _ in TEXTS], [0.0] * len(TEXTS)
        for step in sampling.sample_steps(RandomStepModel(TEXTS, seed), LIMIT.clamp(max=9), config):
            for text, (token,), (gain,) in zip(*(part.tolist() for part in step), strict=True):
                ids[text].append(token)
                totals[text] += gain
        greedy = [each[0] for each in generate(RandomStepModel(TEXTS, seed), LIMIT, config)]
        assert ids == [[*each.ids, EOS] for each in greedy]
        assert totals == pytest.approx([each.log_probability for each in greedy], abs=1e-12)


@pytest.mark.parametrize("top_p", [0.05, 0.6, 0.95, 0.9999])
@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.0])
def test_a_nucleus_among_the_first_tokens_is_that_of_a_full_sort(monkeypatch, top_p, temperature):
    torch.manual_seed(1)
    logs = 3 * torch.randn(6, 300, dtype=torch.float64)
    config = GenerationConfig(sample=True, top_p=top_p, temperature=temperature)
    numbers = torch.rand(6, dtype=torch.float64)
    wanted = sampling.top_k_top_p(logs, config)
    drawn = sampling.draw(logs, config, numbers)
    monkeypatch.setattr(sampling, "FIRST", 40)
    values, ids = sampling.top_k_top_p(logs, config)
    size = values.size(-1)
    assert size == (40 if sampling._nucleus(logs, config) else 300)
    assert size == 40 or top_p > 0.5
    assert torch.equal(ids, wanted[1][:, :size])
    torch.testing.assert_close(values, wanted[0][:, :size])
    assert not wanted[0][:, size:].isfinite().any()
    assert torch.equal(sampling.draw(logs, config, numbers), drawn)
