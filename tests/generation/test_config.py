"""The generation config: which values are accepted, and the errors for the others."""

from __future__ import annotations

import pytest

from zoo.config import arguments
from zoo.errors import InputError
from zoo.generation.config import GenerationConfig


def test_n_best_above_the_beam_size_is_refused_except_in_sampling():
    with pytest.raises(ValueError, match="n_best=3 needs a beam as wide, not beam_size=2"):
        GenerationConfig(beam_size=2, n_best=3)
    assert GenerationConfig(beam_size=2, n_best=3, sample=True).n_best == 3


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("seed", -1, "greater than or equal to 0"), ("seed", 2**32, "less than 4294967296"),
        ("seed", 0.5, "valid integer"), ("repetition_penalty", 0.99, "greater than or equal to 1"),
        ("repetition_penalty", float("inf"), "finite"), ("stop", "a", "valid tuple"),
        ("stop", [1], "valid string"),
    ],
)  # fmt: skip
def test_values_out_of_range_are_refused(name, value, said):
    with pytest.raises(InputError, match=rf"generation\.{name}.*={value}: .*{said}"):
        arguments(GenerationConfig, {name: value}, "generation")


def test_values_at_the_bounds_are_accepted():
    for seed in (0, 2**32 - 1, None):
        given = {"seed": seed, "repetition_penalty": 1}
        assert arguments(GenerationConfig, given, "generation")["seed"] == seed
    assert arguments(GenerationConfig, {"stop": ["a", "\n"]}, "generation")["stop"] == ("a", "\n")
