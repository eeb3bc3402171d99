"""Beam search against a plain search of one text at a time, written with lists."""

from __future__ import annotations

import pytest
import torch
from search_cases import (
    LIMITS,
    SEEDS,
    SIZE,
    TEXTS,
    choices,
    hypotheses,
)

from zoo.generation.config import GenerationConfig
from zoo.generation.generate import generate
from zoo.text.special_ids import EOS


def ranked(texts, config):
    """Return texts (ids, log-probability) with their scores, best first."""
    scored = [(ids, x, x / (len(ids) + 1) ** config.length_penalty) for ids, x in texts]
    return sorted(scored, key=lambda each: -each[2])[: config.n_best]


def greedy_search(seed, text, limit, config):
    ids, total = [], 0.0
    while True:
        found = choices(seed, text, ids, limit, config)
        token = max(found, key=found.get)
        total += found[token]
        if token == EOS:
            return ranked([(ids, total)], config)
        ids.append(token)


def plain_beam(seed, text, limit, config, size=SIZE):
    """Beam search over one text, with lists."""
    prefixes = [([], 0.0)]
    ended = []
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
    """Yield every possible text, with its log-probability."""
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
        wanted = [greedy_search(seed, *each, config) for each in zip(TEXTS, LIMITS, strict=True)]
        assert_same(hypotheses(config, seed), wanted)


@pytest.mark.parametrize("penalty", [0, 0.6, 1])
@pytest.mark.parametrize("beam", [1, 2, 5])
@pytest.mark.parametrize("n_best", [1, 5])
@pytest.mark.parametrize("least", [0, 3])
@pytest.mark.parametrize(
    "size", [5, SIZE, 15]
)  # of 5 only two can be generated: fewer than the beam
def test_a_beam_gives_the_results_of_a_plain_search_of_one_text(penalty, beam, n_best, least, size):
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
def test_the_hypotheses_of_a_text_do_not_depend_on_the_other_texts(beam):
    config = GenerationConfig(beam, beam)
    for seed in SEEDS:
        found = hypotheses(config, seed)
        assert hypotheses(config, seed, TEXTS[::-1], LIMITS[::-1]) == found[::-1]
        alone = [hypotheses(config, seed, TEXTS[i : i + 1], LIMITS[i : i + 1])[0] for i in TEXTS]
        assert alone == found
        assert hypotheses(config, seed, [*TEXTS, *TEXTS], LIMITS * 2) == found * 2


def test_a_short_bad_text_does_not_end_the_search_for_a_good_one():
    """Bad ends fill the beam early; the most probable text by far is longer."""

    class NearlyCertain:
        """Gives 4 4 4 4 EOS a probability near 1 at each step, and all other tokens very little."""

        def __init__(self):
            self.length = 0

        def step(self, ids):
            logs = torch.full((*ids.shape, SIZE), -7.0)
            logs[..., EOS] = -5
            good = EOS if self.length == 4 else 4
            logs[:, 0, good] = -0.001
            self.length += 1
            return logs

        def reorder(self, texts, prefixes):
            assert bool((prefixes[:, 0] == 0).all())

    for penalty in (0, 1):
        config = GenerationConfig(beam_size=3, length_penalty=penalty)
        best = generate(NearlyCertain(), torch.tensor([20]), config)[0][0]
        assert best.ids == [4, 4, 4, 4]
        assert best.log_probability == pytest.approx(-0.005)
