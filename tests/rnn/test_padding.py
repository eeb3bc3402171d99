"""Padding: its mask, the reversal of rows and their last steps, by hand; lengths that do not fit."""

from __future__ import annotations

import pytest
import torch

from zoo.rnn.padding import Padding, find_padding

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
    ("lengths", "message"),
    [
        (torch.tensor([2, 3]), "lengths must be 3 integers, one per row, not torch.int64 of shape"),
        (torch.tensor([2.0, 3.0, 1.0]), "not torch.float32"),
        (torch.tensor([True, True, False]), "not torch.bool"),
        (torch.tensor([2, 4, 1]), r"lengths must lie in 0\.\.3, the steps given, not in 1\.\.4"),
        (torch.tensor([2, 3, -1]), r"not in -1\.\.3"),
    ],
)
def test_lengths_that_do_not_fit_are_refused(lengths, message):
    with pytest.raises(ValueError, match=message):
        find_padding(X, lengths)
