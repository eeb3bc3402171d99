"""CUDA graphs of an LSTM's steps: captured once for each case, replayed without Python.

A graph reads and writes fixed buffers. Each call copies its inputs into them, replays the graph,
and copies the results out. So no call overwrites the results of another one. Forward and backward
are two graphs on the same buffers.

The buffers stay in GPU memory between calls. A device keeps the most recently used ones, of at
most `MOST_CASES` cases and `MOST_BYTES` bytes. `clear` frees them all. A case is the time and batch
size, the hidden size, the dtype, and whether there are biases, layer norm and padding. Layers and
directions of the same case share their graphs. A case above `MOST_BYTES` runs without a graph.

One lock and one event for each device order all calls. So threads and streams can share the
graphs, which also share cuBLAS's workspace.
"""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor

from zoo.rnn.cuda.buffers import (
    BackwardBuffers,
    Case,
    ForwardBuffers,
    Given,
    Gradients,
    Kept,
    backward_buffers,
    fill_backward,
    fill_forward,
    forward_buffers,
    zeros,
)
from zoo.rnn.cuda.steps import gradients, run_backward, run_forward

log = logging.getLogger("zoo")

MOST_CASES = 16
MOST_BYTES = 1 << 30
MOST_SEEN = 1024  # the most cases whose calls are counted

Key = tuple[Case, tuple[object, ...]]
Work = Callable[[], None]


class Recorder(Protocol):
    """Capture and replay on one device."""

    def record(self, work: Work) -> Work:
        """Capture `work` and return a function that replays it. Call it inside `turn`."""

    def turn(self) -> AbstractContextManager[None]:
        """Run the body of the context after all earlier turns on the device."""

    def finish(self) -> None:
        """Wait until the device has finished all turns."""

    def busy(self) -> bool:
        """Whether the caller is capturing a graph of its own."""


class CudaRecorder:
    """CUDA graphs on one device."""

    _capturing = threading.Lock()  # torch captures one graph at a time in a process

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.stream = torch.cuda.Stream(device)
        self.event = torch.cuda.Event()
        self.last: torch.cuda.Stream | None = None

    def record(self, work: Work) -> Work:
        """Run `work` once on a side stream, then capture it there.

        The first run compiles the kernels and allocates cuBLAS's workspace for thread and stream.
        """
        current = torch.cuda.current_stream(self.device)
        self.stream.wait_stream(current)
        graph = torch.cuda.CUDAGraph()
        try:
            # A capture that fails can leave its stream the current one; the outer block resets it.
            with self._capturing, torch.cuda.stream(current):
                with torch.cuda.stream(self.stream):
                    work()
                # Other threads may go on allocating, copying and waiting.
                with torch.cuda.graph(graph, stream=self.stream, capture_error_mode="thread_local"):
                    work()
        finally:
            current.wait_stream(self.stream)
        return graph.replay

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Make the current stream wait for the stream of the last turn, if that is another one."""
        current = torch.cuda.current_stream(self.device)
        if self.last is not None and self.last != current:
            current.wait_event(self.event)
        try:
            yield
        finally:
            self.event.record(current)
            self.last = current

    def finish(self) -> None:
        """Wait until the device has finished all turns."""
        self.event.synchronize()

    def busy(self) -> bool:
        """Whether the caller is capturing a graph of its own."""
        return torch.cuda.is_current_stream_capturing()


class Entry:
    """The buffers of one case and the graphs that use them."""

    def __init__(self, case: Case, device: torch.device) -> None:
        self.given = zeros(case, device)
        self.forward: ForwardBuffers = forward_buffers(self.given)
        kept = Kept(self.forward.h, self.forward.c, self.forward.sums, self.forward.stats)
        self.backward: BackwardBuffers = backward_buffers(self.given, kept, shared=True)
        for part in (*vars(self.forward).values(), *vars(self.backward).values()):
            if part is not None:
                part.zero_()  # so the run before the capture computes with finite numbers
        self.nbytes = case.nbytes
        self.run_forward: Work | None = None
        self.run_backward: Work | None = None

    def copy_weights(self, given: Given) -> None:
        """Copy the inputs that both graphs read into the buffers."""
        pairs = zip(self.given[4:], given[4:], strict=True)  # w_hh, bias, scale, shift, pad
        for buffer, source in pairs:
            if buffer is not None and source is not None:
                buffer.copy_(source)


class GraphCache:
    """The graphs of one device."""

    def __init__(
        self,
        device: torch.device,
        recorder: Recorder,
        most_cases: int = MOST_CASES,
        most_bytes: int = MOST_BYTES,
    ) -> None:
        self.device = device
        self.recorder = recorder
        self.most_cases = most_cases
        self.most_bytes = most_bytes
        self.failed = False  # after a failure nothing more is captured
        self._entries: OrderedDict[Key, Entry] = OrderedDict()
        # For each case: the calls since its last eviction, and the number that triggers a capture.
        self._calls: OrderedDict[Key, tuple[int, int]] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def nbytes(self) -> int:
        """The size of all buffers in bytes."""
        return sum(entry.nbytes for entry in self._entries.values())

    def forward(self, given: Given, at_once: bool, keep: bool) -> Kept | None:
        """Run all steps, or return None if there is no graph for them.

        A case is captured at its second call, or `at_once`. `keep` says that a backward may
        follow. The results belong to the caller.
        """
        if self.recorder.busy():
            return None
        with self._lock, self.recorder.turn():
            entry = self._find((given.case, product_settings()), at_once)
            if entry is None or entry.run_forward is None:
                return None
            buffers = entry.forward
            entry.copy_weights(given)
            fill_forward(buffers, given)
            entry.run_forward()
            if not keep:
                return Kept(buffers.h.clone(), buffers.c[-1:].clone(), None, None)
            stats = None if buffers.stats is None else buffers.stats.clone()
            return Kept(buffers.h.clone(), buffers.c.clone(), buffers.sums.clone(), stats)

    def backward(
        self, given: Given, kept: Kept, d_output: Tensor, d_h: Tensor, d_c: Tensor
    ) -> Gradients | None:
        """Run all steps backward, or return None if there is no graph for them."""
        if self.recorder.busy():
            return None
        with self._lock, self.recorder.turn():
            entry = self._entries.get((given.case, product_settings()))
            if entry is None:
                return None
            buffers = entry.backward
            if entry.run_backward is None and not self.failed:
                entry.run_backward = self._record(lambda: run_backward(buffers))
            if entry.run_backward is None:
                return None
            entry.copy_weights(given)
            for buffer, source in ((buffers.sums, kept.sums), (buffers.c, kept.c)):
                assert source is not None
                buffer.copy_(source)
            if buffers.stats is not None and kept.stats is not None:
                buffers.stats.copy_(kept.stats)
            fill_backward(buffers, d_output, d_h, d_c)
            entry.run_backward()
            made = gradients(buffers)
            return made._replace(d_sums=made.d_sums.clone(), d_c=made.d_c.clone())

    def capture(self, work: Work) -> Work:
        """Capture work on buffers of the caller's, and return a function that replays it.

        `work` is run once before. Raises RuntimeError where it cannot be captured. The graph lives
        as long as the function.
        """
        if self.recorder.busy():
            raise RuntimeError("another graph is being captured")
        with self._lock, self.recorder.turn():
            replay = self.recorder.record(work)

        def run() -> None:
            with self._lock, self.recorder.turn():
                replay()

        return run

    def clear(self) -> None:
        """Free all graphs and buffers, once the device has finished with them."""
        with self._lock:
            self._evict(0, 0)
            self._calls.clear()

    def _find(self, key: Key, at_once: bool) -> Entry | None:
        """Return the entry of a case, and capture it first if that is due."""
        if key in self._entries:
            self._entries.move_to_end(key)
            return self._entries[key]
        case = key[0]
        if self.failed or case.nbytes > self.most_bytes:
            return None
        if not at_once and not self._due(key):
            return None
        self._evict(self.most_cases - 1, self.most_bytes - case.nbytes)
        try:
            with torch.inference_mode(False):  # other calls write into these buffers too
                entry = Entry(case, self.device)
        except torch.OutOfMemoryError:
            return None
        entry.run_forward = self._record(lambda: run_forward(entry.forward))
        if entry.run_forward is None:
            return None
        self._entries[key] = entry
        return entry

    def _due(self, key: Key) -> bool:
        """Count a call without a graph, and return whether to capture one now."""
        calls, wanted = self._calls.pop(key, (0, 2))
        self._calls[key] = calls + 1, wanted
        while len(self._calls) > MOST_SEEN:
            self._calls.popitem(last=False)
        return calls + 1 >= wanted

    def _evict(self, most_cases: int, most_bytes: int) -> None:
        """Drop the least recently used cases until the others are within the limits.

        A dropped case then needs twice as many calls before it is captured. So a loop over more
        cases than fit does not capture all the time.
        """
        if len(self._entries) > most_cases or self.nbytes > most_bytes:
            self.recorder.finish()
        while len(self._entries) > most_cases or self.nbytes > most_bytes:
            key, _ = self._entries.popitem(last=False)
            wanted = self._calls.get(key, (0, 2))[1]
            self._calls[key] = 0, 2 * wanted

    def _record(self, work: Work) -> Work | None:
        """Capture work, or return None if that fails.

        After a failure other than a lack of memory, the cache captures nothing more.
        """
        try:
            return self.recorder.record(work)
        except torch.OutOfMemoryError:
            return None
        except Exception as error:
            self.failed = True
            log.warning("CUDA graphs cannot be captured here, steps are launched singly: %s", error)
            return None


RECORDERS: dict[str, Callable[[torch.device], Recorder]] = {"cuda": CudaRecorder}
_caches: dict[torch.device, GraphCache] = {}
_lock = threading.Lock()


def graphs(device: torch.device) -> GraphCache | None:
    """Return the graphs of a device, or None for a type of device without graphs."""
    if device.type not in RECORDERS:
        return None
    with _lock:
        if device not in _caches:
            _caches[device] = GraphCache(device, RECORDERS[device.type](device))
        return _caches[device]


def clear() -> None:
    """Free all graphs of all devices and their buffers."""
    with _lock:
        for each in _caches.values():
            each.clear()


def product_settings() -> tuple[object, ...]:
    """Return torch's settings for matrix products, which a graph freezes."""
    matmul: Any = torch.backends.cuda.matmul
    return (
        matmul.fp32_precision,
        matmul.allow_fp16_reduced_precision_reduction,
        matmul.allow_bf16_reduced_precision_reduction,
        torch.are_deterministic_algorithms_enabled(),
    )
