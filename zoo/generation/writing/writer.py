"""Write one token after the other with a `Step`: at once, or captured in a CUDA graph.

On a GPU a step is some thirty small kernels, each of which takes longer to launch than to run. A
CUDA graph launches them all at once, many steps without a look at what they wrote. So the rows of a
graph stay: those of finished texts go on, and nobody reads them.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Hashable
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from zoo.generation.config import GenerationConfig
from zoo.generation.sampling import draw
from zoo.generation.writing.choice import choose
from zoo.generation.writing.prepared_step import Layers, PreparedStep, Step
from zoo.rnn.cuda.cuda_graph import graphs, product_settings

log = logging.getLogger("zoo")

MOST_STEPS = 32  # steps that a graph writes between two looks at what it has written
# Capturing takes as long as some tens of steps, so a graph is captured for at least so many.
LEAST_STEPS = 32
LEAST_EQUAL = 0.9  # share of a graph's first tokens that are those of the step it is captured of
MOST_IDLE = 4  # graphs of a model that wait for the next call
IDLE_BYTES = 1 << 28  # a graph with more memory does not wait


def nothing() -> None:
    """Do nothing."""


class Writer:
    """Write a token for each row at each step. A row is one draw of one text."""

    captured = False
    most = 1  # steps of a call of `write`

    def __init__(self, step: Step, ids: Tensor, layers: Layers, config: GenerationConfig) -> None:
        """`ids` (rows,) are the last tokens, `layers` the states before them."""
        self.step = step
        self.vocabulary = step.vocabulary
        self.config = config
        self.ids = ids
        self.layers = layers
        self.close: Callable[[], None] = nothing  # after the last call

    @torch.no_grad()
    def write(
        self, numbers: Tensor | None, barred: Tensor | None, count: int = 1
    ) -> tuple[Tensor, Tensor]:
        """Write `count` tokens for each row, at most `most`.

        numbers: (count, rows) uniform numbers of sampling, None in greedy search. barred:
        (vocabulary,) is -inf for ids that must not be written, otherwise 0; None if there are none.
        Returns the tokens and their log-probabilities, (count, rows) each, on the CPU.
        """
        assert count == 1, count
        number = None if numbers is None else numbers[0].to(self.ids.device)
        self.ids, gained, self.layers = self._next(self.ids, self.layers, number, barred)
        return self.ids.unsqueeze(0).cpu(), gained.unsqueeze(0).cpu()

    def keep(self, rows: Tensor) -> bool:
        """Keep only some rows (kept,), and return True; or return False and go on with all."""
        rows = rows.to(self.ids.device)
        self.ids = self.ids[rows]
        self.layers = [tuple(part[rows] for part in state) for state in self.layers]
        return True

    def _next(
        self, ids: Tensor, layers: Layers, number: Tensor | None, barred: Tensor | None
    ) -> tuple[Tensor, Tensor, Layers]:
        """Return the next tokens (rows,), their log-probabilities (rows,), and the states."""
        vectors, layers = self.step.read(ids, layers)
        logits = self.step.logits(vectors)
        if logits.device.type == "cpu" and not self.captured:
            return *choose(logits, self.config, number, barred), layers
        logs = logits.log_softmax(-1)
        allowed = logs if barred is None else logs + barred
        ids = allowed.argmax(-1) if number is None else draw(allowed, self.config, number)
        return ids, logs.gather(-1, ids.unsqueeze(-1)).squeeze(-1), layers


class CapturedWriter(Writer):
    """A writer whose step is a CUDA graph on buffers of its own."""

    captured = True
    most = MOST_STEPS

    def __init__(
        self,
        step: PreparedStep,
        ids: Tensor,
        layers: Layers,
        config: GenerationConfig,
        barring: bool,
    ) -> None:
        """Only with `barring` it is given ids to bar.

        Raises RuntimeError where the step cannot be captured, and where its graph writes other
        tokens than the step itself.
        """
        super().__init__(step, ids, layers, config)
        found = graphs(ids.device)
        if found is None:
            raise RuntimeError(f"a {ids.device.type} has no graphs")
        with torch.inference_mode(False), torch.no_grad():  # later calls write into these buffers
            rows, device = len(ids), ids.device
            self.start = ids.clone(), [tuple(part.clone() for part in state) for state in layers]
            self.ids = ids.clone()
            self.layers = [
                (h.to(step.cell_dtype, copy=True), c.to(step.cell_dtype, copy=True))
                for h, c in layers
            ]
            self.at = torch.zeros(1, dtype=torch.int64, device=device)  # the step to write
            self.numbers = torch.full((self.most, rows), 0.5, dtype=torch.float64, device=device)
            self.barred = torch.zeros(step.vocabulary, device=device) if barring else None
            self.tokens = torch.zeros(self.most, rows, dtype=torch.int64, device=device)
            wide = torch.promote_types(step.dtype, torch.float32)
            self.gained = torch.zeros(self.most, rows, dtype=wide, device=device)
            self.replay = found.capture(self._run)
            self._check()

    def _run(self) -> None:
        """Write one token for each row, from the buffers into the buffers."""
        number = self.numbers.index_select(0, self.at)[0] if self.config.sample else None
        ids, gained, layers = self._next(self.ids, self.layers, number, self.barred)
        self.tokens.index_copy_(0, self.at, ids.unsqueeze(0))
        self.gained.index_copy_(0, self.at, gained.unsqueeze(0))
        self.ids.copy_(ids)
        for buffers, made in zip(self.layers, layers, strict=True):
            for buffer, part in zip(buffers, made, strict=True):
                buffer.copy_(part)
        self.at.add_(1)

    def _check(self) -> None:
        """Compare the graph's first step with the run before the capture, and start anew."""
        wanted = self.tokens[0].clone(), self.gained[0].clone()
        self.tokens.fill_(-1)
        self._restart()
        self.replay()
        found = self.tokens[0], self.gained[0]
        same = found[0] == wanted[0]  # a rounding may move a token, of one row in many
        here, there = (torch.where(same, gained, 0) for gained in (found[1], wanted[1]))
        close = torch.allclose(here, there, rtol=0, atol=1e-3, equal_nan=True)
        if not close or float(same.double().mean()) < LEAST_EQUAL:
            raise RuntimeError(
                "the graph writes other tokens than the step that it was captured of"
            )
        self._restart()

    def _restart(self) -> None:
        """Set the buffers to the first tokens and states."""
        ids, layers = self.start
        self.ids.copy_(ids)
        for buffers, parts in zip(self.layers, layers, strict=True):
            for buffer, part in zip(buffers, parts, strict=True):
                buffer.copy_(part)
        self.at.zero_()

    @torch.no_grad()
    def write(
        self, numbers: Tensor | None, barred: Tensor | None, count: int = 1
    ) -> tuple[Tensor, Tensor]:
        """See `Writer.write`."""
        if numbers is not None:
            self.numbers[:count] = numbers.to(self.numbers)
        if self.barred is not None:
            self.barred.zero_() if barred is None else self.barred.copy_(barred)
        self.at.zero_()
        for _ in range(count):
            self.replay()
        return self.tokens[:count].cpu(), self.gained[:count].cpu()

    def keep(self, rows: Tensor) -> bool:
        """See `Writer.keep`: a graph's rows stay."""
        return False

    def resume(self, step: PreparedStep, ids: Tensor, layers: Layers) -> None:
        """Start anew from other tokens and states, with the weights of `step`."""
        assert isinstance(self.step, PreparedStep)
        with torch.no_grad():
            self.step.take(step)
            self.start = ids, layers
            self._restart()


class Idle:
    """Captured writers of models, each of which waits for the next call of its kind.

    A call takes its writer out, so threads never share one. A writer goes when its model does.
    """

    def __init__(self) -> None:
        self.writers: WeakKeyDictionary[Any, list[tuple[Hashable, CapturedWriter]]]
        self.writers = WeakKeyDictionary()
        self.lock = threading.Lock()

    def take(self, model: Any, key: Hashable) -> CapturedWriter | None:
        """Return a writer of this kind, if one waits."""
        with self.lock:
            waiting = self.writers.get(model, [])
            for place, (kind, _) in enumerate(waiting):
                if kind == key:
                    return waiting.pop(place)[1]
        return None

    def put(self, model: Any, key: Hashable, writer: CapturedWriter) -> None:
        """Let a writer wait, in the place of the oldest of too many."""
        writer.close = nothing
        if 5 * 8 * len(writer.ids) * writer.vocabulary > IDLE_BYTES:  # so much a step computes
            return
        with self.lock:
            waiting = self.writers.setdefault(model, [])
            waiting.append((key, writer))
            del waiting[:-MOST_IDLE]


idle = Idle()


def writer_of(
    model: Any,
    step: Step,
    ids: Tensor,
    layers: Layers,
    config: GenerationConfig,
    barring: bool,
    count: int,
) -> Writer:
    """Return a writer of about `count` tokens: captured where that pays and works.

    `step` is one of `model`. The other arguments are those of `CapturedWriter`. Why a graph cannot
    be captured is logged. `close` lets a captured writer wait for the next call.
    """
    if count < LEAST_STEPS:
        return Writer(step, ids, layers, config)
    if not isinstance(step, PreparedStep) or graphs(ids.device) is None:
        step.pack(model, len(ids))
        return Writer(step, ids, layers, config)
    try:
        key = _kind(model, step, len(ids), config, barring)
        writer = idle.take(model, key)
        if writer is None:
            writer = CapturedWriter(step, ids, layers, config, barring)
        else:
            writer.resume(step, ids, layers)
        writer.close = partial(idle.put, model, key, writer)
        return writer
    except Exception as error:  # the plain writer needs none of it
        log.warning("writing launches its steps singly, without a CUDA graph: %s", error)
    return Writer(step, ids, layers, config)


def _kind(
    model: Any, step: PreparedStep, rows: int, config: GenerationConfig, barring: bool
) -> Hashable:
    """Return what two captured writers have in common if one can do the other's work."""
    choice = config.sample, config.temperature, config.top_k, config.top_p
    weights = tuple(weight.data_ptr() for weight in model.parameters())
    return rows, choice, barring, step.dtype, step.embedding.device, weights, product_settings()
