"""Beam search, for all texts of a batch at once. A beam of one is greedy search."""

from __future__ import annotations

import torch
from torch import Tensor

from zoo.generation.config import GenerationConfig
from zoo.generation.step_model import Hypothesis, StepModel, bounded, hypothesis
from zoo.text.special_ids import BOS, EOS


def beam_search(
    step_model: StepModel, limits: Tensor, config: GenerationConfig
) -> list[list[Hypothesis]]:
    """The hypotheses of each text, unordered: as many as the beam is wide or some more, or fewer
    where there are not so many texts of that length.

    A text's `beam` best prefixes are followed. Of the continuations of all of them the best are
    looked at: one that ends the text is a hypothesis if it is among the `beam` best; the `beam`
    best that do not end it are the next prefixes. The search for a text is over at its limit, or
    when it has `beam` hypotheses and the best prefix, ranked as if it ended here, is no better than
    the last of those that will be returned: a short bad text must not end the search for a good one.
    """
    found: list[list[Hypothesis]] = [[] for _ in limits]
    texts = torch.arange(len(limits), device=limits.device)  # those that are looked for
    ids = torch.full_like(texts, BOS).unsqueeze(1)  # (texts, prefixes): the last tokens
    total = torch.zeros(ids.shape, device=ids.device)  # (texts, prefixes): log-probabilities
    written = ids.new_empty(*ids.shape, 0)  # (texts, prefixes, tokens)
    while len(texts):
        length = written.size(-1)
        logs = step_model.step(ids)
        next_token = bounded(
            logs, EOS, length, limits[texts], config.min_length, step_model.ends_itself
        )
        vocabulary = next_token.size(-1)
        sums = (total.unsqueeze(-1) + next_token).flatten(1)  # (texts, prefixes * vocabulary)
        best, place = sums.topk(min(2 * config.beam_size, sums.size(1)))  # at most half of them end
        prefixes, ids = place // vocabulary, place % vocabulary
        ends = ids == EOS
        hits = (ends & best.isfinite())[:, : config.beam_size]
        for row, rank in hits.nonzero().tolist():
            tokens = written[row, prefixes[row, rank]].tolist()
            found[int(texts[row])].append(hypothesis(tokens, float(best[row, rank]), config))
        total, rank = best.masked_fill(ends, -torch.inf).topk(min(config.beam_size, best.size(1)))
        prefixes, ids = prefixes.gather(1, rank), ids.gather(1, rank)
        hopes = (total.amax(1) / (length + 1) ** config.length_penalty).tolist()
        going = [
            length < limit and not _over(found[text], hope, config)
            for text, limit, hope in zip(texts.tolist(), limits[texts].tolist(), hopes, strict=True)
        ]
        kept = torch.tensor(going, device=ids.device).nonzero().squeeze(1)
        prefixes, ids, total, texts = prefixes[kept], ids[kept], total[kept], texts[kept]
        step_model.reorder(kept, prefixes)
        written = torch.cat([written[kept.unsqueeze(1), prefixes], ids.unsqueeze(-1)], -1)
    return found


def _over(found: list[Hypothesis], hope: float, config: GenerationConfig) -> bool:
    if len(found) < config.beam_size:
        return False
    ranked = sorted((hypothesis.score for hypothesis in found), reverse=True)
    return hope <= ranked[config.n_best - 1]
