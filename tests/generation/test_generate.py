"""Generation in general: what holds for greedy search, beam search and sampling alike."""

from __future__ import annotations

import pytest
import torch
from search_cases import LIMITS, SEEDS, SIZE, TEXTS, RandomStepModel, after, configs, hypotheses

from zoo.errors import InputError
from zoo.generation.config import GenerationConfig
from zoo.generation.generate import generate
from zoo.text.special_ids import BOS, EOS, UNK


@configs
def test_one_step_serves_all_texts_and_finished_texts_leave_the_batch(config):
    left = 0
    for seed in SEEDS:
        together = RandomStepModel(TEXTS, seed)
        steps = []
        found = generate(together, torch.tensor(LIMITS), config)
        for text, limit, each in zip(TEXTS, LIMITS, found, strict=True):
            alone = RandomStepModel([text], seed)
            generate(alone, torch.tensor([limit]), config)
            assert len(alone.counts) <= limit + 1
            drawn = max(len(h.ids) + 1 for h in each)
            steps.append(drawn if config.sample else len(alone.counts))
        assert together.counts == [sum(n > step for n in steps) for step in range(max(steps))]
        left += len(set(together.counts)) > 3
    assert left


@configs
@pytest.mark.parametrize(("least", "most"), [(0, 200), (2, 200), (30, 200), (0, 3), (2, 3), (3, 3)])
def test_lengths_keep_their_bounds_and_a_limit_goes_before_min_length(config, least, most):
    bounded = GenerationConfig(config.beam_size, config.n_best, 1, least, most, config.sample)
    seen = set()
    for seed in SEEDS:
        for text, limit, each in zip(TEXTS, LIMITS, hypotheses(bounded, seed), strict=True):
            bound = min(limit, most)
            assert each
            assert all(min(least, bound) <= len(ids) <= bound for ids, *_ in each)
            seen |= {(limit, len(ids)) for ids, *_ in each}
            if limit == 0:
                end = float(after(seed, text, (BOS,), SIZE)[EOS])
                assert {(*ids, *values) for ids, *values in each} == {(end, end)}
    assert {(limit, min(limit, most)) for limit in LIMITS} <= seen
    assert (least in (30, most)) == all(length == min(limit, most) for limit, length in seen)


@configs
def test_an_empty_batch_gives_no_hypotheses_and_takes_no_step(config):
    step_model = RandomStepModel([])
    assert generate(step_model, torch.zeros(0, dtype=torch.int64), config) == []
    assert not step_model.counts


@configs
@pytest.mark.parametrize("size", [4, 5, SIZE])  # of 4 only UNK can be generated
@pytest.mark.parametrize("penalty", [0, 0.6, 1])
def test_hypotheses_hold_ids_log_probability_and_score(config, size, penalty):
    config = GenerationConfig(config.beam_size, config.n_best, penalty, sample=config.sample)
    for seed in SEEDS:
        for text, each in zip(TEXTS, hypotheses(config, seed, size=size), strict=True):
            assert 1 <= len(each) <= config.n_best
            assert config.sample or len({tuple(ids) for ids, *_ in each}) == len(each)
            assert [h[2] for h in each] == sorted((h[2] for h in each), reverse=True)
            for ids, total, score in each:
                assert set(ids) <= {UNK, *range(4, size)}
                prefixes = [(BOS, *ids[:n]) for n in range(len(ids) + 1)]
                steps = zip(prefixes, [*ids, EOS], strict=True)
                value = sum(float(after(seed, text, at, size)[token]) for at, token in steps)
                assert total == pytest.approx(value, abs=1e-12)
                assert score == pytest.approx(value / (len(ids) + 1) ** penalty, abs=1e-12)


@configs
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_probabilities_that_are_no_numbers_are_an_error(config, value):
    class Damaged(RandomStepModel):
        def step(self, ids):
            logs = super().step(ids)
            logs[..., -1] = value
            return logs.log_softmax(-1)

    with pytest.raises(InputError, match="are no numbers: its weights are damaged"):
        generate(Damaged(TEXTS), torch.tensor(LIMITS), config)
