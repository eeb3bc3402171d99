"""From a model that is asked step by step to whole texts, by the search that is asked for."""

from __future__ import annotations

import torch
from torch import Tensor

from zoo.generation import beam_search, sampling
from zoo.generation.config import GenerationConfig
from zoo.generation.step_model import Hypothesis, StepModel


@torch.no_grad()
def generate(
    step_model: StepModel, limits: Tensor, config: GenerationConfig
) -> list[list[Hypothesis]]:
    """For each text at most `n_best` hypotheses, the best first.

    limits: (texts,) int64, the most tokens that each may have, its end not counted. The writer
    holds one empty prefix of each text. What a beam finds for a text does not depend on the others,
    nor does what is drawn with a seed. A text that is done leaves the batch.
    """
    limits = limits.clamp(max=config.max_length)
    look = sampling.sample if config.sample else beam_search.beam_search
    found = look(step_model, limits, config)
    return [sorted(each, key=lambda h: -h.score)[: config.n_best] for each in found]
