"""How probable a language model finds a text: every token of it scored, none left out.

`static` is the figure that models are compared by: the weights stay as they are, the state is
carried from the first token to the last. `dynamic` and `cached` look at what stands before a token
once more, and are figures of their own.
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

WINDOW = 512  # steps that are read in one call
TINY = 1e-3  # added to the roots of mean squares: weights that rarely have a gradient go slowly


@dataclass(frozen=True)
class PerplexityConfig:
    """What else is measured when a language model is tested, each in a figure of its own.

    The defaults were chosen on the validation part of WikiText-2.
    """

    dynamic: bool = False  # go on learning from the test text, each token once it was scored
    dynamic_steps: Count = 20  # tokens between two updates
    dynamic_rate: Positive = 1e-3
    dynamic_decay: Share = 0.0  # of the way back to the trained weights at each update
    cache: Annotated[int, Field(ge=0)] = 0  # tokens that are remembered; 0: no cache
    cache_share: Share = 0.15  # of the probability that the cache has
    cache_sharpness: Positive = 0.1  # how much more a like vector counts than an unlike one


def rows(
    model: Any, stream: Stream, settings: PerplexityConfig, columns: int
) -> Iterator[dict[str, Any]]:
    """Of each row of a stream what `zoo.evaluation.metrics.perplexity` is computed from, in passes over all."""
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
    """Nats of every token (tokens,) of one text."""
    batch = Batch.collate([example], [0]).to(model.device)
    vectors, _, _ = model.eval().next_token_vectors(batch, None)
    assert batch.target is not None
    return model.tokens.losses(vectors[0], model.backbone, batch.target[0]).float().cpu().numpy()


@torch.no_grad()
def static(model: Any, stream: Stream, columns: int = 1) -> np.ndarray:
    """Nats of every token (tokens,) float32.

    With several `columns` each but the first begins without what stands before it: faster, and a
    little worse. `model` is a task that has `follow(batch, state)` and `tokens`.
    """
    found = np.zeros(len(stream.tokens), np.float32)
    for places, _, losses in _read(model.eval(), stream, columns):
        found[places] = losses.float().cpu().numpy()
    return found


def _read(model: Any, stream: Stream, columns: int) -> Iterator[tuple[np.ndarray, Tensor, Tensor]]:
    """Windows one after the other: places of their tokens (n,), the vectors (n, size) that these
    are predicted by, and their nats (n,)."""
    state: State | None = None
    for window in stream.sampler(columns * WINDOW, columns):
        batch = stream.batch(window).to(model.device)
        vectors, state, _ = model.next_token_vectors(batch, state)
        assert batch.target is not None
        real = batch.target_mask
        places = np.concatenate([np.arange(start, end) for start, end, _ in window])
        losses = model.tokens.losses(vectors[real], model.backbone, batch.target[real])
        yield places, vectors[real], losses


@torch.enable_grad()
def dynamic(model: Any, stream: Stream, settings: PerplexityConfig) -> np.ndarray:
    """Nats of every token (tokens,) when the model goes on learning (Krause et al. 2018).

    The stream is read in pieces of `dynamic_steps`; a piece is scored, then its gradient changes
    the weights for the pieces after it, scaled by what is usual for each weight (the root of the
    mean square of its gradients so far). The model itself is left as it is.
    """
    model = copy.deepcopy(model).eval()  # no dropout, but gradients
    weights = [w for w in model.parameters() if w.requires_grad]
    first = [w.detach().clone() for w in weights] if settings.dynamic_decay else []
    usual = [torch.zeros_like(w) for w in weights]  # mean squares
    buffers = [torch.empty_like(w) for w in weights]
    found = np.zeros(len(stream.tokens), np.float32)
    state: State | None = None
    for count, window in enumerate(stream.sampler(settings.dynamic_steps, 1), 1):
        start, end, _ = window[0]
        batch = stream.batch(window).to(model.device)
        vectors, state, _ = model.next_token_vectors(batch, state)
        assert batch.target is not None
        flat, target = vectors.flatten(0, 1), batch.target.flatten()
        found[start:end] = model.tokens.losses(flat.detach(), model.backbone, target).cpu().numpy()
        loss = model.tokens.loss(flat, model.backbone, target)
        gradients = torch.autograd.grad(loss, weights, materialize_grads=True)  # none: zero
        with torch.no_grad():
            for weight, gradient, mean, scale in zip(
                weights, gradients, usual, buffers, strict=True
            ):
                mean.mul_(1 - 1 / count).addcmul_(gradient, gradient, value=1 / count)
                torch.sqrt(mean, out=scale).add_(TINY)
                weight.addcdiv_(gradient, scale, value=-settings.dynamic_rate)
            if settings.dynamic_decay:
                lerp_(weights, first, settings.dynamic_decay)
        state = (state[0].detach(), state[1].detach())
    return found


@torch.no_grad()
def cached(model: Any, stream: Stream, settings: PerplexityConfig) -> np.ndarray:
    """Nats of every token (tokens,) with a neural cache (Grave et al. 2017).

        P = (1 - share) * P_model + share * P_cache
        P_cache(w) ~ sum over the last `cache` places i with token w of exp(sharpness * h_i · h)

    h is the vector that a token is predicted by. Words that were used lately are likely again.
    """
    size, share = settings.cache, settings.cache_share
    found = np.zeros(len(stream.tokens), np.float32)
    keys, values = None, None  # the last `cache` vectors (kept, size) and tokens (kept,)
    for places, vectors, losses in _read(model.eval(), stream, 1):
        vectors = vectors.float()
        target = torch.from_numpy(stream.tokens[places].astype(np.int64)).to(vectors.device)
        keys = vectors if keys is None else torch.cat([keys, vectors])
        values = target if values is None else torch.cat([values, target])
        behind = len(keys) - len(vectors)  # what was there before these
        now = torch.arange(len(vectors), device=keys.device).unsqueeze(1) + behind
        then = torch.arange(len(keys), device=keys.device)
        seen = (then < now) & (then >= now - size)  # (n, kept)
        alike = settings.cache_sharpness * vectors @ keys.t()
        chances = alike.masked_fill(~seen, -torch.inf).softmax(1).nan_to_num(0)  # none seen: none
        hit = chances.masked_fill(values != target.unsqueeze(1), 0).sum(1)
        own = torch.where(seen.any(1), math.log(1 - share), 0.0) - losses.float()
        both = torch.logaddexp(own, (share * hit).log())  # either may be too small for a float
        found[places] = -both.cpu().numpy()
        keys, values = keys[-size:], values[-size:]
    return found
