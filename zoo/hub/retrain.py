"""Retrain a shipped model: run the trainings of its recipe, then quantise the weights."""

from __future__ import annotations

import logging
import shlex
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from zoo.config import check, compose
from zoo.data.readers import Row
from zoo.errors import InputError
from zoo.files.run_folder import EARLIER_LOCK, MARKER, locked
from zoo.generation.config import GenerationConfig
from zoo.hub import shipped
from zoo.loading import load
from zoo.model_folder.own import check_place, remove_model
from zoo.model_folder.verify import MANIFEST, SHIPPED, read_config
from zoo.task import Generative, Task, input_row, predict_rows
from zoo.training import checkpoint, pipeline
from zoo.training.rows import open_rows

log = logging.getLogger("zoo")

FORMS = {
    "fp32": "float32",
    "fp16": "float16",
    "int8": "int8 with a scale for each row of a matrix, the rest float16",
}


FOLDERS = {"data.path": "FOLDER", "data.catalogs": "CATALOGS"}  # what a card shows of them
MISSING = "=???"  # of a setting that a recipe leaves to its user


def retrain(name: str, given: Sequence[str] = (), out: str | Path | None = None) -> Path:
    """Train a shipped model from scratch by its recipe. Return the folder of the new model.

    `given` are settings for every step, above all `data.path`. `out` holds the trainings, by
    default runs/TASK-NAME. Finished steps in it are skipped, and an interrupted step is resumed.
    The new model is in `out`/model. Raises InputError.
    """
    recipe = shipped.recipe(name)
    folder = Path(out or f"runs/{name.replace('/', '-')}")
    _check_folder(folder, len(recipe.steps))
    before: Path | None = None
    with locked(folder, "out"):
        for number, step in enumerate(recipe.steps, 1):
            step_folder = folder / str(number)
            if not (step_folder / MANIFEST).is_file():
                init = [] if before is None else [f"init={before}"]
                _train([*step, *given, *init], step_folder)
            before = step_folder
        assert before is not None
        return _finish(name, recipe, before, given, folder / "model")


def _check_folder(folder: Path, steps: int) -> None:
    """Raise InputError unless a folder is new, empty or of a retraining, and its model unchanged."""
    names = {MARKER, EARLIER_LOCK, "model", *map(str, range(1, steps + 1))}
    if folder.is_dir() and (foreign := {path.name for path in folder.iterdir()} - names):
        raise InputError(
            f"out={folder}: holds {min(foreign)}, which is of no retraining: choose a new or empty "
            "folder"
        )
    check_place(folder / "model", overwrite=True)


def _train(settings: Sequence[str], folder: Path) -> None:
    """Train into a folder, or resume the training in it."""
    if (folder / pipeline.STATE / checkpoint.FILE).is_file():
        settings = [f"resume={folder}"]
    else:
        settings = [*settings, f"out={folder}"]
    command = shlex.join(["python", "-m", "zoo.run", *settings])
    log.info("%s", command)
    pipeline.run(check(compose([*settings])), command, time.time())


def _finish(
    name: str, recipe: shipped.Recipe, trained: Path, given: Sequence[str], into: Path
) -> Path:
    """Write a trained model in the storage format of its recipe.

    The metadata hold the metrics of the stored weights and of the trained weights, both computed
    in float32.
    """
    task = load(trained)
    steps = [[text for text in step if not text.endswith(MISSING)] for step in recipe.steps]
    last = [*steps[-1], *given]
    settings = check(compose(last))
    corpus = [text for text in last if text.startswith("data")]
    generation = [text for text in last if text.startswith("generation")]
    shown = [_as_shown(text) for text in corpus]
    folders = [text for text in shown if text.partition("=")[0] in FOLDERS]
    tested = [text for text in shown if not text.startswith("data.catalogs=")]  # of training alone
    metadata = dict(task.metadata or {})
    del metadata["command"]  # `steps` replaces it
    metadata.pop("data_settings", None)  # paths of this machine
    metadata |= {
        "name": name,
        "languages": recipe.languages,
        "limits": recipe.limits,
        "weights": FORMS[recipe.weights],
        "metric": task.metric,
        "steps": [[*step, *folders] for step in steps],
        "retrain": shlex.join(["python", "-m", "zoo.hub", "retrain", name, *folders]),
        "evaluate": shlex.join(
            ["python", "-m", "zoo.run", "mode=evaluate", f"model={name}", *tested]
        ),
        "test_precision": "fp32",
    }
    if metadata["baseline"] is None and task.baseline is not None:
        rows = open_rows(settings, type(task))
        metadata["baseline"] = pipeline.run_baseline(task, rows)
    check_place(into, overwrite=True)
    if (into / MANIFEST).is_file():
        remove_model(into)
    task.save(into, metadata, recipe.weights)
    for form, folder in (("trained", trained), ("test", into)):
        measured = [f"task={task.name}", *corpus, *generation, f"model={folder}", "precision=fp32"]
        metadata[form] = pipeline.evaluate_saved(check(compose([*measured, "mode=evaluate"])))[1]
    task.save(into, metadata, recipe.weights, examples(load(into), recipe.inputs))
    return into


def _as_shown(setting: str) -> str:
    """Return a setting as a card shows it: without the folders of this machine."""
    name = setting.partition("=")[0]
    return f"{name}={FOLDERS[name]}" if name in FOLDERS else setting


def examples(task: Task, inputs: Sequence[str]) -> list[dict[str, Any]]:
    """Return {"input", "answer"} for each text.

    A model that samples answers by greedy search here, in at most 16 tokens.
    """
    rows = [input_row(task, Row({"text": text}, text)) for text in inputs]
    answers = map(task.format, predict_rows(task, rows, config=_repeatable(task)))
    return [{"input": text, "answer": answer} for text, answer in zip(inputs, answers, strict=True)]


def _repeatable(task: Task) -> GenerationConfig | None:
    """Return how the task's answers are the same each time; None for its own way."""
    if not isinstance(task, Generative) or not task.config.generation.sample:
        return None
    return replace(task.config.generation, sample=False, beam_size=1, n_best=1, max_length=16)


def differences(name: str, made: str | Path) -> list[tuple[str, float, float]]:
    """Return (name, shipped value, value in `made`) of every test metric of a shipped model.

    The result is empty if `name` is not shipped.
    """
    if not (SHIPPED / name / MANIFEST).is_file():
        return []
    own, other = (read_config(folder)["metadata"]["test"] for folder in (SHIPPED / name, made))
    return [(metric, own[metric], other[metric]) for metric in own]
