"""A batch pads ids and floats, finds its targets, and moves as a whole."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from zoo.data.batch import IGNORE_INDEX, Batch, collate, pad
from zoo.text.special_ids import PAD

ROWS = [
    {"inputs": [4, 5, 6], "targets": 2},
    {"inputs": [], "targets": 0},
    {"inputs": [9], "targets": 1},
    {"inputs": [2**31 - 1, 0], "targets": -1},
]


def test_padding_is_pad_in_ids_and_ignored_in_targets():
    rows = [{"inputs": [5, 6], "targets": [1]}, {"inputs": [7], "targets": [2, 3, 4]}]
    batch = collate(rows)
    assert batch.inputs.tolist() == [[5, 6], [7, PAD]]
    assert batch.targets.tolist() == [[1, IGNORE_INDEX, IGNORE_INDEX], [2, 3, 4]]
    assert (batch.lengths.tolist(), len(batch)) == ([2, 1], 2)
    tensors = (batch.inputs, batch.targets, batch.lengths)
    assert {tensor.dtype for tensor in tensors} == {torch.int64}
    cross_entropy = torch.nn.functional.cross_entropy(torch.randn(6, 9), batch.targets.flatten())
    assert cross_entropy.isfinite()  # its own default leaves -100 out


def test_a_target_is_one_per_row_or_none():
    assert collate(ROWS).targets.tolist() == [2, 0, 1, -1]
    assert collate([{"inputs": [5]}]).targets is None


def test_a_batch_of_empty_texts_is_one_step_wide():
    batch = collate([{"inputs": [], "targets": []}] * 2)
    assert batch.inputs.tolist() == [[PAD], [PAD]]
    assert batch.targets.tolist() == [[IGNORE_INDEX], [IGNORE_INDEX]]
    assert batch.lengths.tolist() == [0, 0]


def test_a_batch_moves_but_for_its_lengths():
    batch = collate(ROWS[:3]).to(torch.device("meta"))
    assert (batch.inputs.device.type, batch.targets.device.type) == ("meta", "meta")
    assert batch.lengths.tolist() == [3, 0, 1]


def series(*lengths, width=2):
    return [np.full((length, width), length, np.float32) for length in lengths]


def test_floats_are_padded_with_zeros_and_their_targets_with_nan():
    rows = [{"inputs": values, "targets": [0.5] * len(values)} for values in series(3, 1)]
    batch = collate(rows)
    assert (batch.inputs.dtype, tuple(batch.inputs.shape)) == (torch.float32, (2, 3, 2))
    assert batch.inputs[1].tolist() == [[1, 1], [0, 0], [0, 0]]
    assert batch.target_mask.tolist() == [[True] * 3, [True, False, False]]
    assert batch.at_targets(batch.targets).tolist() == [0.5] * 4
    assert batch.count_steps() == 4


def test_targets_may_have_several_values_at_a_step():
    rows = [{"inputs": values, "targets": values} for values in series(2, 1)]
    batch = collate(rows)
    assert batch.with_places().extras["target_places"].tolist() == [0, 1, 2]
    assert batch.at_targets(batch.targets).tolist() == [[2, 2], [2, 2], [1, 1]]


def test_series_without_steps_are_one_step_wide():
    assert pad(series(0, 0), PAD).tolist() == [[[0, 0]], [[0, 0]]]


def test_steps_are_counted_by_targets_and_without_them_by_inputs():
    by_row = collate([{"inputs": [5, 6], "targets": 1}, {"inputs": [7], "targets": 0}])
    by_step = collate([{"inputs": [5, 6], "targets": [1]}, {"inputs": [7], "targets": [2, 3]}])
    assert by_row.count_steps() == collate([{"inputs": [5, 6, 7]}]).count_steps() == 3
    assert by_step.count_steps() == by_step.with_places().count_steps() == 3


@pytest.mark.parametrize("places", [True, False])
def test_the_steps_at_targets_are_the_same_with_places_and_without(places):
    batch = collate([{"inputs": [5, 6], "targets": [1]}, {"inputs": [7], "targets": [2, 3]}])
    batch = batch.with_places() if places else batch
    vectors = torch.arange(8.0).reshape(2, 2, 2)
    assert batch.at_targets(vectors).tolist() == [[0, 1], [4, 5], [6, 7]]
    assert batch.at_targets(batch.targets).tolist() == [1, 2, 3]


def test_extras_that_are_tensors_move_and_others_stay():
    extras = {"word_starts": torch.zeros(1, 2), "head": "topic"}
    batch = Batch(torch.ones(1, 2), torch.tensor([2]), None, extras, True)
    moved = batch.to(torch.device("meta"))
    assert moved.extras["word_starts"].device.type == "meta"
    assert (moved.extras["head"], moved.continues, moved.targets) == ("topic", True, None)


def test_the_first_window_of_a_stream_says_whether_all_continue():
    rows = [{"inputs": [5], "targets": [6], "continues": 1}] * 2
    assert collate(rows).continues is True
    assert collate([{"inputs": [5]}]).continues is False
