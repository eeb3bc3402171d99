"""widen: a wider LSTM of zero weights computes the same, learns the same, and refuses the rest."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from torch.testing import assert_close

from zoo import LSTM
from zoo.rnn.zero_pad import zero_pad

INPUTS, UNITS = 4, 5  # of the LSTM
WIDE = {"input_size": 6, "hidden_size": 8}
BATCH, TIME = 3, 5
CASES = [
    {
        "num_layers": layers,
        "bidirectional": both,
        "bias": bias,
        "proj_size": size,
        "learned_state": learned,
    }
    for layers, both, bias, size, learned in product(
        (1, 2), *[(False, True)] * 2, (0, 3), (False, True)
    )
]
cases = pytest.mark.parametrize("options", CASES, ids=lambda o: "-".join(map(str, o.values())))
rows = pytest.mark.parametrize("lengths", [None, (5, 0, 2)], ids=["full", "ragged"])
pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")


def pair(**options):
    """A random LSTM, and the wide one."""
    torch.manual_seed(0)
    lstm = LSTM(INPUTS, UNITS, dtype=torch.float64, **options)
    for weight in lstm.parameters():
        torch.nn.init.normal_(weight, std=0.5)
    return lstm, zero_pad(lstm, **WIDE)


def inputs(junk=0.0):
    """The same input for both."""
    torch.manual_seed(1)
    x = torch.randn(TIME, BATCH, INPUTS, dtype=torch.float64)
    behind = x.new_full((TIME, BATCH, WIDE["input_size"] - INPUTS), junk)
    return x, torch.cat([x, behind], -1)


def states(lstm, given):
    """The same initial state for both."""
    if not given:
        return None, None
    torch.manual_seed(2)
    count, size = len(lstm.suffixes), lstm.proj_size or UNITS
    old = [torch.randn(count, BATCH, n, dtype=torch.float64) for n in (size, UNITS)]
    wider = (WIDE["hidden_size"] - UNITS) * (not lstm.proj_size), WIDE["hidden_size"] - UNITS
    pads = zip(old, wider, strict=True)
    return tuple(old), tuple(torch.nn.functional.pad(state, (0, n)) for state, n in pads)


def parts(tensor, name, lstm):
    """Of a tensor of the wide LSTM, what stands for the old one's, in its shape, and the rest."""
    every, units, new = range(10**9), [*range(UNITS)], WIDE["hidden_size"]
    h = [*range(lstm.proj_size or UNITS)]
    sides = [way * (lstm.proj_size or new) + i for way in range(1 + lstm.bidirectional) for i in h]
    gates = [gate * new + unit for gate in range(4) for unit in units]
    meanings = {
        "weight_ih_l0": (gates, range(INPUTS)),
        "weight_ih": (gates, sides),
        "weight_hh": (gates, h),
        "weight_hr": (h, units),
        "bias": (gates,),
        "output": (every, every, sides),
        "h_": (every, every, h),
        "c_": (every, every, units),
    }
    places = next(place for start, place in meanings.items() if name.startswith(start))
    found = [torch.tensor(p[:n]) for p, n in zip(places, tensor.shape, strict=True)]
    grid = torch.meshgrid(*found, indexing="ij")
    kept = torch.zeros(tensor.shape, dtype=torch.bool)
    kept[grid] = True
    return tensor[grid], tensor[~kept]


def assert_same(new, old, lstm):
    """Tensors by name: equal in front, and exactly zero behind."""
    assert new.keys() == old.keys()
    for name in old:
        front, behind = parts(new[name], name, lstm)
        assert_close(front, old[name], rtol=0, atol=1e-12, msg=lambda m, n=name: f"{n}: {m}")
        assert not behind.any(), name


def run(lstm, x, state, lengths):
    output, (h_n, c_n) = lstm(x, state, None if lengths is None else torch.tensor(lengths))
    return {"output": output, "h_n": h_n, "c_n": c_n}


def loss(results, front=lambda tensor, _: tensor):
    """Reads all of the three, each element with a weight of its own."""
    total = 0.0
    for name, tensor in results.items():
        seen = front(tensor, name)
        weights = torch.linspace(-1, 1, seen.numel(), dtype=torch.float64)
        total = total + (seen.sin().flatten() * weights).sum()
    return total


@cases
@rows
@pytest.mark.parametrize("given", [False, True], ids=["", "state"])
def test_results_are_the_same_in_front_and_zero_behind(options, lengths, given):
    lstm, wide = pair(**options)
    x, more = inputs(junk=7.0)  # without influence: its weights are zero
    state, wider = states(lstm, given)
    with torch.no_grad():
        old, new = run(lstm, x, state, lengths), run(wide, more, wider, lengths)
    assert_same(new, old, lstm)


@cases
@rows
def test_gradients_are_the_same_in_front_and_zero_behind_and_so_they_stay(options, lengths):
    lstm, wide = pair(**options)
    x, more = inputs()
    optimizers = [torch.optim.SGD(model.parameters(), lr=0.1) for model in (lstm, wide)]
    for _ in range(2):
        for optimizer in optimizers:
            optimizer.zero_grad()
        loss(run(lstm, x, None, lengths)).backward()
        results = run(wide, more, None, lengths)
        loss(results, lambda tensor, name: parts(tensor, name, lstm)[0]).backward()
        old, new = ({n: w.grad for n, w in m.named_parameters()} for m in (lstm, wide))
        assert all(grad.any() for grad in old.values())
        assert_same(new, old, lstm)
        for optimizer in optimizers:
            optimizer.step()
    assert_same(dict(wide.named_parameters()), dict(lstm.named_parameters()), lstm)
    with torch.no_grad():
        assert_same(run(wide, more, None, lengths), run(lstm, x, None, lengths), lstm)


@pytest.mark.parametrize("engine", ["torch", "hoisted", "reference"])
@pytest.mark.parametrize("junk", [-3.0, 1e30])
def test_what_stands_in_the_new_inputs_is_without_influence(engine, junk):
    lstm, wide = pair(num_layers=2, bidirectional=True, engine=engine)
    x, more = inputs(junk)
    with torch.no_grad():
        old, new = run(lstm, x, None, (5, 1, 3)), run(wide, more, None, (5, 1, 3))
    assert_same(new, old, lstm)


@pytest.mark.parametrize("sizes", [{"hidden_size": 8}, {"input_size": 6}, {}], ids=str)
def test_one_size_alone_can_grow(sizes):
    lstm, _ = pair(bidirectional=True)
    wide = zero_pad(lstm, **sizes)
    assert (wide.input_size, wide.hidden_size) == (
        sizes.get("input_size", INPUTS),
        sizes.get("hidden_size", UNITS),
    )
    x, more = inputs()
    new = wide(more if "input_size" in sizes else x)[0]
    old = lstm(x)[0]
    for way in range(2):
        front = new[..., way * wide.hidden_size :][..., :UNITS]
        assert_close(front, old[..., way * UNITS :][..., :UNITS], rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    "sizes",
    [
        {"hidden_size": UNITS - 1},
        {"input_size": INPUTS - 1},
        {"hidden_size": 100, "input_size": 1},
        {"hidden_size": -8},
        {"hidden_size": 0},
        {"input_size": 0},
    ],
    ids=str,
)
def test_a_smaller_size_is_refused(sizes):
    with pytest.raises(ValueError, match="less than the LSTM has"):
        zero_pad(LSTM(INPUTS, UNITS), **sizes)


def test_layer_norm_is_refused():
    with pytest.raises(ValueError, match="layer norm averages over all units"):
        zero_pad(LSTM(INPUTS, UNITS, layer_norm=True), **WIDE)


@pytest.mark.parametrize("training", [False, True])
def test_options_dtype_and_mode_are_kept_and_the_old_one_stays_as_it_was(training):
    options = {
        "num_layers": 2,
        "bias": False,
        "batch_first": True,
        "dropout": 0.1,
        "bidirectional": True,
        "proj_size": 3,
        "weight_dropout": 0.2,
        "locked_dropout": True,
        "output_dropout": 0.3,
        "learned_state": True,
        "engine": "hoisted",
    }
    lstm = LSTM(INPUTS, UNITS, dtype=torch.float64, **options).train(training)
    before = {name: weight.clone() for name, weight in lstm.state_dict().items()}
    wide = zero_pad(lstm, **WIDE)
    assert {name: getattr(wide, name) for name in options} == options
    assert {weight.dtype for weight in wide.parameters()} == {torch.float64}
    assert wide.training == training
    with torch.no_grad():
        for weight in wide.parameters():
            weight.fill_(1)
    assert all(torch.equal(before[name], weight) for name, weight in lstm.state_dict().items())
