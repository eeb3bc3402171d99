"""Streams: each token is a target once, its input is the one before it, and columns continue."""

from __future__ import annotations

import hashlib
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from zoo.data.batch import IGNORE_INDEX, collate
from zoo.data.dataset import Dataset, ExampleList
from zoo.data.sampler import BucketSampler, shard
from zoo.data.stream import SHORTEST, Stream
from zoo.text.special_ids import EOS, PAD

QUICK = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))

sizes = st.one_of(st.integers(1, 8), st.integers(1, 150))  # tokens of a stream
limits = st.tuples(st.integers(1, 120), st.integers(1, 12))  # tokens, rows
seeds = st.integers(0, 99)


def stored(folder, *rows):
    return Stream.write(
        [{"targets": row} for row in rows], dict, folder / str(len([*folder.iterdir()]))
    )


def counting(folder, size):
    """A stream of `size` tokens, each another one."""
    return stored(folder, range(10, 10 + size))


def planned(stream, limits, seed=None):
    generator = None if seed is None else np.random.default_rng(seed)
    return list(stream.sampler(*limits, generator))


def made(stream, window):
    return collate(stream.examples(window))


def flat(stream, windows, name):
    """The `ids` or the `target` of all windows, column after column, without padding."""
    batches = [made(stream, window) for window in windows]
    parts = [(getattr(batch, name), batch.lengths) for batch in batches]
    columns = range(len(windows[0]))
    return [int(i) for c in columns for values, sizes in parts for i in values[c, : sizes[c]]]


def test_the_targets_of_all_rows_are_stored_as_one(tmp_path):
    rows = [{"inputs": [EOS, *words], "targets": [*words, EOS]} for words in ([5, 6], [], [7])]
    stream = Stream.write(rows, dict, tmp_path / "dataset")
    assert isinstance(stream, Stream)
    assert stream.tokens.tolist() == [5, 6, EOS, EOS, 7, EOS]
    assert stream.row_ends.tolist() == [3, 4, 6]
    assert (stream.tokens.dtype, stream.row_ends.dtype) == (np.int32, np.int64)
    assert len(stream) == 3
    assert {name: ids.tolist() for name, ids in stream[2].items()} == {"inputs": [7, EOS]}
    assert Stream(tmp_path / "dataset").tokens.tolist() == stream.tokens.tolist()


@QUICK
@given(sizes, limits)
def test_each_token_is_a_target_once_and_the_one_before_it_is_read(tmp_path, size, limits):
    stream = counting(tmp_path, size)
    windows = planned(stream, limits)
    assert flat(stream, windows, "targets") == list(range(10, 10 + size))
    assert flat(stream, windows, "inputs") == [EOS, *range(10, 9 + size)]


@QUICK
@given(sizes, limits, seeds)
def test_a_training_leaves_out_what_is_before_its_offset(tmp_path, size, limits, seed):
    stream, (tokens, rows) = counting(tmp_path, size), limits
    windows = planned(stream, limits, seed)
    first = int(windows[0][0, 0])
    assert 0 <= first < max(1, tokens // rows)
    assert first < size
    assert flat(stream, windows, "targets") == list(range(10 + first, 10 + size))
    before = EOS if first == 0 else 9 + first
    assert flat(stream, windows, "inputs") == [before, *range(10 + first, 9 + size)]


@QUICK
@given(sizes, limits, st.none() | seeds)
def test_columns_go_on_and_are_of_one_length(tmp_path, size, limits, seed):
    stream = counting(tmp_path, size)
    windows = planned(stream, limits, seed)
    assert {len(window) for window in windows} == {min(limits[1], max(1, size // 2))}
    for before, after in pairwise(windows):
        assert before[:, 1].tolist() == after[:, 0].tolist()
    assert windows[-1][:-1, 1].tolist() == windows[0][1:, 0].tolist()  # the next one's beginning
    lengths = windows[-1][:, 1] - windows[0][:, 0]
    assert lengths.max() - lengths.min() <= 1
    for number, window in enumerate(windows):
        assert window[:, 2].tolist() == [int(number > 0)] * len(window)
        assert made(stream, window).continues is (number > 0)


@QUICK
@given(sizes, limits, st.none() | seeds)
def test_windows_are_as_long_as_asked(tmp_path, size, limits, seed):
    steps = max(1, limits[0] // limits[1])
    windows = planned(counting(tmp_path, size), limits, seed)
    widths = [(window[:, 1] - window[:, 0]).tolist() for window in windows]
    assert max(widths[-1]) >= 1
    least, most = (steps, steps) if seed is None else (min(SHORTEST, steps), 2 * steps)
    for width in widths[:-1]:
        assert least <= width[0] <= most
        assert len({*width}) == 1
    assert max(widths[-1]) <= most


@QUICK
@given(sizes, limits, st.none() | seeds)
def test_padding_stands_behind_the_tokens_alone(tmp_path, size, limits, seed):
    stream = counting(tmp_path, size)
    for window in planned(stream, limits, seed):
        batch = made(stream, window)
        assert batch.lengths.tolist() == (window[:, 1] - window[:, 0]).tolist()
        assert batch.inputs.shape == batch.targets.shape == (len(window), int(batch.lengths.max()))
        real = torch.arange(batch.inputs.size(1)) < batch.lengths[:, None]
        assert torch.equal(batch.target_mask, real)
        assert torch.equal(batch.inputs != PAD, real)


def test_a_window_is_this():
    tensors = {
        "inputs": [[EOS, 10, 11], [13, PAD, PAD]],
        "targets": [[10, 11, 12], [14, IGNORE_INDEX, IGNORE_INDEX]],
        "lengths": [3, 1],
    }
    stream = Stream.__new__(Stream)
    stream.values = {"inputs": np.arange(10, 17, dtype=np.int32)}
    batch = made(stream, np.array([[0, 3, 0], [4, 5, 0]]))
    assert {name: getattr(batch, name).tolist() for name in tensors} == tensors
    assert {getattr(batch, name).dtype for name in tensors} == {torch.int64}
    assert batch.continues is False
    assert made(stream, np.array([[3, 5, 1]])).continues is True
    assert made(stream, np.array([[3, 5, 1]])).inputs.tolist() == [[12, 13]]
    over = made(stream, np.array([[3, 3, 1], [7, 7, 1]]))  # columns that have ended before others
    assert (over.inputs.tolist(), over.targets.tolist()) == ([[PAD]] * 2, [[IGNORE_INDEX]] * 2)
    assert over.lengths.tolist() == [0, 0]


@pytest.mark.parametrize(
    ("size", "wanted"),
    [
        (1, [[[0, 1, 0]]]),
        (2, [[[0, 2, 0]]]),
        (3, [[[0, 3, 0]]]),
        (4, [[[0, 2, 0], [2, 4, 0]]]),
        (7, [[[0, 2, 0], [2, 4, 0], [4, 7, 0]]]),
    ],
)
def test_a_short_stream_has_fewer_columns(tmp_path, size, wanted):
    stream = counting(tmp_path, size)
    assert [window.tolist() for window in planned(stream, (640, 64))] == wanted
    for seed in range(20):
        targets = flat(stream, planned(stream, (640, 64), seed), "targets")
        assert targets
        assert targets == list(range(10, 10 + size))[-len(targets) :]


def test_the_seed_decides_where_a_training_is_cut(tmp_path):
    stream = counting(tmp_path, 3_000)
    plans = [[w.tolist() for w in planned(stream, (160, 8), seed)] for seed in (1, 1, 2)]
    assert plans[0] == plans[1] != plans[2]
    assert len({window[0][1] - window[0][0] for window in plans[0]}) > 3
    firsts = [int(planned(stream, (64, 8), seed)[0][0, 0]) for seed in range(150)]
    assert {*firsts} == {*range(8)}


def test_the_lengths_of_windows_are_merity_s(tmp_path):
    windows = planned(counting(tmp_path, 100_000), (40, 1), 3)
    widths = np.array([window[0, 1] - window[0, 0] for window in windows[:-1]])
    halves = widths < 30
    assert 0.03 < halves.mean() < 0.07
    assert widths[~halves].mean() == pytest.approx(40, abs=0.3)
    assert widths[halves].mean() == pytest.approx(20, abs=1)
    assert widths[~halves].std() == pytest.approx(40 / 14, rel=0.1)
    short = planned(counting(tmp_path, 5_000), (8, 1), 3)[:-1]
    assert min(window[0, 1] - window[0, 0] for window in short) == SHORTEST


def test_a_share_of_the_columns_is_what_all_of_them_are(tmp_path):
    stream = counting(tmp_path, 101)
    for window in planned(stream, (60, 5), 4):
        whole = made(stream, window)
        for rank in range(2):
            part = made(stream, shard(window, rank, 2))
            wide = part.inputs.size(1)
            assert torch.equal(part.inputs, whole.inputs[rank::2, :wide])
            assert torch.equal(part.targets, whole.targets[rank::2, :wide])
            assert part.continues == whole.continues


def test_an_epoch_of_a_stream_is_counted_in_tokens(tmp_path):
    stream = stored(tmp_path, [5, 6, EOS], [7] * 37)
    assert stream.progress() == 40
    windows = planned(stream, (24, 4))
    assert [stream.progress(window) for window in windows] == [24, 16]
    offset = planned(stream, (24, 4), 1)
    assert sum(map(stream.progress, offset)) == 40 - offset[0][0, 0] < 40


def test_an_epoch_of_rows_is_counted_in_rows(tmp_path):
    some = [{"inputs": [4] * (number % 5)} for number in range(30)]
    for dataset in (ExampleList(some), Dataset.write(some, dict, tmp_path / "dataset")):
        assert dataset.progress() == 30
        for seed in (None, 7):
            generators = [None if seed is None else np.random.default_rng(seed) for _ in range(2)]
            own = list(dataset.sampler(20, 6, generators[0]))
            wanted = BucketSampler(dataset, 20, 6, generators[1])
            assert [rows.tolist() for rows in own] == [rows.tolist() for rows in wanted]
            counts = [dataset.progress(rows) for rows in own]
            assert counts == [len(rows) for rows in own]
            assert (sum(counts), max(counts)) == (30, 6)


def test_a_batch_says_where_it_is_from(tmp_path):
    rows = ExampleList([{"inputs": [4]}] * 20)
    assert rows.describe_batch(np.array([4, 0, 19])) == "training rows 5, 1, 20"
    assert rows.describe_batch(np.arange(8)) == "training rows 1, 2, 3, 4, 5, 6, 7, 8"
    assert rows.describe_batch(np.arange(9)) == "training rows 1, 2, 3, 4, 5, 6, 7, 8, …"
    stream = counting(tmp_path, 5_000)
    window = planned(stream, (600, 2))[2]
    assert (
        stream.describe_batch(window)
        == "tokens 601 to 900 of the training stream, and 1 columns beside"
    )


def test_a_last_window_names_tokens_that_are_there(tmp_path):
    stream = counting(tmp_path, 7)
    window = planned(stream, (6, 2))[-1]
    assert stream.progress(window) == 1
    assert "tokens 7 to 7" in stream.describe_batch(window)


@pytest.mark.parametrize("kind", [Dataset, Stream])
def test_a_fingerprint_is_that_of_the_rows_and_computed_once(tmp_path, monkeypatch, kind):
    made, real = [], hashlib.sha256
    monkeypatch.setattr("zoo.data.dataset.hashlib.sha256", lambda: made.append(1) or real())
    rows = [{"inputs": [EOS, 4], "targets": [4, EOS]}, {"inputs": [EOS], "targets": [EOS]}]
    moved = [{"inputs": [EOS], "targets": [4]}, {"inputs": [EOS, 4], "targets": [EOS, EOS]}]
    datasets = [
        kind.write(some, dict, tmp_path / str(number))
        for number, some in enumerate((rows, rows, rows[::-1], moved))
    ]
    prints = [dataset.fingerprint() for dataset in datasets]
    assert len(made) == 4
    assert [dataset.fingerprint() for dataset in datasets] == prints
    assert len(made) == 4
    assert prints[0] == prints[1]
    assert len({*prints}) == 3
