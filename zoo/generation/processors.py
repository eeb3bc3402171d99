"""Logits processors: each is a StepModel that wraps a StepModel, for any generation method."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from zoo.generation.config import GenerationConfig
from zoo.generation.step_model import StepModel
from zoo.generation.texts import Decode
from zoo.text.special_ids import EOS, PAD


def apply_processors(
    step_model: StepModel,
    config: GenerationConfig,
    decode: Decode,
    prompts: Sequence[Sequence[int]] = (),
) -> StepModel:
    """Wrap the step model in the processors that `config` asks for.

    `prompts` are the ids each text begins with. Without processors the step model itself is
    returned.
    """
    if config.repetition_penalty > 1:
        step_model = RepetitionPenalty(step_model, config.repetition_penalty, prompts)
    if config.stop:
        step_model = StopStrings(step_model, config.stop, decode)
    return step_model


class RepetitionPenalty:
    """Multiply the log-probability of tokens that already occur by `factor`, then renormalise.

    Keskar et al. (2019) apply the penalty to logits. Special ids, line ends among them, get no
    penalty.
    """

    def __init__(
        self, step_model: StepModel, factor: float, prompts: Sequence[Sequence[int]]
    ) -> None:
        self.step_model = step_model
        self.factor = factor
        self.prompts = prompts
        self.seen: Tensor | None = None  # (texts, prefixes, vocabulary)

    def step(self, ids: Tensor) -> Tensor:
        logs = self.step_model.step(ids)
        if self.seen is None:
            self.seen = torch.zeros(logs.shape, dtype=torch.bool, device=logs.device)
            for seen, prompt in zip(self.seen, self.prompts, strict=False):
                seen[:, list(prompt)] = True
        self.seen.scatter_(-1, ids.unsqueeze(-1), True)
        self.seen[..., : EOS + 1] = False
        return torch.where(self.seen, logs * self.factor, logs).log_softmax(-1)

    def reorder(self, texts: Tensor, prefixes: Tensor) -> None:
        self.step_model.reorder(texts, prefixes)
        assert self.seen is not None
        self.seen = self.seen[texts.unsqueeze(1), prefixes]


class StopStrings:
    """End a generated text that contains one of the strings `stop`.

    Every token then gets log-probability -inf, and PAD, which ends the text, gets 0.
    """

    def __init__(self, step_model: StepModel, stop: Sequence[str], decode: Decode) -> None:
        self.step_model = step_model
        self.stop = stop
        self.decode = decode
        self.tail = max(map(len, stop)) + 1  # a new stop string lies within the last so many tokens
        self.written: list[list[list[int]]] | None = None  # ids of each prefix of each text

    def step(self, ids: Tensor) -> Tensor:
        logs = self.step_model.step(ids)
        if self.written is None:
            self.written = [[[] for _ in row] for row in ids]
            return logs
        for texts, tokens in zip(self.written, ids.tolist(), strict=True):
            for text, token in zip(texts, tokens, strict=True):
                text.append(token)
        stopped = [
            [self._contains_stop(text[-self.tail :]) for text in texts] for texts in self.written
        ]
        at_end = torch.arange(logs.size(-1), device=logs.device) == PAD
        end_only = torch.zeros_like(logs[0, 0]).masked_fill(~at_end, -torch.inf)
        return torch.where(torch.tensor(stopped, device=logs.device).unsqueeze(-1), end_only, logs)

    def _contains_stop(self, ids: Sequence[int]) -> bool:
        text = self.decode(ids)
        return any(string in text for string in self.stop)

    def reorder(self, texts: Tensor, prefixes: Tensor) -> None:
        self.step_model.reorder(texts, prefixes)
        assert self.written is not None
        kept = zip(texts.tolist(), prefixes.tolist(), strict=True)
        self.written = [[[*self.written[text][i]] for i in row] for text, row in kept]
