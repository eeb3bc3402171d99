"""python -m zoo.export MODEL FOLDER [quantize=int8]: export a task whole, for `zoo.runtime`.

The folder holds the graphs, the processors and the options; `zoo.runtime.load(FOLDER).predict(…)`
answers without torch. It is new, and appears when it is complete. Before that its answers are
compared with the model's: on the model's own expected inputs, and on texts of its vocabulary, of
which the longest are longer than the model reads.
"""

from __future__ import annotations

import json
import os
import random
import tempfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from pydantic import TypeAdapter

import zoo.runtime
from zoo.data.processors import Scaler
from zoo.data.readers import Row
from zoo.errors import InputError
from zoo.export import graphs, parts
from zoo.export.layers import Form
from zoo.files import write_text
from zoo.files.own_files import PROGRAM
from zoo.generation.config import GenerationConfig
from zoo.messages import _
from zoo.model_folder.format import kinds_of, save_processors
from zoo.model_folder.verify import read_expected
from zoo.runtime import forecast as runtime_forecast
from zoo.runtime import generative as runtime_generative
from zoo.runtime.folder import CONFIG, FORMAT, MARKER, Folder, sha256
from zoo.runtime.model import Model
from zoo.shared_backbone import Multitask
from zoo.task import Generative, Task, input_row, predict_rows

SIZES = 1, 2, 5, 17, 60, 200  # tokens of the texts of a comparison
LONGEST = 3000  # and of one more, at most, which is longer than the model reads
# The largest allowed difference of probabilities: of one, and of int8 the mean over all. An LSTM may
# amplify the rounding of float32: on 200 random tokens classify/langid differed by 1.8e-4, and by
# 1.3e-4 from itself when its weights were changed by a ten-millionth.
TOLERANCES: dict[Form, float] = {"fp32": 1e-3, "int8": 0.02}
EQUAL: dict[Form, float] = {"fp32": 0.9, "int8": 0.3}  # least share of equal answers
WRITTEN = 40  # tokens of the texts that are compared, at most
NOT_READ = {"seen"}  # processors that no answer needs


class Compared:
    """How far the answers of an export are from the model's."""

    def __init__(self) -> None:
        self.gaps: list[float] = []  # of probabilities, or of scaled values
        self.equal: list[bool] = []  # whether two answers are the same
        self.what: str = _("probabilities")

    def check(self, form: Form, place: Path) -> str:
        """Return what was found, in words. Raises InputError when it is too far."""
        gaps = np.nan_to_num(np.array(self.gaps or [np.inf]), nan=np.inf)
        worst, mean = float(gaps.max()), float(gaps.mean())
        allowed = TOLERANCES[form]
        far = worst if form == "fp32" else mean
        named = _("at most") if form == "fp32" else _("on average")
        if not far <= allowed:
            raise InputError(
                _(
                    "{place}: its {what} differ from the model's by {far:.1e} {named}, allowed are "
                    "{allowed:.0e}: not written",
                    place=place,
                    what=self.what,
                    far=far,
                    named=named,
                    allowed=allowed,
                )
            )
        if not sum(self.equal) >= EQUAL[form] * len(self.equal):
            raise InputError(
                _(
                    "{place}: {equal} of {count} answers are the model's, at least {least:.0%} are "
                    "needed: not written",
                    place=place,
                    equal=sum(self.equal),
                    count=len(self.equal),
                    least=EQUAL[form],
                )
            )
        gap = f"{self.what} differ by {far:.1e} {named} (allowed: {allowed:.0e})"
        if not self.equal:
            return gap
        return f"{sum(self.equal)} of {len(self.equal)} answers are the model's, {gap}"


def save(
    task: Task, folder: str | Path, form: Form = "fp32", overwrite: bool = False, name: str = ""
) -> str:
    """Write a task whole into a new folder. Return what the comparison with the model found.

    `name` is the model folder or shipped name that it was loaded from, whose expected inputs are
    compared. Raises InputError for a folder that exists, unless `overwrite` is given and it is an
    earlier export, unchanged; for a task that cannot be exported; and for answers that differ.
    """
    folder = Path(folder)
    check_new_folder(folder, overwrite)
    if isinstance(task, Multitask):
        raise InputError(
            _("a shared model has several heads: export one of them, model.heads[NAME]")
        )
    dtype = next(task.parameters()).dtype
    if dtype != torch.float32:
        raise InputError(
            _(
                "{path}: the weights are {dtype}: model.float() makes them float32",
                path=folder,
                dtype=dtype,
            )
        )
    if not folder.absolute().parent.is_dir():
        raise InputError(
            _("{path}: there is no folder {parent}", path=folder, parent=folder.parent)
        )
    task = task.cpu().eval()
    with tempfile.TemporaryDirectory(
        dir=folder.absolute().parent, prefix=f".{folder.name}."
    ) as made:
        inside = Path(made) / folder.name
        inside.mkdir()
        _write(task, inside, form)
        found = compare(task, zoo.runtime.load(inside), name).check(form, folder)
        check_new_folder(folder, overwrite)  # it may have come in the meantime
        if folder.is_dir():
            folder.rename(Path(made) / "earlier")
        inside.rename(folder)
    return found


def check_new_folder(folder: Path, overwrite: bool) -> None:
    """Raise InputError unless a folder can be created or, with `overwrite`, is an earlier export."""
    if not os.path.lexists(folder):
        return
    if folder.is_symlink() or not folder.is_dir():
        raise InputError(
            _("{folder}: exists, and is no folder: choose another name", folder=folder)
        )
    try:
        earlier = Folder.read(folder)
    except InputError as error:
        raise InputError(
            _("{folder}: exists, and is no unchanged export: choose another name", folder=folder)
        ) from error
    others = sorted({path.name for path in folder.iterdir()} - {MARKER, *earlier.files})
    if others:
        raise InputError(
            _("{path}: is no file of the export: choose another name", path=folder / others[0])
        )
    if not overwrite:
        raise InputError(
            _("{folder}: exists already: choose another name, or add --overwrite", folder=folder)
        )


def _write(task: Task, folder: Path, form: Form) -> None:
    """Write the files of an export, the list of them last."""
    names = graphs.write(task, folder, form)
    names += parts.arrays(task, folder)
    processors = {k: p for k, p in task.processors.items() if k not in NOT_READ}
    names += save_processors(processors, folder)
    generation = None
    if isinstance(task, Generative):
        schema = TypeAdapter(GenerationConfig).json_schema()
        generation = {"values": asdict(task.config.generation), "schema": schema["properties"]}
    config = {
        "task": task.name,
        "form": form,
        "options": parts.options(task),
        "processors": kinds_of(processors),
        "generation": generation,
        "reads": task.reads,
        "why": task.why,
        "metadata": _metadata(task),
    }
    write_text(folder / CONFIG, json.dumps(config, ensure_ascii=False, indent=1) + "\n")
    names.append(CONFIG)
    files = {name: sha256(folder / name) for name in names}
    marker = {"program": PROGRAM, "runtime": FORMAT, "files": files}
    write_text(folder / MARKER, json.dumps(marker, indent=1) + "\n")


def _metadata(task: Task) -> dict[str, Any]:
    """Return the parts of a model's metadata that tell where it comes from."""
    kept = ("name", "data", "licence", "license", "test", "versions")
    return {key: value for key, value in (task.metadata or {}).items() if key in kept}


def compare(task: Task, exported: Model, name: str = "") -> Compared:
    """Compare the answers of an export with the model's, one text at a time.

    Of tasks that generate, the answers are those of greedy search, and the scores of the model's
    own words are compared: after one other word the rest of two texts says nothing.
    """
    found = Compared()
    if isinstance(exported, runtime_forecast.Forecast):
        return _compare_forecasts(task, exported)
    inputs = example_inputs(task, name)
    rows = [row for one in inputs for row in exported.rows(one)]
    own = [input_row(task, row) for row in inputs]
    if isinstance(task, Generative):
        greedy: dict[str, Any] = {
            "beam_size": 1,
            "n_best": 1,
            "sample": False,
            "max_length": WRITTEN,
        }
        config = replace(GenerationConfig(), **greedy)
        assert isinstance(exported, runtime_generative.Generative)
        wanted = predict_rows(task, own, config=config)
        answers = exported.answer_rows(rows, config=exported.config(greedy))
        for one, other in zip(wanted, answers, strict=True):
            same = one["text"] == other["text"]
            found.equal.append(same)
            if same:
                scores = (answer["n_best"][0]["score"] for answer in (one, other))
                found.gaps.append(abs(np.subtract(*map(np.exp, scores))))
        return found
    for one, other in zip(predict_rows(task, own), exported.answer_rows(rows), strict=True):
        mine, theirs = one["probabilities"], other["probabilities"]
        if isinstance(mine, list):  # of each word
            found.gaps += np.abs(np.subtract(mine, theirs)).tolist()
        else:
            found.gaps += [abs(share - theirs.get(label, np.nan)) for label, share in mine.items()]
        keys = {*one} - {"probabilities", "nats"}
        found.equal.append(all(one[key] == other[key] for key in keys))
    return found


def _compare_forecasts(task: Task, exported: runtime_forecast.Forecast) -> Compared:
    """Compare forecasts and their quantiles of made-up series, in deviations of their column."""
    found = Compared()
    found.what = _("forecasts, in deviations of their columns,")
    scaler, framing = exported.scaler, exported.framing
    unit = scaler.deviation[: scaler.targets]
    draw = np.random.default_rng(1)

    def values(steps: int, columns: slice) -> np.ndarray:
        mean, deviation = scaler.mean[columns], scaler.deviation[columns]
        return draw.normal(size=(steps, len(mean))) * deviation + mean

    varying, rest = slice(scaler.varying), slice(scaler.varying, None)
    rows = []
    for steps in (*SIZES, framing.input, 2 * framing.input):
        known = {"future": values(framing.horizon, varying)} if scaler.future else {}
        static = {"static": values(1, rest)[0]} if scaler.static else {}
        rows.append(Row({"past": values(steps, varying), **known, **static}, f"series {steps}"))
    for one, other in zip(predict_rows(task, rows), exported.answer_rows(rows), strict=True):
        levels = one.get("quantiles", {})
        pairs = [(one["forecast"], other["forecast"])]
        pairs += [(levels[level], other["quantiles"][level]) for level in levels]
        for mine, theirs in pairs:
            gap = np.subtract(mine, theirs).reshape(-1, scaler.targets) / unit
            found.gaps += np.abs(gap).ravel().tolist()
    return found


def example_inputs(task: Task, name: str) -> list[Row]:
    """Return inputs of a comparison: the expected ones of a model folder, and made-up ones."""
    column = task.input_columns[0]
    if "scaler" in task.processors:
        width = cast(Scaler, task.processors["scaler"]).width
        draw = np.random.default_rng(1)
        return [
            Row({column: draw.normal(size=(size, width))}, f"series {size}")
            for size in (*SIZES, LONGEST)
        ]
    given = [case["input"] for case in read_expected(name)] if name else []
    long = min(LONGEST, 2 * getattr(task.config, "max_length", LONGEST // 2))
    generator = random.Random(1)
    texts = [*given, *given[:1], " ".join(given * 20)] if given else []
    for size in (*SIZES, long):
        ids = [generator.randrange(4, len(task.tokenizer)) for _ in range(size)]
        texts.append(task.tokenizer.decode(ids))
    return [Row({"text": text, column: text}, f"text {n}") for n, text in enumerate(texts, 1)]
