"""Negative log-likelihood of every token of a text under a language model.

`static` is the standard measure: the weights are fixed, and the state is carried from the first
token to the last. `dynamic` is dynamic evaluation, `cached` a neural cache. Both adapt to the
tokens already scored, so they are reported apart.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from zoo.data.batch import Example
from zoo.data.stream import Stream
from zoo.evaluation import metrics
from zoo.evaluation.config import EvaluationConfig
from zoo.rnn.stack import State
from zoo.torch_private import lerp_

TINY = 1e-3  # added to root mean squares: bounds the step of weights with rare gradients


def rows(
    model: Any, stream: Stream, evaluation: EvaluationConfig, columns: int
) -> Iterator[dict[str, Any]]:
    """Yield what `zoo.evaluation.metrics.perplexity` needs of each row of a stream.

    Each measure reads the whole stream once. `columns` is that of `static`. `model` is a task with
    `next_token_vectors(batch, state)`, `tokens`, `backbone` and `collate`.
    """
    passes = {"": static(model, stream, columns, evaluation.window)}
    if evaluation.dynamic:
        passes["_dynamic"] = dynamic(model, stream, evaluation)
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
    found = np.zeros(len(stream.tokens), np.float32)
    for positions, _, losses in _windows(evaluated(model), stream, columns, window):
        found[positions] = losses.float().cpu().numpy()
    return found


def _windows(
    model: Any, stream: Stream, columns: int, steps: int
) -> Iterator[tuple[np.ndarray, Tensor, Tensor]]:
    """Yield, for each window, token positions (n,), prediction vectors (n, size) and nats (n,)."""
    state: State | None = None
    for window in stream.sampler(columns * steps, columns):
        batch = model.collate(stream.examples(window)).to(model.device)
        vectors, state, _ = model.next_token_vectors(batch, state)
        assert batch.targets is not None
        chosen = batch.at_targets(vectors)
        positions = np.concatenate([np.arange(start, end) for start, end, _ in window])
        losses = model.tokens.losses(chosen, model.backbone, batch.at_targets(batch.targets))
        yield positions, chosen, losses


@torch.enable_grad()
def dynamic(model: Any, stream: Stream, evaluation: EvaluationConfig) -> np.ndarray:
    """Return the nats of every token (tokens,) under dynamic evaluation (Krause et al. 2018).

    The stream is read in segments of `dynamic_steps` tokens. After a segment is scored, its
    gradient updates the weights. Each weight's gradient is divided by the root mean square of its
    gradients so far, to which TINY is added. The update is done on a copy of the model.
    """
    model = copy.deepcopy(model).eval()  # no dropout, but gradients
    weights = [w for w in model.parameters() if w.requires_grad]
    trained = [w.detach().clone() for w in weights] if evaluation.dynamic_decay else []
    # Adagrad divides by the root of a sum, which is sqrt(count) times that of the mean.
    adagrad = torch.optim.Adagrad(weights, fused=model.device.type == "cpu")
    found = np.zeros(len(stream.tokens), np.float32)
    state: State | None = None
    for count, window in enumerate(stream.sampler(evaluation.dynamic_steps, 1), 1):
        start, end, _ = window[0]
        batch = model.collate(stream.examples(window)).to(model.device)
        vectors, state, _ = model.next_token_vectors(batch, state)
        assert batch.targets is not None
        flat = vectors.flatten(0, 1)
        target = batch.targets.flatten()
        found[start:end] = model.tokens.losses(flat.detach(), model.backbone, target).cpu().numpy()
        model.tokens.loss(flat, model.backbone, target).backward()
        root = math.sqrt(count)
        adagrad.param_groups[0].update(lr=evaluation.dynamic_rate * root, eps=TINY * root)
        adagrad.step()
        adagrad.zero_grad()
        if evaluation.dynamic_decay:
            with torch.no_grad():
                lerp_(weights, trained, evaluation.dynamic_decay)
        state = tuple(part.detach() for part in state)
    return found


@torch.no_grad()
def cached(model: Any, stream: Stream, evaluation: EvaluationConfig) -> np.ndarray:
    """Return the nats of every token (tokens,) with a neural cache (Grave et al. 2017).

        P = (1 - share) * P_model + share * P_cache
        P_cache(w) ∝ sum over the last `cache` positions i with token w of exp(sharpness * h_i · h)

    h is the vector that predicts a token. Recently used words become more probable.
    """
    size = evaluation.cache
    share = evaluation.cache_share
    found = np.zeros(len(stream.tokens), np.float32)
    keys: Tensor | None = None  # (kept, size): the vectors of the last `cache` tokens
    values: Tensor | None = None  # (kept,): these tokens
    for positions, vectors, losses in _windows(evaluated(model), stream, 1, evaluation.window):
        vectors = vectors.float()
        target = torch.from_numpy(stream.tokens[positions].astype(np.int64)).to(vectors.device)
        keys = vectors if keys is None else torch.cat([keys, vectors])
        values = target if values is None else torch.cat([values, target])
        behind = len(keys) - len(vectors)  # cached tokens before this window
        now = torch.arange(len(vectors), device=keys.device).unsqueeze(1) + behind
        then = torch.arange(len(keys), device=keys.device)
        seen = (then < now) & (then >= now - size)  # (n, kept)
        scores = evaluation.cache_sharpness * vectors @ keys.t()
        weights = scores.masked_fill(~seen, -torch.inf).softmax(1)
        weights = weights.nan_to_num(0)  # of an empty cache
        cache_probability = weights.masked_fill(values != target.unsqueeze(1), 0).sum(1)
        model_log = torch.where(seen.any(1), math.log(1 - share), 0.0) - losses.float()
        # In logarithms: either probability may underflow.
        mixed = torch.logaddexp(model_log, (share * cache_probability).log())
        found[positions] = -mixed.cpu().numpy()
        keys, values = keys[-size:], values[-size:]
    return found
