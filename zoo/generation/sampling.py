"""Sampling, token by token, for all texts of a batch at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from zoo.generation.config import GenerationConfig
from zoo.generation.interrupt import may_go_on
from zoo.generation.results import collect_samples
from zoo.generation.step_model import (
    Hypothesis,
    StepModel,
    Writer,
    WriterMaker,
    bounded,
    check_first,
    check_numbers,
    hypothesis,
    is_end,
)
from zoo.text.special_ids import BOS, EOS, PAD

FIRST = 1024  # tokens in which a nucleus is looked for before all are sorted

Step = tuple[Tensor, Tensor, Tensor]  # yielded by `sample_steps`: texts, tokens, log-probabilities


def sample(
    step_model: StepModel,
    limits: Tensor,
    config: GenerationConfig,
    stop_ids: Sequence[int] = (EOS,),
) -> list[list[Hypothesis]]:
    """Return `n_best` independent samples of each text.

    Their log-probabilities are those of the model, before temperature, top-k and top-p. With a
    `seed` a text gets the same samples in any batch. Without one each call gets others. Nothing is
    drawn from torch's global generators.
    """
    steps = sample_steps(step_model, limits, config, stop_ids)
    found = collect_samples(steps, len(limits), config.n_best, {PAD, *stop_ids})
    return [[hypothesis(*one, config) for one in of_text] for of_text in found]


def sample_steps(
    step_model: StepModel,
    limits: Tensor,
    config: GenerationConfig,
    stop_ids: Sequence[int] = (EOS,),
) -> Iterator[Step]:
    """Yield the next token of every sample, step by step.

    Without `config.sample` it is the most probable token. Each step yields three tensors: the
    indices of the unfinished texts (texts,), their tokens (texts, draws), and the log-probabilities
    of these tokens (texts, draws). A finished sample has its end (one of `stop_ids`, or PAD) once, then
    PAD with log-probability 0.
    """
    texts = torch.arange(len(limits), device=limits.device)
    ids = torch.full_like(texts, BOS).unsqueeze(1)  # (texts, draws): the last tokens
    generator = _generator(config, limits.device)
    length = 0
    while len(texts):
        may_go_on()
        if length == 1:
            writer = _writer(step_model, ids, limits[texts], config, stop_ids)
            if writer is not None:
                try:
                    yield from _write(writer, texts, ids, limits, config, stop_ids, generator)
                finally:
                    writer.close()
                return
        logs = step_model.step(ids)  # (texts, draws, vocabulary)
        check_numbers(logs)
        if length == 0:
            check_first(logs, config.n_best, config.min_length)
        logs = bounded(logs, stop_ids, length, limits[texts], config.min_length)
        if length == 0:  # from here on the samples of a text differ
            logs = logs.expand(-1, config.n_best, -1)
        finished = (is_end(ids, stop_ids)).expand(logs.shape[:-1])
        if config.sample:
            numbers = _numbers(logs.shape[:-1], generator, config)
            ids = draw(logs, config, numbers.to(logs.device))
        else:
            ids = logs.argmax(-1)
        gained = logs.gather(-1, ids.unsqueeze(-1)).squeeze(-1).masked_fill(finished, 0)
        ids = ids.masked_fill(finished, PAD)
        yield texts, ids, gained
        unfinished = ~is_end(ids, stop_ids).all(1)
        kept = unfinished.nonzero().squeeze(1)
        if length == 0:  # all samples of a text go on from its one empty prefix
            prefixes = torch.zeros_like(ids)
        else:
            prefixes = torch.arange(ids.size(1)).expand_as(ids)
        step_model.reorder(kept, prefixes.to(ids.device)[kept])
        ids = ids[kept]
        texts = texts[kept]
        length += 1


def _writer(
    step_model: StepModel,
    ids: Tensor,
    limits: Tensor,
    config: GenerationConfig,
    stop_ids: Sequence[int],
) -> Writer | None:
    """Return what goes on after the first tokens (texts, draws), if the step model has it.

    A writer needs the same limit for all texts, and a token besides the ends.
    """
    if not isinstance(step_model, WriterMaker) or not len(ids):
        return None
    if step_model.vocabulary <= 1 + max((EOS, *stop_ids)) or bool((limits != limits[0]).any()):
        return None
    barring = bool(stop_ids)  # without them nothing ends a text before its limit
    return step_model.writer(ids, config, int(limits[0]) - 1, barring)


def _write(
    writer: Writer,
    texts: Tensor,
    ids: Tensor,
    limits: Tensor,
    config: GenerationConfig,
    stop_ids: Sequence[int],
    generator: torch.Generator,
) -> Iterator[Step]:
    """Yield the steps after the first, as `sample_steps` does, on the CPU.

    ids: (texts, draws), the first tokens of `texts` (texts,), which all have the same limit.
    """
    limit = int(limits[0])
    barred = _barred(writer, stop_ids, ids.device)
    texts, finished = texts.cpu(), is_end(ids.cpu(), stop_ids)
    shape = ids.shape  # of what the writer writes: texts and draws
    places = torch.arange(len(texts))  # those of the unfinished texts among the writer's
    length = count = 1
    while len(texts) and (length < limit or stop_ids):
        may_go_on()
        bound = limit if config.min_length <= length else min(config.min_length, limit)
        count = min(count, writer.most, max(1, bound - length))
        numbers = None
        if config.sample:
            each = [_numbers(shape, generator, config) for _ in range(count)]
            numbers = torch.stack(each).flatten(1)
        now = barred["full" if length >= limit else "early" if length < config.min_length else ""]
        tokens, gained = (
            part.unflatten(1, shape)[:, places] for part in writer.write(numbers, now, count)
        )  # (count, texts, draws)
        for step in range(count):
            ids, gains = tokens[step], gained[step]
            if finished.any():
                ids = ids.masked_fill(finished, PAD)
                gains = gains.masked_fill(finished, 0)
            check_numbers(gains)
            yield texts, ids, gains
            length += 1
            finished = is_end(ids, stop_ids)
            unfinished = ~finished.all(1)
            if not unfinished.all():
                texts, finished, places = (
                    texts[unfinished],
                    finished[unfinished],
                    places[unfinished],
                )
                tokens, gained = tokens[:, unfinished], gained[:, unfinished]
                if not len(texts):
                    return
        if len(places) < shape[0] and writer.keep(_rows(places, shape[1])):
            shape = torch.Size((len(places), shape[1]))
            places = torch.arange(len(places))
        count = 2 * count
    if len(texts):  # without stop ids the limit ends them
        yield texts, torch.full((len(texts), shape[1]), PAD), torch.zeros(len(texts), shape[1])


def _rows(places: Tensor, draws: int) -> Tensor:
    """Return the writer's rows (places * draws,) that hold the draws of some texts."""
    return (places.unsqueeze(1) * draws + torch.arange(draws)).flatten()


def _barred(
    writer: Writer, stop_ids: Sequence[int], device: torch.device
) -> dict[str, Tensor | None]:
    """Return what is added to the log-probabilities (vocabulary,) in each part of a text.

    "early": before the least length no end is written; "full": at the limit nothing else.
    """
    if not stop_ids:
        return {"": None, "early": None, "full": None}
    ends = is_end(torch.arange(writer.vocabulary, device=device), stop_ids)
    nothing = torch.zeros(writer.vocabulary, device=device)
    return {
        "": None,
        "early": nothing.masked_fill(ends, -torch.inf),
        "full": nothing.masked_fill(~ends, -torch.inf),
    }


def _generator(config: GenerationConfig, device: torch.device) -> torch.Generator:
    """Return a generator of random numbers: with a seed on the CPU, otherwise new on the device."""
    if config.seed is not None:
        return torch.Generator().manual_seed(config.seed)
    generator = torch.Generator(device)
    generator.seed()  # from the system
    return generator


def _numbers(shape: Sequence[int], generator: torch.Generator, config: GenerationConfig) -> Tensor:
    """Return uniform float64 numbers (texts, draws), on the generator's device.

    With a seed the same draw of every text gets the same number.
    """
    kind: dict[str, Any] = {
        "dtype": torch.float64,
        "generator": generator,
        "device": generator.device,
    }
    if config.seed is None:
        return torch.rand(*shape, **kind)
    return torch.rand(shape[1], **kind).expand(*shape)


def draw(logs: Tensor, config: GenerationConfig, numbers: Tensor) -> Tensor:
    """Sample tokens (…,) from log-probabilities (…, vocabulary).

    This is inverse transform sampling: each of the uniform float64 `numbers` (…,) is looked up in
    the cumulative probabilities. Nothing waits for the device.
    """
    values, ids = top_k_top_p(logs, config)
    cumulative = values.exp().cumsum(-1)
    total = cumulative[..., -1:]
    index = torch.searchsorted(cumulative, numbers.unsqueeze(-1) * total, right=True)
    # Rounding can put the number at the total: then take the first token that reaches the total.
    last = torch.searchsorted(cumulative, total.contiguous())
    index = torch.minimum(index, last).clamp(max=ids.size(-1) - 1)  # NaN is found beyond the end
    return ids.gather(-1, index).squeeze(-1)


def top_k_top_p(log_probabilities: Tensor, config: GenerationConfig) -> tuple[Tensor, Tensor]:
    """Apply temperature, top-k and top-p to log-probabilities (…, vocabulary).

    Returns normalised float64 log-probabilities (…, kept) and their ids (…, kept). Tokens outside
    `top_p` get -inf. float64 allows a very small temperature.
    """
    values = log_probabilities
    size = log_probabilities.size(-1)
    ids = torch.arange(size, device=values.device).expand(values.shape)
    found = _nucleus(log_probabilities, config)
    if found is not None:
        values, ids = found
    else:
        if config.top_k or config.top_p < 1:  # most probable first
            values, ids = values.topk(min(config.top_k or size, size), -1)
        values = (values.double() / config.temperature).log_softmax(-1)
    if config.top_p < 1:
        probabilities = values.exp()
        # Drop a token if those before it already reach `top_p`.
        beyond = probabilities.cumsum(-1) - probabilities >= config.top_p
        values = values.masked_fill(beyond, -torch.inf).log_softmax(-1)
    return values, ids


def _nucleus(values: Tensor, config: GenerationConfig) -> tuple[Tensor, Tensor] | None:
    """Return the FIRST most probable tokens of `top_p`, if they hold the whole nucleus of each row.

    The results are float64 log-probabilities (…, FIRST), of all tokens, and ids. Sorting a large
    vocabulary takes longer than all else. On a GPU nothing waits for an answer: the result is None.
    """
    wanted = config.top_p < 1 and not config.top_k and values.size(-1) > FIRST
    if not wanted or values.device.type != "cpu":
        return None
    total = (values.double() / config.temperature).logsumexp(-1, keepdim=True)
    first, ids = values.topk(FIRST, -1)
    first = first.double() / config.temperature - total
    return (first, ids) if bool((first.exp().sum(-1) >= config.top_p).all()) else None
