"""The kernels of a step compute what the reference computes, in Triton's interpreter."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys

import pytest
import torch
from conftest import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st
from lstm_cases import LENGTHS, assert_same, case, everything
from pointwise_cases import (
    INTERPRETED,
    error,
    exact,
    gradients,
    interpreted,
    needs_triton,
    outcome,
    run,
    tensors,
)

from zoo.rnn import lstm_hoisted
from zoo.rnn.cuda import lstm_cuda
from zoo.rnn.cuda.buffers import (
    Given,
    Kept,
    backward_buffers,
    fill_backward,
    fill_forward,
    forward_buffers,
)

RAGGED = torch.tensor([2, 3])
FILES = ("rnn/cuda/test_lstm_cuda.py", "rnn/cuda/test_cuda_graph.py")
grid = pytest.mark.parametrize(
    ("bias", "layer_norm", "lengths", "reverse"),
    list(itertools.product((True, False), (False, True), (None, RAGGED), (False, True))),
)
norms = pytest.mark.parametrize("layer_norm", [False, True])


@pytest.mark.skipif(INTERPRETED, reason="runs here")
@needs_triton
@pytest.mark.timeout(900)
def test_in_the_interpreter():
    """Triton reads TRITON_INTERPRET when it is imported, so a process of its own runs the tests."""
    paths = [str(ROOT / "tests" / name) for name in FILES]
    found = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *paths],
        cwd=ROOT,
        env=os.environ | {"TRITON_INTERPRET": "1", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=800,
    )
    assert found.returncode == 0, found.stdout + found.stderr


@interpreted
@grid
def test_results_and_gradients_are_the_references(bias, layer_norm, lengths, reverse):
    leaves = tensors(bias=bias, layer_norm=layer_norm)
    found = outcome(leaves, "fused", lengths, reverse)
    assert error(found, exact(leaves, lengths, reverse)) < 1e-5
    assert all(part.any() for part in found.values())


@interpreted
@settings(max_examples=12, deadline=None, derandomize=True, database=None)
@given(
    lengths=st.lists(st.integers(0, 4), min_size=1, max_size=3),
    hidden=st.integers(1, 40),
    size=st.integers(1, 5),
    layer_norm=st.booleans(),
    reverse=st.booleans(),
    zero=st.booleans(),
)
def test_random_shapes_too(lengths, hidden, size, layer_norm, reverse, zero):
    options = {"layer_norm": layer_norm and hidden > 2, "zero": zero}
    leaves = tensors(4, len(lengths), hidden, size, **options)
    found = outcome(leaves, "fused", torch.tensor(lengths), reverse)
    assert error(found, exact(leaves, torch.tensor(lengths), reverse)) < 1e-5


@interpreted
@norms
def test_one_step_of_one_row(layer_norm):
    leaves = tensors(1, 1, 6, layer_norm=layer_norm)
    assert error(outcome(leaves, "fused"), exact(leaves)) < 1e-5


@interpreted
@norms
@pytest.mark.parametrize("hidden", [513, 1030])
def test_many_units_are_several_blocks_or_one_wide_one(layer_norm, hidden):
    leaves = tensors(2, 2, hidden, layer_norm=layer_norm)
    assert (
        error(outcome(leaves, "fused", torch.tensor([1, 2])), exact(leaves, torch.tensor([1, 2])))
        < 1e-5
    )


@interpreted
def test_gates_that_are_shut_stay_finite_and_small_numbers_keep_their_digits():
    leaves = tensors(2, 2, 4)
    with torch.no_grad():
        for scale, name in ((200, "b_ih"), (1e-4, "c_0")):
            leaves[name] *= scale
    assert error(outcome(leaves, "fused"), exact(leaves)) < 1e-5
    tiny = tensors(1, 1, 4, bias=False)
    with torch.no_grad():
        for name in ("x", "h_0", "c_0"):
            tiny[name] *= 1e-4
    found, wanted = outcome(tiny, "fused"), exact(tiny)
    for name in ("output", "c_n"):
        torch.testing.assert_close(found[name].double(), wanted[name], rtol=1e-5, atol=0)


@interpreted
@norms
@pytest.mark.parametrize(("dtype", "limit"), [(torch.float16, 4e-3), (torch.bfloat16, 3e-2)])
def test_in_16_bits_it_is_as_exact_as_the_loop(layer_norm, dtype, limit):
    leaves = tensors(5, 3, 20, layer_norm=layer_norm, dtype=dtype)
    lengths = torch.tensor([5, 2, 4])
    wanted = exact(leaves, lengths)
    found = outcome(leaves, "fused", lengths)
    loop = outcome(leaves, "loop", lengths)
    assert error(found, wanted) < min(limit, 2 * error(loop, wanted) + limit / 4)
    assert {name: part.dtype for name, part in found.items()} == dict.fromkeys(found, dtype)


@interpreted
def test_the_cell_is_summed_in_float32():
    leaves = tensors(64, 1, 2, bias=False, dtype=torch.bfloat16)
    with torch.no_grad():  # i = f = 1 nearly, g = 0.01: bf16 would stop adding at 2
        for name in ("w_hh", "w_ih", "h_0", "c_0", "x"):
            leaves[name].zero_()
        leaves["x"][..., 0] = 1
        leaves["w_ih"][:4, 0], leaves["w_ih"][4:6, 0] = 9, 0.05
    assert error({"c_n": run(leaves, "fused")[2]}, {"c_n": exact(leaves)["c_n"]}) < 5e-3
    assert run(leaves, "fused")[2].min() > 3


@interpreted
@norms
def test_under_autocast_it_is_near_the_loop(layer_norm):
    leaves = tensors(4, 3, 8, layer_norm=layer_norm)
    with torch.autocast("cpu", torch.bfloat16):
        found, wanted = (outcome(leaves, steps) for steps in ("fused", "loop"))
    assert found["output"].dtype == wanted["output"].dtype == torch.bfloat16
    assert all(found[name].dtype == wanted[name].dtype for name in wanted)
    assert error(found, {name: part.double() for name, part in wanted.items()}) < 4e-2


@interpreted
@norms
def test_results_repeat_bit_for_bit_and_backward_can_run_twice(layer_norm):
    leaves = tensors(layer_norm=layer_norm)
    wanted = outcome(leaves, "fused", RAGGED)
    assert_same(outcome(leaves, "fused", RAGGED), wanted)
    results = run(leaves, "fused", RAGGED)
    first = gradients(results, leaves, retain_graph=True)
    assert_same(gradients(results, leaves), first)
    assert_same(first, {name: wanted[name] for name in first})


@interpreted
def test_each_row_sums_its_own_gradient_of_the_norms():
    """Programs run side by side on a GPU. The interpreter runs them in turn and hides a race."""
    every = sums_of_norms(tensors(3, 3, 5, layer_norm=True))
    for row in range(3):
        leaves = tensors(3, 3, 5, layer_norm=True)
        for name in ("x", "h_0", "c_0"):
            leaves[name] = leaves[name][..., row : row + 1, :]
        for found, wanted in zip(sums_of_norms(leaves), every, strict=True):
            assert wanted[row].any()
            assert_same(found[0], wanted[row], 1e-5)


def sums_of_norms(leaves):
    """d_scale and d_shift of each row: (batch, 5, hidden)."""
    with torch.no_grad():
        bias = leaves["b_ih"] + leaves["b_hh"]
        read = (leaves[name] for name in ("x", "h_0", "c_0", "w_ih", "w_hh"))
        given = Given(*read, bias, leaves["scale"], leaves["shift"], None)
        forward = forward_buffers(given)
        fill_forward(forward, given)
        lstm_cuda.run_forward(forward)
        kept = Kept(forward.h, forward.c, forward.sums, forward.stats)
        backward = backward_buffers(given, kept)
        ones = torch.ones_like(kept.h)
        fill_backward(backward, ones[1:], ones[0], ones[0])
        lstm_cuda.run_backward(backward)
    return backward.d_scale, backward.d_shift


@interpreted
@pytest.mark.parametrize("steps", ["fused", "captured"])
def test_a_second_derivative_is_refused(steps):
    leaves = tensors()
    loss = run(leaves, steps)[0].square().sum()
    with pytest.raises(RuntimeError, match="no second derivative: engine='reference' has"):
        torch.autograd.grad(loss, leaves["x"], create_graph=True)


@interpreted
@pytest.mark.parametrize("wanted", ["x", "h_0", "c_0", "w_ih", "w_hh", "b_hh", "scale", "shift"])
def test_what_needs_no_gradient_gets_none_and_changes_none(wanted):
    leaves = tensors(layer_norm=True)
    every = outcome(leaves, "fused")
    alone = {name: leaf.detach().requires_grad_(name == wanted) for name, leaf in leaves.items()}
    results = run(alone, "fused")
    assert_same(gradients(results, {wanted: alone[wanted]}), {f"d_{wanted}": every[f"d_{wanted}"]})


@interpreted
def test_without_gradients_output_is_the_callers_own():
    leaves = tensors()
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            output, h_n, _ = run(leaves, "fused")
            assert not output.requires_grad
            assert_same(output.mul_(2)[-1], 2 * h_n)


@interpreted
def test_output_may_not_be_changed_in_place_where_the_backward_reads_it():
    output, *_ = run(tensors(), "fused")
    with pytest.raises(RuntimeError, match="is being modified inplace"):
        output.mul_(2)


@interpreted
def test_only_some_results_are_read():
    leaves = tensors(layer_norm=True)
    wide = {name: leaf.detach().double().requires_grad_() for name, leaf in leaves.items()}
    for place in range(3):
        found = gradients([run(leaves, "fused", RAGGED)[place]], leaves)
        wanted = gradients([run(wide, "reference", RAGGED)[place]], wide)
        assert error(found, wanted) < 1e-5


@interpreted
@norms
def test_a_whole_lstm_runs_on_the_kernels(monkeypatch, layer_norm):
    options = {"engine": "hoisted", "layer_norm": layer_norm, "dtype": torch.float32}
    given = case(2, True, True, **options)
    wanted = everything(*given, LENGTHS)
    seen = []

    def fused(*arguments):
        seen.append(lstm_hoisted.choose_steps("fused", arguments[0], *arguments[2:4]))
        return loop(*arguments, "fused")

    loop = lstm_hoisted.run
    monkeypatch.setattr(lstm_hoisted, "run", fused)
    assert_same(everything(*given, LENGTHS), wanted, 1e-5)
    assert seen == ["fused"] * 4


@interpreted
@pytest.mark.parametrize("steps", ["fused", "captured"])
def test_what_the_kernels_do_not_cover_runs_in_the_loop(steps):
    def chosen(leaves, w_hr=None):
        weights = lstm_hoisted.Weights(
            leaves["w_ih"], leaves["w_hh"], None, None, w_hr, leaves["scale"], leaves["shift"]
        )
        return lstm_hoisted.choose_steps(steps, leaves["x"], weights, None)

    usual = tensors(bias=False)
    assert chosen(usual) == "fused"  # a CPU has no graphs
    assert chosen(usual, w_hr=torch.zeros(5, 5)) == "loop"
    assert chosen(tensors(dtype=torch.float64)) == "loop"
    assert chosen(tensors(batch=0)) == "loop"
    assert chosen(tensors(1, 1, 4097, 1, layer_norm=True)) == "loop"
    assert chosen(usual | {"x": usual["x"].detach().as_subclass(Other)}) == "loop"
    for dtype in (torch.float64, torch.float32):
        leaves = tensors(batch=0 if dtype == torch.float32 else 2, dtype=dtype)
        assert_same(outcome(leaves, steps), outcome(leaves, "loop"))


class Other(torch.Tensor):
    """A subclass, as distributed tensors are."""


@interpreted
def test_while_torch_compiles_the_loop_runs(monkeypatch):
    leaves = tensors()
    for name in ("is_compiling", "is_exporting"):
        with monkeypatch.context() as patch:
            patch.setattr(torch.compiler, name, lambda: True)
            assert choose(leaves) == "loop"
    assert choose(leaves) == "fused"


def choose(leaves):
    weights = lstm_hoisted.Weights(leaves["w_ih"], leaves["w_hh"], *[None] * 5)
    return lstm_hoisted.choose_steps("fused", leaves["x"], weights, None)


@interpreted
def test_where_triton_fails_the_loop_runs_and_one_warning_says_so(monkeypatch, caplog):
    def fail(*_):
        raise RuntimeError("no compiler")

    leaves = tensors(2, 2, 11)
    wanted = outcome(leaves, "loop")
    lstm_cuda._compiles.cache_clear()
    monkeypatch.setattr(lstm_cuda, "run_backward", fail)
    for _ in range(2):
        assert_same(outcome(leaves, "fused"), wanted)
    assert [record.message for record in caplog.records] == [
        "Triton's kernels do not run here, the loop does: no compiler"
    ]
    lstm_cuda._compiles.cache_clear()


@pytest.mark.skipif(INTERPRETED, reason="not without the interpreter")
@pytest.mark.parametrize("steps", ["auto", "fused", "captured"])
def test_on_a_processor_the_loop_runs(steps):
    leaves = tensors(layer_norm=True)
    assert_same(outcome(leaves, steps), outcome(leaves, "loop"))
    weights = lstm_hoisted.Weights(leaves["w_ih"], leaves["w_hh"], *[None] * 5)
    assert lstm_hoisted.choose_steps(steps, leaves["x"], weights, None) == "loop"


@pytest.mark.skipif(INTERPRETED, reason="not without the interpreter")
def test_without_triton_the_loop_runs(monkeypatch):
    monkeypatch.setattr(lstm_cuda, "find_spec", lambda name: None)
    assert choose(tensors()) == "loop"
    assert not lstm_cuda.has_triton()


def test_other_words_are_refused():
    with pytest.raises(ValueError, match="one of auto, loop, fused, captured, not 'graph'"):
        run(tensors(), "graph")


@pytest.mark.skipif(INTERPRETED, reason="not without the interpreter")
def test_importing_zoo_does_not_import_triton():
    lines = (
        "import sys, torch, zoo, zoo.rnn.lstm_hoisted, zoo.rnn.kernels",
        "zoo.LSTM(2, 3, layer_norm=True)(torch.zeros(1, 1, 2))",
        "assert 'triton' not in sys.modules",
    )
    subprocess.run([sys.executable, "-c", "; ".join(lines)], cwd=ROOT, check=True)
