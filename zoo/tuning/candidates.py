"""What `tune=SECONDS` tries: for each task a list of axes, the likeliest to help first.

An axis is a part of a model that can be changed without the others: its values are sets of
settings, the first one what the run has anyway. A candidate takes one value of each axis. The
written list changes one axis at a time; then the best changes are combined, by Optuna's TPE sampler
where the package optuna is installed. A setting that the command line gives is never changed.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from zoo.config import OF_SINGLE_LABELS, SHAPE, Settings
from zoo.hub.shipped import list_models
from zoo.option_classes import option_names
from zoo.task import Generative
from zoo.training.options import Options

log = logging.getLogger("zoo")

Changes = dict[str, Any]  # setting -> value, of what differs from the run's own settings


@dataclass(frozen=True)
class Axis:
    """A part of a model and what it can be; the first value, {}, changes nothing."""

    name: str
    values: list[Changes]


def axes(settings: Settings, options: Options) -> list[Axis]:
    """Return what can be varied in a run; settings that are given on the command line cannot."""
    kind, task = options.kind, options.task
    hidden = options.backbone.hidden_size
    rate = settings.train.learning_rate
    found: list[tuple[str, list[Changes]]] = []
    if kind.text_columns:
        found.append(("tokenizer", _tokenizers(settings, options)))
    names = option_names(kind.config_class)
    if "ngrams" in names:
        found.insert(0, ("n-grams", _ngrams(task, settings.tokenizer.kind)))
    if "pool" in names:
        found.append(
            ("pooling", [{"task.pool": p} for p in ("max", "merged", "mean", "attention")])
        )
    found.append(("learning rate", [{"train.learning_rate": _short(rate * f)} for f in (0.5, 2)]))
    found.append(("dropout", _dropouts(options)))
    sizes = [hidden * 2, hidden // 2]
    found.append(("size", [{"backbone.hidden_size": size} for size in sizes if size >= 16]))
    found.append(("start", _starts(settings, options)))
    if "crf" in names:
        found.append(("CRF", [{"task.crf": not getattr(task, "crf", False)}]))
    if "attention" in names:
        found.append(("attention", [{"task.attention": name} for name in ("additive", "dot")]))
    found.append(("layers", [{"backbone.num_layers": 2}]))
    now = _values(settings, options)
    kept = []
    for name, values in found:
        free = [v for v in values if not _is_given(v, settings)]
        new = [v for v in free if any(now.get(key) != value for key, value in v.items())]
        if new:
            kept.append(Axis(name, [{}, *new]))
    return kept


def _is_given(changes: Changes, settings: Settings) -> bool:
    """Return whether the command line gives one of the settings, or one that belongs to it."""
    typed = settings.typed
    if "init" in changes:  # it brings backbone and tokenizer
        shape = {f"backbone.{name}" for name in SHAPE}
        return "init" in typed or any(n.startswith("tokenizer.") or n in shape for n in typed)
    if settings.init is not None:  # so does the one that is given
        shape = {f"backbone.{name}" for name in SHAPE}
        return any(n in typed or n.startswith("tokenizer.") or n in shape for n in changes)
    if "task.crf" in changes and OF_SINGLE_LABELS & {*typed}:
        return True
    return any(name in typed for name in changes)


def _values(settings: Settings, options: Options) -> Changes:
    """Return what a run has of all settings that are varied."""
    parts = {"task": options.task, "backbone": options.backbone}
    parts |= {"tokenizer": settings.tokenizer, "train": settings.train}
    found = {f"{s}.{n}": getattr(p, n) for s, p in parts.items() for n in option_names(type(p))}
    return found | {"init": settings.init}


def _tokenizers(settings: Settings, options: Options) -> list[Changes]:
    """Other units of text: words, pieces of words, fewer or more of them, characters."""
    now, typed = settings.tokenizer, settings.typed
    if options.kind.input_columns == ("words",) or "task.subword_sampling" in typed:
        return []
    size = now.size if now.kind == "subwords" else 1000
    sizes = [{"tokenizer.size": size * 2}, {"tokenizer.size": max(100, size // 2)}]
    if "tokenizer.kind" in typed:
        return sizes if now.kind == "subwords" else []
    if "tokenizer.size" in typed or "tokenizer.min_count" in typed:
        return []
    characters = {"tokenizer.kind": "characters", "tokenizer.min_count": 1}
    words = {"tokenizer.kind": "words", "tokenizer.size": 30_000}
    pieces = {"tokenizer.kind": "subwords", "tokenizer.size": size}
    closed = issubclass(options.kind, Generative)  # it writes what it reads
    if now.kind == "subwords":
        return [*sizes, characters] if closed else [words, *sizes, characters]
    return [pieces, *([] if closed else [words]), characters]


def _ngrams(task: Any, tokens: str) -> list[Changes]:
    """The linear bag of n-grams beside the LSTM: of words or characters, or none."""
    order = ["characters", "words"] if tokens == "characters" else ["words", "characters"]
    return [{"task.ngrams": units} for units in (*order, "none") if units != task.ngrams]


def _dropouts(options: Options) -> list[Changes]:
    """Less and more dropout, of the head and of the words together."""
    backbone, head = options.backbone, getattr(options.task, "dropout", None)
    found = []
    for step in (0.2, -0.2):
        changed = {"backbone.word_dropout": _within(backbone.word_dropout + step / 2)}
        changed["backbone.input_dropout"] = _within(backbone.input_dropout + step / 2)
        if head is not None:
            changed["task.dropout"] = _within(head + step)
        found.append(changed)
    return found


def _within(share: float) -> float:
    return round(min(0.7, max(0.0, share)), 2)


def _short(value: float) -> float:
    return float(f"{value:.2g}")


def _starts(settings: Settings, options: Options) -> list[Changes]:
    """Shipped models from which the task can start; whether one fits the texts is seen when tried."""
    kind = options.kind
    sources = {"classify": ("classify", "generate"), "tag": ("tag",), "generate": ("generate",)}
    named = [model.name for model in list_models() if model.task in sources.get(kind.task_name, ())]
    both: Changes = {} if issubclass(kind, Generative) else {"directions": "both"}
    return [
        {"init": name, **(both if name.startswith("generate/") else {})}
        for name in named
        if settings.directions == "kept"
    ]


class Proposals:
    """Candidates in the order in which they are tried: the written list, then combinations."""

    def __init__(self, varied: Sequence[Axis], lower_is_better: bool, seed: int) -> None:
        self.axes = {axis.name: axis.values for axis in varied}
        self.seen: list[Changes] = []
        self.scores: list[tuple[float, dict[str, int]]] = []
        self.lower_is_better = lower_is_better
        self.written = list(self._one_at_a_time())
        self.study = _study(lower_is_better, seed)

    def _one_at_a_time(self) -> Iterator[dict[str, int]]:
        """Yield the first change of each axis, then the second ones, …"""
        yield {}
        most = max((len(values) for values in self.axes.values()), default=1)
        for number in range(1, most):
            yield from ({n: number} for n, v in self.axes.items() if number < len(v))

    def __iter__(self) -> Iterator[Changes]:
        """Yield candidates without end, each once; ends when no combination is new."""
        for choice in self.written:
            if self._is_new(choice):
                yield self.changes(choice)
        while True:
            choices = self._sampled() if self.study is not None else self._combined()
            new = next((choice for choice in choices if self._is_new(choice)), None)
            if new is None:
                return
            yield self.changes(new)

    def _is_new(self, choice: Mapping[str, int]) -> bool:
        changes = self.changes(choice)
        if changes in self.seen:
            return False
        self.seen.append(changes)
        return True

    def changes(self, choice: Mapping[str, int]) -> Changes:
        """Return the settings of a choice {axis: number of its value}; `init` leaves shapes out."""
        found: Changes = {}
        for name, number in choice.items():
            found |= self.axes[name][number]
        if "init" in found:
            shape = {f"backbone.{name}" for name in SHAPE}
            found = {
                n: v for n, v in found.items() if n not in shape and not n.startswith("tokenizer.")
            }
        return found

    def tell(self, changes: Changes, score: float) -> None:
        """Note the score of a candidate, by which later ones are combined."""
        choice = {
            name: number
            for name, values in self.axes.items()
            for number, value in enumerate(values)
            if value and value.items() <= changes.items()
        }
        self.scores.append((score, choice))
        if self.study is not None:
            _tell(self.study, self.axes, choice, score)

    def _combined(self) -> Iterator[dict[str, int]]:
        """Yield combinations of two tried candidates, the best ones first."""
        ranked = sorted(self.scores, key=lambda s: s[0], reverse=not self.lower_is_better)
        choices = [choice for _, choice in ranked]
        for later in range(1, len(choices)):
            for earlier in range(later):
                yield {**choices[later], **choices[earlier]}

    def _sampled(self) -> Iterator[dict[str, int]]:
        """Yield what Optuna proposes; ends when all of it is known already."""
        assert self.study is not None
        for _ in range(20):
            asked = self.study.ask(_distributions(self.axes))
            yield {name: number for name, number in asked.params.items() if number}


def _study(lower_is_better: bool, seed: int) -> Any:
    """Return an Optuna study, None where the package is missing."""
    if find_spec("optuna") is None:
        return None
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sampler = optuna.samplers.TPESampler(seed=seed)
    return optuna.create_study(
        sampler=sampler, direction="minimize" if lower_is_better else "maximize"
    )


def _distributions(varied: Mapping[str, list[Changes]]) -> dict[str, Any]:
    from optuna.distributions import CategoricalDistribution

    return {name: CategoricalDistribution(range(len(v))) for name, v in varied.items()}


def _tell(study: Any, varied: Mapping[str, list[Changes]], choice: Any, score: float) -> None:
    from optuna.trial import create_trial

    params = {name: choice.get(name, 0) for name in varied}
    distributions = _distributions(varied)
    study.add_trial(create_trial(params=params, distributions=distributions, value=score))
