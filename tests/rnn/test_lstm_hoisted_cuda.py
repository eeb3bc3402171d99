"""The hoisted engine on a GPU: its loop, its kernels and their graphs against the reference."""

from __future__ import annotations

import itertools
import threading

import pytest
import torch
from lstm_cases import assert_same, needs_gpu
from pointwise_cases import (
    error,
    exact,
    gradients,
    needs_triton,
    outcome,
    run,
    tensors,
    weights_of,
)

from zoo import LSTM
from zoo.rnn import lstm_hoisted
from zoo.rnn.cuda import cuda_graph

pytestmark = [pytest.mark.gpu, needs_gpu, needs_triton]
LIMITS = {torch.float32: 2e-4, torch.float16: 5e-3, torch.bfloat16: 4e-2}
kernels = pytest.mark.parametrize("steps", ["fused", "captured"])
norms = pytest.mark.parametrize("layer_norm", [False, True])


@pytest.fixture(autouse=True)
def _exact_products():
    """No TF32 while a test runs; afterwards no graphs, and none that failed."""
    before = torch.backends.cuda.matmul.fp32_precision
    torch.backends.cuda.matmul.fp32_precision = "ieee"
    yield
    torch.backends.cuda.matmul.fp32_precision = before
    cache = cuda_graph.graphs(torch.device("cuda", torch.cuda.current_device()))
    assert cache is not None
    assert not cache.failed
    cuda_graph.clear()


def make(time=7, batch=4, hidden=96, size=40, **options):
    return tensors(time, batch, hidden, size, device="cuda", **options)


def ragged(leaves):
    """Lengths from 1 to all steps."""
    time, batch, _ = leaves["x"].shape
    return torch.arange(batch) * 3 % time + 1


def chosen(leaves, steps):
    return lstm_hoisted.choose_steps(steps, leaves["x"], weights_of(leaves), None)


@pytest.mark.parametrize("dtype", LIMITS, ids=str)
@pytest.mark.parametrize("steps", ["loop", "fused", "captured"])
@pytest.mark.parametrize(
    ("layer_norm", "padded", "reverse"), list(itertools.product((False, True), repeat=3))
)
@pytest.mark.parametrize(("batch", "hidden"), [(1, 1), (5, 100), (32, 512)])
def test_results_and_gradients_are_the_references(
    dtype, steps, layer_norm, padded, reverse, batch, hidden
):
    layer_norm = layer_norm and hidden > 1
    leaves = make(9, batch, hidden, layer_norm=layer_norm, dtype=dtype)
    lengths = ragged(leaves) if padded else None
    assert chosen(leaves, steps) == steps
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


@kernels
@norms
def test_many_units(steps, layer_norm):
    leaves = make(3, 2, 4096 if layer_norm else 2500, 8, layer_norm=layer_norm)
    assert error(outcome(leaves, steps, ragged(leaves)), exact(leaves, ragged(leaves))) < 2e-4


@kernels
@norms
@pytest.mark.parametrize("dtype", LIMITS, ids=str)
def test_results_repeat_bit_for_bit(steps, layer_norm, dtype):
    leaves = make(50, 32, 512, 128, layer_norm=layer_norm, dtype=dtype)
    wanted = outcome(leaves, steps, ragged(leaves))
    for _ in range(3):
        assert_same(outcome(leaves, steps, ragged(leaves)), wanted)


@norms
def test_replayed_steps_are_the_launched_ones(layer_norm):
    for seed in range(3):
        leaves = make(layer_norm=layer_norm, seed=seed)
        found = outcome(leaves, "captured", ragged(leaves))
        assert_same(found, outcome(leaves, "fused", ragged(leaves)), 1e-5)


@norms
def test_backward_of_the_first_call_after_others_is_right(layer_norm):
    calls = [make(layer_norm=layer_norm, seed=seed) for seed in range(3)]
    wanted = [exact(leaves) for leaves in calls]
    results = [run(leaves, "captured") for leaves in calls]
    for place in (0, 2, 1):
        found = dict(zip(("output", "h_n", "c_n"), results[place], strict=True))
        found |= gradients(results[place], calls[place], retain_graph=True)
        assert error(found, wanted[place]) < 2e-4


def test_threads_with_streams_of_their_own():
    calls = [make(40, 16, 256, layer_norm=True, seed=seed) for seed in range(3)]
    calls.append(make(30, 16, 256, layer_norm=True, seed=4))
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


@norms
def test_a_caller_can_capture_the_kernels_in_a_graph_of_its_own(layer_norm):
    leaves = {
        name: None if leaf is None else leaf.detach()
        for name, leaf in make(layer_norm=layer_norm).items()
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


def test_buffers_are_bounded_and_freed():
    torch.cuda.synchronize()
    run(make(2, 2, 8, 4), "captured")
    cuda_graph.clear()
    before = torch.cuda.memory_allocated()
    for time in range(1, 40):
        run(make(time, 4, 64, 4, layer_norm=True), "captured")
    assert len(cuda_graph.graphs(torch.device("cuda", 0))) == cuda_graph.MOST_CASES
    cuda_graph.clear()
    assert torch.cuda.memory_allocated() <= before + (1 << 20)


def test_the_loop_runs_what_the_kernels_do_not_cover():
    leaves = make(dtype=torch.float64)
    assert chosen(leaves, "auto") == "loop"
    assert error(outcome(leaves, "auto"), exact(leaves)) < 1e-10
    assert chosen(make(), "auto") == "captured"
