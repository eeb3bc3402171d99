"""Sampling: texts that are drawn, token by token, for all texts of a batch at once."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from zoo.generation.config import GenerationConfig
from zoo.generation.step_model import Hypothesis, StepModel, bounded, hypothesis
from zoo.text.special_ids import BOS, EOS, PAD

Step = tuple[Tensor, Tensor, Tensor]  # of `steps`


def sample(
    step_model: StepModel, limits: Tensor, config: GenerationConfig
) -> list[list[Hypothesis]]:
    """`n_best` independent draws for each text.

    Their log-probabilities are the model's, whatever the temperature. With a `seed` each text gets
    the draws that it gets alone; without one they come from torch's generator of the device.
    """
    ids = [[list[int]() for _ in range(config.n_best)] for _ in limits]
    totals = [[0.0] * config.n_best for _ in limits]
    for step in sample_steps(step_model, limits, config):
        texts, tokens, gains = (part.tolist() for part in step)
        for text, row, gained in zip(texts, tokens, gains, strict=True):
            for place, token in enumerate(row):
                totals[text][place] += gained[place]
                if token not in (EOS, PAD):
                    ids[text][place].append(token)
    return [
        [hypothesis(*found, config) for found in zip(*of_text, strict=True)]
        for of_text in zip(ids, totals, strict=True)
    ]


def sample_steps(step_model: StepModel, limits: Tensor, config: GenerationConfig) -> Iterator[Step]:
    """The next token of every draw, as it is drawn; the likeliest one without `search.sample`.

    Yields the numbers of the texts that are not over (texts,), their tokens (texts, draws), EOS at
    the end of a draw and PAD after it, and the tokens' log-probabilities, 0 on PAD.
    """
    texts = torch.arange(len(limits), device=limits.device)
    ids = torch.full_like(texts, BOS).unsqueeze(1)  # (texts, draws): the last tokens
    own = None if config.seed is None else torch.Generator().manual_seed(config.seed)
    length = 0
    while len(texts):
        logs = step_model.step(ids)  # (texts, draws, vocabulary)
        logs = bounded(logs, EOS, length, limits[texts], config.min_length, step_model.ends_itself)
        if length == 0:  # from here on each draw goes its own way
            logs = logs.expand(-1, config.n_best, -1)
        over = ((ids == EOS) | (ids == PAD)).expand(logs.shape[:-1])
        ids = _drawn(logs, config, own) if config.sample else logs.argmax(-1)
        gained = logs.gather(-1, ids.unsqueeze(-1)).squeeze(-1).masked_fill(over, 0)
        ids = ids.masked_fill(over, PAD)
        yield texts, ids, gained
        going = ((ids != EOS) & (ids != PAD)).any(1)
        kept = going.nonzero().squeeze(1)
        here = torch.zeros_like(ids) if length == 0 else torch.arange(ids.size(1)).expand_as(ids)
        step_model.reorder(kept, here.to(ids.device)[kept])
        ids, texts = ids[kept], texts[kept]
        length += 1


def _drawn(logs: Tensor, config: GenerationConfig, own: torch.Generator | None) -> Tensor:
    """A token (texts, draws) for log-probabilities (texts, draws, vocabulary).

    A draw is where a number from 0 to 1 falls among the chances side by side. With a generator of
    its own a draw has the same number whatever text it belongs to.
    """
    values, ids = top_k_top_p(logs, config)
    edges = values.exp().cumsum(-1)
    if own is None:
        number = torch.rand(logs.shape[:-1], dtype=edges.dtype, device=edges.device)
    else:
        number = torch.rand(logs.size(1), dtype=edges.dtype, generator=own)
        number = number.to(edges.device).expand(logs.shape[:-1])
    place = torch.searchsorted(edges, number.unsqueeze(-1) * edges[..., -1:], right=True)
    # Where rounding puts the number on the last edge, what is drawn is what reaches that edge.
    last = torch.searchsorted(edges, edges[..., -1:].contiguous())
    return ids.gather(-1, torch.minimum(place, last)).squeeze(-1)


def top_k_top_p(log_probabilities: Tensor, config: GenerationConfig) -> tuple[Tensor, Tensor]:
    """What may be drawn of log-probabilities (…, vocabulary): log-probabilities (…, kept) at the
    temperature and within `top_k` and `top_p`, and their ids (…, kept).

    In float64: a temperature may be very small. What `top_p` leaves out has -inf.
    """
    values, size = log_probabilities, log_probabilities.size(-1)
    ids = torch.arange(size, device=values.device).expand(values.shape)
    if config.top_k or config.top_p < 1:  # the likeliest first
        values, ids = values.topk(min(config.top_k or size, size), -1)
    values = (values.double() / config.temperature).log_softmax(-1)
    if config.top_p < 1:
        chances = values.exp()
        beyond = chances.cumsum(-1) - chances >= config.top_p  # the others have the share already
        values = values.masked_fill(beyond, -torch.inf).log_softmax(-1)
    return values, ids
