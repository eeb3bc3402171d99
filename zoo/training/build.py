"""Build an untrained task from the options of a run and its training rows."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from itertools import islice
from typing import cast

from zoo.config import Settings, TokenizerConfig
from zoo.data.corpora import Splits
from zoo.data.processors import Processor, Scaler
from zoo.data.readers import Rows
from zoo.errors import InputError
from zoo.loading import load
from zoo.nn.backbone import Backbone, BackboneConfig
from zoo.nn.directions import DROPOUTS, with_directions
from zoo.task import TOKENIZER_NAMES, Task
from zoo.text.tokenizers import Tokenizer
from zoo.training.options import Options

log = logging.getLogger("zoo")


def build(
    options: Options,
    settings: Settings,
    splits: Splits,
    kept: Mapping[str, Processor] | None = None,
    rows: int | None = None,
) -> Task:
    """Build an untrained task. Raises InputError.

    Its processors are learned from the first `rows` training rows, or from all. Processors in
    `kept` are used as they are. With `init=` its model gives backbone and tokenizers.
    """
    kind = options.kind
    source = Rows(lambda: islice(splits.train, rows), splits.train.name)
    kept = dict(kept or {})
    wanted = settings.tokenizer
    backbone = None
    if settings.init is not None:
        origin = load(settings.init)
        backbone = _initial_backbone(origin, settings, options.backbone)
        kept = {**_initial_processors(origin, kind), **kept}
        wanted = replace(wanted, shared=True)  # the origin brings the tokenizers that it has
    processors = kind.learn(source, options.task, wanted, kept)
    _check_sizes(processors, kept, settings.tokenizer, settings.strict)
    if backbone is None:
        backbone = Backbone(_with_input_size(options.backbone, processors))
    try:
        return kind(backbone, processors, options.task)
    except ValueError as error:  # options that do not fit together
        raise InputError(f"task={kind.task_name}: {error}") from None


def _initial_processors(origin: Task, kind: type[Task]) -> dict[str, Processor]:
    """Return the processors of `init=` that its backbone needs; of the same task also the target's."""
    names = {"tokenizer", "scaler"}
    if isinstance(origin, kind):
        names.add("target_tokenizer")
    return {name: each for name, each in origin.processors.items() if name in names}


def _initial_backbone(origin: Task, settings: Settings, config: BackboneConfig) -> Backbone:
    """Return the backbone of `init=`, with this training's dropouts and directions."""
    backbone = origin.backbone
    both = {"kept": backbone.lstm.bidirectional}.get(
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
            note = f"tokenizer.size={wanted.size}: the texts give {size} subwords"
            if strict:
                raise InputError(note)
            log.info("%s", note)
