"""Padding: its mask, the reversal of rows and their last steps, by hand; lengths that do not fit."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from zoo.rnn.padding import (
    CALL,
    LEAST_SAVED,
    ROUND,
    STEP,
    Padding,
    find_padding,
    pieces_of,
)

LENGTHS = torch.tensor([2, 3, 0])
X = torch.arange(9.0).view(3, 3, 1)  # (time, batch, size): row 0 is 0, 3, 6


def test_the_mask_is_true_beyond_each_rows_length():
    mask = Padding(LENGTHS, 3).mask.squeeze(-1)
    assert mask.t().tolist() == [[False, False, True], [False] * 3, [True] * 3]


def test_rows_are_reversed_within_their_lengths():
    turned = Padding(LENGTHS, 3).reverse(X).squeeze(-1)
    assert turned.t().tolist() == [[3, 0, 6], [7, 4, 1], [2, 5, 8]]


def test_the_last_step_of_an_empty_row_is_the_state_before():
    before = torch.tensor([[10.0], [11.0], [12.0]])
    assert Padding(LENGTHS, 3).last_step(X, before).tolist() == [[3], [7], [12]]


@pytest.mark.parametrize("lengths", [None, torch.tensor([3, 3, 3])])
def test_full_rows_have_no_padding(lengths):
    assert find_padding(X, lengths) is None


def test_a_batch_of_no_rows_has_no_padding():
    assert find_padding(X[:, :0], LENGTHS[:0]) is None


def test_shorter_rows_have_padding():
    found = find_padding(X, LENGTHS.int())
    assert found is not None
    assert torch.equal(found.lengths, LENGTHS)


@pytest.mark.parametrize(
    "lengths",
    [
        [2, 3, 0],
        (2, 3, 0),
        [torch.tensor(2), np.int64(3), 0],
        np.array([2, 3, 0], np.uint16),
        np.array([2, 3, 0], ">i8"),
        np.array([0, 3, 2])[::-1],
        np.broadcast_to(np.array([[2, 3, 0]]), (2, 3))[0],  # cannot be written to
        torch.tensor([2, 3, 0], dtype=torch.uint16),
    ],
    ids=repr,
)
def test_lengths_of_any_kind_are_the_same(lengths):
    found = find_padding(X, lengths)
    assert found is not None
    assert torch.equal(found.lengths, LENGTHS)


@pytest.mark.parametrize(
    ("lengths", "message"),
    [
        (torch.tensor([2, 3]), "lengths must be 3 integers, one per row, not torch.int64 of shape"),
        (torch.tensor([2.0, 3.0, 1.0]), "not torch.float32"),
        (torch.tensor([True, True, False]), "not torch.bool"),
        (torch.tensor([2, 3, 1]).to_sparse(), "not torch.int64"),
        ([], r"of shape \(0,\)"),
        ([2, 3, 1.0], "not torch.float32"),
        ([[2, 3, 1]], r"of shape \(1, 3\)"),
        ([2, 3, None], "not a list of other things"),
        ((2, [3], 1), "not a tuple of other things"),
        ([2, 3, 1 << 70], "not a list of other things"),
        (np.array([2, 3, None]), "not a ndarray of other things"),
        (np.array(["2", "3", "1"]), "not a ndarray of other things"),
        (np.array([2.0, 3.0, 1.0]), "not torch.float64"),
        (np.array(3), "not one number"),
        (3, "not int"),
        ("231", "not str"),
        ({2, 3, 1}, "not set"),
        ([2, 4, 1], r"not in 1\.\.4"),
        (torch.tensor([2, 4, 1]), r"lengths must lie in 0\.\.3, the steps given, not in 1\.\.4"),
        (torch.tensor([2, 3, -1]), r"not in -1\.\.3"),
    ],
)
def test_lengths_that_do_not_fit_are_refused(lengths, message):
    with pytest.raises(ValueError, match=message) as raised:
        find_padding(X, lengths)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("seed", range(8))
def test_pieces_read_each_row_to_its_end(seed):
    generator = np.random.default_rng(seed)
    lengths = (generator.pareto(1.0, 40) * 60).astype(int).clip(0, 900)
    pieces = pieces_of(lengths)
    assert pieces
    assert [piece.start for piece in pieces] == [0, *(piece.stop for piece in pieces[:-1])]
    assert 0 <= pieces[-1].stop - lengths.max() < ROUND
    for start, stop, rows in pieces:
        assert rows == (lengths > start).sum()
        assert stop % ROUND == 0
    read = sum((stop - start) * (STEP + rows) + CALL for start, stop, rows in pieces)
    assert read <= (1 - LEAST_SAVED) * (lengths.max() * (STEP + 40) + CALL)


def test_rows_of_like_length_stay_whole():
    assert pieces_of(np.array([300, 299, 290, 300])) == []
    assert pieces_of(np.array([20, 1, 3])) == []
    assert pieces_of(np.array([0, 0])) == []


def test_times_are_rounded_by_a_sixteenth_at_most():
    one = torch.tensor([1])
    rounded = {time: len(Padding(one, time).rounded.mask) for time in range(1, 2000)}
    assert {time: rounded[time] for time in (5, 31, 33, 64, 65, 300)} == dict(
        zip((5, 31, 33, 64, 65, 300), (5, 31, 34, 64, 68, 304), strict=True)
    )
    assert all(time <= found <= time * 17 / 16 for time, found in rounded.items())
    assert len({*rounded.values()}) < 150
