"""The settings of a run that goes on: which may change, and where its files are."""

from __future__ import annotations

import logging
import os
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

from zoo.config import Settings
from zoo.data.corpora import CORPORA
from zoo.data.corpora.paths import absolute
from zoo.errors import InputError
from zoo.messages import _
from zoo.option_classes import flat
from zoo.training import checkpoint
from zoo.training.defaults import with_choices
from zoo.training.resume.folder import KEPT, Began, read_settings, state_of
from zoo.training.state import learning_rate_factor

log = logging.getLogger("zoo")

# What a run does, not what it has trained so far.
MAY_CHANGE = (
    "train.epochs",
    "train.patience",
    "train.checkpoint_steps",
    "train.tensorboard",
    "baseline",
)


def settings_to_resume(folder: Path, wanted: Settings, typed: Collection[str]) -> Began:
    """Return the settings with which a run goes on; `typed` names those to take from `wanted`.

    Logs each change. Raises InputError for a change of what the run trains, when there is no run to
    go on with, and for a finished run without more epochs.
    """
    state = state_of(folder)
    began = read_settings(state)
    settings = began.settings
    before, changes = flat(settings.model_dump()), changed(settings, wanted, typed)
    for name, value in changes.items():
        if name not in MAY_CHANGE:
            raise InputError(
                _(
                    "resume={folder}: {name}={value} changes what the run trains, it began with "
                    "{before}: leave it out; only {others} may change",
                    folder=folder,
                    name=name,
                    value=value,
                    before=before.get(name),
                    others=", ".join(MAY_CHANGE),
                )
            )
    finished = state.name == KEPT
    if finished or "train.epochs" in changes:
        progress = checkpoint.load(state, mmap=True)["progress"] if finished else {}
        if finished:
            _check_more(folder, _with(settings, changes), progress)
    for name, value in changes.items():
        log.info("%s=%s instead of %s", name, value, before.get(name))
    settings = _with(settings, changes)
    if finished and settings.train.schedule != "constant":
        _say_rate(settings, progress["epoch"])
    return _found_from(Began(settings, began.command, began.folder))


def changed(began: Settings, wanted: Settings, typed: Collection[str]) -> dict[str, Any]:
    """Return the settings, of those that are typed, with other values than a run began with."""
    before, after = flat(began.model_dump()), flat(wanted.model_dump())
    return {
        name: value
        for name, value in after.items()
        if _is_typed(name, typed) and value != before.get(name)
    }


def _is_typed(name: str, typed: Collection[str]) -> bool:
    return any(name == each or name.startswith(f"{each}.") for each in typed)


def _with(settings: Settings, changes: dict[str, Any]) -> Settings:
    """Return the settings with some replaced, by their names on the command line."""
    top = {name: value for name, value in changes.items() if "." not in name}
    rest = {name: value for name, value in changes.items() if "." in name}
    return with_choices(settings.model_copy(update=top), rest)


def _check_more(folder: Path, settings: Settings, progress: dict[str, Any]) -> None:
    """Raise InputError when a finished run has nothing left to do."""
    done = progress["epoch"]
    start = _(
        "resume={folder}: no {file}: {why}",
        folder=folder,
        file="checkpoint/checkpoint.pt",
        why=_("this run is finished"),
    )
    if settings.train.epochs <= done:
        raise InputError(
            _(
                "{start} after {done} epochs: train.epochs={total} trains {done} more",
                start=start,
                done=done,
                total=2 * done,
            )
        )
    since = done - progress["best"]["epoch"]
    patience = settings.train.patience
    if patience and since >= patience:
        raise InputError(
            _(
                "{start}, no epoch was better for {since} epochs: add train.patience=0 or a number "
                "above {since}",
                start=start,
                since=since,
            )
        )


def _say_rate(settings: Settings, done: int) -> None:
    """Say which learning rate follows from more epochs."""
    train = settings.train
    rate = train.learning_rate * learning_rate_factor(done / train.epochs, train)
    log.info(
        "the learning rate goes on as in a training of %d epochs: from %.2g, it had fallen to 0",
        train.epochs,
        rate,
    )


def _found_from(began: Began) -> Began:
    """Return the settings with paths that are found from another working folder, too."""
    if began.folder == os.getcwd():
        return began
    at = Path(began.folder)
    settings = began.settings
    data = dict(settings.data)
    if data.get("name") in CORPORA:
        data = absolute(CORPORA[data["name"]], data, at)
    init = settings.init
    if init is not None and not os.path.isabs(init) and (at / init).is_dir():
        init = str(at / init)
    settings = settings.model_copy(update={"data": data, "init": init})
    return replace(began, settings=settings, folder=os.getcwd())
