"""Attribution: how much each token of an input mattered for an answer.

Occlusion hides a token and measures how much the answer's log-probability falls (Zeiler and Fergus
2014; Li et al. 2016). Integrated gradients estimate the same fall: the gradient by what the LSTM
reads, times the difference that hiding makes, averaged over inputs of which a share is hidden, from
all to none (Sundararajan et al. 2017). At the input alone the answer is often certain and its
gradient small. The two share nothing but the question, so each checks the other.

A `Question` says what the input and the answer are; each task asks its own, see `Task.question`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from zoo.data.batch import Batch, Example
from zoo.nn.output_layer import at_least_float32
from zoo.text.special_ids import EOS, SPECIALS, UNK

STEPS_AT_ONCE = 1 << 15  # steps of a batch
ROWS_AT_ONCE = 256
MOST_STEPS = 1 << 18  # steps that are read for an occlusion; of longer inputs, windows are hidden
MOST_PARTS = 100  # parts of an answer that have attributions of their own
PART_STEPS = 1 << 16  # steps x parts whose gradients are held at once
CONTEXT = 8  # tokens before a token that its text may depend on
# Shares of the input at which gradients are taken. Of the gradient at the input alone, of log-odds,
# and of two to sixteen shares, four agreed best with occlusion, on held-out rows of `ud_ewt`.
SHARES = (0.125, 0.375, 0.625, 0.875)
FEWEST = 3  # tokens that a rank correlation needs


class Model(Protocol):
    """What an attribution needs of a task."""

    @property
    def device(self) -> torch.device: ...

    def collate(self, examples: Sequence[Example], augment: bool = False) -> Batch: ...

    def _float_parts(self, batch: Batch) -> dict[str, Tensor]: ...


class Question(ABC):
    """What an attribution asks: how much each of `tokens` mattered for each of `parts`.

    tokens: the input, as it is to be shown. parts: the answer in parts: a label, words, written
    tokens, steps of a horizon. example: the encoded input, with the answer where the model reads
    it. target: the answer that is explained. Scores are log-probabilities if `of_probabilities`.
    """

    tokens: Sequence[str]
    parts: Sequence[str]
    example: Example
    target: Any
    of_probabilities: bool = True
    lists_parts: bool = False  # even if there is one alone

    @abstractmethod
    def hide(self, tokens: Sequence[int]) -> Example:
        """Return the example without what tokens of these numbers say; its length is the same."""

    @abstractmethod
    def run(self, batch: Batch) -> Any:
        """Run the model over a batch of such examples."""

    @abstractmethod
    def score(self, found: Any, parts: Tensor) -> Tensor:
        """Return the scores of parts, both (rows, parts), from what `run` found."""

    def score_all(self, found: Any) -> Tensor:
        """Return the score of the answer as a whole, (rows,): the mean over its parts."""
        every = torch.arange(len(self.parts))
        return self.score(found, every.expand(self._rows(found), -1)).mean(1)

    def attention(self, found: Any) -> np.ndarray | None:
        """Return the attention weights (parts, tokens) of a run over one row, if there are any."""
        return None

    def step_names(self) -> list[str]:
        """Return the text of each step that the LSTM reads."""
        return [*self.tokens]

    @staticmethod
    def _rows(found: Any) -> int:
        return len(found[0] if isinstance(found, tuple) else found)


class LikeliestQuestion(Question):
    """Asks about the most probable class of every logit: for tasks without a question of their own."""

    def __init__(self, task: Any, example: Example, names: Sequence[str]) -> None:
        self.task = task
        self.example = example
        self.tokens = names
        self.parts = ["answer"]
        self.target = "the most probable classes"
        with torch.no_grad():
            self.best = task(task.collate([example]).to(task.device)).argmax(-1)  # (1, …)

    def hide(self, tokens: Sequence[int]) -> Example:
        return {**self.example, "inputs": hidden(self.example["inputs"], tokens)}

    def run(self, batch: Batch) -> Tensor:
        return self.task(batch)

    def score(self, found: Tensor, parts: Tensor) -> Tensor:
        logs = found.float().log_softmax(-1)
        best = self.best.expand(found.shape[:-1]).unsqueeze(-1)
        return logs.gather(-1, best).flatten(1).mean(1, keepdim=True).expand(-1, parts.size(1))


class TokenQuestion(Question):
    """Asks about written tokens: `run` returns the output layer's inputs (rows, written, size) first.

    task: it has `tokens`, the output layer, and `backbone`. written: the ids of the tokens.
    """

    lists_parts = True
    task: Any
    written: Sequence[int]

    def score(self, found: tuple[Tensor, ...], parts: Tensor) -> Tensor:
        """Return the log-probabilities of tokens, (rows, parts); with a gradient if it is recorded.

        Without one, the logits of a few tokens are held at a time.
        """
        parts = parts.to(found[0].device)
        rows = torch.arange(len(parts), device=parts.device).unsqueeze(1)
        vectors = found[0][rows, parts]  # (rows, parts, size)
        ids = torch.tensor(self.written, device=parts.device)[parts]
        layer, backbone = self.task.tokens, self.task.backbone
        if not torch.is_grad_enabled():
            losses = layer.losses(vectors.flatten(0, 1), backbone, ids.flatten())
            return -losses.view(ids.shape)
        logs = at_least_float32(layer(vectors, backbone)).log_softmax(-1)
        return logs.gather(-1, ids.unsqueeze(-1)).squeeze(-1)


def surfaces_of(decode: Callable[[Sequence[int]], str], ids: Sequence[int]) -> list[str]:
    """Return what each id adds to the text of the ids before it; of EOS that adds nothing, its name."""
    found = []
    for place, number in enumerate(ids):
        near = ids[max(0, place - CONTEXT) : place]  # the text of a token depends on its neighbours
        text, before = decode([*near, number]), decode(near)
        own = text.removeprefix(before) if text.startswith(before) else decode([number])
        found.append(own or (SPECIALS[EOS] if number == EOS else ""))
    return found


def hidden(inputs: Any, steps: Sequence[int]) -> Any:
    """Return a copy of inputs without some steps: of ids they are UNK, of floats the row's mean."""
    if not len(steps):
        return inputs
    found = np.array(inputs)
    if found.dtype.kind == "f":
        found[[*steps]] = found.mean(0)
        return found
    found[[*steps]] = UNK
    return found.tolist()


@dataclass(frozen=True)
class Attribution:
    """The scores of an answer, and what each token adds to them.

    score, scores: of the whole answer, and (parts,). occlusion, gradient: (tokens,) of the whole
    answer; part_occlusion, part_gradient: (parts, tokens). window: neighbouring tokens that were
    hidden together, and share what they add. Parts behind the first ones of a long answer have none.
    """

    score: float
    scores: np.ndarray
    occlusion: np.ndarray
    gradient: np.ndarray
    part_occlusion: np.ndarray
    part_gradient: np.ndarray
    window: int
    attention: np.ndarray | None


def attribute(task: Model, question: Question, most_steps: int = MOST_STEPS) -> Attribution:
    """Return the attributions of a question by both methods. The task is in eval mode.

    Time grows with tokens x steps, up to `most_steps`; memory does not. Nothing is stored on the
    task, and no parameter gets a gradient.
    """
    if not question.parts:  # an empty text has no words
        none, each = np.zeros(0), np.zeros((0, len(question.tokens)))
        return Attribution(0.0, none, each.sum(0), each.sum(0), each, each, 1, None)
    with torch.inference_mode(False):
        return _attribute(task, question, most_steps)


def _attribute(task: Model, question: Question, most_steps: int) -> Attribution:
    batch = task.collate([question.example]).to(task.device)
    steps = max(1, batch.inputs.size(1) * len(batch.inputs))
    kept = len(question.parts[: max(1, min(MOST_PARTS, PART_STEPS // steps))])
    with torch.no_grad():
        plain = task._float_parts(batch)
        found = question.run(_with(batch, plain))
        score, scores = _scores(question, found, kept)
        attention = question.attention(found)
    gradients = [*_gradients(task, question, steps, kept)]  # of the whole, then of each part
    stacked = {name: torch.cat([g[name] for g in gradients]) for name in plain}
    windows = windows_of(len(question.tokens), steps, most_steps)
    drops, estimates = [], []
    rows = max(1, min(ROWS_AT_ONCE, STEPS_AT_ONCE // steps))
    for start in range(0, len(windows), rows):
        some = windows[start : start + rows]
        batch = task.collate([question.hide(tokens) for tokens in some]).to(task.device)
        with torch.no_grad():
            parts = task._float_parts(batch)
            whole, each = _scores(question, question.run(_with(batch, parts)), kept)
            drops.append(torch.cat([score - whole, scores - each], 1))
            differences = {n: _flat(plain[n], 1) - _flat(parts[n], len(some)) for n in plain}
            products = [differences[name] @ stacked[name].T for name in plain]
        estimates.append(torch.stack(products).sum(0))
    sizes = np.array([len(tokens) for tokens in windows])
    occlusion = _by_token(drops, sizes, kept)
    gradient = _by_token(estimates, sizes, kept)
    return Attribution(
        score=float(score),
        scores=scores[0].double().cpu().numpy(),
        occlusion=occlusion[0],
        gradient=gradient[0],
        part_occlusion=occlusion[1:],
        part_gradient=gradient[1:],
        window=int(sizes.max(initial=1)),
        attention=attention,
    )


def windows_of(tokens: int, steps: int, most_steps: int = MOST_STEPS) -> list[range]:
    """Return the tokens that are hidden together: one at a time, or windows of a long input.

    So many are hidden that a model which reads `steps` each time reads `most_steps` in all.
    """
    width = max(1, -(-tokens // max(1, most_steps // steps)))
    return [range(start, min(tokens, start + width)) for start in range(0, tokens, width)]


def _with(batch: Batch, parts: Mapping[str, Tensor]) -> Batch:
    """Return a batch with float parts in the place of its own: see `Task._float_parts`."""
    others = {name: part for name, part in parts.items() if name != "inputs"}
    return replace(batch, inputs=parts["inputs"], extras={**batch.extras, **others})


def _flat(part: Tensor, rows: int) -> Tensor:
    """Return a float part (rows or a multiple of them, …) as (rows, numbers) in float32."""
    return part.reshape(rows, -1).float()


def _scores(question: Question, found: Any, kept: int) -> tuple[Tensor, Tensor]:
    """Return the scores of the whole answer (rows, 1) and of its first parts (rows, kept)."""
    whole = question.score_all(found).unsqueeze(1)
    parts = torch.arange(kept).expand(len(whole), -1)
    return whole, question.score(found, parts)


def _gradients(
    task: Model, question: Question, steps: int, kept: int
) -> Iterator[dict[str, Tensor]]:
    """Yield the gradients of the whole answer's score, then of the parts', by each float part.

    They are means over SHARES of the input. Each is (scores, numbers): a copy of the row for each
    score, so one backward pass serves many.
    """
    rows = max(1, min(ROWS_AT_ONCE, STEPS_AT_ONCE // steps))
    nothing = question.hide(range(len(question.tokens)))
    starts = [None, *range(0, kept, rows)]
    for start in starts:
        chosen = [0] if start is None else [*range(start, min(kept, start + rows))]
        batch = task.collate([question.example] * len(chosen)).to(task.device)
        with torch.no_grad():
            parts = task._float_parts(batch)
            empty = task._float_parts(task.collate([nothing] * len(chosen)).to(task.device))
        means = {name: torch.zeros(()) for name in parts}
        for share in SHARES:
            leaves = {
                name: torch.lerp(empty[name], part, share).requires_grad_()
                for name, part in parts.items()
            }
            with torch.enable_grad():
                found = question.run(_with(batch, leaves))
                if start is None:
                    total = question.score_all(found).sum()
                else:
                    total = question.score(found, torch.tensor(chosen).unsqueeze(1)).sum()
                slopes = torch.autograd.grad(total, [*leaves.values()], materialize_grads=True)
            for name, slope in zip(leaves, slopes, strict=True):
                means[name] = means[name].to(slope) + slope / len(SHARES)
        yield {name: _flat(mean, len(chosen)) for name, mean in means.items()}


def _by_token(found: Sequence[Tensor], sizes: np.ndarray, kept: int) -> np.ndarray:
    """Return (1 + parts, tokens) of values (windows, 1 + parts); a window's tokens share its own."""
    if not found:
        return np.zeros((1 + kept, 0))
    values = torch.cat([*found]).double().cpu().numpy()
    return (values / sizes[:, None]).repeat(sizes, 0).T


def agreement(one: ArrayLike, other: ArrayLike) -> float | None:
    """Return the rank correlation of two attributions (Spearman), None where it has no meaning."""
    from scipy.stats import spearmanr

    if np.size(one) < FEWEST or not np.ptp(one) or not np.ptp(other):
        return None
    return float(spearmanr(one, other).statistic)
