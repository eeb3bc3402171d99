"""The steps in C compute what the reference does, whatever the sizes, and however many threads."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from lstm_cases import assert_same, everything, normal
from torch.autograd import gradcheck

from zoo.rnn import lstm_hoisted
from zoo.rnn.cpu import compiler, lstm_compiled
from zoo.rnn.cpu.lstm_compiled import CompiledRecurrence
from zoo.rnn.lstm import LSTM
from zoo.rnn.stack import weights_of

pytestmark = pytest.mark.skipif(not compiler.compilers(), reason="no C compiler")

# Rows and units around the sizes of a tile: 1 to 6 rows, vectors of 4 to 16 units, 4 at a time.
SIZES = [(1, 1), (2, 7), (5, 16), (6, 33), (7, 64), (13, 79)]
PAD = torch.tensor([[False, False], [False, True], [True, True]]).unsqueeze(-1)  # (time, batch, 1)


@pytest.fixture(autouse=True)
def threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def models(hidden, both=False, **options):
    """An LSTM whose norms do something."""
    torch.manual_seed(hidden)
    lstm = LSTM(3, hidden, bidirectional=both, engine="hoisted", **options)
    with torch.no_grad():
        for name, parameter in lstm.named_parameters():
            if name.startswith("norm_"):
                parameter += 0.3 * torch.randn_like(parameter)
    return lstm


@pytest.mark.parametrize("layer_norm", [False, True])
@pytest.mark.parametrize(("rows", "hidden"), SIZES)
def test_every_size_gives_results_and_gradients_of_the_reference(rows, hidden, layer_norm):
    for dtype, both, ragged in product(
        (torch.float64, torch.float32), (False, True), (False, True)
    ):
        lstm = models(hidden, both, layer_norm=layer_norm, dtype=dtype, bias=not ragged)
        x = normal(4, rows, 3, like=lstm.weight_hh_l0)
        state = tuple(normal(1 + both, rows, hidden, like=x) for _ in range(2))
        lengths = torch.arange(rows) % 5 if ragged else None
        torch.set_num_threads(1 + ragged)
        found = everything(lstm, x, state, lengths)
        lstm.engine = "reference"
        # The norm divides by deviations: the reference itself is as far from its float64 results.
        close = 1e-10 if dtype == torch.float64 else 1e-4 if layer_norm else 1e-5
        assert_same(found, everything(lstm, x, state, lengths), close)


@pytest.mark.parametrize("layer_norm", [False, True])
def test_the_loop_in_python_is_not_what_is_tested(monkeypatch, layer_norm):
    monkeypatch.setattr(lstm_hoisted.Recurrence, "apply", None)
    models(5, layer_norm=layer_norm)(torch.randn(4, 2, 3))


@pytest.mark.parametrize("result", [0, 1, 2], ids=["output", "h_n", "c_n"])
@pytest.mark.parametrize(
    ("reverse", "layer_norm", "pad"), list(product((False, True), (False, True), (None, PAD)))
)
def test_the_gradient_through_each_result_is_right(result, reverse, layer_norm, pad):
    like = torch.empty(0, dtype=torch.float64)
    shapes = [(3, 2, 2), (2, 3), (2, 3), (12, 2), (12, 3), (12,), *[(5, 3)] * 2 * layer_norm]
    given = [(1 - 0.1 * place) * normal(*shape, like=like) for place, shape in enumerate(shapes)]
    given = [part.requires_grad_() for part in given] + [None, None] * (not layer_norm)
    assert gradcheck(
        lambda *all_: CompiledRecurrence.apply(*all_, pad, reverse, torch.float64)[result], given
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gates_far_away_are_closed_open_or_nan(dtype):
    lstm = LSTM(1, 5, engine="hoisted", dtype=dtype)
    for far in (1e3, -1e3, 3e38, 1e-20, float("nan")):
        x = torch.full((3, 7, 1), far, dtype=dtype)
        wanted = torch.nn.LSTM.forward(lstm, x)[0]
        torch.testing.assert_close(lstm(x)[0], wanted, equal_nan=True, rtol=1e-6, atol=1e-6)


def test_threads_change_no_bit_of_a_row_and_are_as_many_as_before():
    lstm = models(40, layer_norm=True)
    x = torch.randn(6, 23, 3)
    found = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        found.append(everything(lstm, x, None))
        assert torch.get_num_threads() == threads
    for name in ("output", "h_n", "c_n"):
        assert torch.equal(found[0][name], found[1][name])
        assert torch.equal(found[0][name], found[2][name])
    torch.set_num_threads(3)
    assert_same(everything(lstm, x, None), found[2])


def test_expanded_and_turned_gradients_are_read_where_they_are():
    lstm = models(5, both=True)
    x = torch.randn(4, 3, 3)
    lstm(x)[0].sum().backward()  # an expanded one
    expanded = lstm.weight_hh_l0.grad.clone()
    lstm.zero_grad()
    output = lstm(x)[0]
    output.backward(torch.ones(10, 4, 3).permute(1, 2, 0))
    assert_same(lstm.weight_hh_l0.grad, expanded, 1e-6)


@pytest.mark.parametrize(
    ("x", "low", "options", "wanted"),
    [
        (torch.ones(2, 3, 4), torch.float32, {}, True),
        (torch.ones(2, 3, 4), torch.float64, {}, True),
        (torch.ones(2, 3, 4), torch.bfloat16, {}, True),
        (torch.ones(2, 3, 4), torch.float16, {"hidden_size": 257}, False),
        (torch.ones(2, 3, 4), torch.float16, {"hidden_size": 257, "layer_norm": True}, True),
        (torch.ones(2, 3, 4), torch.float32, {"proj_size": 2}, False),
        (torch.ones(2, 0, 4), torch.float32, {}, False),
        (torch.ones(2, 3, 4, device="meta"), torch.float32, {}, False),
    ],
)
def test_what_is_covered(x, low, options, wanted):
    lstm = LSTM(4, **({"hidden_size": 5} | options))
    assert lstm_compiled.covers(x, weights_of(lstm, "_l0"), low) == wanted


def test_without_a_library_the_loop_runs(monkeypatch):
    lstm, x = models(5, layer_norm=True), torch.randn(4, 2, 3)
    found = everything(lstm, x, None)
    monkeypatch.setattr(compiler, "load", lambda: None)
    lstm_compiled.is_right.cache_clear()
    try:
        monkeypatch.setattr(CompiledRecurrence, "apply", None)
        assert_same(everything(lstm, x, None), found, 1e-5)
    finally:
        lstm_compiled.is_right.cache_clear()


def test_a_library_that_computes_something_else_is_not_used(monkeypatch, caplog):
    right = lstm_compiled._call

    def wrong(name, job, dtype):
        job.time -= 1  # the last step is left out
        right(name, job, dtype)

    monkeypatch.setattr(lstm_compiled, "_call", wrong)
    lstm_compiled.is_right.cache_clear()
    try:
        assert not lstm_compiled.is_right()
    finally:
        lstm_compiled.is_right.cache_clear()
    assert "Python runs them" in caplog.text


def test_the_first_use_may_be_under_autocast():
    lstm_compiled.is_right.cache_clear()
    with torch.autocast("cpu", torch.bfloat16):
        assert lstm_compiled.is_right()


@pytest.mark.parametrize(
    "watches", ["jit.is_tracing", "compiler.is_compiling", "compiler.is_exporting"]
)
def test_what_watches_torchs_calls_sees_every_step(monkeypatch, watches):
    given = (torch.ones(2, 3, 4), weights_of(LSTM(4, 5), "_l0"), None)
    assert lstm_hoisted.choose_steps("auto", *given) == "compiled"
    monkeypatch.setattr(f"torch.{watches}", lambda: True)
    assert lstm_hoisted.choose_steps("auto", *given) == "loop"
