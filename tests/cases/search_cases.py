"""What the generation tests share: a step model that checks how it is called."""

from __future__ import annotations

import math
from functools import cache

import pytest
import torch

from zoo.generation.config import GenerationConfig
from zoo.generation.generate import generate
from zoo.text.special_ids import BOS, EOS, PAD

SIZE = 7  # of the vocabulary: UNK, 4, 5, 6 and EOS can be generated
TEXTS = range(7)
LIMITS = (4, 0, 9, 1, 9, 14, 2)  # tokens of each text
SEEDS = range(15)
CONFIGS = [
    GenerationConfig(beam_size=1),
    GenerationConfig(beam_size=4, n_best=4),
    GenerationConfig(sample=True, n_best=4),
]
configs = pytest.mark.parametrize("config", CONFIGS, ids=["greedy", "beam", "samples"])


@cache
def after(seed, text, prefix, size):
    """Return random log-probabilities (size,) after a prefix of a text. A prefix begins with BOS."""
    generator = torch.Generator().manual_seed(hash((seed, text, prefix)) & 0x7FFFFFFF)
    logits = 1.5 * torch.randn(size, dtype=torch.float64, generator=generator)
    logits[EOS] += seed % 3 - 1.5  # some seeds give short texts, others long ones
    logits[[PAD, BOS]] = -torch.inf
    return logits.log_softmax(0)


class RandomStepModel:
    """A step model over `after` that records its prefixes and checks how it is called."""

    def __init__(self, texts, seed=0, size=SIZE):
        self.texts, self.seed, self.size = list(texts), seed, size
        self.read = [[()] for _ in self.texts]  # prefixes of each text
        self.counts = []  # of the texts at each step
        self.stepped = False

    def step(self, ids):
        assert not self.stepped
        assert ids.dtype == torch.int64
        assert ids.shape == (len(self.texts), len(self.read[0]))
        assert self.counts or ids.eq(BOS).all()
        self.stepped = True
        self.counts.append(len(ids))
        self.read = [
            [(*prefix, i) for prefix, i in zip(*pair, strict=True)]
            for pair in zip(self.read, ids.tolist(), strict=True)
        ]
        rows = zip(self.texts, self.read, strict=True)
        found = [after(self.seed, text, prefix, self.size) for text, row in rows for prefix in row]
        return torch.stack(found).view(*ids.shape, self.size)

    def reorder(self, texts, prefixes):
        assert self.stepped
        self.stepped = False
        kept, width = texts.tolist(), len(self.read[0])
        assert prefixes.shape[:-1] == texts.shape
        assert kept == sorted(set(kept) & set(range(len(self.texts))))
        assert all(0 <= i < width for i in prefixes.flatten().tolist())
        rows = zip(kept, prefixes.tolist(), strict=True)
        self.read = [[self.read[text][i] for i in row] for text, row in rows]
        self.texts = [self.texts[text] for text in kept]


def hypotheses(config, seed=0, texts=TEXTS, limits=LIMITS, size=SIZE):
    """Generate texts; return each hypothesis as (ids, log-probability, score)."""
    found = generate(
        RandomStepModel(texts, seed, size), torch.tensor(limits, dtype=torch.int64), config
    )
    return [[(h.ids, h.log_probability, h.score) for h in each] for each in found]


def choices(seed, text, ids, limit, config, size=SIZE):
    """Return {token: log-probability} of the tokens allowed after ids."""
    every = dict(enumerate(after(seed, text, (BOS, *ids), size).tolist()))
    if len(ids) == min(limit, config.max_length):
        return {EOS: every[EOS]}
    if len(ids) < config.min_length:
        del every[EOS]
    return {token: value for token, value in every.items() if value > -math.inf}
