"""Sampling, token by token, for all texts of a batch at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from zoo.generation.config import GenerationConfig
from zoo.generation.results import collect_samples
from zoo.generation.step_model import (
    Hypothesis,
    StepModel,
    bounded,
    check_first,
    check_numbers,
    hypothesis,
    is_end,
)
from zoo.text.special_ids import BOS, EOS, PAD

Step = tuple[Tensor, Tensor, Tensor]  # yielded by `sample_steps`: texts, tokens, log-probabilities


def sample(
    step_model: StepModel,
    limits: Tensor,
    config: GenerationConfig,
    stop_ids: Sequence[int] = (EOS,),
) -> list[list[Hypothesis]]:
    """Return `n_best` independent samples of each text.

    Their log-probabilities are those of the model, before temperature, top-k and top-p. With a
    `seed` a text gets the same samples in any batch. Without one each call gets others. Nothing is
    drawn from torch's global generators.
    """
    steps = sample_steps(step_model, limits, config, stop_ids)
    found = collect_samples(steps, len(limits), config.n_best, {PAD, *stop_ids})
    return [[hypothesis(*one, config) for one in of_text] for of_text in found]


def sample_steps(
    step_model: StepModel,
    limits: Tensor,
    config: GenerationConfig,
    stop_ids: Sequence[int] = (EOS,),
) -> Iterator[Step]:
    """Yield the next token of every sample, step by step.

    Without `config.sample` it is the most probable token. Each step yields three tensors: the
    indices of the unfinished texts (texts,), their tokens (texts, draws), and the log-probabilities
    of these tokens (texts, draws). A finished sample has its end (one of `stop_ids`, or PAD) once, then
    PAD with log-probability 0.
    """
    texts = torch.arange(len(limits), device=limits.device)
    ids = torch.full_like(texts, BOS).unsqueeze(1)  # (texts, draws): the last tokens
    generator = _generator(config, limits.device)
    length = 0
    while len(texts):
        logs = step_model.step(ids)  # (texts, draws, vocabulary)
        check_numbers(logs)
        if length == 0:
            check_first(logs, config.n_best, config.min_length)
        logs = bounded(logs, stop_ids, length, limits[texts], config.min_length)
        if length == 0:  # from here on the samples of a text differ
            logs = logs.expand(-1, config.n_best, -1)
        finished = (is_end(ids, stop_ids)).expand(logs.shape[:-1])
        ids = _draw(logs, config, generator) if config.sample else logs.argmax(-1)
        gained = logs.gather(-1, ids.unsqueeze(-1)).squeeze(-1).masked_fill(finished, 0)
        ids = ids.masked_fill(finished, PAD)
        yield texts, ids, gained
        unfinished = ~is_end(ids, stop_ids).all(1)
        kept = unfinished.nonzero().squeeze(1)
        if length == 0:  # all samples of a text go on from its one empty prefix
            prefixes = torch.zeros_like(ids)
        else:
            prefixes = torch.arange(ids.size(1)).expand_as(ids)
        step_model.reorder(kept, prefixes.to(ids.device)[kept])
        ids = ids[kept]
        texts = texts[kept]
        length += 1


def _generator(config: GenerationConfig, device: torch.device) -> torch.Generator:
    """Return a generator of random numbers: with a seed on the CPU, otherwise new on the device."""
    if config.seed is not None:
        return torch.Generator().manual_seed(config.seed)
    generator = torch.Generator(device)
    generator.seed()  # from the system
    return generator


def _draw(logs: Tensor, config: GenerationConfig, generator: torch.Generator) -> Tensor:
    """Sample tokens (texts, draws) from log-probabilities (texts, draws, vocabulary).

    This is inverse transform sampling: a uniform number is looked up in the cumulative
    probabilities. With a seed the same draw of every text uses the same number.
    """
    values, ids = top_k_top_p(logs, config)
    cumulative = values.exp().cumsum(-1)
    kind: dict[str, Any] = {
        "dtype": cumulative.dtype,
        "generator": generator,
        "device": generator.device,
    }
    if config.seed is None:
        number = torch.rand(logs.shape[:-1], **kind)
    else:
        number = torch.rand(logs.size(1), **kind)
        number = number.to(cumulative.device).expand(logs.shape[:-1])
    total = cumulative[..., -1:]
    index = torch.searchsorted(cumulative, number.unsqueeze(-1) * total, right=True)
    # Rounding can put the number at the total: then take the first token that reaches the total.
    last = torch.searchsorted(cumulative, total.contiguous())
    return ids.gather(-1, torch.minimum(index, last)).squeeze(-1)


def top_k_top_p(log_probabilities: Tensor, config: GenerationConfig) -> tuple[Tensor, Tensor]:
    """Apply temperature, top-k and top-p to log-probabilities (…, vocabulary).

    Returns normalised float64 log-probabilities (…, kept) and their ids (…, kept). Tokens outside
    `top_p` get -inf. float64 allows a very small temperature.
    """
    values = log_probabilities
    size = log_probabilities.size(-1)
    ids = torch.arange(size, device=values.device).expand(values.shape)
    if config.top_k or config.top_p < 1:  # most probable first
        values, ids = values.topk(min(config.top_k or size, size), -1)
    values = (values.double() / config.temperature).log_softmax(-1)
    if config.top_p < 1:
        probabilities = values.exp()
        # Drop a token if those before it already reach `top_p`.
        beyond = probabilities.cumsum(-1) - probabilities >= config.top_p
        values = values.masked_fill(beyond, -torch.inf).log_softmax(-1)
    return values, ids
