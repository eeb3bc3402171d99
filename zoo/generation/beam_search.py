"""Beam search over all texts of a batch at once. A beam of size 1 is greedy search."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from zoo.generation.config import GenerationConfig
from zoo.generation.interrupt import may_go_on
from zoo.generation.results import is_settled
from zoo.generation.step_model import (
    Hypothesis,
    StepModel,
    bounded,
    check_first,
    check_numbers,
    hypothesis,
    is_end,
)
from zoo.text.special_ids import BOS, EOS


def beam_search(
    step_model: StepModel,
    limits: Tensor,
    config: GenerationConfig,
    stop_ids: Sequence[int] = (EOS,),
) -> list[list[Hypothesis]]:
    """Return the finished hypotheses of each text, unordered.

    A text gets `beam_size` hypotheses or a few more. It gets fewer only if fewer texts of the
    allowed length exist.

    Each step follows a text's `beam_size` best prefixes and ranks all their continuations. A
    continuation with an end (one of `stop_ids`) becomes a hypothesis if it is among the `beam_size`
    best. The `beam_size` best continuations without an end become the next prefixes.

    The search for a text stops at its limit. It also stops when the text has `beam_size` hypotheses
    and the best prefix, scored as if it ended now, does not beat the worst hypothesis to be
    returned. So a short, improbable hypothesis cannot stop the search early.
    """
    found: list[list[Hypothesis]] = [[] for _ in limits]
    texts = torch.arange(len(limits), device=limits.device)  # the texts still being searched
    ids = torch.full_like(texts, BOS).unsqueeze(1)  # (texts, prefixes): the last tokens
    total = torch.zeros(ids.shape, device=ids.device)  # (texts, prefixes): log-probabilities
    written = ids.new_empty(*ids.shape, 0)  # (texts, prefixes, tokens)
    while len(texts):
        may_go_on()
        length = written.size(-1)
        logs = step_model.step(ids)
        check_numbers(logs)
        if length == 0:
            check_first(logs, config.beam_size, config.min_length)
        next_token = bounded(logs, stop_ids, length, limits[texts], config.min_length)
        vocabulary = next_token.size(-1)
        sums = (total.unsqueeze(-1) + next_token).flatten(1)  # (texts, prefixes * vocabulary)
        # A prefix has so many continuations with an end: at least a whole beam goes on.
        most_ends = max(1, len(stop_ids))
        best, index = sums.topk(min((1 + most_ends) * config.beam_size, sums.size(1)))
        prefixes = index // vocabulary
        ids = index % vocabulary
        ends = is_end(ids, stop_ids)
        finished = (ends & best.isfinite())[:, : config.beam_size]
        for row, rank in finished.nonzero().tolist():
            tokens = written[row, prefixes[row, rank]].tolist()
            found[int(texts[row])].append(hypothesis(tokens, float(best[row, rank]), config))
        total, rank = best.masked_fill(ends, -torch.inf).topk(min(config.beam_size, best.size(1)))
        prefixes = prefixes.gather(1, rank)
        ids = ids.gather(1, rank)
        best_scores = (total.amax(1) / (length + 1) ** config.length_penalty).tolist()
        continues = [
            length < limit
            and not is_settled(
                [one.score for one in found[text]], best_score, config.beam_size, config.n_best
            )
            for text, limit, best_score in zip(
                texts.tolist(), limits[texts].tolist(), best_scores, strict=True
            )
        ]
        kept = torch.tensor(continues, device=ids.device).nonzero().squeeze(1)
        prefixes, ids, total, texts = prefixes[kept], ids[kept], total[kept], texts[kept]
        step_model.reorder(kept, prefixes)
        written = torch.cat([written[kept.unsqueeze(1), prefixes], ids.unsqueeze(-1)], -1)
    return found
