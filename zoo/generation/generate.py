"""Generate texts with a step model, by beam search or by sampling."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from zoo.generation import beam_search, sampling
from zoo.generation.config import GenerationConfig
from zoo.generation.step_model import Hypothesis, StepModel, WriterMaker
from zoo.text.special_ids import EOS


@torch.no_grad()
def generate(
    step_model: StepModel,
    limits: Tensor,
    config: GenerationConfig,
    stop_ids: Sequence[int] = (EOS,),
) -> list[list[Hypothesis]]:
    """Return at most `n_best` hypotheses for each text, best first.

    limits: (texts,) int64, the maximum number of tokens of each text, without its end. A token of
    `stop_ids` ends a text. Without stop ids a text ends at its limit or at a stop string.
    `step_model` starts with one empty prefix per text.

    Beam search, and sampling with a seed, give a text the same result in any batch. A finished
    text leaves the batch.
    """
    limits = limits.clamp(max=config.max_length)
    # A beam of one is greedy search, which a writer does faster.
    greedy = config.beam_size == 1 and isinstance(step_model, WriterMaker)
    search = sampling.sample if config.sample or greedy else beam_search.beam_search
    found = search(step_model, limits, config, stop_ids)
    return [sorted(of_text, key=lambda h: -h.score)[: config.n_best] for of_text in found]
