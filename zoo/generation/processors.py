"""Restraints on what is written, each a Writer around a Writer: the searches know nothing of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import torch
from torch import Tensor

from zoo.generation.config import GenerationConfig
from zoo.generation.step_model import StepModel
from zoo.text.special_ids import EOS

Decode = Callable[[Sequence[int]], str]  # ids -> text


def apply_processors(
    step_model: StepModel,
    config: GenerationConfig,
    spell: Decode,
    prompts: Sequence[Sequence[int]] = (),
) -> StepModel:
    """The writer, with what of `search` restrains it. `prompts`: what each text begins with."""
    if config.repetition_penalty > 1:
        step_model = RepetitionPenalty(step_model, config.repetition_penalty, prompts)
    if config.stop:
        step_model = StopStrings(step_model, config.stop, spell)
    return step_model


class RepetitionPenalty:
    """Tokens that are there already have their log-probability times `factor`, then all add up to
    one again (Keskar et al. 2019, there on logits). Line ends are spared."""

    def __init__(
        self, step_model: StepModel, factor: float, prompts: Sequence[Sequence[int]]
    ) -> None:
        self.step_model, self.factor, self.prompts = step_model, factor, prompts
        self.ends_itself = step_model.ends_itself
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
    """A text in which one of the strings `stop` was written can only end."""

    def __init__(self, step_model: StepModel, stop: Sequence[str], spell: Decode) -> None:
        self.step_model, self.stop, self.spell = step_model, stop, spell
        self.ends_itself = step_model.ends_itself
        self.tail = max(map(len, stop)) + 1  # tokens in which a string that is new must lie
        self.written: list[list[list[int]]] | None = None  # of each prefix of each text

    def step(self, ids: Tensor) -> Tensor:
        logs = self.step_model.step(ids)
        if self.written is None:
            self.written = [[[] for _ in row] for row in ids]
            return logs
        for texts, tokens in zip(self.written, ids.tolist(), strict=True):
            for text, token in zip(texts, tokens, strict=True):
                text.append(token)
        over = [[self._stopped(text[-self.tail :]) for text in texts] for texts in self.written]
        at_end = torch.arange(logs.size(-1), device=logs.device) == EOS
        only = torch.zeros_like(logs[0, 0]).masked_fill(~at_end, -torch.inf)
        return torch.where(torch.tensor(over, device=logs.device).unsqueeze(-1), only, logs)

    def _stopped(self, ids: Sequence[int]) -> bool:
        text = self.spell(ids)
        return any(string in text for string in self.stop)

    def reorder(self, texts: Tensor, prefixes: Tensor) -> None:
        self.step_model.reorder(texts, prefixes)
        assert self.written is not None
        places = zip(texts.tolist(), prefixes.tolist(), strict=True)
        self.written = [[[*self.written[text][i]] for i in row] for text, row in places]


def until_stop_string(pieces: Iterable[str], stop: Sequence[str]) -> Iterator[str]:
    """Pieces of a text up to the first of the strings `stop`, each as soon as it is sure."""
    waiting, longest = "", max(map(len, stop), default=1)
    for piece in pieces:
        waiting += piece
        found = [(waiting.index(s) + len(s), waiting.index(s)) for s in stop if s in waiting]
        if found:  # what is complete first counts
            yield waiting[: min(found)[1]]
            return
        sure = len(waiting) - longest + 1  # what may begin one of them waits
        if sure > 0:
            yield waiting[:sure]
            waiting = waiting[sure:]
    if waiting:
        yield waiting
