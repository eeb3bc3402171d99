"""Sampling: texts that are drawn, token by token, for all texts of a batch at once."""

from __future__ import annotations

import torch
from torch import Tensor

from zoo.search import Hypothesis, Search, Writer, bounded, hypothesis
from zoo.text import BOS, EOS, PAD


def draw(writer: Writer, limits: Tensor, search: Search) -> list[list[Hypothesis]]:
    """`n_best` independent draws for each text, from torch's generator of the device.

    Their log-probabilities are the model's, whatever the temperature.
    """
    found: list[list[Hypothesis]] = [[] for _ in limits]
    texts = torch.arange(len(limits), device=limits.device)  # those that are written
    ids = torch.full_like(texts, BOS).unsqueeze(1)  # (texts, prefixes): the last tokens
    total = torch.zeros(ids.shape, device=ids.device)  # (texts, prefixes): log-probabilities
    written = ids.new_empty(*ids.shape, 0)  # (texts, prefixes, tokens), PAD after an end
    while len(texts):
        length = written.size(-1)
        next_token = bounded(writer.step(ids), EOS, length, limits[texts], search.min_length)
        if length == 0:  # from here on each draw goes its own way
            next_token = next_token.expand(-1, search.n_best, -1)
            total, written = (part.repeat_interleave(search.n_best, 1) for part in (total, written))
        chances = likely(next_token, search).exp()
        ids = chances.flatten(0, 1).multinomial(1).view(total.shape)
        over = (written == EOS).any(-1)  # (texts, prefixes): ended before
        total = total + next_token.gather(-1, ids.unsqueeze(-1)).squeeze(-1).masked_fill(over, 0)
        ids = ids.masked_fill(over, PAD)
        written = torch.cat([written, ids.unsqueeze(-1)], -1)
        done = ((ids == EOS) | over).all(1)
        for row in done.nonzero().flatten().tolist():
            for tokens, value in zip(written[row].tolist(), total[row].tolist(), strict=True):
                ended = tokens[: tokens.index(EOS)]
                found[int(texts[row])].append(hypothesis(ended, value, search))
        kept = (~done).nonzero().squeeze(1)
        here = torch.zeros_like(ids) if length == 0 else torch.arange(ids.size(1)).expand_as(ids)
        ids, total, written, texts = ids[kept], total[kept], written[kept], texts[kept]
        writer.keep(kept, here.to(ids.device)[kept])
    return found


def likely(log_probabilities: Tensor, search: Search) -> Tensor:
    """Log-probabilities (…, vocabulary) at the temperature, -inf outside of `top_k` and `top_p`, in
    float64: a temperature may be very small."""
    scaled = (log_probabilities.double() / search.temperature).log_softmax(-1)
    if search.top_k:
        values, place = scaled.topk(min(search.top_k, scaled.size(-1)), -1)
        scaled = torch.full_like(scaled, -torch.inf).scatter(-1, place, values).log_softmax(-1)
    if search.top_p < 1:
        ordered, order = scaled.exp().sort(-1, descending=True)
        beyond = ordered.cumsum(-1) - ordered >= search.top_p  # the others have the share already
        scaled = scaled.masked_fill(beyond.gather(-1, order.argsort(-1)), -torch.inf)
    return scaled.log_softmax(-1)
