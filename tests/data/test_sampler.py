"""Batches hold every row once within their limits, with rows of similar length together."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from zoo.data.batch import collate
from zoo.data.dataset import Dataset, ExampleList
from zoo.data.sampler import POOL_BATCHES, BucketSampler, shard
from zoo.data.stream import Stream

QUICK = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))

seeds = st.integers(0, 99)
texts = st.builds(  # lengths of rows, often more than a pool of them
    lambda rows, seed: np.random.default_rng(seed).integers(0, 31, rows).tolist(),
    st.integers(0, 200),
    seeds,
)
limits = st.tuples(st.integers(1, 80), st.integers(1, 9))  # tokens, rows


def examples(lengths):
    return ExampleList([{"inputs": [4] * length} for length in lengths])


def planned(lengths, limits, seed=None):
    generator = None if seed is None else np.random.default_rng(seed)
    return [batch.tolist() for batch in BucketSampler(examples(lengths), *limits, generator)]


def made(dataset, rows):
    return collate(dataset.examples(rows))


@QUICK
@given(texts, limits, st.none() | seeds)
def test_each_row_is_planned_once_and_a_batch_keeps_its_limits(lengths, limits, seed):
    dataset, (tokens, rows), batches = examples(lengths), limits, planned(lengths, limits, seed)
    assert sorted(row for batch in batches for row in batch) == list(range(len(lengths)))
    for batch in batches:
        assert 1 <= len(batch) <= rows
        assert len(batch) == 1 or made(dataset, np.array(batch)).inputs.numel() <= tokens


@QUICK
@given(texts, limits, seeds)
def test_the_same_seed_plans_the_same(lengths, limits, seed):
    assert planned(lengths, limits, seed) == planned(lengths, limits, seed)


def test_other_epochs_have_other_plans_and_other_neighbours():
    lengths = np.random.default_rng(1).integers(1, 30, 500)
    one, two = (planned(lengths, (200, 8), [7, epoch]) for epoch in (0, 1))
    assert one != two
    assert len(set(map(frozenset, one)) & set(map(frozenset, two))) < len(one) / 2
    widths = [max(lengths[batch]) for batch in one]
    assert widths != sorted(widths)  # batches come in no order of length


@QUICK
@given(texts, limits)
def test_without_a_generator_pools_keep_the_rows_order(lengths, limits):
    pool = limits[1] * POOL_BATCHES
    pools = [[row // pool for row in batch] for batch in planned(lengths, limits)]
    assert all(len(set(batch)) == 1 for batch in pools)
    flat = [batch[0] for batch in pools]
    assert flat == sorted(flat)


def test_rows_of_like_length_stand_together():
    lengths = np.random.default_rng(1).integers(1, 60, 64 * POOL_BATCHES)
    dataset = examples(lengths)
    for generator in (None, np.random.default_rng(2)):
        planned = [made(dataset, rows) for rows in BucketSampler(dataset, 10**6, 64, generator)]
        assert len(planned) == POOL_BATCHES
        assert sum(batch.inputs.numel() for batch in planned) < 1.05 * lengths.sum()


def two_sided(lengths):
    return ExampleList(
        [{"inputs": [4] * read, "targets": [5] * written} for read, written in lengths]
    )


@QUICK
@given(texts, limits, st.none() | seeds)
def test_a_batch_keeps_its_limits_on_both_sides_and_is_no_smaller_than_needed(
    lengths, limits, seed
):
    tokens, rows = limits
    dataset = two_sided(zip(lengths, lengths[::-1], strict=True))
    generator = None if seed is None else np.random.default_rng(seed)
    planned = list(BucketSampler(dataset, tokens, rows, generator))
    assert sorted(np.concatenate([*planned, []])) == list(range(len(lengths)))
    for batch in (made(dataset, rows) for rows in planned):
        assert len(batch) == 1 or max(batch.inputs.numel(), batch.targets.numel()) <= tokens
    pool = rows * POOL_BATCHES
    for one, other in pairwise(planned) if seed is None else ():
        more = made(dataset, np.append(one, other[0]))
        wide = len(more) * max(more.inputs.shape[1], more.targets.shape[1])
        assert wide > tokens or len(more) > rows or one[0] // pool != other[0] // pool


def test_rows_alike_on_both_sides_stand_together():
    alike = [(read, written) for read in (3, 9, 30, 31) for written in (2, 8, 40, 41)]
    lengths = [
        alike[i % 16] for i in range(64 * POOL_BATCHES)
    ]  # sixteen kinds, four full batches of each
    for generator in (None, np.random.default_rng(2)):
        planned = list(BucketSampler(two_sided(lengths), 10**6, 64, generator))
        kinds = [{lengths[row] for row in batch} for batch in planned]
        assert len(planned) == POOL_BATCHES
        assert [len(kind) for kind in kinds] == [1] * POOL_BATCHES


@QUICK
@given(st.lists(st.integers(0, 999), max_size=40), st.integers(1, 5))
def test_the_shares_of_a_batch_are_the_batch(rows, world):
    shares = [shard(np.array(rows, dtype=np.int32), rank, world) for rank in range(world)]
    assert sorted(row for part in shares for row in part) == sorted(rows)
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_a_torch_data_loader_gives_the_same_batches(tmp_path):
    rows = [{"inputs": [4] * (number * 7 % 13), "targets": number % 3} for number in range(60)]
    dataset = Dataset.write(rows, dict, tmp_path / "dataset")
    stream = Stream.write([{"targets": [*range(5, 40)]}], dict, tmp_path / "stream")
    for some in (dataset, stream):
        own, theirs = (some.sampler(40, 5, np.random.default_rng(1)) for _ in range(2))
        loader = DataLoader(some, batch_sampler=theirs, collate_fn=collate)
        for rows, batch in zip(own, loader, strict=True):
            wanted = made(some, rows)
            assert torch.equal(batch.inputs, wanted.inputs)
            assert torch.equal(batch.targets, wanted.targets)
            assert batch.continues == wanted.continues
