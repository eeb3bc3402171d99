"""GRU: torch's own by name, shape and number; rows of any length; and what torch lacks."""

from __future__ import annotations

import copy
import pickle
from itertools import product

import pytest
import torch
from lstm_cases import LENGTHS, ROWS, TIME, assert_same, normal
from torch import nn
from torch.nn.utils import parametrizations
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from zoo.rnn import padding as padding_of
from zoo.rnn.gru import gru_reference
from zoo.rnn.gru.gru import GRU
from zoo.rnn.stack import weights_of

GRID = list(product((1, 2), *[(False, True)] * 3, (None, LENGTHS), (False, True)))
grid = pytest.mark.parametrize(
    ("layers", "both", "bias", "batch_first", "lengths", "stateful"), GRID
)
engines = pytest.mark.parametrize("engine", ["torch", "reference"])


def case(layers=1, both=False, stateful=False, **options):
    """A GRU 3 -> 4 in float64, rows for it, and a state or None."""
    torch.manual_seed(1)
    options = {"batch_first": True, "dtype": torch.float64} | options
    gru = GRU(3, 4, layers, bidirectional=both, **options)
    like = next(gru.parameters())
    x = normal(*((ROWS, TIME) if gru.batch_first else (TIME, ROWS)), 3, like=like)
    h_0 = normal(layers * (1 + both), ROWS, 4, like=like)
    return gru, x, h_0 if stateful else None


def packed(gru, x, hx, lengths, forward=nn.GRU.forward):
    """The oracle: torch's own GRU, and its own way around padding."""
    if lengths is None:
        return forward(gru, x, hx)
    rows = pack_padded_sequence(x, lengths, gru.batch_first, enforce_sorted=False)
    output, h_n = forward(gru, rows, hx)
    return pad_packed_sequence(output, gru.batch_first, total_length=TIME)[0], h_n


def everything(gru, x, hx, lengths=None, run=GRU.forward):
    """Results of `run` and the gradients of a loss that reads all of them, by name."""
    gru.zero_grad()
    leaves = [part.detach().clone().requires_grad_() for part in (x, hx) if part is not None]
    output, h_n = run(gru, leaves[0], leaves[1] if hx is not None else None, lengths)
    found = {"output": output, "h_n": h_n}
    losses = [(part * normal(*part.shape, like=part)).sum() for part in found.values()]
    (losses[0] - 2 * losses[1]).backward()
    found |= {f"{name}.grad": weight.grad.clone() for name, weight in gru.named_parameters()}
    return found | {f"{place}.grad": leaf.grad for place, leaf in enumerate(leaves)}


@engines
@grid
def test_results_and_gradients_are_those_of_packed_torch(
    engine, layers, both, bias, batch_first, lengths, stateful
):
    given = case(layers, both, stateful, engine=engine, bias=bias, batch_first=batch_first)
    assert_same(everything(*given, lengths), everything(*given, lengths, packed), 1e-12)


@engines
@pytest.mark.parametrize("stateful", [False, True])
def test_padding_has_no_influence_whatever_it_contains(engine, stateful):
    gru, x, hx = case(2, True, stateful, engine=engine)
    wanted = gru(x, hx, LENGTHS)
    beyond = (torch.arange(TIME) >= LENGTHS.unsqueeze(1)).unsqueeze(-1)
    for filler in (7.0, float("nan")):
        assert_same(gru(x.masked_fill(beyond, filler), hx, LENGTHS), wanted)
    assert not wanted[0].masked_select(beyond).any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@torch.no_grad()
def test_h_is_carried_over_padding_bit_by_bit(dtype):
    """Also where the kernel computes n + z (h - n), which rounds unless n is 0."""
    gru = GRU(3, 50, dtype=dtype)
    x, h_0 = normal(9, 2, 3, like=gru.bias_ih_l0), normal(1, 2, 50, like=gru.bias_ih_l0)
    _, h_n = gru(x, h_0, [9, 0])
    assert torch.equal(h_n[:, 1], h_0[:, 1])
    short = gru(x[:5, :1], h_0[:, :1])[1]
    assert_same(gru(x, h_0, [5, 9])[1][:, :1], short, {torch.float32: 1e-6}.get(dtype, 1e-15))


@pytest.mark.parametrize("reverse", [False, True])
def test_a_batch_in_pieces_is_the_whole_batch(monkeypatch, reverse):
    monkeypatch.setattr(padding_of, "CALL", 1.0)
    gru, lengths = GRU(4, 24, bidirectional=reverse), torch.tensor([3, 75, 40, 0, 64, 21, 75])
    x, h_0 = torch.randn(75, 7, 4), torch.randn(1 + reverse, 7, 24)
    with torch.no_grad():
        pieces = gru(x, h_0, lengths)
    assert_same(pieces, tuple(part.detach() for part in gru(x, h_0, lengths)), 1e-6)


@engines
def test_without_padding_and_options_every_bit_is_torchs(engine):
    gru, x, hx = case(2, True, True, engine=engine)
    tolerance = 0.0 if engine == "torch" else 1e-12
    rows = pack_padded_sequence(x, LENGTHS, True, enforce_sorted=False)
    for given, state in ((x, hx), (x, None), (x[0], hx[:, 0]), (rows, hx)):
        assert_same(gru(given, state), nn.GRU.forward(gru, given, state), tolerance)


def test_a_state_dict_goes_both_ways_and_the_first_weights_are_torchs():
    def made(kind, **more):
        torch.manual_seed(3)
        return kind(3, 4, 2, bidirectional=True, **more)

    theirs, ours = made(nn.GRU), made(GRU)
    assert_same(dict(ours.state_dict()), dict(theirs.state_dict()))
    theirs.load_state_dict(ours.state_dict())
    ours.load_state_dict(theirs.state_dict())


@engines
def test_a_step_is_the_four_formulas(engine):
    gru, x, h_0 = case(stateful=True, engine=engine)
    weights = weights_of(gru, "_l0")
    w, u = weights.w_ih.chunk(3), weights.w_hh.chunk(3)
    b, d = weights.b_ih.chunk(3), weights.b_hh.chunk(3)
    now, h = x[:, 0], h_0[0]
    r = torch.sigmoid(now @ w[0].T + b[0] + h @ u[0].T + d[0])
    z = torch.sigmoid(now @ w[1].T + b[1] + h @ u[1].T + d[1])
    n = torch.tanh(now @ w[2].T + b[2] + r * (h @ u[2].T + d[2]))
    assert_same(gru(x[:, :1], h_0)[1][0], n - z * n + z * h, 1e-12)


@pytest.mark.parametrize("batch_first", [False, True])
def test_gates_are_shown_of_every_layer_and_direction(batch_first):
    gru, x, _ = case(2, True, batch_first=batch_first)
    output, h_n, gates = gru(x, None, LENGTHS, return_gates=True)
    assert isinstance(gates, gru_reference.Gates)
    assert gates._fields == ("r", "z", "n", "h")
    steps = (ROWS, TIME) if batch_first else (TIME, ROWS)
    assert all(gate.shape == (4, *steps, 4) for gate in gates)
    assert_same(torch.cat([*gates.h[-2:]], -1), output, 1e-12)
    assert_same(gru(x, None, LENGTHS), (output, h_n), 1e-12)
    alone = gru(x[0] if batch_first else x[:, 0], None, None, True)[2]
    assert alone.r.shape == (4, TIME, 4)


def test_dropouts_act_in_training_alone():
    plain, x, _ = case(2)
    for name in ("dropout", "output_dropout", "weight_dropout"):
        gru, _, _ = case(2, locked_dropout=True, **{name: 0.5})
        assert not torch.equal(gru(x)[0], plain(x)[0])
        assert_same(gru.eval()(x)[0], plain(x)[0], 1e-12)
    zeros = case(2, locked_dropout=True, output_dropout=0.5)[0](x)[0] == 0
    assert zeros.any()
    assert torch.equal(zeros, zeros[:, :1].expand_as(zeros))


def test_a_learned_state_is_where_every_row_starts():
    gru, x, _ = case(2, True, learned_state=True)
    assert not gru.h_0.any()
    with torch.no_grad():
        gru.h_0.normal_()
    assert_same(gru(x, None, LENGTHS), gru(x, gru.h_0.repeat(1, ROWS, 1), LENGTHS), 1e-12)
    assert not hasattr(gru, "c_0")


def test_tools_and_copies_work():
    gru, x, _ = case(weight_dropout=0.5)
    gru.eval()
    wanted = gru(x)
    for copied in (copy.deepcopy(gru), pickle.loads(pickle.dumps(gru))):
        assert_same(copied(x), wanted)
    parametrizations.weight_norm(gru, "weight_hh_l0")
    assert_same(gru(x, None, LENGTHS)[0][:, :1], wanted[0][:, :1], 1e-12)


def test_what_it_does_not_take_is_one_line():
    for options, line in [
        ({"weight_dropout": 1.0}, "weight_dropout must be at least 0 and below 1, not 1.0"),
        ({"engine": "hoisted"}, "engine must be one of auto, torch, reference, not 'hoisted'"),
    ]:
        with pytest.raises(ValueError, match=line):
            GRU(2, 3, **options)
    with pytest.raises(TypeError, match="layer_norm"):
        GRU(2, 3, layer_norm=True)
    gru, x, _ = case()
    with pytest.raises(RuntimeError, match="hx should also be 2-D"):
        gru(x[0], torch.zeros(1, 1, 4))
    with pytest.raises(ValueError, match="lengths must lie in"):
        gru(x, None, [9, 1, 1, 1])
