"""Negative log-likelihood of every token of a text under a language model.

`static` is the standard measure: the weights are fixed, and the state is carried from the first
token to the last. `dynamic` is dynamic evaluation, `cached` a neural cache. Both adapt to the
tokens already scored, so they are reported apart.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from zoo.config import Count, Positive, Share
from zoo.data.dataset import Batch, Example
from zoo.data.stream import Stream
from zoo.evaluation import metrics
from zoo.rnn.stack import State
from zoo.torch_private import lerp_

WINDOW = 512  # time steps per call of the model
TINY = 1e-3  # added to root mean squares: bounds the step of weights with rare gradients


@dataclass(frozen=True)
class PerplexityConfig:
    """Settings of the additional perplexity measures, each reported apart.

    The defaults were chosen on the validation part of WikiText-2.
    """

    dynamic: bool = False  # dynamic evaluation: update the weights after each scored segment
    dynamic_steps: Count = 20  # tokens per update
    dynamic_rate: Positive = 1e-3  # learning rate
    dynamic_decay: Share = 0.0  # decay towards the trained weights, per update
    cache: Annotated[int, Field(ge=0)] = 0  # tokens in the neural cache; 0: no cache
    cache_share: Share = 0.15  # weight of the cache distribution
    cache_sharpness: Positive = 0.1  # factor of the dot products in the cache


def rows(
    model: Any, stream: Stream, settings: PerplexityConfig, columns: int
) -> Iterator[dict[str, Any]]:
    """Yield what `zoo.evaluation.metrics.perplexity` needs of each row of a stream.

    Each measure reads the whole stream once. `columns` is that of `static`.
    """
    passes = {"": static(model, stream, columns)}
    if settings.dynamic:
        passes["_dynamic"] = dynamic(model, stream, settings)
    if settings.cache:
        passes["_cache"] = cached(model, stream, settings)
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
    batch = Batch.collate([example], [0]).to(model.device)
    vectors, _, _ = model.eval().next_token_vectors(batch, None)
    assert batch.target is not None
    return model.tokens.losses(vectors[0], model.backbone, batch.target[0]).float().cpu().numpy()


@torch.no_grad()
def static(model: Any, stream: Stream, columns: int = 1) -> np.ndarray:
    """Return the nats of every token (tokens,), float32.

    The stream is cut into `columns` parts that are read in parallel. Each part starts from an empty
    state: several columns are faster, and give slightly higher values. `model` is a task with
    `next_token_vectors(batch, state)` and `tokens`.
    """
    found = np.zeros(len(stream.tokens), np.float32)
    for positions, _, losses in _windows(model.eval(), stream, columns):
        found[positions] = losses.float().cpu().numpy()
    return found


def _windows(
    model: Any, stream: Stream, columns: int
) -> Iterator[tuple[np.ndarray, Tensor, Tensor]]:
    """Yield, for each window, token positions (n,), prediction vectors (n, size) and nats (n,)."""
    state: State | None = None
    for window in stream.sampler(columns * WINDOW, columns):
        batch = stream.batch(window).to(model.device)
        vectors, state, _ = model.next_token_vectors(batch, state)
        assert batch.target is not None
        chosen = batch.at_targets(vectors)
        positions = np.concatenate([np.arange(start, end) for start, end, _ in window])
        losses = model.tokens.losses(chosen, model.backbone, batch.at_targets(batch.target))
        yield positions, chosen, losses


@torch.enable_grad()
def dynamic(model: Any, stream: Stream, settings: PerplexityConfig) -> np.ndarray:
    """Return the nats of every token (tokens,) under dynamic evaluation (Krause et al. 2018).

    The stream is read in segments of `dynamic_steps` tokens. After a segment is scored, its
    gradient updates the weights. Each weight's gradient is divided by the root mean square of its
    gradients so far. The update is done on a copy of the model.
    """
    model = copy.deepcopy(model).eval()  # no dropout, but gradients
    weights = [w for w in model.parameters() if w.requires_grad]
    trained = [w.detach().clone() for w in weights] if settings.dynamic_decay else []
    mean_squares = [torch.zeros_like(w) for w in weights]  # of the gradients
    buffers = [torch.empty_like(w) for w in weights]
    found = np.zeros(len(stream.tokens), np.float32)
    state: State | None = None
    for count, window in enumerate(stream.sampler(settings.dynamic_steps, 1), 1):
        start, end, _ = window[0]
        batch = stream.batch(window).to(model.device)
        vectors, state, _ = model.next_token_vectors(batch, state)
        assert batch.target is not None
        flat = vectors.flatten(0, 1)
        target = batch.target.flatten()
        found[start:end] = model.tokens.losses(flat.detach(), model.backbone, target).cpu().numpy()
        loss = model.tokens.loss(flat, model.backbone, target)
        gradients = torch.autograd.grad(loss, weights, materialize_grads=True)
        with torch.no_grad():
            for weight, gradient, mean, scale in zip(
                weights, gradients, mean_squares, buffers, strict=True
            ):
                mean.mul_(1 - 1 / count).addcmul_(gradient, gradient, value=1 / count)
                torch.sqrt(mean, out=scale).add_(TINY)
                weight.addcdiv_(gradient, scale, value=-settings.dynamic_rate)
            if settings.dynamic_decay:
                lerp_(weights, trained, settings.dynamic_decay)
        state = (state[0].detach(), state[1].detach())
    return found


@torch.no_grad()
def cached(model: Any, stream: Stream, settings: PerplexityConfig) -> np.ndarray:
    """Return the nats of every token (tokens,) with a neural cache (Grave et al. 2017).

        P = (1 - share) * P_model + share * P_cache
        P_cache(w) ∝ sum over the last `cache` positions i with token w of exp(sharpness * h_i · h)

    h is the vector that predicts a token. Recently used words become more probable.
    """
    size = settings.cache
    share = settings.cache_share
    found = np.zeros(len(stream.tokens), np.float32)
    keys: Tensor | None = None  # (kept, size): the vectors of the last `cache` tokens
    values: Tensor | None = None  # (kept,): these tokens
    for positions, vectors, losses in _windows(model.eval(), stream, 1):
        vectors = vectors.float()
        target = torch.from_numpy(stream.tokens[positions].astype(np.int64)).to(vectors.device)
        keys = vectors if keys is None else torch.cat([keys, vectors])
        values = target if values is None else torch.cat([values, target])
        behind = len(keys) - len(vectors)  # cached tokens before this window
        now = torch.arange(len(vectors), device=keys.device).unsqueeze(1) + behind
        then = torch.arange(len(keys), device=keys.device)
        seen = (then < now) & (then >= now - size)  # (n, kept)
        scores = settings.cache_sharpness * vectors @ keys.t()
        weights = scores.masked_fill(~seen, -torch.inf).softmax(1)
        weights = weights.nan_to_num(0)  # of an empty cache
        cache_probability = weights.masked_fill(values != target.unsqueeze(1), 0).sum(1)
        model_log = torch.where(seen.any(1), math.log(1 - share), 0.0) - losses.float()
        # In logarithms: either probability may underflow.
        mixed = torch.logaddexp(model_log, (share * cache_probability).log())
        found[positions] = -mixed.cpu().numpy()
        keys, values = keys[-size:], values[-size:]
    return found
