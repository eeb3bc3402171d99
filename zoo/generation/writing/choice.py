"""The next tokens on a CPU, in few passes over the logits.

A large vocabulary's logits are read from memory as often as they are touched. So the passes go over
a few rows at a time, which stay in the processor's cache. A number of inverse transform sampling is
first looked up among sums of blocks, then inside one block.
"""

from __future__ import annotations

import torch
from torch import Tensor

from zoo.generation.config import GenerationConfig
from zoo.generation.sampling import draw

BLOCK = 256  # logits of a block
CACHED = 1 << 18  # logits of a pass: 1 MB in float32


def choose(
    logits: Tensor, config: GenerationConfig, numbers: Tensor | None, barred: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Return the next tokens (rows,) and their log-probabilities (rows,).

    logits: (rows, vocabulary), float32 or float64. The tokens are those that `sampling.draw`
    returns for the uniform float64 `numbers` (rows,), or the most probable ones without numbers.
    `barred` (vocabulary,) is added to the logits for the choice alone.
    """
    rows, size = logits.shape
    few = max(1, CACHED // size)
    if rows <= few:
        return _choose(logits, config, numbers, barred)
    ids, gained = logits.new_empty(rows, dtype=torch.int64), logits.new_empty(rows)
    for start in range(0, rows, few):
        part = slice(start, start + few)
        some = None if numbers is None else numbers[part]
        ids[part], gained[part] = _choose(logits[part], config, some, barred)
    return ids, gained


def _choose(
    logits: Tensor, config: GenerationConfig, numbers: Tensor | None, barred: Tensor | None
) -> tuple[Tensor, Tensor]:
    allowed = logits if barred is None else logits + barred
    if numbers is None:
        top, ids = allowed.max(-1)
        return ids, top - logits.logsumexp(-1)
    if config.top_k or config.top_p < 1:
        ids = draw(allowed, config, numbers)
        return ids, logits.gather(-1, ids.unsqueeze(-1)).squeeze(-1) - logits.logsumexp(-1)
    top = allowed.amax(-1, keepdim=True)
    shares = logits.new_zeros(len(logits), -(-logits.size(-1) // BLOCK), BLOCK)
    filled = shares.flatten(1)[:, : logits.size(-1)]  # what is behind it has no share
    torch.sub(allowed, top, out=filled)
    if config.temperature != 1:
        filled.div_(config.temperature)
    filled.exp_()
    ids, total = _draw(shares, numbers)
    ids = ids.clamp_(max=logits.size(-1) - 1)  # NaN is beyond the end
    gained = logits.gather(-1, ids.unsqueeze(-1)).squeeze(-1)
    if barred is None and config.temperature == 1:
        return ids, gained - (top.squeeze(-1) + total.log().to(top))
    return ids, gained - logits.logsumexp(-1)


def _draw(shares: Tensor, numbers: Tensor) -> tuple[Tensor, Tensor]:
    """Return one of the ids of each row (rows,), and the sum of its shares (rows,), in float64.

    shares: (rows, blocks, BLOCK), proportional to the probabilities. numbers: (rows,).
    """
    sums = shares.sum(-1).double()
    edges = sums.cumsum(-1)
    total = edges[:, -1:]
    wanted = numbers.to(edges).unsqueeze(-1) * total
    block = _place(edges, wanted)  # (rows, 1)
    inside = (wanted - (edges - sums).gather(-1, block)).clamp_(min=0)
    some = shares[torch.arange(len(shares), device=block.device), block.squeeze(-1)].double()
    ids = block * BLOCK + _place(some.cumsum(-1), inside)
    return ids.squeeze(-1), total.squeeze(-1)


def _place(edges: Tensor, wanted: Tensor) -> Tensor:
    """Return where `wanted` (…, 1) lies between the ascending edges (…, n), from 0 to n - 1.

    Rounding can put it at the last edge: then it is the first place that reaches that edge.
    """
    place = torch.searchsorted(edges, wanted, right=True)
    last = torch.searchsorted(edges, edges[..., -1:].contiguous())
    return torch.minimum(place, last).clamp_(max=edges.size(-1) - 1)
