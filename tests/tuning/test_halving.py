"""Successive halving: how time is divided, what is compared, and how it goes on after an end."""

from __future__ import annotations

from dataclasses import replace

import pytest

from zoo.tuning.candidates import Axis, Proposals
from zoo.tuning.halving import Halving, Result, Work

AXES = [Axis(name, [{}, {f"{name}.x": 1}, {f"{name}.x": 2}]) for name in "abcdefgh"]


class World:
    """A machine on which a trial takes a given time; the metric follows from what is changed."""

    def __init__(self, fixed=0.2, epoch=0.1, good=None, noise=0.0, lower=False):
        self.now, self.fixed, self.epoch, self.noise = 0.0, fixed, epoch, noise
        self.good = good or {"c.x": 1}
        self.done = []
        self.lower = lower

    def train(self, work, most):
        seconds = self.fixed + work.epochs * self.epoch
        self.now += seconds
        hits = sum(work.changes.get(name) == value for name, value in self.good.items())
        metric = 0.5 + 0.1 * hits - 0.05 * (len(work.changes) - hits)
        self.done.append(work)
        return Result(
            work,
            1 - metric if self.lower else metric,
            work.epochs,
            1 - metric,
            100,
            seconds,
            self.epoch,
            self.now,
        )


def search(world, seconds=30.0, known=(), epochs=40, train=None, axes=AXES):
    halving = Halving(
        seconds, epochs, 300, 20, world.lower, train or world.train, known, lambda: world.now
    )
    return halving, halving.run(Proposals(axes, world.lower, 1))


@pytest.mark.parametrize("lower", [False, True])
@pytest.mark.parametrize("seconds", [20.0, 60.0, 600.0])
def test_the_best_change_is_found_in_the_given_time(seconds, lower):
    world = World(lower=lower)
    halving, ranked = search(world, seconds)
    assert ranked[0] == {"c.x": 1}
    assert 0.5 * seconds < halving.spent < 1.15 * seconds
    assert {} in ranked  # the run's own settings stay in


@pytest.mark.parametrize("seconds", [*range(6, 40, 2)])
def test_the_own_settings_stay_in_however_short_the_time_is(seconds):
    world = World(good={f"{name}.x": 1 for name in "abcdefgh"})  # many are better

    def train(work, most):
        world.now += 3.0 * bool(work.changes)  # others are slower than the run's own settings
        return world.train(work, most)

    _, ranked = search(world, float(seconds), train=train)
    assert {} in ranked


def test_rungs_grow_and_compare_like_with_like():
    world = World()
    _halving, _ = search(world, 60.0)
    rungs = [[w for w in world.done if w.rung == rung] for rung in range(3)]
    counts = [len({str(w.changes) for w in rung}) for rung in rungs]
    assert counts[0] > counts[1] >= counts[2] >= 2
    epochs = [{w.epochs for w in rung} for rung in rungs]
    assert all(len(found) == 1 for found in epochs)
    assert max(epochs[0]) <= max(epochs[1]) <= max(epochs[2]) <= 40
    views = [{w.view for w in rung} for rung in rungs]
    assert not views[0] & views[1]
    assert not views[1] & views[2]


def test_many_rows_are_reduced_at_first():
    world = World()

    def train(work, most):
        result = world.train(work, most)
        slow = 0.001 * work.rows
        world.now += work.epochs * slow
        return replace(result, epoch_seconds=slow, seconds=0.2 + slow * work.epochs)

    halving = Halving(60.0, 8, 50_000, 1, False, train, (), lambda: world.now)
    halving.run(Proposals(AXES, False, 1))
    assert halving.spent < 75
    first = [r.work for r in halving.results if r.work.rung == 0]
    assert len(first) >= 5
    assert {w.rows for w in first} == {max(w.rows for w in first)} != {50_000}


def test_within_one_standard_error_the_lower_loss_is_better():
    halving, _ = search(World())
    work = Work({}, 0, 0, 5, 300)
    one = Result(work, 0.90, 5, 0.50, 100)
    two = Result(replace(work, changes={"a": 1}), 0.89, 5, 0.30, 100)
    far = Result(replace(work, changes={"b": 1}), 0.80, 5, 0.10, 100)
    assert halving.rank([[one], [two], [far]]) == [two, one, far]
    big = [[replace(r, valid=100_000)] for r in (one, two, far)]
    assert [r.metric for r in halving.rank(big)] == [0.90, 0.89, 0.80]
    bleu = [[replace(r, metric=100 * r.metric)] for r in (two, one, far)]
    assert [r.metric for r in halving.rank(bleu)] == [90.0, 89.0, 80.0]


def on_views(changes, *figures):
    """Results of a candidate, one for each (metric, loss)."""
    return [
        Result(Work(changes, 2, view, 5, 300), metric, 5, loss, 100)
        for view, (metric, loss) in enumerate(figures)
    ]


@pytest.mark.parametrize(
    ("others", "own", "stays"),
    [
        ([(0.91, 0.3), (0.91, 0.5)], [(0.90, 0.4), (0.90, 0.4)], True),  # within an error of 0.02
        ([(0.95, 0.5), (0.95, 0.5)], [(0.90, 0.4), (0.90, 0.4)], False),
        ([(0.90, 0.3), (0.91, 0.3)], [(0.90, 0.4), (0.90, 0.4)], False),  # lower loss on each split
        ([(0.91, 0.3)], [(0.90, 0.4)], True),  # one split is chance
        ([(0.89, 0.3), (0.90, 0.3)], [(0.90, 0.4), (0.90, 0.4)], True),
        ([(30.0, 1.0), (20.0, 1.0)], [(20.0, 1.0), (26.0, 1.0)], True),  # the splits disagree
        ([(30.0, 1.0), (31.0, 1.0)], [(20.0, 1.0), (20.0, 1.0)], False),
    ],
)
def test_the_own_settings_stay_unless_another_candidate_beats_them(others, own, stays):
    halving, _ = search(World())
    other = {"c.x": 1}
    found = halving._challenged([on_views(other, *others), on_views({}, *own)], {})
    assert found == ([{}, other] if stays else [other, {}])


def test_a_search_that_was_ended_goes_on_to_the_same_end():
    world = World()
    whole, ranked = search(world)
    for count in (0, 3, len(whole.results) - 2, len(whole.results)):
        again = World()
        again.now = 1000.0
        halving, found = search(again, known=whole.results[:count])
        assert found == ranked
        assert len(again.done) == len(whole.results) - count
        assert halving.spent == pytest.approx(whole.spent, abs=0.01)


def test_candidates_that_fail_are_left_out():
    world = World()

    def train(work, most):
        if work.changes == {"c.x": 1}:
            world.now += 0.1
            return Result(work, error="too small")
        return world.train(work, most)

    _, ranked = search(world, train=train)
    assert ranked
    assert {"c.x": 1} not in ranked
    _, ranked = search(world, train=lambda work, most: Result(work, error="no"), axes=AXES[:1])
    assert ranked == [{}]


@pytest.mark.parametrize("with_optuna", [False, True])
def test_changes_are_made_one_at_a_time_and_the_best_ones_combined(monkeypatch, with_optuna):
    if with_optuna:
        pytest.importorskip("optuna")
    else:
        monkeypatch.setattr("zoo.tuning.candidates.find_spec", lambda name: None)
    proposals = Proposals(AXES[:4], False, 1)
    assert (proposals.study is not None) == with_optuna
    found = []
    for changes in proposals:
        found.append(changes)
        proposals.tell(changes, sum(changes.get(f"{name}.x", 0) == 1 for name in "ab"))
        if len(found) == 30:
            break
    assert found[:5] == [{}, {"a.x": 1}, {"b.x": 1}, {"c.x": 1}, {"d.x": 1}]
    assert {"a.x": 1, "b.x": 1} in found or with_optuna
    assert all(found.count(changes) == 1 for changes in found)
    assert any(len(changes) > 1 for changes in found[9:])
