"""Interleaving: the batches of several heads take turns, and an epoch holds all of them."""

from __future__ import annotations

from itertools import accumulate, pairwise

import numpy as np
import pytest

from zoo.data.batch import collate
from zoo.data.dataset import Dataset
from zoo.data.interleave import HeadBatch, InterleavedDataset
from zoo.data.readers import Row
from zoo.data.sampler import shard
from zoo.data.stream import Stream

LENGTHS = {
    "long": [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8] * 2,
    "short": [2, 7, 1, 8, 2, 8],
    "one": [4],
}


def rows(lengths, base=100) -> list[Row]:
    """Rows of these lengths, in which every token is different."""
    ends = [0, *accumulate(lengths)]
    return [Row({"inputs": [*range(base + a, base + b)]}, "") for a, b in pairwise(ends)]


def write(folder, name, lengths, base=100) -> Dataset:
    return Dataset.write(
        rows(lengths, base),
        lambda row: {"inputs": row["inputs"], "targets": len(row["inputs"])},
        folder / name,
    )


@pytest.fixture
def datasets(tmp_path):
    return {
        name: write(tmp_path, name, lengths, 1000 * number)
        for number, (name, lengths) in enumerate(LENGTHS.items(), 1)
    }


@pytest.fixture
def turns(datasets):
    return InterleavedDataset(datasets)


@pytest.fixture
def stream(tmp_path):
    return Stream.write(rows([7] * 9), lambda row: {"targets": row["inputs"]}, tmp_path / "stream")


def by_head(plan) -> dict[str, list[np.ndarray]]:
    found: dict[str, list[np.ndarray]] = {}
    for turn in plan:
        found.setdefault(turn.head, []).append(turn.rows)
    return found


@pytest.mark.parametrize("seed", [None, 1, 2])
def test_every_batch_of_every_head_has_one_turn_in_an_epoch(turns, datasets, seed):
    generator = None if seed is None else np.random.default_rng(seed)
    found = by_head(turns.sampler(24, 4, generator))
    for head, dataset in datasets.items():
        assert sorted(np.concatenate(found[head])) == [*range(len(dataset))]
        for batch in found[head]:
            assert 0 < len(batch) <= 4
            assert len(batch) * dataset.lengths(batch).max() <= 24 or len(batch) == 1
    assert len(found["long"]) > len(found["short"]) > len(found["one"]) == 1


def test_a_seed_gives_an_order_and_without_one_rows_stand_as_they_are_planned(turns, datasets):
    def order(seed):
        return [
            (turn.head, *turn.rows) for turn in turns.sampler(24, 4, np.random.default_rng(seed))
        ]

    assert order(1) == order(1)
    assert sorted(order(1)) != sorted(order(2))
    assert [whose for whose, *_ in order(1)] != ["long"] * 6 + ["short"] * 2 + ["one"]
    found = by_head(turns.sampler(24, 4))
    for head, dataset in datasets.items():
        own = [*dataset.sampler(24, 4)]
        assert [batch.tolist() for batch in found[head]] == [batch.tolist() for batch in own]


@pytest.mark.parametrize("counts", [(12, 4), (7, 5, 1), (1, 1), (3, 17), (10, 10, 10)])
def test_turns_are_spread_over_the_whole_epoch(tmp_path, counts):
    datasets = {
        f"h{place}": write(tmp_path, f"h{place}", [2] * count) for place, count in enumerate(counts)
    }
    heads = [turn.head for turn in InterleavedDataset(datasets).sampler(100, 1)]
    assert len(heads) == sum(counts)
    for done in range(len(heads) + 1):
        for place, count in enumerate(counts):
            due = count * done / len(heads)
            assert abs(heads[:done].count(f"h{place}") - due) <= 1


def test_a_head_with_half_as_many_batches_has_every_third_turn(tmp_path):
    datasets = {"a": write(tmp_path, "a", [2] * 8), "b": write(tmp_path, "b", [2] * 4)}
    assert [turn.head for turn in InterleavedDataset(datasets).sampler(100, 1)] == [
        "a",
        "b",
        "a",
    ] * 4


def test_a_single_batch_stands_in_the_middle(tmp_path):
    datasets = {"one": write(tmp_path, "one", [2]), "many": write(tmp_path, "many", [2] * 8)}
    heads = [turn.head for turn in InterleavedDataset(datasets).sampler(100, 1)]
    assert heads.index("one") == 4


@pytest.mark.parametrize("seed", [None, 3])
def test_windows_of_a_stream_keep_their_order(datasets, stream, seed):
    turns = InterleavedDataset({**datasets, "text": stream})
    generator = None if seed is None else np.random.default_rng(seed)
    plan = [*turns.sampler(12, 3, generator)]
    windows = [turn.rows for turn in plan if turn.head == "text"]
    assert len(windows) >= 4
    assert [bool(window[0, 2]) for window in windows] == [False] + [True] * (len(windows) - 1)
    for one, two in pairwise(windows):
        assert one[:, 1].tolist() == two[:, 0].tolist()
    places = [place for place, turn in enumerate(plan) if turn.head == "text"]
    assert max(b - a for a, b in pairwise(places)) > 1
    if seed is None:
        reached = [
            token for window in windows for start, end, _ in window for token in range(start, end)
        ]
        assert sorted(reached) == [*range(63)]
    batches = [collate(turns.examples(turn)) for turn in plan if turn.head == "text"]
    assert [batch.continues for batch in batches] == [False] + [True] * (len(windows) - 1)


def test_examples_are_those_of_their_own_dataset_and_say_whose_they_are(turns, datasets):
    for turn in turns.sampler(24, 4):
        some, own = turns.examples(turn), datasets[turn.head].examples(turn.rows)
        assert [example["head"] for example in some] == [turn.head] * len(turn)
        for example, wanted in zip(some, own, strict=True):
            assert example["inputs"].tolist() == wanted["inputs"].tolist()
            assert example["targets"] == wanted["targets"]
            assert example["inputs"][0] // 1000 == [*LENGTHS].index(turn.head) + 1


def test_an_epoch_is_counted_in_what_its_datasets_count_in(turns, datasets, stream):
    assert (len(turns), turns.progress()) == (31, 31)
    with_text = InterleavedDataset({**datasets, "text": stream})
    assert (len(with_text), with_text.progress()) == (31 + 9, 31 + 63)
    plan = [*with_text.sampler(12, 3)]
    assert sum(map(with_text.progress, plan)) == with_text.progress()
    for turn in plan:
        own = int((turn.rows[:, 1] - turn.rows[:, 0]).sum()) if turn.head == "text" else len(turn)
        assert with_text.progress(turn) == own


def test_a_place_names_the_head_and_the_rows(datasets, stream):
    turns = InterleavedDataset({**datasets, "text": stream})
    assert turns.describe_batch(HeadBatch("short", np.array([4, 0]))) == "short, training rows 5, 1"
    window = HeadBatch("text", np.array([[7, 9, 1], [30, 32, 1]]))
    assert (
        turns.describe_batch(window)
        == "text, tokens 8 to 9 of the training stream, and 1 columns beside"
    )


def test_a_fingerprint_is_of_all_rows_and_whose_they_are(tmp_path, datasets):
    found = InterleavedDataset(datasets).fingerprint()
    again = {name: Dataset(tmp_path / name) for name in datasets}
    assert InterleavedDataset(again).fingerprint() == found
    others = [
        {**datasets, "one": write(tmp_path, "other", [4], 3001)},
        {**datasets, "long": datasets["short"], "short": datasets["long"]},
        {"long": datasets["long"], "short": datasets["short"]},
        {"long": datasets["long"], "short": datasets["short"], "two": datasets["one"]},
    ]
    prints = {InterleavedDataset(other).fingerprint() for other in others}
    assert len(prints | {found}) == 5


@pytest.mark.parametrize("world", [1, 2, 3])
def test_processes_share_a_turn_row_by_row(turns, datasets, stream, world):
    whole = InterleavedDataset({**datasets, "text": stream})
    for turn in whole.sampler(24, 4):
        mine = [shard(turn, rank, world) for rank in range(world)]
        assert {part.head for part in mine} == {turn.head}
        assert sum(map(len, mine)) == len(turn)
        for rank, part in enumerate(mine):
            assert part.rows.tolist() == turn.rows[rank::world].tolist()
            if len(part):
                found = [example["inputs"].tolist() for example in whole.examples(part)]
                all_of_it = [example["inputs"].tolist() for example in whole.examples(turn)]
                assert found == all_of_it[rank::world]


def test_a_process_without_a_row_takes_the_first_one_for_its_shape(turns):
    (turn,) = (turn for turn in turns.sampler(24, 4) if turn.head == "one")
    none = shard(turn, 1, 2)
    assert (len(none), none.head) == (0, "one")
    assert collate(turns.examples(turn[:1])).inputs.tolist() == [[3000, 3001, 3002, 3003]]
