"""From a model that is asked step by step to whole texts, by the search that is asked for."""

from __future__ import annotations

import torch
from torch import Tensor

from zoo.generation import beam_search, sampling
from zoo.generation.config import Search
from zoo.generation.step_model import Hypothesis, Writer


@torch.no_grad()
def find(writer: Writer, limits: Tensor, search: Search) -> list[list[Hypothesis]]:
    """For each text at most `n_best` hypotheses, the best first.

    limits: (texts,) int64, the most tokens that each may have, its end not counted. The writer
    holds one empty prefix of each text. What a beam finds for a text does not depend on the others,
    nor does what is drawn with a seed. A text that is done leaves the batch.
    """
    limits = limits.clamp(max=search.max_length)
    look = sampling.draw if search.sample else beam_search.search
    found = look(writer, limits, search)
    return [sorted(each, key=lambda h: -h.score)[: search.n_best] for each in found]
