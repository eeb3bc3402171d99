"""The three engines: one function, whatever computes it, and blind to all that is no step."""

from __future__ import annotations

import ast

import pytest
import torch
from conftest import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st
from lstm_cases import (
    LENGTHS,
    ROWS,
    TIME,
    assert_same,
    case,
    cases,
    engines,
    everything,
    grid,
    kinds,
    needs_gpu,
    packed,
    rows_of,
    unfused,
)
from torch.nn.utils.rnn import pack_padded_sequence

from zoo.device import runs_bf16

pytestmark = unfused
needs_bf16 = pytest.mark.skipif(not runs_bf16(), reason="no bf16 on this processor")
few = settings(max_examples=8, deadline=None, derandomize=True, database=None)
some_lengths = st.lists(st.integers(0, TIME), min_size=ROWS, max_size=ROWS).map(torch.tensor)
some_case = {"layers": st.integers(1, 2), "stateful": st.booleans(), "lengths": some_lengths}


@engines
@grid
def test_results_and_gradients_are_those_of_packed_torch(
    engine, layers, both, bias, batch_first, proj_size, lengths, stateful
):
    options = {"bias": bias, "batch_first": batch_first, "proj_size": proj_size}
    given = case(layers, both, stateful, engine=engine, **options)
    wanted = everything(*given, lengths, packed)
    assert_same(everything(*given, lengths), wanted, 1e-10)


@grid
def test_with_layer_norm_hoisted_is_the_reference(
    layers, both, bias, batch_first, proj_size, lengths, stateful
):
    options = {"bias": bias, "batch_first": batch_first, "proj_size": proj_size, "layer_norm": True}
    found, wanted = (
        everything(*case(layers, both, stateful, engine=engine, **options), lengths)
        for engine in ("hoisted", "reference")
    )
    assert_same(found, wanted, 1e-10)
    assert all(wanted[name].any() for name in wanted if name.startswith("norm_"))


@kinds
@few
@given(order=st.permutations(range(ROWS)), both=st.booleans(), **some_case)
def test_rows_need_no_order(kind, order, both, layers, stateful, lengths):
    lstm, x, state = case(layers, both, stateful, **kind)
    output, last = lstm(x, state, lengths)
    found = lstm(x[order], rows_of(state, order), lengths[order])
    assert_same(found, (output[order], rows_of(last, order)), 1e-12)


@kinds
@few
@given(cut=st.integers(1, TIME - 1), **some_case)
def test_two_parts_with_carried_state_are_one_pass(kind, cut, layers, stateful, lengths):
    lstm, x, state = case(layers, False, stateful, **kind)
    first, carried = lstm(x[:, :cut], state, lengths.clamp(max=cut))
    second, last = lstm(x[:, cut:], carried, (lengths - cut).clamp(min=0))
    assert_same((torch.cat([first, second], 1), last), lstm(x, state, lengths), 1e-12)


@kinds
@few
@given(more=st.integers(1, 9), both=st.booleans(), **some_case)
def test_more_padding_changes_nothing(kind, more, both, layers, stateful, lengths):
    lstm, x, state = case(layers, both, stateful, **kind)
    wide = torch.cat([x, torch.full((ROWS, more, 3), 1e30, dtype=x.dtype)], 1)
    output, last = lstm(wide, state, lengths)
    assert_same((output[:, :TIME], last), lstm(x, state, lengths), 1e-12)
    assert not output[:, TIME:].any()


@kinds
@few
@given(filler=st.sampled_from([float("nan"), float("inf"), 1e30]), both=st.booleans(), **some_case)
def test_what_the_padding_holds_changes_no_bit(kind, filler, both, layers, stateful, lengths):
    lstm, x, state = case(layers, both, stateful, **kind)
    padding = torch.arange(TIME) >= lengths.unsqueeze(1)
    found = everything(lstm, x.masked_fill(padding.unsqueeze(-1), filler), state, lengths)
    assert_same(found, everything(lstm, x, state, lengths))
    assert not found["x.grad"][padding].any()
    assert not found["output"][padding].any()


@engines
@cases
def test_float32_is_packed_torch_too(engine, layers, both, stateful):
    given = case(layers, both, stateful, engine=engine, dtype=torch.float32)
    assert_same(everything(*given, LENGTHS), everything(*given, LENGTHS, packed), 1e-5)


@kinds
@cases
@pytest.mark.parametrize("lengths", [[0, 5, 0, 3], [0, 0, 0, 0]])
def test_an_empty_row_keeps_its_state(kind, layers, both, stateful, lengths):
    lstm, x, state = case(layers, both, stateful, **kind)
    empty = torch.tensor(lengths) == 0
    output, last = lstm(x, state, torch.tensor(lengths))
    first = state or tuple(map(torch.zeros_like, last))
    assert_same(rows_of(last, empty), rows_of(first, empty))
    assert not output[empty].any()


@kinds
@few
@given(both=st.booleans(), **some_case)
def test_a_row_does_not_know_its_neighbours(kind, both, layers, stateful, lengths):
    lstm, x, state = case(layers, both, stateful, **kind)
    output, last = lstm(x, state, lengths)
    for row in lengths.nonzero():
        length, own = lengths[row], rows_of(state, row)
        alone = lstm(x[row, :length], own)
        assert_same((output[row, :length], rows_of(last, row)), alone, 1e-12)


@pytest.mark.parametrize(
    ("lengths", "complaint"),
    [
        ([3, 6, 1, 4], r"lie in 0\.\.5, the steps given, not in 1\.\.6"),
        ([3, -1, 1, 4], r"lie in 0\.\.5, the steps given, not in -1\.\.4"),
        ([3.0, 5.0, 1.0, 4.0], r"4 integers, one per row, not torch\.float32 of shape \(4,\)"),
        ([True, True, False, True], r"4 integers, one per row, not torch\.bool"),
        ([3, 5, 1], r"4 integers, one per row, not torch\.int64 of shape \(3,\)"),
        ([[3, 5, 1, 4]], r"4 integers, one per row, not torch\.int64 of shape \(1, 4\)"),
    ],
)
def test_lengths_that_do_not_fit_are_named(lengths, complaint):
    lstm, x, _ = case()
    with pytest.raises(ValueError, match=complaint):
        lstm(x, None, torch.tensor(lengths))


def test_lengths_belong_to_a_padded_batch():
    lstm, x, state = case(stateful=True)
    with pytest.raises(ValueError, match="an unbatched sequence has no padding"):
        lstm(x[0], None, LENGTHS[:1])
    with pytest.raises(ValueError, match="a PackedSequence has its own lengths"):
        lstm(pack_padded_sequence(x, LENGTHS, True, enforce_sorted=False), None, LENGTHS)
    with pytest.raises(RuntimeError, match="input must have 3 dimensions"):
        lstm(x.unsqueeze(0), None, LENGTHS)
    with pytest.raises(RuntimeError, match="Expected hidden"):
        lstm(x, rows_of(state, slice(0, 3)), LENGTHS)
    assert lstm(x[:0], None, LENGTHS[:0])[0].shape == (0, TIME, 4)


@pytest.mark.parametrize("dtype", [torch.int32, torch.int16, torch.int8, torch.uint8])
def test_lengths_are_integers_of_any_kind(dtype):
    lstm, x, state = case(2, True, True)
    lengths = LENGTHS - 1  # one row is empty
    assert_same(lstm(x, state, lengths.to(dtype)), lstm(x, state, lengths))


@kinds
def test_input_lengths_and_state_are_left_alone(kind):
    lstm, x, state = case(2, True, True, dropout=0.5, **kind)
    given = (x, *state, LENGTHS)
    copies = [part.clone() for part in given]
    everything(lstm, x, state, LENGTHS)
    lstm(x, state, LENGTHS)
    assert all(map(torch.equal, given, copies))


@kinds
@cases
def test_batch_first_turns_input_and_output_only(kind, layers, both, stateful):
    lstm, x, state = case(layers, both, stateful, batch_first=False, **kind)
    output, last = lstm(x, state, LENGTHS)
    lstm.batch_first = True
    assert_same(lstm(x.transpose(0, 1), state, LENGTHS), (output.transpose(0, 1), last))


def test_no_source_packs():
    sources = [path for folder in ("zoo", "tasks") for path in (ROOT / folder).rglob("*.py")]
    assert len(sources) > 10
    for path in sources:
        measured = path.parent.name == "bench" and path.name.startswith("peer")  # what others do
        if measured or path.relative_to(ROOT).as_posix() == "zoo/bench/gpu/right.py":  # the oracle
            continue
        nodes = list(ast.walk(ast.parse(path.read_text("utf-8"))))
        names = {getattr(node, key, "") for node in nodes for key in ("id", "attr", "name")}
        assert not names & {"pack_padded_sequence", "pack_sequence"}, path


@needs_gpu
@pytest.mark.gpu
@engines
@cases
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-4)])
def test_on_cuda_too_it_is_packed_torch(engine, layers, both, stateful, dtype, tolerance):
    # Warnings are errors here, cuDNN's about weights that are not contiguous as well.
    given = case(layers, both, stateful, dtype=dtype, device="cuda", engine=engine)
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        wanted = everything(*given, LENGTHS, packed)
        assert_same(everything(*given, LENGTHS), wanted, tolerance)
        assert_same(everything(*given, LENGTHS.cuda()), wanted, tolerance)
