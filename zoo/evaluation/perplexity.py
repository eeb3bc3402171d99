"""Negative log-likelihood of every token of a text under a language model.

`static` is the standard measure: the weights are fixed, and the state is carried from the first
token to the last. `dynamic` is dynamic evaluation, `cached` a neural cache. Both adapt to the
tokens already scored, so they are reported apart.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from zoo.data.batch import Batch, Example
from zoo.data.stream import Stream
from zoo.evaluation import metrics
from zoo.evaluation.config import EvaluationConfig
from zoo.nn.output_layer import at_least_float32
from zoo.rnn.stack import State
from zoo.text.special_ids import EOS

TINY = 1e-3  # added to root mean squares: bounds the step of weights with rare gradients
WRITTEN = 32, 200  # texts, and tokens of each, that show how large a model's gradients usually are


def rows(
    model: Any, stream: Stream, evaluation: EvaluationConfig, columns: int
) -> Iterator[dict[str, Any]]:
    """Yield what `zoo.evaluation.metrics.perplexity` needs of each row of a stream.

    Each measure reads the whole stream once. `columns` is that of `static`. `model` is a task with
    `next_token_vectors(batch, state)`, `tokens`, `backbone` and `collate`.
    """
    passes = {"": static(model, stream, columns, evaluation.window)}
    if evaluation.dynamic:
        cache = Cache(evaluation) if evaluation.cache else None
        found = _scored(_learning_windows(model, stream, evaluation), stream, cache)
        passes |= zip(("_dynamic", "_dynamic_cache"), found, strict=False)
    if evaluation.cache:
        passes["_cache"] = cached(model, stream, evaluation)
    start = 0
    for end in map(int, stream.row_ends):
        sums = {
            name: float(found[start:end].sum(dtype=np.float64)) for name, found in passes.items()
        }
        yield metrics.likelihood(sums, stream.tokens[start:end])
        start = end


@torch.no_grad()
def single(model: Any, example: Example) -> np.ndarray:
    """Return the nats of every token (tokens,) of one text."""
    batch = model.collate([example]).to(model.device)
    vectors, _, _ = evaluated(model).next_token_vectors(batch)
    assert batch.targets is not None
    return model.tokens.losses(vectors[0], model.backbone, batch.targets[0]).float().cpu().numpy()


def evaluated(model: Any) -> Any:
    """Return the model in eval mode. A model that is in it already is left untouched."""
    return model.eval() if model.training else model


@torch.no_grad()
def static(model: Any, stream: Stream, columns: int = 1, window: int = 512) -> np.ndarray:
    """Return the nats of every token (tokens,), float32.

    The stream is cut into `columns` parts that are read in parallel. Each part starts from an empty
    state: several columns are faster, and give slightly higher values. The model reads `window`
    steps of each part in one call.
    """
    return _scored(_windows(evaluated(model), stream, columns, window), stream)[0]


Windows = Iterator[tuple[np.ndarray, Tensor, Tensor]]
"""For each window: token positions (n,), prediction vectors (n, size) and nats (n,)."""


def _scored(windows: Windows, stream: Stream, cache: Cache | None = None) -> list[np.ndarray]:
    """Return the nats of every token (tokens,), and with a cache those of the mixture, too."""
    found = [np.zeros(len(stream.tokens), np.float32) for _ in range(1 if cache is None else 2)]
    for positions, vectors, losses in windows:
        found[0][positions] = losses.float().cpu().numpy()
        if cache is not None:
            target = torch.from_numpy(stream.tokens[positions].astype(np.int64))
            found[1][positions] = cache.nats(vectors, target, losses).cpu().numpy()
    return found


def _windows(model: Any, stream: Stream, columns: int, steps: int) -> Windows:
    """Yield the windows of a stream that is read in parallel columns."""
    state: State | None = None
    for window in stream.sampler(columns * steps, columns):
        batch = model.collate(stream.examples(window)).to(model.device)
        vectors, state, _ = model.next_token_vectors(batch, state)
        assert batch.targets is not None
        chosen = batch.at_targets(vectors)
        positions = np.concatenate([np.arange(start, end) for start, end, _ in window])
        losses = model.tokens.losses(chosen, model.backbone, batch.at_targets(batch.targets))
        yield positions, chosen, losses


def dynamic(model: Any, stream: Stream, evaluation: EvaluationConfig) -> np.ndarray:
    """Return the nats of every token (tokens,) under dynamic evaluation (Krause et al. 2018).

    The stream is read in segments of `dynamic_steps` tokens. After a segment is scored, its
    gradient updates the weights. Each weight's gradient is divided by the root mean square of its
    usual gradients, to which TINY is added. Then the weight decays towards its trained value, by
    `dynamic_decay` times that root mean square, relative to the mean of all weights.

    Krause et al. take the usual gradients from the training text. Here the model writes a text
    itself, so none is needed. The updates are done on a copy of the model.
    """
    return _scored(_learning_windows(model, stream, evaluation), stream)[0]


@torch.enable_grad()
def _learning_windows(model: Any, stream: Stream, evaluation: EvaluationConfig) -> Windows:
    """Yield the segments of a stream, which a copy of the model learns one after the other."""
    model = copy.deepcopy(model).eval()  # no dropout, but gradients
    weights = [w for w in model.parameters() if w.requires_grad]
    usual = usual_gradients(model, weights, evaluation.dynamic_steps)
    moved = [each for each in usual if each.any()]  # a backward direction takes no part
    mean = sum(float(each.sum()) for each in moved) / sum(each.numel() for each in moved)
    trained = [w.detach().clone() for w in weights] if evaluation.dynamic_decay else []
    decays = [(each * (evaluation.dynamic_decay / mean)).clamp_(max=1) for each in usual]
    divisors = [each.add_(TINY) for each in usual]
    state: State | None = None
    for window in stream.sampler(evaluation.dynamic_steps, 1):
        start, end, _ = window[0]
        batch = model.collate(stream.examples(window)).to(model.device)
        assert batch.targets is not None
        vectors, state = _vectors(model, batch, state)
        target = batch.targets.flatten()
        yield (
            np.arange(start, end),
            vectors.detach(),
            model.tokens.losses(vectors.detach(), model.backbone, target),
        )
        model.tokens.loss(vectors, model.backbone, target).backward()
        with torch.no_grad():
            for number, (weight, divisor) in enumerate(zip(weights, divisors, strict=True)):
                if weight.grad is not None:
                    weight.addcdiv_(weight.grad, divisor, value=-evaluation.dynamic_rate)
                    weight.grad = None
                if trained:
                    weight.lerp_(trained[number], decays[number])


def usual_gradients(model: Any, weights: Sequence[Tensor], steps: int) -> list[Tensor]:
    """Return the root mean square of each weight's gradients on text that the model writes.

    A gradient is that of the mean loss of a segment of `steps` tokens.
    """
    squares = [torch.zeros_like(weight) for weight in weights]
    count = 0
    for text in written(model):
        state: State | None = None
        for start in range(0, len(text) - 1, steps):
            ids = text[start : start + steps + 1].to(model.device)
            target = ids[1:]
            batch = Batch(ids[None, :-1], torch.tensor([len(target)]), target[None])
            vectors, state = _vectors(model, batch.to(model.device), state)
            model.tokens.loss(vectors, model.backbone, target).backward()
            count += 1
            for square, weight in zip(squares, weights, strict=True):
                if weight.grad is not None:
                    square.addcmul_(weight.grad, weight.grad)
                    weight.grad = None
    return [square.div_(count).sqrt_() for square in squares]


def _vectors(model: Any, batch: Batch, state: State | None) -> tuple[Tensor, State]:
    """Return prediction vectors (n, size) that can be differentiated, and the state behind."""
    vectors, state, _ = model.next_token_vectors(batch, state)
    return vectors.flatten(0, 1), tuple(part.detach() for part in state)


@torch.no_grad()
def written(model: Any) -> Tensor:
    """Return WRITTEN texts as ids (texts, 1 + tokens): EOS, then tokens that the model draws.

    The same model writes the same texts.
    """
    texts, tokens = WRITTEN
    draw = torch.Generator().manual_seed(0)
    ids = [torch.full((texts, 1), EOS)]
    one = torch.ones(texts, dtype=torch.int64)
    state: State | None = None
    for _ in range(tokens):
        batch = Batch(ids[-1], one).to(model.device)
        vectors, state, _ = model.next_token_vectors(batch, state)
        scores = at_least_float32(model.tokens(vectors[:, 0], model.backbone))
        ids.append(torch.multinomial(scores.softmax(-1).cpu(), 1, generator=draw))
    return torch.cat(ids, 1)


@torch.no_grad()
def cached(model: Any, stream: Stream, evaluation: EvaluationConfig) -> np.ndarray:
    """Return the nats of every token (tokens,) with a neural cache (Grave et al. 2017)."""
    windows = _windows(evaluated(model), stream, 1, evaluation.window)
    return _scored(windows, stream, Cache(evaluation))[1]


class Cache:
    """A neural cache: recently used words become more probable (Grave et al. 2017).

        P = (1 - share) * P_model + share * P_cache
        P_cache(w) ∝ sum over the last `cache` positions i with token w of exp(sharpness * h_i · h)

    h is the vector that predicts a token.
    """

    def __init__(self, evaluation: EvaluationConfig) -> None:
        self.size = evaluation.cache
        self.share = evaluation.cache_share
        self.sharpness = evaluation.cache_sharpness
        self.keys: Tensor | None = None  # (kept, size): the vectors of the last tokens
        self.values: Tensor | None = None  # (kept,): these tokens

    @torch.no_grad()
    def nats(self, vectors: Tensor, target: Tensor, losses: Tensor) -> Tensor:
        """Return the nats (n,) of the mixture for the next `n` tokens, and remember them.

        `losses` (n,) are those of the model.
        """
        vectors = vectors.float()
        target = target.to(vectors.device)
        keys = vectors if self.keys is None else torch.cat([self.keys, vectors])
        values = target if self.values is None else torch.cat([self.values, target])
        behind = len(keys) - len(vectors)  # cached tokens before this window
        now = torch.arange(len(vectors), device=keys.device).unsqueeze(1) + behind
        then = torch.arange(len(keys), device=keys.device)
        seen = (then < now) & (then >= now - self.size)  # (n, kept)
        scores = self.sharpness * vectors @ keys.t()
        weights = scores.masked_fill(~seen, -torch.inf).softmax(1)
        weights = weights.nan_to_num(0)  # of an empty cache
        probability = weights.masked_fill(values != target.unsqueeze(1), 0).sum(1)
        model_log = torch.where(seen.any(1), math.log(1 - self.share), 0.0) - losses.float()
        self.keys, self.values = keys[-self.size :], values[-self.size :]
        # In logarithms: either probability may underflow.
        return -torch.logaddexp(model_log, (self.share * probability).log())
