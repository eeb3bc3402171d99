"""Build an untrained task from the options of a run and its training rows."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import islice
from typing import cast

import numpy as np
import torch
from torch import Tensor

from zoo.config import Settings, TokenizerConfig
from zoo.data.corpora import Splits
from zoo.data.dataset import Dataset
from zoo.data.processors import LabelEncoder, Processor, Scaler
from zoo.data.readers import Rows
from zoo.data.stream import Stream
from zoo.device import find_device
from zoo.errors import InputError
from zoo.loading import load
from zoo.memory import check_fits
from zoo.messages import _
from zoo.nn.backbone import Backbone, BackboneConfig, count_parameters
from zoo.nn.directions import DROPOUTS, with_directions
from zoo.task import TOKENIZER_NAMES, Task
from zoo.text.tokenizers import Tokenizer
from zoo.training.options import Options

log = logging.getLogger("zoo")

OF_ROWS = "labels", "seen"  # processors that always tell of the rows of a training
NGRAMS = "ngrams", "ngram_length", "ngram_count"  # options that say which n-grams are learned
SHOWN = 5  # labels that a log line names
COPIES = 5  # of a weight: itself, its gradient, two moments of AdamW, and that of the best epoch
KEPT = 6  # numbers of a unit and step that the backward pass needs: four gates, h and c
SMALLER = "choose a smaller backbone.hidden_size, .embedding_size, .num_layers or tokenizer.size"


def build(
    options: Options,
    settings: Settings,
    splits: Splits,
    kept: Mapping[str, Processor] | None = None,
    rows: int | None = None,
) -> Task:
    """Build an untrained task. Raises InputError.

    Its processors are learned from the first `rows` training rows, or from all. Processors in
    `kept` are used as they are. With `init=` its model gives backbone and tokenizers; a model of the
    same task also gives its head, as far as it fits.
    """
    kind = options.kind
    source = Rows(lambda: islice(splits.train, rows), splits.train.name)
    kept = dict(kept or {})
    wanted = settings.tokenizer
    backbone = origin = None
    if settings.init is not None:
        origin = load(settings.init)
        backbone = _initial_backbone(origin, settings, options.backbone)
        kept = {**_initial_processors(origin, options), **kept}
        wanted = replace(wanted, shared=True)  # the origin brings the tokenizers that it has
    if backbone is None:  # before the rows are read
        check_memory(count_parameters(options.backbone), settings)
    processors = kind.learn(source, options.task, wanted, kept)
    _check_sizes(processors, kept, settings.tokenizer, settings.strict)
    if backbone is None:
        config = _with_input_size(options.backbone, processors)
        check_memory(_count_parameters(config, kind, processors, options), settings)
        backbone = Backbone(config)
    try:
        task = kind(backbone, processors, options.task)
    except ValueError as error:  # options that do not fit together
        raise InputError(f"task={kind.task_name}: {error}") from None
    if origin is not None:
        log.info("init=%s: %s", settings.init, take_over(task, origin))
    return task


def check_memory(parameters: int, settings: Settings) -> None:
    """Raise InputError when a training of so many weights does not fit into the memory."""
    device = find_device(settings.device)
    size = training_size(parameters, settings)
    check_fits(size, f"training {parameters:,} weights", SMALLER, device)


def training_size(parameters: int, settings: Settings) -> int:
    """Return the bytes of the weights, their gradient, the optimizer, the average and the best."""
    copies = COPIES + (settings.train.ema_decay > 0)
    return 4 * parameters * (copies if settings.mode == "train" else 1)


def batch_size(task: Task, dataset: Dataset, settings: Settings) -> int:
    """Return the least bytes of the results that a training step keeps of the largest batch."""
    config = task.backbone.config
    ends = dataset.ends["inputs"]
    total, longest = int(ends[-1]), int(np.diff(ends, prepend=0).max())
    if isinstance(dataset, Stream):
        longest = 1
    limits = settings.train
    steps = min(total, max(longest, min(limits.batch_tokens, longest * limits.batch_rows)))
    directions = 2 if config.bidirectional else 1
    floats = 2 * config.embedding_size + KEPT * config.hidden_size * directions * config.num_layers
    return 2 * steps * floats


def _count_parameters(
    config: BackboneConfig,
    kind: type[Task],
    processors: Mapping[str, Processor],
    options: Options,
) -> int:
    """Return the number of weights of a task that is built without memory."""
    try:
        with torch.device("meta"):
            made = kind(Backbone(config), processors, options.task)
        return sum(weight.numel() for weight in made.parameters())
    except (NotImplementedError, RuntimeError, ValueError):  # a task that reads values, or an error
        return count_parameters(config)  # that building it will raise


def _initial_processors(origin: Task, options: Options) -> dict[str, Processor]:
    """Return the processors of `init=` that its backbone needs; of the same task also the head's."""
    names = {"tokenizer", "scaler"}
    if isinstance(origin, options.kind):
        names |= {"target_tokenizer", "characters"}
        if all(getattr(origin.config, n, None) == getattr(options.task, n, None) for n in NGRAMS):
            names.add("ngrams")
    return {name: each for name, each in origin.processors.items() if name in names}


def take_over(task: Task, origin: Task) -> str:
    """Copy the weights beside the backbone of a model of the same task, as far as they fit.

    Of what has an axis over labels, the weights of the labels that both have are copied. Returns in
    one line what is kept and what starts anew.
    """
    mine = {name: each for name, each in task.named_parameters() if not _in_backbone(name)}
    theirs = dict(origin.named_parameters()) if isinstance(origin, type(task)) else {}
    old, new = _labels(origin), _labels(task)
    both = [label for label in new if label in {*old}] if theirs else []
    anew: set[str] = set()
    with torch.no_grad():
        for name, weight in mine.items():
            part = name.partition(".")[0]
            axes = type(task).label_axes.get(name, ())
            known = name in theirs and _fits(name, weight, theirs[name], task, origin)
            if not known or (axes and not both):
                anew.add(part)
            elif axes:
                to, source = weight, theirs[name].to(weight)
                for axis in axes:
                    places = torch.tensor([old.index(label) for label in both])
                    source = source.index_select(axis, places)
                grid = [torch.arange(size) for size in weight.shape]
                for axis in axes:
                    grid[axis] = torch.tensor([new.index(label) for label in both])
                to[torch.meshgrid(*grid, indexing="ij")] = source
            else:
                weight.copy_(theirs[name])
    return _in_words(task, origin, {*_parts(mine)} - anew, anew, old if theirs else [], both)


def _in_backbone(name: str) -> bool:
    return name.startswith("backbone.")


def _parts(names: Iterable[str]) -> list[str]:
    """Return the modules of a task that parameters belong to, in order."""
    return [*dict.fromkeys(name.partition(".")[0] for name in names)]


def _labels(task: Task) -> list[str]:
    encoder = task.processors.get("labels")
    return encoder.labels if isinstance(encoder, LabelEncoder) else []


def _fits(name: str, weight: Tensor, other: Tensor, task: Task, origin: Task) -> bool:
    """Return whether a weight means the same in both models, but for the labels."""
    axes = type(task).label_axes.get(name, ())
    if weight.dim() != other.dim():
        return False
    if name.startswith("bag") and task.processors.get("ngrams") is not origin.processors["ngrams"]:
        return False
    rest = [axis for axis in range(weight.dim()) if axis not in axes]
    if any(weight.shape[axis] != other.shape[axis] for axis in rest):
        return False
    # a task from outside that does not say which axes are of labels
    return bool(axes) or _labels(task) == _labels(origin) or len(_labels(origin)) not in other.shape


def _in_words(
    task: Task, origin: Task, kept: set[str], anew: set[str], old: list[str], both: list[str]
) -> str:
    """Return what is kept of `init=` and what starts anew, in one line."""
    same = [name for name, each in task.processors.items() if origin.processors.get(name) is each]
    learned = [name for name in task.processors if name not in {*same, *OF_ROWS}]
    new = [label for label in _labels(task) if label not in both]
    lost = [label for label in old if label not in both]
    of_labels = [f"{len(both)} of {len(both) + len(new)} labels"] if both else []
    line = f"kept: {', '.join(['backbone', *sorted(kept), *of_labels, *same])}"
    fresh = [*sorted(anew), *learned]
    if both and new:
        fresh.append(_shown("label", new))
    line += f"; new: {', '.join(fresh)}" if fresh else ""
    return line + (f"; left out: {_shown('label', lost)}" if both and lost else "")


def _shown(what: str, names: list[str]) -> str:
    """Return names in words, the first few of many."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{what}{'s' * (len(names) > 1)} {', '.join(map(repr, names[:SHOWN]))}{more}"


def _initial_backbone(origin: Task, settings: Settings, config: BackboneConfig) -> Backbone:
    """Return the backbone of `init=`, with this training's dropouts and directions."""
    backbone = origin.backbone
    both = {"kept": backbone.rnn.bidirectional}.get(
        settings.directions, settings.directions == "both"
    )
    dropouts = {name: getattr(config, name) for name in DROPOUTS}
    try:
        backbone = with_directions(backbone, both, **dropouts)
    except ValueError as error:
        raise InputError(f"init={settings.init}: {error}") from None
    way = "in both directions" if both else "to the right alone; directions=both adds the other way"
    log.info("init=%s: its backbone reads %s", settings.init, way)
    return backbone


def _with_input_size(config: BackboneConfig, processors: Mapping[str, Processor]) -> BackboneConfig:
    """Return the config with the size of the input: the tokenizer's ids or the scaler's features."""
    tokenizer = processors.get("tokenizer")
    if tokenizer is not None:
        return replace(config, vocabulary_size=len(cast(Tokenizer, tokenizer)))
    if "scaler" not in processors:
        raise InputError('a task learns a "tokenizer" for ids or a "scaler" for features')
    return replace(config, input_size=cast(Scaler, processors["scaler"]).width)


def _check_sizes(
    processors: Mapping[str, Processor],
    kept: Mapping[str, Processor],
    wanted: TokenizerConfig,
    strict: bool,
) -> None:
    """Say when a subword tokenizer is smaller than wanted. Raises InputError with `strict`."""
    for name in TOKENIZER_NAMES:
        tokenizer = processors.get(name)
        if wanted.kind != "subwords" or tokenizer is None or name in kept:
            continue
        size = len(cast(Tokenizer, tokenizer))
        if size < wanted.size:
            note = _(
                "tokenizer.size={wanted}: the texts give {size} subwords",
                wanted=wanted.size,
                size=size,
            )
            if strict:
                raise InputError(note)
            log.info(note)
