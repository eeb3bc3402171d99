"""LSTM: torch's own by name, shape and number; then rows of any length, and what torch lacks."""

from __future__ import annotations

import copy
import os
import pickle
import subprocess
import sys
from functools import partial

import pytest
import torch
from conftest import ROOT
from lstm_cases import (
    LENGTHS,
    ROWS,
    TIME,
    assert_same,
    case,
    cases,
    engines,
    everything,
    kinds,
    make,
    packed,
    rows_of,
    unfused,
)
from torch import nn
from torch.nn.utils import parametrizations, prune
from torch.nn.utils.rnn import pack_padded_sequence

from zoo.rnn.lstm import LSTM

pytestmark = unfused


@engines
def test_two_layers_return_the_top_ones_output_and_both_ones_states(engine):
    lstm, x = LSTM(10, 20, num_layers=2, engine=engine), torch.randn(5, 3, 10)
    output, (h_n, c_n) = lstm(x)
    assert output.shape == (5, 3, 20)  # (time, batch, hidden)
    assert h_n.shape == c_n.shape == (2, 3, 20)  # (layers, batch, hidden)
    assert torch.equal(output[-1], h_n[-1])  # the top layer
    assert not torch.isclose(output[-1], h_n[0]).all(-1).any()  # the lower one is not in output


@engines
def test_the_backward_direction_ends_at_the_first_step(engine):
    lstm, x = LSTM(10, 20, 2, bidirectional=True, engine=engine), torch.randn(5, 3, 10)
    output, (h_n, c_n) = lstm(x)
    assert output.shape == (5, 3, 40)
    assert h_n.shape == c_n.shape == (4, 3, 20)  # layer 0 forward, backward, layer 1 forward, …
    assert torch.equal(output[-1][:, :20], h_n[-2])
    assert torch.equal(output[0][:, 20:], h_n[-1])
    assert not torch.isclose(output[-1][:, 20:], h_n[-1]).all(-1).any()


@kinds
def test_with_lengths_h_n_is_the_output_at_both_ends_of_each_row(kind):
    lstm, x, _ = case(2, both=True, **kind)
    output, (h_n, _) = lstm(x, None, LENGTHS)
    ends = [output[range(ROWS), LENGTHS - 1, :4], output[:, 0, 4:]]
    assert torch.equal(torch.cat(ends, -1), torch.cat([h_n[-2], h_n[-1]], -1))


@engines
def test_the_backward_half_of_the_last_output_has_read_one_token(engine):
    lstm, x, _ = case(both=True, engine=engine)
    changed = x.clone()
    changed[:, :-1] += 1  # all but the last token
    (before, (h_before, _)), (after, (h_after, _)) = lstm(x), lstm(changed)
    assert torch.equal(before[:, -1, 4:], after[:, -1, 4:])
    assert not torch.isclose(before[:, -1, :4], after[:, -1, :4]).any()
    assert not torch.isclose(h_before, h_after).any()


@cases
def test_without_padding_every_bit_is_torchs(layers, both, stateful):
    lstm, x, state = case(layers, both, stateful)
    rows = pack_padded_sequence(x, LENGTHS, True, enforce_sorted=False)
    for given, hx in ((x, state), (x[0], rows_of(state, 0)), (rows, state)):
        assert_same(lstm(given, hx), nn.LSTM.forward(lstm, given, hx))
    assert_same(lstm(x, state, torch.full((ROWS,), TIME)), nn.LSTM.forward(lstm, x, state))


@kinds
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("stateful", [False, True])
def test_one_sequence_needs_no_batch(kind, batch_first, stateful):
    lstm, x, state = case(2, True, stateful, batch_first=batch_first, proj_size=2, **kind)
    rows = 0 if batch_first else 1
    output, last = lstm(x, state)
    found = lstm(x.select(rows, 0), rows_of(state, 0))
    assert found[0].shape == (TIME, 4)
    assert_same(found, (output.select(rows, 0), rows_of(last, 0)), 1e-12)
    with pytest.raises(RuntimeError, match="input_size"):
        lstm(x[0, :, :2])
    with pytest.raises(RuntimeError, match=r"Expected hidden|hx and cx should"):
        lstm(x.select(rows, 0), rows_of(last, slice(0, 3)))


@pytest.mark.parametrize("options", [{}, {"bidirectional": True, "proj_size": 2, "bias": False}])
def test_the_same_seed_gives_torchs_first_weights(options):
    def weights(kind, **more):
        torch.manual_seed(3)
        return kind(3, 4, 2, **options, **more).state_dict()

    theirs = weights(nn.LSTM)
    assert_same(weights(LSTM), theirs)
    more = weights(LSTM, layer_norm=True, learned_state=True)
    assert_same({name: more[name] for name in theirs}, theirs)


@cases
@pytest.mark.parametrize("options", [{}, {"bias": False, "proj_size": 2}])
def test_a_state_dict_goes_both_ways(layers, both, stateful, options):
    lstm, x, state = case(layers, both, stateful, **options)
    theirs = nn.LSTM(3, 4, layers, batch_first=True, bidirectional=both, **options).double()
    back = LSTM(3, 4, layers, batch_first=True, bidirectional=both, **options).double()
    theirs.load_state_dict(lstm.state_dict(), strict=True)
    back.load_state_dict(theirs.state_dict(), strict=True)
    assert_same(theirs(x, state), lstm(x, state))
    assert_same(back(x, state), lstm(x, state))


@engines
@cases
@pytest.mark.parametrize("ordered", [False, True])
def test_a_packed_sequence_comes_back_as_torch_packs_it(engine, layers, both, stateful, ordered):
    lstm, x, state = case(layers, both, stateful, engine=engine)
    lengths = LENGTHS.sort(descending=True)[0] if ordered else LENGTHS
    rows = pack_padded_sequence(x, lengths, True, enforce_sorted=ordered)
    assert (rows.sorted_indices is None) == ordered
    (found, last), (wanted, wanted_last) = lstm(rows, state), nn.LSTM.forward(lstm, rows, state)
    assert_same((found.data, last), (wanted.data, wanted_last), 1e-12)
    for name in ("batch_sizes", "sorted_indices", "unsorted_indices"):
        one, other = getattr(found, name), getattr(wanted, name)
        assert one is other is None or torch.equal(one, other)


@kinds
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("options", [{}, {"proj_size": 2}, {"learned_state": True}])
def test_packed_rows_and_lengths_are_one(kind, batch_first, options):
    stateful = "learned_state" not in options
    given = case(2, True, stateful, batch_first=batch_first, **kind, **options)
    found = everything(*given, LENGTHS, partial(packed, forward=LSTM.forward))
    assert_same(found, everything(*given, LENGTHS), 1e-12)


@kinds
@pytest.mark.parametrize("lengths", [None, LENGTHS])
def test_a_learned_state_stands_where_none_is_given(kind, lengths):
    lstm, x, state = case(2, True, True, learned_state=True, proj_size=2, **kind)
    assert list(lstm.state_dict())[-2:] == ["h_0", "c_0"]
    assert (lstm.h_0.shape, lstm.c_0.shape) == ((4, 1, 2), (4, 1, 4))
    plain = make(2, True, proj_size=2, **kind)
    plain.load_state_dict(lstm.state_dict(), strict=False)
    learned = tuple(part.detach().repeat(1, ROWS, 1) for part in (lstm.h_0, lstm.c_0))
    wanted = everything(plain, x, learned, lengths)
    for name in ("h_0.grad", "c_0.grad"):  # what each row would give its own state
        wanted[name] = wanted[name].sum(1, keepdim=True)
    assert_same(everything(lstm, x, None, lengths), wanted, 1e-12)
    assert_same(lstm(x, state, lengths), plain(x, state, lengths), 1e-12)


@pytest.mark.parametrize("lengths", [None, LENGTHS])
def test_a_learned_state_starts_at_zero(lengths):
    torch.manual_seed(1)
    lstm, x = LSTM(3, 4, 2, batch_first=True, learned_state=True).double(), case()[1]
    zeros = torch.zeros(2, ROWS, 4, dtype=x.dtype)
    assert_same(lstm(x, None, lengths), lstm(x, (zeros, zeros), lengths))


@pytest.mark.parametrize("layer_norm", [False, True])
@pytest.mark.parametrize("value", [0.0, 1.5])
def test_the_forget_bias_is_the_forget_gates(layer_norm, value):
    lstm = LSTM(3, 4, 2, bidirectional=True, layer_norm=layer_norm, forget_bias=value)
    for name, parameter in lstm.named_parameters():
        if name.startswith("bias"):
            i, f, g, o = parameter.view(4, 4)  # all of it in bias_ih, or in the norm's
            assert (f == (0 if layer_norm or "hh" in name else value)).all()
            assert torch.cat([i, g, o]).all()
        if name.startswith("norm_bias"):
            assert torch.equal(parameter[1], torch.full((4,), value))
            assert not parameter[[0, 2, 3, 4]].any()


@pytest.mark.parametrize("bias", [False, True])
def test_reset_parameters_starts_anew(bias):
    options = {"bias": bias, "layer_norm": True, "learned_state": True, "forget_bias": 1.0}
    lstm = make(2, True, **options)
    before = copy.deepcopy(lstm.state_dict())
    lstm.reset_parameters()
    for name, parameter in lstm.named_parameters():
        if name.startswith("norm_weight"):
            assert parameter.eq(1).all()
        elif name.startswith("norm_bias"):
            assert parameter.sum(1).tolist() == [0, 4, 0, 0, 0]  # the forget bias
        elif name in ("h_0", "c_0"):
            assert not parameter.any()
        else:
            assert not torch.equal(parameter, before[name])


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"engine": "cudnn"}, "one of auto, torch, hoisted, reference, not 'cudnn'"),
        ({"weight_dropout": 1.0}, r"weight_dropout must be at least 0 and below 1, not 1\.0"),
        ({"output_dropout": -0.1}, r"output_dropout must be at least 0 and below 1, not -0\.1"),
        ({"engine": "torch", "layer_norm": True}, "the fused kernel has no layer norm"),
        ({"forget_bias": 1.0, "bias": False}, "forget_bias needs bias=True or layer_norm=True"),
    ],
)
def test_options_that_do_not_fit_are_named(options, complaint):
    with pytest.raises(ValueError, match=complaint):
        LSTM(3, 4, **options)


@pytest.mark.parametrize(
    "options",
    [
        {"layer_norm": True, "engine": "hoisted"},
        {"weight_dropout": 0.1, "output_dropout": 0.2, "locked_dropout": True},
        {"learned_state": True, "forget_bias": 1.0},
        {"forget_bias": 0.0},
    ],
)
def test_its_name_shows_what_is_not_usual(options):
    shown = str(LSTM(3, 4, 2, **options))
    assert shown.startswith("LSTM(3, 4, num_layers=2, ")
    assert all(f"{name}={value}" in shown for name, value in options.items())
    assert str(LSTM(3, 4, 2)) == str(nn.LSTM(3, 4, 2))


@kinds
@pytest.mark.parametrize("again", [copy.deepcopy, lambda lstm: pickle.loads(pickle.dumps(lstm))])
def test_a_copy_computes_the_same_and_is_its_own(kind, again):
    lstm, x, _ = case(2, True, learned_state=True, **kind)
    other, wanted = again(lstm), lstm(x, None, LENGTHS)
    assert str(other) == str(lstm)
    with torch.no_grad():
        lstm.weight_hh_l0.zero_()
    assert_same(other(x, None, LENGTHS), wanted)


def call(lstm, *given):
    """Call the module, so that its hooks run."""
    return lstm(*given)


def pruned(lstm, name):
    prune.l1_unstructured(lstm, name, 0.5)


TOOLS = {
    "weight_norm": parametrizations.weight_norm,
    "spectral_norm": parametrizations.spectral_norm,
    "old weight_norm": nn.utils.weight_norm,
    "old spectral_norm": nn.utils.spectral_norm,
    "pruning": pruned,
}
tools = pytest.mark.parametrize("tool", TOOLS.values(), ids=TOOLS)


@pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated:FutureWarning")
@tools
@engines
@pytest.mark.parametrize("lengths", [None, LENGTHS])
@pytest.mark.parametrize("training", [False, True])
def test_a_tool_replaces_weights_as_it_does_torchs(tool, engine, lengths, training):
    lstm, x, state = case(2, True, True, engine=engine)
    theirs = nn.LSTM(3, 4, 2, batch_first=True, bidirectional=True).double()
    theirs.load_state_dict(lstm.state_dict())
    for each in (lstm, theirs):
        for name in ("weight_hh_l0", "weight_ih_l1_reverse"):
            torch.manual_seed(2)  # a spectral norm draws its first vectors
            tool(each, name)
        each.train(training)
    for _ in range(2):  # in training a spectral norm goes on at each call
        found = everything(lstm, x, state, lengths, call)
        wanted = everything(theirs, x, state, lengths, partial(packed, forward=call))
        assert_same(found, wanted, 1e-10)
    assert all(part.any() for name, part in found.items() if name.endswith("grad"))


OWN = {"learned_state": True, "proj_size": 2, "output_dropout": 0.2, "weight_dropout": 0.3}


@kinds
@pytest.mark.parametrize("lengths", [None, LENGTHS])
@pytest.mark.parametrize("replica", [False, True])
@pytest.mark.parametrize("options", [{}, OWN])
def test_other_tensors_in_place_of_the_parameters_get_gradients(kind, lengths, replica, options):
    lstm, x, _ = case(2, True, **kind, **options)
    smaller = copy.deepcopy(lstm)
    with torch.no_grad():
        for weight in smaller.parameters():
            weight *= 0.9
    replaced = {name: 0.9 * weight for name, weight in lstm.named_parameters()}

    def run(*given):
        if not replica:
            return torch.func.functional_call(lstm, replaced, given)
        other = lstm._replicate_for_data_parallel()  # as on a further GPU of DataParallel
        for name, weight in replaced.items():
            setattr(other, name, weight)
        return other(*given)

    losses = []
    for forward in (run, smaller):
        torch.manual_seed(5)
        output, (h_n, c_n) = forward(x, None, lengths)
        losses.append(output.square().sum() + h_n.sum() - c_n.square().sum())
        losses[-1].backward()
    assert_same(*losses, 1e-12)
    pairs = zip(lstm.parameters(), smaller.parameters(), strict=True)
    for weight, other in pairs:
        assert_same(weight.grad, 0.9 * other.grad, 1e-10)


@kinds
def test_gradients_by_a_transform_of_torch_func_are_the_same(kind):
    lstm, x, _ = case(2, **kind)
    weights = dict(lstm.named_parameters())

    def loss(weights, x):
        return torch.func.functional_call(lstm, weights, (x, None, LENGTHS))[0].square().sum()

    found = torch.func.grad(loss)(weights, x)
    loss(weights, x).backward()
    assert_same(found, {name: weight.grad for name, weight in weights.items()}, 1e-10)


def test_two_processes_that_share_the_weights_train_as_one(tmp_path):
    command = [sys.executable, "-W", "ignore", str(ROOT / "tests" / "cases" / "fsdp_cases.py")]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    both = [
        subprocess.Popen(
            [*command, str(rank), str(tmp_path / "meeting")],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(2)
    ]
    said = [process.communicate(timeout=200)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], "\n".join(said)


@tools
@pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated:FutureWarning")
def test_parameters_start_anew_under_a_tool(tool):
    lstm, x, _ = case(forget_bias=1.0)
    tool(lstm, "weight_hh_l0")
    lstm.reset_parameters()
    assert lstm.bias_ih_l0[4:8].eq(1).all()
    assert lstm(x)[0].isfinite().all()


def test_the_forget_bias_of_a_replaced_bias_is_set_where_that_is_possible():
    lstm, x, _ = case(layer_norm=True)
    parametrizations.weight_norm(lstm, "norm_bias_l0")
    pruned(lstm, "bias_ih_l0")
    lstm.set_forget_bias(2.0)
    assert_same(lstm.norm_bias_l0[1], torch.full((4,), 2.0).double(), 1e-12)
    assert not lstm.bias_ih_l0_orig[4:8].any()
    assert lstm(x)[0].isfinite().all()
    replica = make()._replicate_for_data_parallel()
    replica.bias_ih_l0 = torch.zeros(16)
    with pytest.raises(RuntimeError, match="bias_ih_l0 is computed from other parameters"):
        replica.set_forget_bias(1.0)


@kinds
@pytest.mark.parametrize(
    ("dtype", "limit"), [(torch.float16, 1e-2), (torch.bfloat16, 8e-2), (torch.float32, 1e-5)]
)
@pytest.mark.parametrize("lengths", [None, LENGTHS])
@pytest.mark.parametrize("options", [{}, {"learned_state": True}])
def test_every_dtype_computes_the_same(kind, dtype, limit, lengths, options):
    if kind == {"engine": "reference", "layer_norm": True}:
        limit *= 6  # it normalises in 16 bits, all others in 32
    wide, x, _ = case(2, True, **kind, **options)
    lstm, x = copy.deepcopy(wide).to(dtype), x.to(dtype)
    wide.load_state_dict(lstm.state_dict())
    wanted = everything(wide, x.double(), None, lengths)
    found = everything(lstm, x, None, lengths)
    assert {part.dtype for part in found.values()} == {dtype}
    for name, part in found.items():
        scale = wanted[name].abs().max().clamp(min=1)
        assert (part.double() - wanted[name]).abs().max() < limit * scale, name


@kinds
def test_float64_may_be_the_default_dtype(kind):
    torch.set_default_dtype(torch.float64)
    try:
        options = {"learned_state": True, "dropout": 0.1, "weight_dropout": 0.1, "forget_bias": 1.0}
        lstm = LSTM(3, 4, 2, batch_first=True, **options, **kind)
        output, (h_n, c_n) = lstm(torch.randn(ROWS, TIME, 3), lengths=LENGTHS.tolist())
        (output.sum() + h_n.sum() + c_n.sum()).backward()
    finally:
        torch.set_default_dtype(torch.float32)
    tensors = [output, h_n, c_n, *(weight.grad for weight in lstm.parameters())]
    assert {each.dtype for each in tensors} == {torch.float64}


@pytest.mark.filterwarnings("ignore:`torch.jit.trace")
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize("training", [False, True])
def test_jit_can_trace_it(training):
    lstm, x, _ = case(2, True)
    traced = torch.jit.trace(lstm.train(training), (x,))
    # In float64; some processors add a product's terms in another order when it was traced.
    assert_same(traced(x[:2, :3]), lstm(x[:2, :3]), 1e-15)
