"""Search: beams against plain searches of one text at a time, and what holds for draws too."""

from __future__ import annotations

import pytest
import torch
from search_cases import (
    LIMITS,
    SEEDS,
    SIZE,
    TEXTS,
    RandomStepModel,
    after,
    choices,
    hypotheses,
    configs,
)

from zoo.generation.config import GenerationConfig
from zoo.generation.generate import generate
from zoo.text.special_ids import BOS, EOS, UNK


def ranked(texts, config):
    """Texts (ids, log-probability) with their scores, the best first."""
    scored = [(ids, x, x / (len(ids) + 1) ** config.length_penalty) for ids, x in texts]
    return sorted(scored, key=lambda each: -each[2])[: config.n_best]


def greedily(seed, text, limit, config):
    ids, total = [], 0.0
    while True:
        found = choices(seed, text, ids, limit, config)
        token = max(found, key=found.get)
        total += found[token]
        if token == EOS:
            return ranked([(ids, total)], config)
        ids.append(token)


def plain_beam(seed, text, limit, config, size=SIZE):
    """Beam search as it is told: for one text, with lists."""
    prefixes, ended = [([], 0.0)], []
    while prefixes:
        longer = [
            (ids, token, total + value)
            for ids, total in prefixes
            for token, value in choices(seed, text, ids, limit, config, size).items()
        ]
        longer.sort(key=lambda each: -each[2])
        ended += [(ids, x) for ids, token, x in longer[: config.beam_size] if token == EOS]
        open_ = [([*ids, token], x) for ids, token, x in longer if token != EOS]
        if len(ended) >= config.beam_size and open_:
            ids, best_score = open_[0]
            if best_score / len(ids) ** config.length_penalty <= ranked(ended, config)[-1][2]:
                break
        prefixes = open_[: config.beam_size]
    return ranked(ended, config)


def all_texts(seed, text, limit, config, size, ids=(), total=0.0):
    """Every text that can be written, with its log-probability."""
    for token, value in choices(seed, text, ids, limit, config, size).items():
        if token == EOS:
            yield [*ids], total + value
        else:
            yield from all_texts(seed, text, limit, config, size, (*ids, token), total + value)


def assert_same(found, wanted):
    assert [[ids for ids, *_ in each] for each in found] == [[h[0] for h in e] for e in wanted]
    numbers = [[x for each in side for h in each for x in h[1:]] for side in (found, wanted)]
    assert numbers[0] == pytest.approx(numbers[1], abs=1e-12)


@pytest.mark.parametrize("least", [0, 3])
@pytest.mark.parametrize("most", [200, 6])
def test_a_beam_of_one_is_greedy(least, most):
    config = GenerationConfig(beam_size=1, min_length=least, max_length=most)
    for seed in SEEDS:
        wanted = [greedily(seed, *each, config) for each in zip(TEXTS, LIMITS, strict=True)]
        assert_same(hypotheses(config, seed), wanted)


@pytest.mark.parametrize("penalty", [0, 0.6, 1])
@pytest.mark.parametrize("beam", [1, 2, 5])
@pytest.mark.parametrize("n_best", [1, 5])
@pytest.mark.parametrize("least", [0, 3])
@pytest.mark.parametrize("size", [5, SIZE, 15])  # of 5 two can be written: less than the beam
def test_a_beam_finds_what_a_plain_search_of_one_text_finds(penalty, beam, n_best, least, size):
    config = GenerationConfig(beam, min(n_best, beam), penalty, least, max_length=12)
    for seed in SEEDS[:9]:
        pairs = zip(TEXTS, LIMITS, strict=True)
        wanted = [plain_beam(seed, *each, config, size) for each in pairs]
        assert_same(hypotheses(config, seed, size=size), wanted)


@pytest.mark.parametrize("penalty", [0, 0.6, 1])
def test_a_beam_as_wide_as_all_texts_ranks_them_all(penalty):
    config = GenerationConfig(40, 40, penalty)  # 1 + 3 + 9 + 27 texts
    for seed in SEEDS:
        wanted = ranked(all_texts(seed, 0, 3, config, 6), config)
        assert len(wanted) == 40
        assert_same(hypotheses(config, seed, [0], [3], 6), [wanted])


def test_without_length_penalty_a_wide_beam_finds_the_most_probable_text_and_greedy_does_not():
    missed = 0
    for seed in SEEDS:
        best = max(all_texts(seed, 0, 3, GenerationConfig(), 6), key=lambda each: each[1])
        wide, greedy = (
            hypotheses(GenerationConfig(beam, length_penalty=0), seed, [0], [3], 6)
            for beam in (40, 1)
        )
        assert_same(wide, [[(*best, best[1])]])
        assert greedy[0][0][1] < best[1] + 1e-12
        missed += greedy[0][0][0] != best[0]
    assert missed


@pytest.mark.parametrize("beam", [1, 4])
def test_what_is_found_for_a_text_does_not_depend_on_the_others(beam):
    config = GenerationConfig(beam, beam)
    for seed in SEEDS:
        found = hypotheses(config, seed)
        assert hypotheses(config, seed, TEXTS[::-1], LIMITS[::-1]) == found[::-1]
        alone = [hypotheses(config, seed, TEXTS[i : i + 1], LIMITS[i : i + 1])[0] for i in TEXTS]
        assert alone == found
        assert hypotheses(config, seed, [*TEXTS, *TEXTS], LIMITS * 2) == found * 2


@configs
def test_a_step_is_one_for_all_texts_and_done_texts_leave_the_batch(config):
    left = 0
    for seed in SEEDS:
        together, steps = RandomStepModel(TEXTS, seed), []
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
@pytest.mark.parametrize("least", [0, 2, 30])
@pytest.mark.parametrize("most", [200, 3])
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
    assert (least == 30) == all(length == min(limit, most) for limit, length in seen)


@configs
def test_no_texts_are_no_hypotheses_and_no_step(config):
    step_model = RandomStepModel([])
    assert generate(step_model, torch.zeros(0, dtype=torch.int64), config) == []
    assert not step_model.counts


@configs
@pytest.mark.parametrize("size", [4, 5, SIZE])  # of 4 only UNK can be written
@pytest.mark.parametrize("penalty", [0, 0.6, 1])
def test_hypotheses_hold_what_was_written_with_its_log_probability_and_score(config, size, penalty):
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


def test_more_hypotheses_than_the_beam_is_wide_are_refused_except_of_draws():
    with pytest.raises(ValueError, match="n_best=3 needs a beam as wide, not beam_size=2"):
        GenerationConfig(beam_size=2, n_best=3)
    assert GenerationConfig(beam_size=2, n_best=3, sample=True).n_best == 3


def test_a_short_bad_text_does_not_end_the_search_for_a_good_one():
    """Bad ends fill the beam early; the likeliest text by far is longer, and is found."""

    class Sure:
        """Writes 4 4 4 4 and the end: at each step nearly surely, and anything else hardly."""

        ends_itself = True

        def __init__(self):
            self.length = 0

        def step(self, ids):
            nearly = torch.full((*ids.shape, SIZE), -7.0)
            nearly[..., EOS] = -5
            good = EOS if self.length == 4 else 4
            nearly[:, 0, good] = -0.001
            self.length += 1
            return nearly

        def reorder(self, texts, prefixes):
            assert bool((prefixes[:, 0] == 0).all())

    for penalty in (0, 1):
        config = GenerationConfig(beam_size=3, length_penalty=penalty)
        best = generate(Sure(), torch.tensor([20]), config)[0][0]
        assert best.ids == [4, 4, 4, 4]
        assert best.log_probability == pytest.approx(-0.005)
