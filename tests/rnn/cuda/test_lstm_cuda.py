"""The kernels of a step compute what the reference does, in Triton's interpreter and on a GPU."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import threading

import pytest
import torch
from conftest import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st
from lstm_cases import LENGTHS, assert_same, case, everything, needs_gpu, rows_of
from pointwise_cases import (
    INTERPRETED,
    RAGGED,
    error,
    exact,
    gradients,
    interpreted,
    needs_triton,
    outcome,
    run,
    tensors,
    weights_of,
)

from zoo import LSTM
from zoo.rnn import lstm_hoisted
from zoo.rnn.cuda import cuda_graph, lstm_cuda
from zoo.rnn.cuda.buffers import (
    Given,
    Kept,
    backward_buffers,
    fill_backward,
    fill_forward,
    forward_buffers,
)

FILES = ("rnn/cuda/test_lstm_cuda.py", "rnn/cuda/test_cuda_graph.py")
# Every kernel: with bias, layer norm and padding or without; every second one runs in reverse.
VARIANTS = itertools.product((True, False), (False, True), (None, torch.tensor([1, 2])))
grid = pytest.mark.parametrize(
    ("bias", "layer_norm", "lengths", "reverse"),
    [(*each, (each[0] + each[1] + (each[2] is None)) % 2 == 1) for each in VARIANTS],
)
norms = pytest.mark.parametrize("layer_norm", [False, True])
LIMITS = {torch.float32: 2e-4, torch.float16: 5e-3, torch.bfloat16: 4e-2}
kernels = pytest.mark.parametrize("steps", ["fused", "captured"])


def gpu(test):
    """Mark a test that runs on a GPU, without TF32."""
    marks = (pytest.mark.gpu, needs_gpu, needs_triton, pytest.mark.usefixtures("exact_products"))
    for mark in marks:
        test = mark(test)
    return test


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
    leaves = tensors(2, 2, bias=bias, layer_norm=layer_norm)
    found = outcome(leaves, "fused", lengths, reverse)
    assert error(found, exact(leaves, lengths, reverse)) < 1e-5
    assert all(part.any() for part in found.values())


@interpreted
@settings(max_examples=4, deadline=None, derandomize=True, database=None)
@given(
    lengths=st.lists(st.integers(0, 2), min_size=1, max_size=2),
    hidden=st.integers(1, 40),
    size=st.integers(1, 5),
    layer_norm=st.booleans(),
    reverse=st.booleans(),
    zero=st.booleans(),
)
def test_random_shapes_too(lengths, hidden, size, layer_norm, reverse, zero):
    options = {"layer_norm": layer_norm and hidden > 2, "zero": zero}
    leaves = tensors(2, len(lengths), hidden, size, **options)
    found = outcome(leaves, "fused", torch.tensor(lengths), reverse)
    assert error(found, exact(leaves, torch.tensor(lengths), reverse)) < 1e-5


@interpreted
@norms
def test_one_step_of_one_row(layer_norm):
    leaves = tensors(1, 1, 6, layer_norm=layer_norm)
    assert error(outcome(leaves, "fused"), exact(leaves)) < 1e-5


@interpreted
@pytest.mark.parametrize(("layer_norm", "hidden"), [(False, 1030), (True, 513)])
def test_many_units_are_several_blocks_or_one_wide_one(layer_norm, hidden):
    leaves = tensors(hidden=hidden, layer_norm=layer_norm)
    assert error(outcome(leaves, "fused", RAGGED), exact(leaves, RAGGED)) < 1e-5


@interpreted
def test_gates_that_are_shut_stay_finite_and_small_numbers_keep_their_digits():
    leaves = tensors(hidden=4)
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
    leaves = tensors(3, 2, 20, layer_norm=layer_norm, dtype=dtype)
    lengths = torch.tensor([3, 2])
    wanted = exact(leaves, lengths)
    found = outcome(leaves, "fused", lengths)
    loop = outcome(leaves, "loop", lengths)
    assert error(found, wanted) < min(limit, 2 * error(loop, wanted) + limit / 4)
    assert {name: part.dtype for name, part in found.items()} == dict.fromkeys(found, dtype)


@interpreted
def test_the_cell_is_summed_in_float32():
    leaves = tensors(16, 1, 2, bias=False, dtype=torch.bfloat16)
    with torch.no_grad():  # i = f = 1 nearly, g = 0.005: in bf16 a sum of 3 would stay as it is
        for name in ("w_hh", "w_ih", "h_0", "x"):
            leaves[name].zero_()
        leaves["c_0"].fill_(3)
        leaves["x"][..., 0] = 1
        leaves["w_ih"][:4, 0], leaves["w_ih"][4:6, 0] = 9, 0.005
        c_n = run(leaves, "fused")[2]
    assert choose(leaves) == "fused"  # the loop would hide a wrong dtype
    assert error({"c_n": c_n}, {"c_n": exact(leaves)["c_n"]}) < 5e-3
    assert c_n.min() > 3.04


@interpreted
@norms
def test_under_autocast_it_is_near_the_loop(layer_norm):
    leaves = tensors(layer_norm=layer_norm)
    with torch.autocast("cpu", torch.bfloat16):
        found, wanted = (outcome(leaves, steps) for steps in ("fused", "loop"))
    assert found["output"].dtype == wanted["output"].dtype == torch.bfloat16
    assert all(found[name].dtype == wanted[name].dtype for name in wanted)
    assert error(found, {name: part.double() for name, part in wanted.items()}) < 4e-2


@interpreted
def test_results_repeat_bit_for_bit_and_backward_can_run_twice():
    leaves = tensors(layer_norm=True)
    wanted = outcome(leaves, "fused", RAGGED)
    assert_same(outcome(leaves, "fused", RAGGED), wanted)
    results = run(leaves, "fused", RAGGED)
    first = gradients(results, leaves, retain_graph=True)
    assert_same(gradients(results, leaves), first)
    assert_same(first, {name: wanted[name] for name in first})


@interpreted
def test_each_row_sums_its_own_gradient_of_the_norms():
    """Programs run side by side on a GPU. The interpreter runs them in turn and hides a race."""
    every = sums_of_norms(tensors(2, 2, layer_norm=True))
    for row in range(2):
        leaves = tensors(2, 2, layer_norm=True)
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
def test_a_whole_lstm_runs_on_the_kernels(monkeypatch):
    lstm, x, state = case(1, True, True, engine="hoisted", layer_norm=True, dtype=torch.float32)
    rows = [0, 2]
    given = lstm, x[rows, :3], rows_of(state, rows), LENGTHS[rows]
    wanted = everything(*given)
    seen = []

    def fused(*arguments):
        seen.append(lstm_hoisted.choose_steps("fused", arguments[0], *arguments[2:4]))
        return loop(*arguments, "fused")

    loop = lstm_hoisted.run
    monkeypatch.setattr(lstm_hoisted, "run", fused)
    assert_same(everything(*given), wanted, 1e-5)
    assert seen == ["fused"] * 2


@interpreted
@pytest.mark.parametrize("steps", ["fused", "captured"])
def test_what_the_kernels_do_not_cover_runs_in_the_loop(monkeypatch, steps):
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
    for widest, wanted in ((4, "loop"), (5, "fused")):
        monkeypatch.setattr(lstm_cuda, "WIDEST", widest)
        assert chosen(tensors(hidden=5, layer_norm=True)) == wanted
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
@pytest.mark.parametrize("steps", ["fused", "captured"])
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
    with pytest.raises(
        ValueError, match="one of auto, loop, compiled, fused, captured, not 'graph'"
    ):
        run(tensors(), "graph")


@pytest.mark.skipif(INTERPRETED, reason="not without the interpreter")
def test_importing_zoo_does_not_import_triton():
    lines = (
        "import sys, torch, zoo, zoo.rnn.lstm_hoisted, zoo.rnn.kernels",
        "zoo.LSTM(2, 3, layer_norm=True)(torch.zeros(1, 1, 2))",
        "assert 'triton' not in sys.modules",
    )
    subprocess.run([sys.executable, "-c", "; ".join(lines)], cwd=ROOT, check=True)


@pytest.fixture
def exact_products():
    """No TF32 while a test runs; afterwards no graphs, and none that failed."""
    before = torch.backends.cuda.matmul.fp32_precision
    torch.backends.cuda.matmul.fp32_precision = "ieee"
    yield
    torch.backends.cuda.matmul.fp32_precision = before
    cache = cuda_graph.graphs(torch.device("cuda", torch.cuda.current_device()))
    assert cache is not None
    assert not cache.failed
    cuda_graph.clear()


def on_the_gpu(time=7, batch=4, hidden=96, size=40, **options):
    return tensors(time, batch, hidden, size, device="cuda", **options)


def ragged(leaves):
    """Lengths from 1 to all steps."""
    time, batch, _ = leaves["x"].shape
    return torch.arange(batch) * 3 % time + 1


def chosen_on_the_gpu(leaves, steps):
    return lstm_hoisted.choose_steps(steps, leaves["x"], weights_of(leaves), None)


@gpu
@pytest.mark.parametrize("dtype", LIMITS, ids=str)
@pytest.mark.parametrize("steps", ["loop", "fused", "captured"])
@pytest.mark.parametrize(
    ("layer_norm", "padded", "reverse"), list(itertools.product((False, True), repeat=3))
)
@pytest.mark.parametrize(("batch", "hidden"), [(1, 1), (5, 100), (32, 512)])
def test_on_a_gpu_results_and_gradients_are_the_references(
    dtype, steps, layer_norm, padded, reverse, batch, hidden
):
    layer_norm = layer_norm and hidden > 1
    leaves = on_the_gpu(9, batch, hidden, layer_norm=layer_norm, dtype=dtype)
    lengths = ragged(leaves) if padded else None
    assert chosen_on_the_gpu(leaves, steps) == steps
    wanted = exact(leaves, lengths, reverse)
    for _ in range(2):
        found = outcome(leaves, steps, lengths, reverse)
        assert {part.dtype for part in found.values()} == {dtype}
        assert error(found, wanted) < LIMITS[dtype]
    if steps == "captured":
        cache = cuda_graph.graphs(leaves["x"].device)
        entry = next(iter(cache._entries.values()))
        assert entry.run_forward is not None
        assert entry.run_backward is not None


@gpu
@kernels
@norms
def test_on_a_gpu_many_units(steps, layer_norm):
    leaves = on_the_gpu(3, 2, 4096 if layer_norm else 2500, 8, layer_norm=layer_norm)
    assert error(outcome(leaves, steps, ragged(leaves)), exact(leaves, ragged(leaves))) < 2e-4


@gpu
@kernels
@norms
@pytest.mark.parametrize("dtype", LIMITS, ids=str)
def test_on_a_gpu_results_repeat_bit_for_bit(steps, layer_norm, dtype):
    leaves = on_the_gpu(50, 32, 512, 128, layer_norm=layer_norm, dtype=dtype)
    wanted = outcome(leaves, steps, ragged(leaves))
    for _ in range(3):
        assert_same(outcome(leaves, steps, ragged(leaves)), wanted)


@gpu
@norms
def test_on_a_gpu_replayed_steps_are_the_launched_ones(layer_norm):
    for seed in range(3):
        leaves = on_the_gpu(layer_norm=layer_norm, seed=seed)
        found = outcome(leaves, "captured", ragged(leaves))
        assert_same(found, outcome(leaves, "fused", ragged(leaves)), 1e-5)


@gpu
@norms
def test_on_a_gpu_backward_of_the_first_call_after_others_is_right(layer_norm):
    calls = [on_the_gpu(layer_norm=layer_norm, seed=seed) for seed in range(3)]
    wanted = [exact(leaves) for leaves in calls]
    results = [run(leaves, "captured") for leaves in calls]
    for place in (0, 2, 1):
        found = dict(zip(("output", "h_n", "c_n"), results[place], strict=True))
        found |= gradients(results[place], calls[place], retain_graph=True)
        assert error(found, wanted[place]) < 2e-4


@gpu
def test_threads_with_streams_of_their_own():
    calls = [on_the_gpu(40, 16, 256, layer_norm=True, seed=seed) for seed in range(3)]
    calls.append(on_the_gpu(30, 16, 256, layer_norm=True, seed=4))
    wanted = [exact(leaves) for leaves in calls]
    torch.cuda.synchronize()
    problems = []

    def work(place):
        try:
            with torch.cuda.stream(torch.cuda.Stream()):
                for _ in range(10):
                    found = outcome(calls[place], "captured")
                    torch.cuda.current_stream().synchronize()
                    assert error(found, wanted[place]) < 2e-4
        except BaseException as problem:
            problems.append(problem)

    threads = [threading.Thread(target=work, args=(place,)) for place in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not problems


@gpu
@norms
def test_an_lstm_captures_its_second_call_and_trains_like_the_loop(monkeypatch, layer_norm):
    """Two layers, both directions, under autocast, batches of three shapes."""
    losses = {}
    original = lstm_hoisted.run
    for steps in ("loop", "auto"):
        monkeypatch.setattr(
            lstm_hoisted, "run", lambda *given, steps=steps: original(*given, steps)
        )
        torch.manual_seed(3)
        lstm = LSTM(
            32,
            64,
            2,
            bidirectional=True,
            batch_first=True,
            engine="hoisted",
            layer_norm=layer_norm,
            device="cuda",
        )
        optimizer = torch.optim.SGD(lstm.parameters(), lr=0.05)
        scaler = torch.amp.GradScaler("cuda", init_scale=1024.0)
        losses[steps] = []
        for number in range(9):
            draw = torch.Generator().manual_seed(number)
            x = torch.randn(8, 12 + number % 3, 32, generator=draw).cuda()
            lengths = torch.randint(1, x.size(1) + 1, (8,), generator=draw)
            with torch.autocast("cuda", torch.float16):
                output, (h_n, c_n) = lstm(x, lengths=lengths)
                loss = (output.float() - 0.3).square().mean() + h_n.mean() + c_n.mean()
            optimizer.zero_grad()
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
            losses[steps].append(loss.item())
    torch.testing.assert_close(losses["auto"], losses["loop"], rtol=2e-3, atol=2e-3)
    assert len(cuda_graph.graphs(x.device)) == 3


@gpu
@norms
def test_a_caller_can_capture_the_kernels_in_a_graph_of_its_own(layer_norm):
    leaves = {
        name: None if leaf is None else leaf.detach()
        for name, leaf in on_the_gpu(layer_norm=layer_norm).items()
    }
    wanted = run(leaves, "fused")
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        run(leaves, "auto")
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        found = run(leaves, "auto")
    graph.replay()
    assert_same(found, wanted, 1e-5)


@gpu
def test_buffers_are_bounded_and_freed():
    torch.cuda.synchronize()
    run(on_the_gpu(2, 2, 8, 4), "captured")
    cuda_graph.clear()
    before = torch.cuda.memory_allocated()
    for time in range(1, 40):
        run(on_the_gpu(time, 4, 64, 4, layer_norm=True), "captured")
    assert len(cuda_graph.graphs(torch.device("cuda", 0))) == cuda_graph.MOST_CASES
    cuda_graph.clear()
    assert torch.cuda.memory_allocated() <= before + (1 << 20)


@gpu
def test_the_loop_runs_what_the_kernels_do_not_cover():
    leaves = on_the_gpu(dtype=torch.float64)
    assert chosen_on_the_gpu(leaves, "auto") == "loop"
    assert error(outcome(leaves, "auto"), exact(leaves)) < 1e-10
    assert chosen_on_the_gpu(on_the_gpu(), "auto") == "captured"
