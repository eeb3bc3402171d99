"""Beam search and sampling in numpy: step by step what `zoo.generation` does in torch.

A step model has `step(ids)`, next-token log-probabilities (texts, prefixes, vocabulary) after ids
(texts, prefixes), and `reorder(texts, prefixes)`. See `zoo.generation.step_model.StepModel`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

import numpy as np

from zoo.generation.results import collect_samples, is_settled
from zoo.generation.texts import Decode
from zoo.runtime.generation import Generation
from zoo.runtime.model import log_softmax
from zoo.text.special_ids import BOS, EOS, PAD

FAR_BELOW = -np.inf
Step = tuple[np.ndarray, np.ndarray, np.ndarray]  # texts, tokens, log-probabilities


class Hypothesis(NamedTuple):
    """A finished text."""

    ids: list[int]  # without the id that ended the text
    score: float  # log-probability / length ** length_penalty; the ranking key


class StepModel(Protocol):
    """A model with its state over texts, each with several prefixes."""

    def step(self, ids: np.ndarray) -> np.ndarray:
        """Read the last tokens; return next-token log-probabilities."""

    def reorder(self, texts: np.ndarray, prefixes: np.ndarray) -> None:
        """Keep only texts (kept,), and their prefixes (kept, width)."""


def generate(
    step_model: StepModel, limits: np.ndarray, config: Generation, stop_ids: Sequence[int]
) -> list[list[Hypothesis]]:
    """Return at most `n_best` hypotheses for each text, best first. limits: (texts,) int64."""
    limits = np.minimum(limits, config.max_length)
    search = sample if config.sample else beam_search
    found = search(step_model, limits, config, stop_ids)
    return [sorted(of_text, key=lambda h: -h.score)[: config.n_best] for of_text in found]


def wrapped(
    step_model: StepModel,
    config: Generation,
    decode: Decode,
    prompts: Sequence[Sequence[int]] = (),
) -> StepModel:
    """Wrap a step model in the processors that `config` asks for."""
    if config.repetition_penalty > 1:
        step_model = RepetitionPenalty(step_model, config.repetition_penalty, prompts)
    if config.stop:
        step_model = StopStrings(step_model, config.stop, decode)
    return step_model


def beam_search(
    step_model: StepModel, limits: np.ndarray, config: Generation, stop_ids: Sequence[int]
) -> list[list[Hypothesis]]:
    """Return the finished hypotheses of each text, unordered: see `zoo.generation.beam_search`."""
    found: list[list[Hypothesis]] = [[] for _ in limits]
    texts = np.arange(len(limits))
    ids = np.full((len(limits), 1), BOS, np.int64)
    total = np.zeros(ids.shape, np.float32)
    written = np.empty((*ids.shape, 0), np.int64)
    width = (1 + max(1, len(stop_ids))) * config.beam_size
    while len(texts):
        length = written.shape[-1]
        logs = step_model.step(ids)
        logs = bounded(logs, stop_ids, length, limits[texts], config.min_length)
        vocabulary = logs.shape[-1]
        sums = (total[..., None] + logs).reshape(len(texts), -1)
        best, index = top(sums, width)
        prefixes, ids = index // vocabulary, index % vocabulary
        ends = is_end(ids, stop_ids)
        finished = (ends & np.isfinite(best))[:, : config.beam_size]
        for row, rank in np.argwhere(finished).tolist():
            tokens = written[row, prefixes[row, rank]].tolist()
            found[texts[row]].append(_hypothesis(tokens, float(best[row, rank]), config))
        total, places = top(np.where(ends, FAR_BELOW, best), config.beam_size)
        prefixes = np.take_along_axis(prefixes, places, 1)
        ids = np.take_along_axis(ids, places, 1)
        scores = total.max(1) / np.float32((length + 1) ** config.length_penalty)
        continues = [
            length < limits[text]
            and not is_settled(
                [one.score for one in found[text]], float(score), config.beam_size, config.n_best
            )
            for text, score in zip(texts.tolist(), scores, strict=True)
        ]
        kept = np.flatnonzero(continues)
        prefixes, ids, total, texts = prefixes[kept], ids[kept], total[kept], texts[kept]
        step_model.reorder(kept, prefixes)
        written = np.concatenate([written[kept[:, None], prefixes], ids[..., None]], -1)
    return found


def sample(
    step_model: StepModel, limits: np.ndarray, config: Generation, stop_ids: Sequence[int]
) -> list[list[Hypothesis]]:
    """Return `n_best` independent samples of each text: see `zoo.generation.sampling`."""
    steps = sample_steps(step_model, limits, config, stop_ids)
    found = collect_samples(steps, len(limits), config.n_best, {PAD, *stop_ids})
    return [[_hypothesis(*one, config) for one in of_text] for of_text in found]


def sample_steps(
    step_model: StepModel, limits: np.ndarray, config: Generation, stop_ids: Sequence[int]
) -> Iterator[Step]:
    """Yield the next token of every sample, step by step: see `zoo.generation.sampling`."""
    texts = np.arange(len(limits))
    ids = np.full((len(limits), 1), BOS, np.int64)
    numbers = Numbers(config.seed)
    length = 0
    while len(texts):
        logs = step_model.step(ids)
        logs = bounded(logs, stop_ids, length, limits[texts], config.min_length)
        if length == 0:  # from here on the samples of a text differ
            logs = np.broadcast_to(logs, (len(logs), config.n_best, logs.shape[-1]))
        finished = np.broadcast_to(is_end(ids, stop_ids), logs.shape[:-1])
        ids = _draw(logs, config, numbers) if config.sample else logs.argmax(-1)
        gained = np.take_along_axis(logs, ids[..., None], -1)[..., 0]
        gained = np.where(finished, 0, gained)
        ids = np.where(finished, PAD, ids)
        yield texts, ids, gained
        kept = np.flatnonzero(~is_end(ids, stop_ids).all(1))
        if length == 0:  # all samples of a text go on from its one empty prefix
            prefixes = np.zeros_like(ids)
        else:
            prefixes = np.broadcast_to(np.arange(ids.shape[1]), ids.shape)
        step_model.reorder(kept, prefixes[kept])
        ids, texts = ids[kept], texts[kept]
        length += 1


class Numbers:
    """Random numbers from 0 below 1: with a seed those that torch's generator draws."""

    def __init__(self, seed: int | None) -> None:
        self.seeded = seed is not None
        if seed is None:
            self.fresh = np.random.default_rng()
        else:
            self.twister = np.random.MT19937()
            self.twister._legacy_seeding(seed)  # torch seeds its Mersenne twister the same way

    def draw(self, texts: int, draws: int) -> np.ndarray:
        """Return numbers (texts, draws) float64; with a seed the same for each text."""
        if not self.seeded:
            return self.fresh.random((texts, draws))
        high, low = self.twister.random_raw(2 * draws).reshape(draws, 2).T
        bits = ((high << np.uint64(32)) | low) & np.uint64((1 << 53) - 1)
        return np.broadcast_to(bits * 2.0**-53, (texts, draws))


def _draw(logs: np.ndarray, config: Generation, numbers: Numbers) -> np.ndarray:
    """Sample tokens (texts, draws) from log-probabilities (texts, draws, vocabulary)."""
    values, ids = top_k_top_p(logs, config)
    cumulative = np.exp(values).cumsum(-1)  # (texts, draws, kept)
    drawn = numbers.draw(*logs.shape[:2])
    found = np.empty(logs.shape[:2], np.int64)
    for place in np.ndindex(*found.shape):
        row = cumulative[place]
        index = np.searchsorted(row, drawn[place] * row[-1], side="right")
        # Rounding can put the number at the total: then take the first token that reaches it.
        found[place] = ids[place][min(index, np.searchsorted(row, row[-1]))]
    return found


def top_k_top_p(logs: np.ndarray, config: Generation) -> tuple[np.ndarray, np.ndarray]:
    """Apply temperature, top-k and top-p to log-probabilities (…, vocabulary).

    Returns normalised float64 log-probabilities (…, kept) and their ids (…, kept).
    """
    size = logs.shape[-1]
    if config.top_k or config.top_p < 1:  # most probable first
        values, ids = top(logs, config.top_k or size)
    else:
        values, ids = logs, np.broadcast_to(np.arange(size), logs.shape)
    values = log_softmax(values.astype(np.float64) / config.temperature)
    if config.top_p < 1:
        shares = np.exp(values)
        beyond = shares.cumsum(-1) - shares >= config.top_p
        values = log_softmax(np.where(beyond, FAR_BELOW, values))
    return values, ids


def top(values: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the `count` largest values along the last axis, in descending order, and their places."""
    size = values.shape[-1]
    if count < size:
        places = np.argpartition(values, size - count, -1)[..., size - count :]
        kept = np.take_along_axis(values, places, -1)
        order = np.argsort(-kept, -1, kind="stable")
        return np.take_along_axis(kept, order, -1), np.take_along_axis(places, order, -1)
    places = np.argsort(-values, -1, kind="stable")
    return np.take_along_axis(values, places, -1), places


def is_end(ids: np.ndarray, stop_ids: Sequence[int]) -> np.ndarray:
    """Return True for ids that end a text."""
    ends = ids == PAD
    for stop_id in stop_ids:
        ends = ends | (ids == stop_id)
    return ends


def bounded(
    logs: np.ndarray, stop_ids: Sequence[int], written: int, limits: np.ndarray, least: int
) -> np.ndarray:
    """Apply the length bounds to log-probabilities: see `zoo.generation.step_model.bounded`."""
    full = (limits <= written).reshape(-1, 1, 1)
    if written >= least and not full.any():
        return logs
    at_end = is_end(np.arange(logs.shape[-1]), stop_ids)
    forbidden = full & ~at_end
    if written < least:  # a text without another possible token may still end
        others = np.isfinite(np.where(at_end, FAR_BELOW, logs)).any(-1, keepdims=True)
        forbidden = forbidden | (~full & at_end & others)
    bound = np.where(forbidden, np.float32(FAR_BELOW), logs)
    return bound if stop_ids else np.where(full & at_end, np.float32(0), bound)


def _hypothesis(ids: list[int], log_probability: float, config: Generation) -> Hypothesis:
    return Hypothesis(ids, log_probability / (len(ids) + 1) ** config.length_penalty)


class RepetitionPenalty:
    """Multiply the log-probability of tokens that already occur: see `zoo.generation.processors`."""

    def __init__(
        self, step_model: StepModel, factor: float, prompts: Sequence[Sequence[int]]
    ) -> None:
        self.step_model = step_model
        self.factor = np.float32(factor)
        self.prompts = prompts
        self.seen: np.ndarray | None = None  # (texts, prefixes, vocabulary)

    def step(self, ids: np.ndarray) -> np.ndarray:
        logs = self.step_model.step(ids)
        if self.seen is None:
            self.seen = np.zeros(logs.shape, bool)
            for seen, prompt in zip(self.seen, self.prompts, strict=False):
                seen[:, list(prompt)] = True
        np.put_along_axis(self.seen, ids[..., None], True, -1)
        self.seen[..., : EOS + 1] = False
        return log_softmax(np.where(self.seen, logs * self.factor, logs))

    def reorder(self, texts: np.ndarray, prefixes: np.ndarray) -> None:
        self.step_model.reorder(texts, prefixes)
        assert self.seen is not None
        self.seen = self.seen[texts[:, None], prefixes]


class StopStrings:
    """End a generated text that contains one of the strings: see `zoo.generation.processors`."""

    def __init__(self, step_model: StepModel, stop: Sequence[str], decode: Decode) -> None:
        self.step_model = step_model
        self.stop = stop
        self.decode = decode
        self.tail = max(map(len, stop)) + 1  # a new stop string lies within the last so many tokens
        self.written: list[list[list[int]]] | None = None  # ids of each prefix of each text

    def step(self, ids: np.ndarray) -> np.ndarray:
        logs = self.step_model.step(ids)
        if self.written is None:
            self.written = [[[] for _ in row] for row in ids]
            return logs
        for place, token in np.ndenumerate(ids):
            text, prefix = place
            self.written[text][prefix].append(int(token))
        stopped = [[self._contains_stop(one[-self.tail :]) for one in row] for row in self.written]
        end_only = np.full(logs.shape[-1], FAR_BELOW, np.float32)
        end_only[PAD] = 0
        return np.where(np.array(stopped)[..., None], end_only, logs)

    def _contains_stop(self, ids: Sequence[int]) -> bool:
        text = self.decode(ids)
        return any(string in text for string in self.stop)

    def reorder(self, texts: np.ndarray, prefixes: np.ndarray) -> None:
        self.step_model.reorder(texts, prefixes)
        assert self.written is not None
        kept = zip(texts.tolist(), prefixes.tolist(), strict=True)
        self.written = [[[*self.written[text][i]] for i in row] for text, row in kept]
