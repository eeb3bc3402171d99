"""The bugs of `mutants.py` still have their places. The run itself is a command of its own."""

import pytest
from mutants import MUTANTS, ROOT


def test_there_are_sixty_three_different_ones():
    assert len(MUTANTS) == 63
    assert len({(mutant.file, mutant.old, mutant.new) for mutant in MUTANTS}) == 63
    assert len({mutant.name for mutant in MUTANTS}) == 63


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_bug_has_one_place_and_tests(mutant):
    assert (ROOT / mutant.file).read_text("utf-8").count(mutant.old) == 1
    assert mutant.old != mutant.new
    assert mutant.tests
    assert all((ROOT / test).exists() for test in mutant.tests)
