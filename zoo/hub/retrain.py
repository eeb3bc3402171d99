"""A shipped model made again: its trainings one after the other, then its weights in fewer bytes."""

from __future__ import annotations

import logging
import shlex
import shutil
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from zoo.config import check, compose
from zoo.data.readers import Row
from zoo.hub import shipped
from zoo.loading import load
from zoo.model_folder.verify import SHIPPED, read_config
from zoo.task import Task
from zoo.training import checkpoint, pipeline
from zoo.training.build import configure, open_rows

log = logging.getLogger("zoo")

FORMS = {
    "fp32": "float32",
    "fp16": "float16",
    "int8": "int8 with a scale for each row of a matrix, the rest float16",
}


def retrain(name: str, given: Sequence[str] = (), out: str | Path | None = None) -> Path:
    """Train a shipped model from nothing, as its card says; the folder of the result.

    `given` are settings for every step, above all `data.path`. The trainings are kept in `out`, by
    default runs/TASK-NAME: what is there already is gone on with. The model is in its folder
    `model`. Raises InputError.
    """
    recipe = shipped.recipe(name)
    folder = Path(out or f"runs/{name.replace('/', '-')}")
    before: Path | None = None
    for number, step in enumerate(recipe.steps, 1):
        place = folder / str(number)
        if not (place / "manifest.json").is_file():
            _train([*step, *given, *([] if before is None else [f"init={before}"])], place)
        before = place
    assert before is not None
    return _finish(name, recipe, before, given, folder / "model")


def _train(settings: Sequence[str], place: Path) -> None:
    if (place / pipeline.STATE / checkpoint.FILE).is_file():
        settings = [f"resume={place}"]
    else:
        settings = [*settings, f"out={place}"]
    command = shlex.join(["python", "-m", "zoo.run", *settings])
    log.info("%s", command)
    pipeline.run(check(compose([*settings])), command, time.time())


def _finish(
    name: str, recipe: shipped.Recipe, trained: Path, given: Sequence[str], into: Path
) -> Path:
    """A trained model in the form that it is shipped in, with the figures of that form beside those
    of the weights as they were trained, both computed in float32."""
    task, last = load(trained), [*recipe.steps[-1], *given]
    settings = check(compose(last))
    configure(task, settings)
    corpus = [text for text in last if text.startswith("data")]
    generation = [text for text in last if text.startswith("generation")]
    shown = ["data.path=FOLDER" if text.startswith("data.path=") else text for text in corpus]
    path = [text for text in shown if text.startswith("data.path")]
    metadata = dict(task.metadata or {})
    del metadata["command"]  # the steps are in its place
    metadata |= {
        "name": name,
        "languages": recipe.languages,
        "limits": recipe.limits,
        "weights": FORMS[recipe.weights],
        "metric": task.metric,
        "steps": [[*step, *path] for step in recipe.steps],
        "retrain": shlex.join(["python", "-m", "zoo.hub", "retrain", name, *path]),
        "evaluate": shlex.join(
            ["python", "-m", "zoo.run", "mode=evaluate", f"model={name}", *shown]
        ),
        "test_precision": "fp32",
    }
    if metadata["baseline"] is None:
        rows = open_rows(settings, type(task))
        metadata["baseline"] = task.baseline(rows.train, rows.test, task.tokenizer.kind)
    shutil.rmtree(into, ignore_errors=True)
    task.save(into, metadata, recipe.weights)
    for form, place in (("trained", trained), ("test", into)):
        measured = [f"task={task.name}", *corpus, *generation, f"model={place}", "precision=fp32"]
        metadata[form] = pipeline.evaluate_saved(check(compose([*measured, "mode=evaluate"])))[1]
    task.save(into, metadata, recipe.weights, examples(load(into), recipe.inputs))
    return into


def examples(task: Task, inputs: Sequence[str]) -> list[dict[str, Any]]:
    """{"input", "answer"} of texts; of a model that draws, what it finds likeliest, in short."""
    if task.generation.sample:
        task.generation = replace(
            task.generation, sample=False, beam_size=1, n_best=1, max_length=16
        )
    rows = [task.input_row(Row({"text": text}, text)) for text in inputs]
    answers = map(task.format, task.predict_rows(rows))
    return [{"input": text, "answer": answer} for text, answer in zip(inputs, answers, strict=True)]


def differences(name: str, made: str | Path) -> list[tuple[str, float, float]]:
    """Of every test metric of a shipped model its name, its value, and that of another folder."""
    if not (SHIPPED / name / "manifest.json").is_file():
        return []
    own, other = (read_config(folder)["metadata"]["test"] for folder in (SHIPPED / name, made))
    return [(metric, own[metric], other[metric]) for metric in own]
