"""One step of a language model, its weights read and cast once for many steps."""

from __future__ import annotations

import threading
from collections.abc import Hashable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo import torch_private
from zoo.data.batch import Batch
from zoo.nn.adaptive_softmax import AdaptiveOutputLayer
from zoo.nn.output_layer import OutputLayer, at_least_float32
from zoo.rnn import stack
from zoo.rnn.lstm import LSTM
from zoo.rnn.matmul import PackedWeight, QuantizedWeight, compute_dtype
from zoo.rnn.stack import State
from zoo.text.special_ids import EOS

Product = tuple[PackedWeight | QuantizedWeight, Tensor]  # with the bias
_packed: WeakKeyDictionary[Any, tuple[Any, list[Product]]]
_packed = WeakKeyDictionary()  # the packed output matrices of each model
_lock = threading.Lock()

Layers = list[State]  # of each layer h and, of an LSTM, c, (rows, hidden)


def layers_of(state: State) -> Layers:
    """Return the state of each layer, (rows, hidden), from that of all, (layers, rows, hidden)."""
    return list(zip(*(part.unbind(0) for part in state), strict=True))


class Step(Protocol):
    """One step of a language model for rows that do not depend on each other."""

    vocabulary: int  # the number of ids
    alone: bool  # whether the text is never written beside others, as one that is streamed

    def pack(self, model: Any, rows: int) -> None:
        """Prepare for many steps of `rows` rows, if that makes them faster."""

    def read(self, ids: Tensor, layers: Layers) -> tuple[Tensor, Layers]:
        """Read the last tokens (rows,); return the output layer's inputs (rows, size), and states."""

    def logits(self, vectors: Tensor) -> Tensor:
        """Return new logits (…, vocabulary) of the next token from vectors (…, size).

        They are in float32 or wider; those of PAD, UNK and BOS, which are never written, are -inf.
        """


class ModelStep:
    """A step by the model's own forward: any language model has it."""

    def __init__(self, model: Any) -> None:
        """`model` has `next_token_vectors`, `tokens` and `backbone`, as `tasks.generate.Generate`."""
        self.model = model
        self.alone = False
        self.vocabulary = len(model.tokens.bias)

    def pack(self, model: Any, rows: int) -> None:
        """See `Step`: here nothing is prepared."""

    def read(self, ids: Tensor, layers: Layers) -> tuple[Tensor, Layers]:
        """See `Step`."""
        state = tuple(torch.stack(parts) for parts in zip(*layers, strict=True))
        batch = Batch(ids.unsqueeze(1), torch.ones(len(ids), dtype=torch.int64))
        vectors, state, _ = self.model.next_token_vectors(batch, state)
        return vectors.squeeze(1), layers_of(state)

    def logits(self, vectors: Tensor) -> Tensor:
        """See `Step`."""
        return _written(self.model.tokens(vectors, self.model.backbone))


class PreparedStep:
    """A step by a few calls of torch: its weights are read and cast once.

    A step of `torch.nn.LSTM` is made for many steps and reorders or casts its weights at each call.
    The cell computes in the precision of the enclosing autocast on CUDA. On a CPU it computes in
    the weights' own, which takes no longer for one step and loses nothing.
    """

    def __init__(self, model: Any) -> None:
        """`model` is one that `obstacle` has nothing against. Weights that change later are not seen."""
        backbone = model.onward[0]
        self.embedding: Tensor = backbone.embedding.weight
        self.dtype = compute_dtype(self.embedding)
        self.cell_dtype = (
            self.embedding.dtype if self.embedding.device.type == "cpu" else self.dtype
        )
        self.cells: list[list[Any]] = [
            [None if part is None else part.to(self.cell_dtype) for part in weights]
            for weights in _cells(backbone.rnn)
        ]
        self.project = None
        if isinstance(model.project, nn.Linear):
            self.project = [
                part.to(self.dtype) for part in (model.project.weight, model.project.bias)
            ]
        self.tokens = model.tokens
        self.alone = False
        self.first = True  # whether no logits have been computed yet
        self.vocabulary = len(model.tokens.bias)
        self.whole = model.tokens.parts(model.backbone)  # weight and bias of each product
        self.parts: list[tuple[Tensor, Tensor]] | None = None  # the same, cast
        self.products: list[Product] | None = None  # the same, packed
        if self.embedding.device.type != "cpu":
            self._cast()

    def _cast(self) -> list[tuple[Tensor, Tensor]]:
        if self.parts is None:
            self.parts = [(w.to(self.dtype), bias.to(self.dtype)) for w, bias in self.whole]
        return self.parts

    def read(self, ids: Tensor, layers: Layers) -> tuple[Tensor, Layers]:
        """See `Step`."""
        made: Layers = []
        with self._as_cast():
            x = F.embedding(ids, self.embedding).to(self.cell_dtype)
            for (h, c), weights in zip(layers, self.cells, strict=True):
                x, c = torch.lstm_cell(x, (h.to(x), c.to(x)), *weights)
                made.append((x, c))
            if self.project is not None:
                x = F.linear(x.to(self.dtype), *self.project)
        return x, made

    def logits(self, vectors: Tensor) -> Tensor:
        """See `Step`."""
        with self._as_cast():
            return _written(self.tokens.join(self._products(vectors)))

    def _products(self, vectors: Tensor) -> list[Tensor]:
        """Return the product (…, rows) with each part of the output matrix."""
        if self.products is not None:
            rows = vectors.flatten(0, -2)
            made = (product(rows, bias) for product, bias in self.products)
            return [each.unflatten(0, vectors.shape[:-1]) for each in made]
        if self.first and self.parts is None:  # casting takes longer than one product
            self.first = False
            return [F.linear(vectors.to(part[0]), *part) for part in self.whole]
        vectors = vectors.to(self.dtype)
        return [F.linear(vectors, *part) for part in self._cast()]

    def pack(self, model: Any, rows: int) -> None:
        """Prepare the output matrix of `model` for many steps of `rows` rows on a CPU.

        It takes as long as some tens of steps; the next call for the same weights finds it. oneDNN
        would otherwise reorder the matrix at each step. A text that is `alone`, one row in bf16,
        gets it in int8, half the bytes: bytes are all that such a step costs. Other texts do not,
        because their words must not depend on the rows beside them. Of two shipped models int8
        moves the probabilities as much as bf16 does, by 2e-5 and 2e-4 nats (Kullback-Leibler
        divergence from float32; bf16: 4e-5 and 1e-4).
        """
        if self.embedding.device.type != "cpu" or self.dtype == torch.float64:
            return
        one = self.alone and rows == 1 and self.dtype == torch.bfloat16
        int8 = one and torch_private.has_onednn_int8()
        key = int8, self.dtype, [_fingerprint(*part) for part in self.whole]
        with _lock:
            kept = _packed.get(model)
        if kept is None or kept[0] != key:
            with torch.inference_mode(False), torch.no_grad():
                kept = key, [self._pack(w, bias, int8) for w, bias in self.whole]
            with _lock:
                _packed[model] = kept
        self.products = kept[1]

    def _pack(self, weight: Tensor, bias: Tensor, int8: bool) -> Product:
        if int8:
            return QuantizedWeight(weight), bias.float()
        return PackedWeight(weight.to(self.dtype), self.dtype), bias.to(self.dtype, copy=True)

    def take(self, other: PreparedStep) -> None:
        """Copy the weights of another step of the same model, which may have been trained since."""
        for own, new in zip(self._weights(), other._weights(), strict=True):
            if own.data_ptr() != new.data_ptr():
                own.copy_(new)

    def _weights(self) -> list[Tensor]:
        cells = [part for weights in self.cells for part in weights if part is not None]
        parts = [part for pair in self._cast() for part in pair]
        return [self.embedding, *cells, *(self.project or ()), *parts]

    def _as_cast(self) -> AbstractContextManager[Any]:
        """Return a context in which autocast does not cast again."""
        return torch.autocast(self.embedding.device.type, enabled=False)


def _fingerprint(weight: Tensor, bias: Tensor) -> tuple[Hashable, ...]:
    """Return what tells weights (rows, size) and (rows,) from others, and from themselves once trained.

    No version of a tensor counts what is written into its `.data`.
    """
    generator = torch.Generator().manual_seed(1)
    left, right = (torch.randn(size, generator=generator).to(weight) for size in weight.shape)
    return tuple(weight.shape), float(left @ torch.mv(weight, right)), float(left @ bias)


def _cells(lstm: Any) -> list[list[Tensor | None]]:
    """Return the weights of each layer in the order of `torch.lstm_cell`."""
    read = torch_private.rnn_weights(lstm)
    return [[*stack.weights_of(lstm, suffix, read)[:4]] for suffix in lstm.suffixes]


def _written(logits: Tensor) -> Tensor:
    """Return logits (…, vocabulary) as a `Step` does; it may overwrite those given."""
    logits = at_least_float32(logits)
    logits[..., :EOS].fill_(-torch.inf)  # the ids below EOS are PAD, UNK and BOS
    return logits


def prepare(model: Any) -> Step:
    """Return the fastest step of a language model, for the enclosing autocast."""
    if obstacle(model):
        return ModelStep(model)
    with torch.inference_mode(False), torch.no_grad():  # later calls may write into the weights
        return PreparedStep(model)


def obstacle(model: Any) -> str | None:
    """Return what speaks against a `PreparedStep` of a language model; None if nothing does."""
    known: Sequence[tuple[str, tuple[type, ...]]] = (
        ("project", (nn.Identity, nn.Linear)),
        ("tokens", (OutputLayer, AdaptiveOutputLayer)),
    )
    if model.training:
        return "it is in training mode"
    for name, kinds in known:
        if type(getattr(model, name, None)) not in kinds:
            return f"its part {name} is of another class"
    if not hasattr(model, "onward") or type(model.onward[0].embedding) is not nn.Embedding:
        return "its embedding is of another class"
    lstm = model.onward[0].rnn
    if not isinstance(lstm, LSTM):
        return "it has no LSTM"
    if lstm.bidirectional or lstm.proj_size:
        return "its LSTM reads in both directions or has a projection"
    if stack.choose(lstm.engine, lstm.layer_norm) != "torch":
        return "its LSTM has layer norm, or an engine was chosen for it"
    return None
