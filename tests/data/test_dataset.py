"""Batches hold every row once within their limits; memory does not grow with the corpus."""

from __future__ import annotations

import platform
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from zoo.data.dataset import (
    IGNORE_INDEX,
    POOL_BATCHES,
    Batch,
    Dataset,
    ExampleList,
    bucket_sampler,
    shard,
)
from zoo.text.special_ids import PAD

ROOT = Path(__file__).resolve().parents[2]
QUICK = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))

seeds = st.integers(0, 99)
texts = st.builds(  # lengths of rows, often more than a pool of them
    lambda rows, seed: np.random.default_rng(seed).integers(0, 31, rows).tolist(),
    st.integers(0, 200),
    seeds,
)
limits = st.tuples(st.integers(1, 80), st.integers(1, 9))  # tokens, rows

ROWS = [
    {"ids": [4, 5, 6], "target": 2, "tags": [7, 8]},
    {"ids": [], "target": 0, "tags": []},
    {"ids": [9], "target": 1, "tags": [3, 2, 1]},
    {"ids": [2**31 - 1, 0], "target": -1, "tags": []},
]


def examples(lengths):
    return ExampleList([{"ids": [4] * length} for length in lengths])


def planned(lengths, limits, seed=None):
    generator = None if seed is None else np.random.default_rng(seed)
    return [batch.tolist() for batch in bucket_sampler(examples(lengths), *limits, generator)]


def plain(dataset):
    """All stored values, as Python ints and lists."""
    return [
        {name: v if isinstance(v, int) else list(map(int, v)) for name, v in dataset[i].items()}
        for i in range(len(dataset))
    ]


def stored(folder, rows=ROWS, encode=dict):
    return Dataset.write(rows, encode, folder)


@QUICK
@given(texts, limits, st.none() | seeds)
def test_each_row_is_planned_once(lengths, limits, seed):
    rows = [row for batch in planned(lengths, limits, seed) for row in batch]
    assert sorted(rows) == list(range(len(lengths)))


@QUICK
@given(texts, limits, st.none() | seeds)
def test_a_batch_keeps_its_limits_unless_it_is_one_row(lengths, limits, seed):
    tokens, rows = limits
    dataset = examples(lengths)
    for batch in bucket_sampler(
        dataset, tokens, rows, None if seed is None else np.random.default_rng(seed)
    ):
        assert 1 <= len(batch) <= rows
        assert len(batch) == 1 or dataset.batch(batch).ids.numel() <= tokens


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
        planned = [dataset.batch(rows) for rows in bucket_sampler(dataset, 10**6, 64, generator)]
        assert len(planned) == POOL_BATCHES
        assert sum(batch.ids.numel() for batch in planned) < 1.05 * lengths.sum()


def two_sided(lengths):
    return ExampleList([{"ids": [4] * read, "target": [5] * written} for read, written in lengths])


@QUICK
@given(texts, limits, st.none() | seeds)
def test_a_batch_keeps_its_limits_on_both_sides_and_is_no_smaller_than_needed(
    lengths, limits, seed
):
    tokens, rows = limits
    dataset = two_sided(zip(lengths, lengths[::-1], strict=True))
    generator = None if seed is None else np.random.default_rng(seed)
    planned = list(bucket_sampler(dataset, tokens, rows, generator))
    assert sorted(np.concatenate([*planned, []])) == list(range(len(lengths)))
    for batch in map(dataset.batch, planned):
        assert len(batch) == 1 or max(batch.ids.numel(), batch.target.numel()) <= tokens
    pool = rows * POOL_BATCHES
    for one, other in pairwise(planned) if seed is None else ():
        more = dataset.batch(np.append(one, other[0]))
        wide = len(more) * max(more.ids.shape[1], more.target.shape[1])
        assert wide > tokens or len(more) > rows or one[0] // pool != other[0] // pool


def test_rows_alike_on_both_sides_stand_together():
    alike = [(read, written) for read in (3, 9, 30, 31) for written in (2, 8, 40, 41)]
    lengths = [
        alike[i % 16] for i in range(64 * POOL_BATCHES)
    ]  # sixteen kinds, four full batches of each
    for generator in (None, np.random.default_rng(2)):
        planned = list(bucket_sampler(two_sided(lengths), 10**6, 64, generator))
        kinds = [{lengths[row] for row in batch} for batch in planned]
        assert len(planned) == POOL_BATCHES
        assert [len(kind) for kind in kinds] == [1] * POOL_BATCHES


def test_lengths_are_those_of_both_sides(tmp_path):
    rows = [
        {"ids": [4, 5], "target": [6]},
        {"ids": [7], "target": []},
        {"ids": [], "target": [8] * 5},
    ]
    wanted = [[2, 1], [1, 0], [0, 5]]
    for dataset in (ExampleList(rows), stored(tmp_path / "dataset", rows)):
        assert dataset.lengths(np.arange(3)).tolist() == wanted
        assert dataset.lengths(np.array([2, 0])).tolist() == [wanted[2], wanted[0]]
    numbers = [{"ids": [4, 5], "target": 3}, {"ids": [], "target": 9}]  # classes are not written
    for dataset in (ExampleList(numbers), stored(tmp_path / "numbers", numbers), examples([2, 0])):
        assert dataset.lengths(np.arange(2)).tolist() == [[2, 0], [0, 0]]


@QUICK
@given(st.lists(st.integers(0, 999), max_size=40), st.integers(1, 5))
def test_the_shares_of_a_batch_are_the_batch(rows, world):
    shares = [shard(np.array(rows, dtype=np.int32), rank, world) for rank in range(world)]
    assert sorted(row for part in shares for row in part) == sorted(rows)
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_padding_is_pad_in_ids_and_ignored_in_targets():
    rows = [{"ids": [5, 6], "target": [1]}, {"ids": [7], "target": [2, 3, 4]}]
    batch = Batch.collate(rows, [8, 3])
    assert batch.ids.tolist() == [[5, 6], [7, PAD]]
    assert batch.target.tolist() == [[1, IGNORE_INDEX, IGNORE_INDEX], [2, 3, 4]]
    assert (batch.lengths.tolist(), batch.row_numbers.tolist(), len(batch)) == ([2, 1], [8, 3], 2)
    tensors = (batch.ids, batch.target, batch.lengths, batch.row_numbers)
    assert {tensor.dtype for tensor in tensors} == {torch.int64}
    cross_entropy = torch.nn.functional.cross_entropy(torch.randn(6, 9), batch.target.flatten())
    assert cross_entropy.isfinite()  # its own default leaves -100 out


def test_a_target_is_one_per_row_or_none():
    assert Batch.collate(ROWS, range(4)).target.tolist() == [2, 0, 1, -1]
    assert Batch.collate([{"ids": [5]}], [0]).target is None


def test_a_batch_of_empty_texts_is_one_step_wide():
    batch = Batch.collate([{"ids": [], "target": []}] * 2, [0, 1])
    assert batch.ids.tolist() == [[PAD], [PAD]]
    assert batch.target.tolist() == [[IGNORE_INDEX], [IGNORE_INDEX]]
    assert batch.lengths.tolist() == [0, 0]


def test_a_batch_moves_but_for_its_lengths():
    batch = Batch.collate(ROWS[:3], range(3)).to(torch.device("meta"))
    assert (batch.ids.device.type, batch.target.device.type) == ("meta", "meta")
    assert batch.lengths.tolist() == [3, 0, 1]


def test_what_is_stored_is_what_was_encoded(tmp_path):
    dataset, memory = stored(tmp_path / "dataset"), ExampleList(ROWS)
    assert len(dataset) == len(memory) == 4
    assert plain(dataset) == plain(Dataset(tmp_path / "dataset")) == ROWS
    for rows in ([0], [2, 0, 1], [1], [3, 3]):
        rows = np.array(rows)
        assert dataset.lengths(rows).tolist() == memory.lengths(rows).tolist()
        found, wanted = dataset.batch(rows), memory.batch(rows)
        for name in ("ids", "lengths", "row_numbers", "target"):
            assert torch.equal(getattr(found, name), getattr(wanted, name))


def test_a_dataset_is_batched_like_examples_in_memory(tmp_path):
    rows = [{"ids": [4] * (i * 7 % 13)} for i in range(200)]
    dataset = stored(tmp_path / "dataset", rows)
    one, two = (
        bucket_sampler(kept, 40, 5, np.random.default_rng(1))
        for kept in (dataset, ExampleList(rows))
    )
    assert list(map(list, one)) == list(map(list, two))


def test_a_corpus_of_empty_texts_is_stored(tmp_path):
    dataset = stored(tmp_path / "dataset", [{"ids": [], "target": 1}] * 3)
    assert plain(dataset) == [{"ids": [], "target": 1}] * 3
    assert [batch.tolist() for batch in bucket_sampler(dataset, 9, 2)] == [[0, 1], [2]]
    assert dataset.batch(np.arange(3)).ids.tolist() == [[PAD]] * 3
    assert len(dataset.fingerprint()) == 64


def test_a_corpus_without_rows_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no rows to encode"):
        stored(tmp_path / "dataset", [])


def test_a_folder_holds_one_dataset(tmp_path):
    stored(tmp_path / "dataset")
    with pytest.raises(FileExistsError):
        stored(tmp_path / "dataset")


def test_a_row_that_cannot_be_encoded_is_passed_on_with_files_closed(tmp_path, monkeypatch):
    opened = []

    def watched(*arguments):
        opened.append(open(*arguments))  # noqa: SIM115  # the dataset closes it
        return opened[-1]

    def encode(row):
        if row["target"] == 1:
            raise KeyError("no such label")
        return row

    monkeypatch.setattr("zoo.data.dataset.open", watched, raising=False)
    with pytest.raises(KeyError, match="no such label"):
        stored(tmp_path / "dataset", encode=encode)
    assert len(opened) == 5  # ids and tags with their ends, target
    assert all(file.closed for file in opened)


def test_the_fingerprint_tells_datasets_apart(tmp_path):
    changes = [ROWS, ROWS[::-1], ROWS[:-1]]
    for field, value in (("ids", [4, 5, 7]), ("target", 3), ("tags", [7, 9])):
        changes.append([ROWS[0] | {field: value}, *ROWS[1:]])
    changes.append([ROWS[0] | {"ids": [4, 5]}, ROWS[1] | {"ids": [6]}, *ROWS[2:]])  # ends only
    prints = [stored(tmp_path / str(i), rows).fingerprint() for i, rows in enumerate(changes)]
    assert len(set(prints)) == len(changes)
    assert stored(tmp_path / "again").fingerprint() == prints[0]
    assert Dataset(tmp_path / "0").fingerprint() == prints[0]


def test_the_fingerprint_reads_all_of_a_long_field(tmp_path):
    ids = [4] * ((1 << 20) + 5)
    one, two = (
        stored(tmp_path / str(last), [{"ids": [*ids, last]}]).fingerprint() for last in (4, 5)
    )
    assert one != two


def test_cut_rows_are_counted(tmp_path):
    whole = [{"ids": [4] * min(size, 3), "cut": int(size > 3)} for size in (0, 2, 3, 4, 9)]
    assert stored(tmp_path / "cut", whole).count_truncated() == 2
    assert stored(tmp_path / "plain").count_truncated() == 0


MEMORY = """
import re, sys, tempfile
from pathlib import Path
import numpy as np
from zoo.data.dataset import Dataset, bucket_sampler

peak = 0

def look():
    global peak
    found = re.search(r"RssAnon:\\s*(\\d+)", Path("/proc/self/status").read_text())
    peak = max(peak, int(found[1]))

def rows(count):
    for number in range(count):
        if number % 500 == 0:
            look()
        yield {"ids": list(range(number % 7, 200 + number % 7)), "target": number % 5}

with tempfile.TemporaryDirectory() as folder:
    dataset = Dataset.write(rows(int(sys.argv[1])), dict, Path(folder) / "dataset")
    steps = 0
    for number, batch in enumerate(bucket_sampler(dataset, 64 * 200, 64, np.random.default_rng(1))):
        steps += int(dataset.batch(batch).lengths.sum())
        if number % 20 == 0:
            look()
    dataset.fingerprint()
    look()
    assert steps == 200 * int(sys.argv[1])
print(peak)
"""


def peak_memory(rows):
    """Peak anonymous memory, in MB, of a process that writes and reads rows of 200 ids."""
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, str(rows)], cwd=ROOT, capture_output=True, text=True
    )
    assert not done.returncode, done.stderr
    return int(done.stdout) / 1024


@pytest.mark.skipif(platform.system() != "Linux", reason="reads /proc/self/status")
def test_memory_does_not_grow_with_the_corpus():
    assert peak_memory(100_000) - peak_memory(5_000) < 30  # 20 and 1 million ids
