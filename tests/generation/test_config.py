"""The generation config: which values are accepted, and the errors for the others."""

from __future__ import annotations

from dataclasses import replace

import pytest

from zoo.errors import InputError
from zoo.generation.config import GenerationConfig


def test_n_best_above_the_beam_size_is_refused_except_in_sampling():
    with pytest.raises(ValueError, match="n_best=3 needs a beam as wide, not beam_size=2"):
        GenerationConfig(beam_size=2, n_best=3)
    assert GenerationConfig(beam_size=2, n_best=3, sample=True).n_best == 3
    with pytest.raises(ValueError, match="min_length=7 is above max_length=6"):
        GenerationConfig(min_length=7, max_length=6)
    assert GenerationConfig(min_length=6, max_length=6).min_length == 6


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("seed", -1, "greater than or equal to 0"),
        ("seed", 2**32, "less than 4294967296"),
        ("seed", 0.5, "valid integer"),
        ("repetition_penalty", 0.99, "greater than or equal to 1"),
        ("repetition_penalty", float("inf"), "finite"),
        ("stop", "a", "valid tuple"),
        ("stop", [1], "valid string"),
        ("temperature", 0, "greater than 0"),
        ("top_p", 0, "greater than 0"),
        ("top_p", 1.5, "less than or equal to 1"),
        ("n_best", 0, "greater than or equal to 1"),
        ("beam_size", 2.5, "valid integer"),
    ],
)
def test_values_out_of_range_are_refused(name, value, said):
    with pytest.raises(InputError, match=rf"generation\.{name}.*={value}: .*{said}"):
        GenerationConfig(**{name: value})


def test_values_at_the_bounds_are_accepted():
    for seed in (0, 2**32 - 1, None):
        assert GenerationConfig(seed=seed, repetition_penalty=1).seed == seed
    assert GenerationConfig(stop=["a", "\n"]).stop == ("a", "\n")


def test_a_config_can_be_hashed_and_changed():
    config = GenerationConfig(stop=["a"])
    assert {config: 1}[replace(config)] == 1
    assert replace(config, seed=3).stop == ("a",)
    with pytest.raises(InputError, match=r"generation\.top_p=0: "):
        replace(config, top_p=0)
