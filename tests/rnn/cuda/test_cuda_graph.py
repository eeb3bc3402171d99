"""Graphs of an LSTM's steps: what a call holds is its own, and the cache stays within its limits."""

from __future__ import annotations

import threading
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace

import pytest
import torch
from graph_cases import Tape
from lstm_cases import assert_same
from pointwise_cases import (
    RAGGED,
    error,
    exact,
    gradients,
    interpreted,
    loss_of,
    outcome,
    run,
    tensors,
)

from zoo.rnn.cuda import cuda_graph
from zoo.rnn.cuda.buffers import Given
from zoo.rnn.cuda.cuda_graph import CudaRecorder, GraphCache

CPU = torch.device("cpu")
WARNING = "CUDA graphs cannot be captured here, steps are launched singly: broken"


@pytest.fixture
def install(monkeypatch):
    """Give the CPU a cache of graphs with a tape; the cache."""

    def make(tape=None, **limits):
        cache = GraphCache(CPU, tape or Tape(), **limits)
        monkeypatch.setitem(cuda_graph.RECORDERS, "cpu", lambda device: cache.recorder)
        monkeypatch.setitem(cuda_graph._caches, CPU, cache)
        return cache

    return make


@interpreted
@pytest.mark.parametrize(
    ("layer_norm", "bias", "lengths"),
    [(False, False, None), (False, True, RAGGED), (True, False, RAGGED), (True, True, None)],
)
def test_replayed_steps_are_the_launched_ones(install, layer_norm, bias, lengths):
    tape = install().recorder
    for seed in range(2):
        leaves = tensors(layer_norm=layer_norm, bias=bias, seed=seed)
        each = None if lengths is None else (lengths + seed) % 3
        found = outcome(leaves, "captured", each, reverse=seed == 1)
        assert_same(found, outcome(leaves, "fused", each, reverse=seed == 1))
        assert error(found, exact(leaves, each, reverse=seed == 1)) < 1e-5
    assert (tape.recorded, tape.replayed) == (2, 4)


@interpreted
def test_replayed_steps_are_the_launched_ones_in_16_bits(install):
    install()
    for seed in range(2):
        leaves = tensors(layer_norm=True, seed=seed, dtype=torch.bfloat16)
        assert_same(outcome(leaves, "captured", RAGGED), outcome(leaves, "fused", RAGGED))


@interpreted
def test_backward_of_the_first_call_after_others_is_right(install):
    install()
    calls = [tensors(seed=seed) for seed in range(3)]
    wanted = [outcome(leaves, "fused", RAGGED) for leaves in calls]
    results = [run(leaves, "captured", RAGGED) for leaves in calls]
    for place in (0, 2, 1):
        found = dict(zip(("output", "h_n", "c_n"), results[place], strict=True))
        found |= gradients(results[place], calls[place], retain_graph=True)
        assert_same(found, wanted[place])
    again = gradients(results[0], calls[0])
    assert_same(again, {name: wanted[0][name] for name in again})


@interpreted
@pytest.mark.parametrize("lengths", [None, RAGGED])
def test_what_two_calls_return_has_no_memory_in_common(install, lengths):
    install()
    leaves = tensors(layer_norm=True)
    calls = [outcome(leaves, "captured", lengths) for _ in range(2)]
    assert_same(*calls)
    kept = {name: part.clone() for name, part in calls[0].items()}
    for part in calls[1].values():
        part.fill_(7)
    outcome(tensors(layer_norm=True, seed=2), "captured", lengths)
    assert_same(calls[0], kept)
    assert all((part == 7).all() for part in calls[1].values())


@interpreted
def test_layers_share_a_graph_and_one_reads_the_other(install):
    cache = install()
    leaves = tensors(size=5)

    def twice(steps):
        first = run(leaves, steps)
        second = run(leaves | {"x": first[0], "h_0": first[1], "c_0": first[2]}, steps)
        given = [leaf for leaf in leaves.values() if leaf is not None]
        return torch.autograd.grad(loss_of(second), given)

    assert_same(twice("captured"), twice("fused"))
    assert (len(cache), cache.recorder.recorded) == (1, 2)


@interpreted
def test_a_case_is_captured_at_its_second_call(install):
    tape = install().recorder
    leaves = tensors()
    wanted = outcome(leaves, "fused")
    for recorded, replayed in ((0, 0), (2, 2), (2, 4)):
        assert_same(automatic(leaves), wanted)
        assert (tape.recorded, tape.replayed) == (recorded, replayed)


def automatic(leaves):
    """The outcome of steps="auto" on a CUDA device."""
    from zoo.rnn.cuda import lstm_cuda

    given = Given(
        *(leaves[name] for name in ("x", "h_0", "c_0", "w_ih", "w_hh")),
        leaves["b_ih"] + leaves["b_hh"],
        leaves["scale"],
        leaves["shift"],
        None,
    )
    results = lstm_cuda.run(given, cuda_graph.graphs(CPU), at_once=False)
    names = zip(("output", "h_n", "c_n"), results, strict=True)
    return {name: part.detach() for name, part in names} | gradients(results, leaves)


@interpreted
def test_the_cases_used_longest_ago_are_dropped(install):
    cache = install(most_cases=2)
    shapes = {time: tensors(time, 1, 3) for time in (1, 2, 3)}
    for time in (1, 2, 1, 3):
        run(shapes[time], "captured")
        assert len(cache) <= 2
    assert [key[0].time for key in cache._entries] == [1, 3]
    assert cache.recorder.finished == 1
    recorded = cache.recorder.recorded
    run(shapes[1], "captured")
    assert cache.recorder.recorded == recorded


@interpreted
def test_the_bytes_of_all_buffers_are_bounded(install):
    shapes = [tensors(time, 1, 3) for time in (1, 2, 3, 9)]
    sizes = [
        cuda_graph.Case(time, 1, 3, torch.float32, True, False, False).nbytes for time in (1, 2, 3)
    ]
    cache = install(most_bytes=sizes[1] + sizes[2])
    for leaves in shapes:
        assert_same(outcome(leaves, "captured"), outcome(leaves, "fused"))
        assert cache.nbytes <= cache.most_bytes
    assert [key[0].time for key in cache._entries] == [2, 3]  # the last one is too large


@interpreted
@pytest.mark.parametrize("layer_norm", [False, True])
def test_the_bytes_are_counted_about_right(layer_norm):
    case = cuda_graph.Case(50, 8, 32, torch.float16, True, layer_norm, True)
    entry = cuda_graph.Entry(case, CPU)
    parts = [*entry.given, *vars(entry.forward).values(), *vars(entry.backward).values()]
    storages = {
        part.untyped_storage().data_ptr(): part.untyped_storage().nbytes()
        for part in parts
        if part is not None
    }
    assert case.nbytes == pytest.approx(sum(storages.values()), rel=0.05)


@interpreted
def test_a_dropped_case_waits_longer_before_it_is_captured_again(install):
    cache = install(most_cases=1)
    one, two = tensors(1, 1, 3), tensors(2, 1, 3)
    calls = []
    for leaves in (one, one, two, two, *[one] * 5):
        before = cache.recorder.recorded
        given = automatic(leaves)
        calls.append(cache.recorder.recorded - before)
        assert_same(given, outcome(leaves, "fused"))
    assert calls == [0, 2, 0, 2, 0, 0, 0, 2, 0]


@interpreted
def test_a_case_dropped_between_forward_and_backward_is_launched(install):
    cache = install()
    leaves = tensors(layer_norm=True)
    results = run(leaves, "captured", RAGGED)
    cuda_graph.clear()
    assert (len(cache), cache.nbytes, cache.recorder.finished) == (0, 0, 1)
    found = gradients(results, leaves)
    wanted = outcome(leaves, "fused", RAGGED)
    assert_same(found, {name: wanted[name] for name in found})
    assert cache.recorder.recorded == 1


@interpreted
@pytest.mark.parametrize("fail_at", [1, 2], ids=["forward", "backward"])
def test_after_a_failed_capture_steps_are_launched_and_one_warning_says_so(
    install, caplog, fail_at
):
    cache = install(Tape(fail_at))
    leaves, other = tensors(), tensors(1)
    wanted = outcome(leaves, "fused", RAGGED)
    for _ in range(2):
        assert_same(outcome(leaves, "captured", RAGGED), wanted)
    assert_same(outcome(other, "captured"), outcome(other, "fused"))
    assert [record.message for record in caplog.records] == [WARNING]
    assert cache.recorder.recorded == fail_at
    assert cache.failed


@interpreted
@pytest.mark.parametrize("fail_at", [1, 2], ids=["forward", "backward"])
def test_without_memory_for_a_graph_a_later_call_tries_again(install, caplog, fail_at):
    cache = install(Tape(fail_at, torch.OutOfMemoryError("full")))
    leaves = tensors()
    for _ in range(2):
        assert_same(outcome(leaves, "captured"), outcome(leaves, "fused"))
    assert not caplog.records
    assert (len(cache), cache.failed, cache.recorder.recorded) == (1, False, 3)


@interpreted
def test_without_memory_for_the_buffers_steps_are_launched(install, monkeypatch):
    cache = install()
    leaves = tensors()
    wanted = outcome(leaves, "fused")

    def full(*_):
        raise torch.OutOfMemoryError("full")

    monkeypatch.setattr(cuda_graph, "Entry", full)
    assert_same(outcome(leaves, "captured"), wanted)
    assert (len(cache), cache.failed, cache.recorder.recorded) == (0, False, 0)


@interpreted
def test_a_caller_that_captures_a_graph_of_its_own_gets_none_of_ours(install):
    tape = install().recorder
    leaves = tensors()
    wanted = outcome(leaves, "fused")
    results = run(leaves, "captured")
    tape.occupied = True
    assert_same(gradients(results, leaves), {k: wanted[k] for k in wanted if k.startswith("d_")})
    assert_same(outcome(leaves, "captured"), wanted)
    assert tape.replayed == 1


@interpreted
def test_a_first_call_in_inference_mode_spoils_no_training(install):
    cache = install()
    leaves = tensors(layer_norm=True)
    wanted = outcome(leaves, "fused", RAGGED)
    for mode in (torch.inference_mode, torch.no_grad, nullcontext):
        with mode():
            results = run(leaves, "captured", RAGGED)
            assert_same(
                [part.detach() for part in results],
                [wanted[name] for name in ("output", "h_n", "c_n")],
            )
    with torch.no_grad():
        output, h_n, _ = run(leaves, "captured")
        run(tensors(layer_norm=True, seed=2), "captured")
        assert_same(output.mul_(2)[-1], 2 * h_n)
    assert_same(outcome(leaves, "captured", RAGGED), wanted)
    assert len(cache) == 2  # with padding and without


@interpreted
def test_what_a_graph_freezes_belongs_to_its_case(install):
    cache = install()
    run(tensors(), "captured")
    torch.use_deterministic_algorithms(True)
    try:
        run(tensors(), "captured")
    finally:
        torch.use_deterministic_algorithms(False)
    run(tensors(), "captured")
    assert len(cache) == cache.recorder.recorded == 2


@interpreted
def test_threads_share_graphs_and_take_turns(install):
    cache = install()  # the tape complains of two at once
    calls = [tensors(2, 1, 3, seed=seed) for seed in range(3)]
    wanted = [outcome(leaves, "fused") for leaves in calls]
    problems, start = [], threading.Barrier(3)

    def work(place):
        try:
            start.wait()
            for _ in range(4):
                assert_same(outcome(calls[place], "captured"), wanted[place])
        except BaseException as problem:
            problems.append(problem)

    threads = [threading.Thread(target=work, args=(place,)) for place in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not problems
    assert cache.recorder.recorded == 2


class FakeCuda:
    """What CudaRecorder calls of torch.cuda, written down in order."""

    def __init__(self, monkeypatch):
        self.log, self.now, self.fails = [], "main", False
        fakes = {
            "Stream": lambda device: self.stream("side"),
            "Event": lambda: SimpleNamespace(
                record=lambda stream: self.log.append(f"event on {stream.name}"),
                synchronize=lambda: self.log.append("synchronize"),
            ),
            "CUDAGraph": lambda: SimpleNamespace(replay=lambda: self.log.append("replay")),
            "current_stream": lambda device: self.stream(self.now),
            "stream": self.on,
            "graph": self.graph,
            "is_current_stream_capturing": lambda: False,
        }
        for name, fake in fakes.items():
            monkeypatch.setattr(torch.cuda, name, fake)

    def stream(self, name):
        return Stream(name, self.log)

    @contextmanager
    def on(self, stream):
        before, self.now = self.now, stream.name
        try:
            yield
        finally:
            self.now = before

    @contextmanager
    def graph(self, graph, stream, capture_error_mode):
        assert capture_error_mode == "thread_local"
        self.now = stream.name  # as torch leaves it where a capture fails
        self.log.append("capture")
        yield
        if self.fails:
            raise RuntimeError("broken")
        self.now = "main"


class Stream:
    def __init__(self, name, log):
        self.name, self.log = name, log

    def __eq__(self, other):
        return self.name == other.name

    def wait_stream(self, other):
        self.log.append(f"{self.name} waits for {other.name}")

    def wait_event(self, event):
        self.log.append(f"{self.name} waits for the event")


def test_work_is_warmed_up_on_the_side_stream_that_captures_it(monkeypatch):
    cuda = FakeCuda(monkeypatch)
    recorder = CudaRecorder(CPU)
    with recorder.turn():
        replay = recorder.record(lambda: cuda.log.append(f"work on {cuda.now}"))
        replay()
    assert cuda.log == [
        "side waits for main",
        "work on side",
        "capture",
        "work on side",
        "main waits for side",
        "replay",
        "event on main",
    ]
    assert not recorder.busy()


def test_another_stream_waits_for_the_last_turn(monkeypatch):
    cuda = FakeCuda(monkeypatch)
    recorder = CudaRecorder(CPU)
    for now in ("main", "main", "second", "main"):
        cuda.now = now
        with recorder.turn():
            cuda.log.append("turn")
    recorder.finish()
    assert cuda.log == [
        "turn",
        "event on main",
        "turn",
        "event on main",
        "second waits for the event",
        "turn",
        "event on second",
        "main waits for the event",
        "turn",
        "event on main",
        "synchronize",
    ]


def test_a_failed_capture_gives_the_stream_back(monkeypatch):
    cuda = FakeCuda(monkeypatch)
    cuda.fails = True
    recorder = CudaRecorder(CPU)
    with pytest.raises(RuntimeError, match="broken"):
        recorder.record(lambda: None)
    assert cuda.now == "main"
    assert cuda.log[-1] == "main waits for side"
    cuda.fails = False
    recorder.record(lambda: None)()
    assert cuda.log[-1] == "replay"


def test_a_processor_has_no_graphs():
    assert cuda_graph.graphs(CPU) is None
