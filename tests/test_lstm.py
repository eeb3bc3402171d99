"""LSTM: what packed torch computes, bit by bit repeatable, and blind to padding."""

from __future__ import annotations

import ast
from itertools import product
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from zoo import machine
from zoo.lstm import LSTM

ROOT = Path(__file__).resolve().parents[1]
ROWS, TIME, LENGTHS = 4, 7, torch.tensor([4, 7, 1, 5])
PADDING = torch.arange(TIME) >= LENGTHS.unsqueeze(1)  # (rows, time)
CASES = [(*kind, stateful) for kind in ((1, False), (1, True), (3, True)) for stateful in (0, 1)]

pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported")
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
cases = pytest.mark.parametrize(("layers", "both", "stateful"), CASES)


def make(layers=1, both=False, **options):
    """An LSTM 3 -> 4 in float64, batch first unless told otherwise."""
    torch.manual_seed(1)
    options = {"batch_first": True, "dtype": torch.float64} | options
    return LSTM(3, 4, layers, bidirectional=both, **options)


def normal(*shape, like):
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape))).to(like)


def case(layers=1, both=False, stateful=False, **options):
    """An LSTM, rows for it, and a state or None."""
    lstm = make(layers, both, **options)
    like = next(lstm.parameters())
    x = normal(*((ROWS, TIME) if lstm.batch_first else (TIME, ROWS)), 3, like=like)
    sizes = (lstm.proj_size or 4, 4) if stateful else ()
    state = tuple(normal(layers * (1 + both), ROWS, size, like=like) for size in sizes)
    return lstm, x, state or None


def rows_of(state, rows):
    return None if state is None else tuple(part[:, rows] for part in state)


def packed(lstm, x, state, lengths):
    """The oracle: torch's own way around padding."""
    rows = pack_padded_sequence(x, lengths.cpu(), lstm.batch_first, enforce_sorted=False)
    output, last = nn.LSTM.forward(lstm, rows, state)
    return pad_packed_sequence(output, lstm.batch_first, total_length=TIME)[0], last


def everything(lstm, x, state, lengths, run=LSTM.forward):
    """Results of `run` and the gradients of a loss that reads all of them, by name."""
    lstm.zero_grad()
    leaves = [part.detach().clone().requires_grad_() for part in (x, *(state or ()))]
    output, (h_n, c_n) = run(lstm, leaves[0], tuple(leaves[1:]) or None, lengths)
    found = {"output": output, "h_n": h_n, "c_n": c_n}
    sum((part * normal(*part.shape, like=part)).sum() for part in found.values()).backward()
    found |= {f"{name}.grad": weight.grad.clone() for name, weight in lstm.named_parameters()}
    grads = (leaf.grad for leaf in leaves)
    return found | dict(zip(("x.grad", "h_0.grad", "c_0.grad"), grads, strict=False))


def assert_same(found, wanted, tolerance=0.0):
    torch.testing.assert_close(found, wanted, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("stateful", [False, True])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
@pytest.mark.parametrize(
    ("layers", "both", "bias", "batch_first", "proj_size"),
    list(product((1, 2, 3), (False, True), (False, True), (False, True), (0, 2))),
)
def test_results_and_gradients_are_those_of_packed_torch(
    layers, both, bias, batch_first, proj_size, dtype, tolerance, stateful
):
    options = {"bias": bias, "batch_first": batch_first, "proj_size": proj_size, "dtype": dtype}
    given = case(layers, both, stateful, **options)
    wanted = everything(*given, LENGTHS, packed)
    assert_same(everything(*given, LENGTHS), wanted, tolerance)


@cases
def test_without_padding_every_bit_is_torchs(layers, both, stateful):
    lstm, x, state = case(layers, both, stateful)
    rows = pack_padded_sequence(x, LENGTHS, True, enforce_sorted=False)
    for given, hx in ((x, state), (x[0], rows_of(state, 0)), (rows, state)):
        assert_same(lstm(given, hx), nn.LSTM.forward(lstm, given, hx))
    assert_same(lstm(x, state, torch.full((ROWS,), TIME)), nn.LSTM.forward(lstm, x, state))


@cases
def test_a_state_dict_goes_both_ways(layers, both, stateful):
    lstm, x, state = case(layers, both, stateful)
    theirs = nn.LSTM(3, 4, layers, bidirectional=both, batch_first=True).double()
    theirs.load_state_dict(lstm.state_dict(), strict=True)
    assert_same(theirs(x, state), lstm(x, state))
    make(layers, both).load_state_dict(theirs.state_dict(), strict=True)


@cases
@pytest.mark.parametrize("filler", [float("nan"), float("inf"), 1e30])
def test_what_the_padding_holds_changes_no_bit(layers, both, stateful, filler):
    lstm, x, state = case(layers, both, stateful)
    found = everything(lstm, x.masked_fill(PADDING.unsqueeze(-1), filler), state, LENGTHS)
    assert_same(found, everything(lstm, x, state, LENGTHS))
    assert not found["x.grad"][PADDING].any()
    assert not found["output"][PADDING].any()


@cases
def test_more_padding_changes_no_bit(layers, both, stateful):
    lstm, x, state = case(layers, both, stateful)
    wide = torch.cat([x, torch.full((ROWS, 9, 3), 1e30, dtype=x.dtype)], 1)
    output, last = lstm(wide, state, LENGTHS)
    assert_same((output[:, :TIME], last), lstm(x, state, LENGTHS))
    assert not output[:, TIME:].any()


@cases
def test_a_row_does_not_know_its_neighbours(layers, both, stateful):
    lstm, x, state = case(layers, both, stateful)
    output, last = lstm(x, state, LENGTHS)
    for row, length in enumerate(LENGTHS):
        row = slice(row, row + 1)
        alone = lstm(x[row, :length], rows_of(state, row))
        assert_same((output[row, :length], rows_of(last, row)), alone, 1e-12)


@cases
def test_rows_need_no_order(layers, both, stateful):
    lstm, x, state = case(layers, both, stateful)
    order = torch.tensor([2, 0, 3, 1])
    output, last = lstm(x, state, LENGTHS)
    found = lstm(x[order], rows_of(state, order), LENGTHS[order])
    assert_same(found, (output[order], rows_of(last, order)), 1e-12)


@cases
@pytest.mark.parametrize("lengths", [[0, 7, 0, 3], [0, 0, 0, 0]])
def test_an_empty_row_keeps_its_state(layers, both, stateful, lengths):
    lstm, x, state = case(layers, both, stateful)
    lengths = torch.tensor(lengths)
    output, last = lstm(x, state, lengths)
    first = state or tuple(map(torch.zeros_like, last))
    assert_same(rows_of(last, lengths == 0), rows_of(first, lengths == 0))
    assert not output[lengths == 0].any()
    for row in lengths.nonzero():
        wanted = lstm(x[row, : lengths[row]], rows_of(state, row))[1]
        assert_same(rows_of(last, row), wanted, 1e-12)


@pytest.mark.parametrize("cut", [1, 3, 5])
@pytest.mark.parametrize("layers", [1, 3])
def test_two_parts_with_carried_state_are_one_pass(layers, cut):
    lstm, x, state = case(layers, stateful=True)
    first, carried = lstm(x[:, :cut], state, LENGTHS.clamp(max=cut))
    second, last = lstm(x[:, cut:], carried, (LENGTHS - cut).clamp(min=0))
    assert_same((torch.cat([first, second], 1), last), lstm(x, state, LENGTHS), 1e-12)


def dropped(seed, lengths, both, **options):
    given = case(3, both, dropout=0.5, **options)
    torch.manual_seed(seed)
    return everything(*given, lengths)


@pytest.mark.parametrize("lengths", [None, LENGTHS])
@pytest.mark.parametrize("both", [False, True])
def test_dropout_repeats_bit_by_bit_with_its_seed(both, lengths):
    one, same, other = (dropped(seed, lengths, both) for seed in (5, 5, 6))
    assert_same(one, same)
    assert not torch.isclose(one["output"][:, 0], other["output"][:, 0]).any()


@pytest.mark.parametrize("lengths", [None, LENGTHS])
def test_dropout_acts_between_layers_in_training_only(lengths):
    (lstm, x, _), dry = case(2, True, dropout=0.5), make(2, True)
    (_, (found, _)), (_, (wanted, _)) = lstm(x, None, lengths), dry(x, None, lengths)
    assert torch.equal(found[:2], wanted[:2])  # the first layer reads all of the input
    assert not torch.isclose(found[2:], wanted[2:]).any()
    assert_same(lstm.eval()(x, None, lengths), dry(x, None, lengths))


def test_dropout_keeps_the_mean():
    lstm, x, _ = case(2, dropout=0.5, bias=False)
    with torch.no_grad():
        lstm.weight_ih_l1 *= 1e-3  # so small that the second layer is linear
    mean = lstm(x[:1].expand(2000, -1, -1))[1][0][1].mean(0)
    wanted = lstm.eval()(x[:1])[1][0][1, 0]
    assert (mean - wanted).norm() < 0.1 * wanted.norm()


def test_an_unbatched_row_takes_dropout_too():
    lstm, x, state = case(2, True, True, dropout=0.5)
    torch.manual_seed(3)
    output, last = lstm(x[:1], rows_of(state, slice(0, 1)))
    torch.manual_seed(3)
    assert_same(lstm(x[0], rows_of(state, 0)), (output[0], rows_of(last, 0)))
    with pytest.raises(RuntimeError, match="input_size"):
        lstm(x[0, :, :2])
    with pytest.raises(RuntimeError, match="Expected hidden"):
        lstm(x[0], state)


def test_in_one_direction_h_n_is_the_last_output():
    lstm, x, _ = case(2)
    output, (h_n, _) = lstm(x)
    assert torch.equal(output[:, -1], h_n[-1])
    output, (h_n, _) = lstm(x, None, LENGTHS)
    assert torch.equal(output[range(ROWS), LENGTHS - 1], h_n[-1])


@pytest.mark.parametrize("lengths", [torch.full((ROWS,), TIME), LENGTHS])
def test_in_two_directions_h_n_is_the_output_at_both_ends(lengths):
    lstm, x, _ = case(2, both=True)
    output, (h_n, _) = lstm(x, None, lengths)
    ends = [output[range(ROWS), lengths - 1, :4], output[:, 0, 4:]]
    assert torch.equal(torch.cat(ends, -1), torch.cat([h_n[-2], h_n[-1]], -1))


def test_the_backward_half_of_the_last_output_has_read_one_token():
    lstm, x, _ = case(both=True)
    changed = x.clone()
    changed[:, :-1] += 1  # all but the last token
    (before, (h_before, _)), (after, (h_after, _)) = lstm(x), lstm(changed)
    assert torch.equal(before[:, -1, 4:], after[:, -1, 4:])
    assert not torch.isclose(before[:, -1, :4], after[:, -1, :4]).any()
    assert not torch.isclose(h_before, h_after).any()


@pytest.mark.parametrize(
    ("lengths", "complaint"),
    [
        ([4, 8, 1, 5], r"lie in 0\.\.7, the steps given, not in 1\.\.8"),
        ([4, -1, 1, 5], r"lie in 0\.\.7, the steps given, not in -1\.\.5"),
        ([4.0, 7.0, 1.0, 5.0], r"4 integers, one per row, not torch\.float32 of shape \(4,\)"),
        ([True, True, False, True], r"4 integers, one per row, not torch\.bool"),
        ([4, 7, 1], r"4 integers, one per row, not torch\.int64 of shape \(3,\)"),
        ([[4, 7, 1, 5]], r"4 integers, one per row, not torch\.int64 of shape \(1, 4\)"),
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


def test_input_lengths_and_state_are_left_alone():
    lstm, x, state = case(2, True, True, dropout=0.5)
    given = (x, *state, LENGTHS)
    copies = [part.clone() for part in given]
    lstm(x, state, LENGTHS)
    assert all(map(torch.equal, given, copies))


@cases
@pytest.mark.skipif(not machine.runs_bf16(), reason="no bf16 on this processor")
def test_bf16_is_near_fp32(layers, both, stateful):
    given = case(layers, both, stateful, dtype=torch.float32)
    wanted = everything(*given, LENGTHS)
    with torch.autocast("cpu", torch.bfloat16):
        found = everything(*given, LENGTHS)
    for name in ("output", "h_n", "c_n", "x.grad"):
        assert_same(found[name].float(), wanted[name], 5e-2)


def test_no_source_packs():
    sources = [path for folder in ("zoo", "tasks") for path in (ROOT / folder).rglob("*.py")]
    assert len(sources) > 10
    for path in set(sources) - {ROOT / "zoo" / "peers.py"}:  # it times what others do
        nodes = list(ast.walk(ast.parse(path.read_text("utf-8"))))
        names = {getattr(node, key, "") for node in nodes for key in ("id", "attr", "name")}
        assert not names & {"pack_padded_sequence", "pack_sequence"}, path


@needs_gpu
@pytest.mark.gpu
@cases
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-4)])
def test_on_cuda_too_it_is_packed_torch(layers, both, stateful, dtype, tolerance):
    # Warnings are errors here, cuDNN's about weights that are not contiguous as well.
    given = case(layers, both, stateful, dtype=dtype, device="cuda")
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        wanted = everything(*given, LENGTHS, packed)
        assert_same(everything(*given, LENGTHS), wanted, tolerance)
        assert_same(everything(*given, LENGTHS.cuda()), wanted, tolerance)


@needs_gpu
@pytest.mark.gpu
@pytest.mark.parametrize("lengths", [None, LENGTHS, torch.full((ROWS,), TIME)])
def test_on_cuda_dropout_repeats_bit_by_bit(lengths):
    options = {"dtype": torch.float32, "device": "cuda"}
    one, same, other = (dropped(seed, lengths, True, **options) for seed in (5, 5, 6))
    assert_same(one, same)
    assert not torch.equal(one["output"], other["output"])
