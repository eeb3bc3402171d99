"""`tune=SECONDS`: try settings on validation rows, then train the best ones as a run does.

Of the corpus only training and validation rows are read until the final training is tested. Every
trial is a line of `trials.jsonl` in the run's folder, from which `resume=DIR` goes on.
"""

from __future__ import annotations

import json
import logging
import random
import shlex
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from zoo.config import SHAPE, Settings, check
from zoo.data.corpora import Splits, in_memory
from zoo.data.readers import Row, Rows
from zoo.errors import InputError
from zoo.files import read_json, write_text
from zoo.files.run_folder import STATE, TUNING, has_checkpoint, locked
from zoo.messages import _
from zoo.model_folder.verify import line_of
from zoo.option_classes import as_text, flat
from zoo.text.special_ids import UNK
from zoo.training import pipeline
from zoo.training.defaults import ENOUGH, from_data, with_choices
from zoo.training.loop import NotFinite, Stopped
from zoo.training.options import Options, options_of
from zoo.training.resume.cleaning import clean_held
from zoo.training.resume.settings import changed
from zoo.training.rows import open_rows
from zoo.training.state import host_kept
from zoo.tuning import folds, trial
from zoo.tuning.candidates import Changes, Proposals, axes
from zoo.tuning.halving import Halving, Result, Work
from zoo.tuning.tables import Table

log = logging.getLogger("zoo")

TRIALS = "trials.jsonl"
FOLDS = 5  # of few rows, in each repetition
REPEATS = 4
MOST_VALID = 1000  # validation rows of a trial
MOST_UNKNOWN = 0.05  # share of the tokens of a model from which a training may start
SHOWN = 20  # trials in the table
COMPARED = {"perplexity": "bits_per_character"}  # metric -> what different tokenizers share


@dataclass
class Search:
    """What the trials of a tuning share."""

    settings: Settings  # with what follows from the data
    options: Options
    splits: Splits
    folder: Path
    views: list[Splits] = field(default_factory=list)
    halving: Halving | None = None


@dataclass(frozen=True)
class Tuned:
    """What a search has found."""

    final: Settings  # of the training with the best settings
    typed: str  # the command, or the call in Python, of that training
    facts: dict[str, Any]  # for the report: `settings` to give again, and the `table` of trials


@host_kept()
def run(
    settings: Settings,
    command: str,
    began: float,
    changes: Collection[str] = (),
    corpus: Splits | None = None,
) -> tuple[Path, dict[str, Any]]:
    """Tune, then train with the best settings; returns the folder and the report of the training.

    The report's `tuning` holds the chosen `settings`, the `table`, and all `trials`. `changes` names
    the settings that a resumed training takes from `settings`; `corpus` holds rows in memory. Raises
    InputError, and Stopped when interrupted, with the command that goes on.
    """
    trial.refuse_several_processes("tune")
    with ExitStack() as lock:
        if settings.resume is not None:
            folder = Path(settings.resume)
            if not (folder / TUNING).is_file():
                raise InputError(
                    _("resume={folder} tune=…: it holds no unfinished tuning", folder=folder)
                )
            if has_checkpoint(folder / STATE):  # the final training goes on
                facts = read_json(folder / TUNING).get("result", {})
                found = pipeline.run(settings, command, began, corpus, changes)
                return _ended(*found, facts)
            lock.enter_context(locked(folder, "resume"))
            clean_held(folder)
            wanted = settings
            settings, command = _kept(folder)
            other = changed(settings, wanted, changes)
            if other:
                raise InputError(
                    _(
                        "resume={folder} goes on with a tuning as it began: leave {name} out",
                        folder=folder,
                        name=min(other),
                    )
                )
        else:
            options_of(settings)  # raises before a folder is made
            folder = pipeline.claim(settings, lock)
        try:
            tuned = _tuned(settings, command, folder, corpus)
        except KeyboardInterrupt:
            raise Stopped.at(folder) from None
        except Stopped:
            raise Stopped.at(folder) from None
        except BaseException:
            if not (folder / TRIALS).exists():
                (folder / TUNING).unlink(missing_ok=True)
            raise
        log.info(_("training with the best settings; to type them again:"))
        log.info("  %s", tuned.typed)
        found = pipeline.run(tuned.final, tuned.typed, began, corpus, claimed=folder)
        return _ended(*found, tuned.facts)


def _ended(
    folder: Path, report: dict[str, Any], facts: dict[str, Any]
) -> tuple[Path, dict[str, Any]]:
    """Remove the mark of an unfinished tuning; returns the folder and the report with the trials."""
    (folder / TUNING).unlink(missing_ok=True)
    trials = [asdict(result) for result in _read_trials(folder)]
    return folder, report | {"tuning": facts | {"trials": trials}}


def _kept(folder: Path) -> tuple[Settings, str]:
    """Return settings and command of an unfinished tuning. Raises InputError for a broken file."""
    kept = read_json(folder / TUNING)
    try:
        settings = check(kept["settings"])
        settings._given, settings._typed = frozenset(kept["given"]), frozenset(kept["typed"])
        return settings, str(kept["command"])
    except (KeyError, TypeError) as error:
        raise InputError(f"{folder / TUNING}: {error}") from None


def _tuned(settings: Settings, command: str, folder: Path, corpus: Splits | None) -> Tuned:
    """Search among settings by trainings in this process."""
    options = options_of(settings)
    opened = open_rows(settings, options.kind, corpus)
    splits = Splits(opened.train, opened.valid, folds.unread(opened.test.name))
    kept = {"settings": settings.model_dump(), "command": command}
    kept |= {"given": sorted(settings.given or ()), "typed": sorted(settings.typed)}
    own, options = from_data(settings, options, splits)
    write_text(folder / TUNING, json.dumps(kept, indent=1))
    search = Search(own, options, splits, folder)
    search.views, say = _views(search)
    rows = sum(1 for _ in search.views[0].train)
    varied = axes(own, options)
    said = _("tuning for {seconds:.0f} s on {rows}", seconds=settings.tune, rows=say)
    log.info(_("{what}; no test row is read", what=said))
    names = ", ".join(axis.name for axis in varied) or _("nothing")
    log.info(_("varied: {names}", names=names))
    lower = _lower_is_better(search)
    known = list(_read_trials(folder))
    search.halving = Halving(
        settings.tune,
        own.train.epochs,
        rows,
        len(search.views),
        lower,
        partial(_try, search),
        known,
    )
    ranked = search.halving.run(Proposals(varied, lower, settings.seed))
    table = _table(search, ranked)
    log.info("%s", table.shown())
    if len(ranked) == 1:
        log.info(
            _("there was no time to compare anything with the run's own settings: tune longer")
        )
    best = ranked[0]
    unused = {"tune": 0.0, "out": str(folder), "resume": None}
    final = _with_changes(own, best).model_copy(update=unused)
    final._given = None  # nothing else is chosen
    chosen = _chosen(settings, own, best)
    facts = {"settings": _to_give(settings, chosen), "table": table.kept()}
    write_text(folder / TUNING, json.dumps(kept | {"result": facts}, indent=1))
    if settings.data["name"] == in_memory.NAME:
        typed = f"zoo.{options.kind.__name__}.fit(…, **{facts['settings']!r})"
    else:
        typed = shlex.join(["python", "-m", "zoo.run", *_words(command, chosen)])
    return Tuned(final, typed, facts)


def _lower_is_better(search: Search) -> bool:
    kind = search.options.kind
    chosen = search.settings.train.metric
    lower = kind.lower_is_better if chosen in (None, getattr(kind, "metric", None)) else False
    return bool(lower or chosen == "loss")


def _views(search: Search) -> tuple[list[Splits], str]:
    """Return the pairs of training and validation rows by which candidates are compared, and words.

    Few validation rows that are held out of the training file would choose by luck. Training and
    validation rows are then divided into five folds, four times. Given rows are always used.
    """
    settings, kind, splits = search.settings, search.options.kind, search.splits
    series = not kind.text_columns or kind.text_columns == kind.target_columns
    valid = sum(1 for _ in islice(splits.valid, ENOUGH))
    if valid >= ENOUGH or series or not folds.holds_out(settings, splits):
        if valid >= ENOUGH:
            return [splits], _("{rows:,} or more validation rows", rows=valid)
        return [splits], _("{rows:,} validation rows", rows=valid)
    rows = folds.pool(splits, settings)
    views = []
    for repeat in range(REPEATS):
        for outside, inside in folds.stratified(rows, kind, FOLDS, settings.seed + repeat):
            views.append(Splits(_listed(outside), _listed(inside), splits.test))
    said = _("{rows:,} training and validation rows in {folds} folds", rows=len(rows), folds=FOLDS)
    return views, said


def _listed(rows: Sequence[Row]) -> Rows:
    return Rows(lambda: rows, "a fold")


def _with_changes(settings: Settings, changes: Changes) -> Settings:
    """Return the settings of a candidate."""
    plain = {name: value for name, value in changes.items() if "." in name}
    whole = {name: value for name, value in changes.items() if "." not in name}
    return with_choices(settings, plain).model_copy(update=whole)


def _try(search: Search, work: Work, most_seconds: float) -> Result:
    """Train a candidate and append its line to the trials. Raises what the first trial raises."""
    settings = _with_changes(search.settings, work.changes)
    patience = min(settings.train.patience, max(3, work.epochs // 3))
    train = replace(settings.train, epochs=work.epochs, patience=patience)
    seed = settings.seed + work.view // max(1, len(search.views))
    settings = settings.model_copy(update={"train": train, "seed": seed % 2**32})
    view = search.views[work.view % len(search.views)]
    view = Splits(_some(view.train, work.rows), _some(view.valid, MOST_VALID), view.test)
    try:
        options = options_of(settings)
        found = trial.train(settings, options, view, most_seconds, _check_start)
    except Stopped:
        raise
    except InputError as error:
        if work.rung < 0 and not isinstance(error, NotFinite):
            raise  # the run's own settings or rows are wrong
        result = Result(work, error=str(error))
    else:
        name = COMPARED.get(found.metric, found.metric)
        metric = found.valid.get(name, found.valid[found.metric])
        valid = sum(1 for _ in view.valid)
        result = Result(
            work,
            metric,
            found.progress.epoch,
            found.valid.get("loss"),
            valid,
            found.seconds,
            found.epoch_seconds,
            name=name if name in found.valid else found.metric,
        )
    assert search.halving is not None
    result = replace(result, elapsed=round(search.halving.spent, 3))
    with open(search.folder / TRIALS, "a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(result), ensure_ascii=False) + "\n")
    _say(search, result)
    return result


def _check_start(settings: Settings, ids: np.ndarray) -> None:
    """Raise InputError when the tokenizer of `init=` does not know the texts."""
    unknown = float(np.mean(ids[:100_000] == UNK)) if len(ids) else 0.0
    if settings.init is not None and unknown > MOST_UNKNOWN:
        raise InputError(
            _(
                "{share:.0%} of the tokens are unknown to {model}",
                share=unknown,
                model=settings.init,
            )
        )


def _some(rows: Rows, most: int) -> Rows:
    """Return at most so many rows, drawn evenly from all of them, in their order."""
    count = sum(1 for _ in rows)
    if count <= most:
        return rows
    chosen = {*random.Random(most).sample(range(count), most)}
    return Rows(lambda: (row for n, row in enumerate(rows) if n in chosen), rows.name)


def _say(search: Search, result: Result) -> None:
    """Log one line for a trial."""
    assert search.halving is not None
    work = result.work
    if work.rung < 0:
        return
    if result.error is not None:
        figures: str = _("left out: {error}", error=result.error)
    else:
        figures = f"{result.metric:.4f}"
        if result.loss is not None:
            figures += _(", loss {loss:.4f}", loss=result.loss)
    log.info(
        _(
            "{seconds:3.0f} s  rung {rung}, {epochs} epochs: {settings}: {figures}",
            seconds=result.elapsed,
            rung=work.rung + 1,
            epochs=work.epochs,
            settings=shown(work.changes),
            figures=figures,
        )
    )


def shown(changes: Mapping[str, Any]) -> str:
    """Return changes as they are typed."""
    words = [f"{name}={as_text(value)}" for name, value in changes.items()]
    return " ".join(words) or _("the run's own settings")


def _read_trials(folder: Path) -> Iterator[Result]:
    """Yield the trials of an earlier run; a last line that was cut by a crash is removed."""
    path = folder / TRIALS
    if not path.is_file():
        return
    text = path.read_text("utf-8")
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        write_text(path, whole)
    for number, line in enumerate(whole.splitlines(), 1):
        try:
            kept = json.loads(line)
            yield Result(**kept | {"work": Work(**kept["work"])})
        except (ValueError, TypeError, KeyError) as error:
            raise InputError(
                _(
                    "{path}:{number}: not a trial: {error}",
                    path=path,
                    number=number,
                    error=line_of(error),
                )
            ) from None


def _table(search: Search, ranked: Sequence[Changes]) -> Table:
    """Return the trials as a table, the best ones first."""
    halving = search.halving
    assert halving is not None
    last: dict[str, list[Result]] = {}
    for result in halving.results:
        if result.work.rung < 0 or result.metric is None:
            continue
        name = json.dumps(result.work.changes, sort_keys=True)
        before = last.get(name, [])
        same = bool(before) and before[-1].work.rung > 0
        last[name] = [*before, result] if same else [result]
    places = {json.dumps(changes, sort_keys=True): n for n, changes in enumerate(ranked)}
    groups = sorted(last.items(), key=lambda item: -item[1][-1].work.rung)
    groups.sort(key=lambda item: places.get(item[0], len(places)))
    lines = []
    for _name, results in groups[:SHOWN]:
        work = results[-1].work
        mean = sum(r.metric or 0.0 for r in results) / len(results)
        losses = [r.loss for r in results if r.loss is not None]
        loss = f"{sum(losses) / len(losses):.4f}" if losses else ""
        seconds = f"{sum(r.seconds for r in results):.1f}"
        counts = [str(work.rung + 1), str(work.epochs), str(len(results))]
        lines.append([shown(work.changes), *counts, f"{mean:.4f}", loss, seconds])
    metric = next((r.name for results in last.values() for r in results), _("metric"))
    names = [_("settings"), _("rung"), _("epochs"), _("splits"), _("valid {metric}", metric=metric)]
    more = _(", the best {count}", count=SHOWN) if len(groups) > SHOWN else ""
    title = _(
        "{count} candidates{more}, {seconds:.0f} s",
        count=len(groups),
        more=more,
        seconds=halving.spent,
    )
    return Table(title, [*names, _("loss"), _("seconds")], lines, bold=0)


def _chosen(typed: Settings, own: Settings, best: Changes) -> Changes:
    """Return all that was chosen: by the rules of the data, and by the trials.

    A chosen value stands there even if it is a default: the data may ask for another one.
    """
    before, after = (flat(each.model_dump()) for each in (typed, own))
    chosen = {name: value for name, value in after.items() if before.get(name) != value} | best
    if "init" in chosen:  # it brings backbone and tokenizer
        barred = ("tokenizer.", *(f"backbone.{name}" for name in SHAPE))
        chosen = {n: v for n, v in chosen.items() if not n.startswith(barred)}
    return chosen


def _to_give(settings: Settings, chosen: Changes) -> Changes:
    """Return what gives the final training again: what was given, and what was chosen."""
    before = flat(settings.model_dump())
    kept = (settings.given or frozenset()) - {"task.name", "data.name", "tune", "out"}
    return {name: before[name] for name in sorted(kept) if name in before} | chosen


def _words(command: str, chosen: Changes) -> list[str]:
    """Return the command line of the final training: what was typed, and what was chosen."""
    words = [w for w in shlex.split(command)[3:] if not w.startswith(("tune=", "out="))]
    return [*words, *(f"{name}={as_text(value)}" for name, value in chosen.items())]
