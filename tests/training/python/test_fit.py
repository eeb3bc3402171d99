"""Task.fit: rows in memory train the same model as the same rows in a file."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import tempfile

import numpy as np
import pytest
import torch
from conftest import DATA, ROOT, lines, train, weights

import zoo
from zoo.data.readers import read
from zoo.errors import InputError
from zoo.registry import find
from zoo.task import Task
from zoo.training import pipeline
from zoo.training.loop import Stopped

# The settings of conftest.SMALL, as values.
SMALL = {
    "device": "cpu",
    "precision": "fp32",
    "baseline": False,
    "from_data": False,
    "tokenizer": {"min_count": 1},
    "backbone": {"embedding_size": 16, "hidden_size": 16},
    "train": {
        "batch_rows": 8,
        "epochs": 2,
        "learning_rate": 2e-2,
        "ema_decay": 0.9,
        "batch_tokens": 128,
    },
}


def toy(name: str) -> list[dict]:
    """The toy rows of a task, as plain dicts."""
    return [dict(row) for row in read(DATA / f"{name}.jsonl")]


def columns(name: str) -> list[list]:
    """The toy rows of a task, a list for each column."""
    rows = toy(name)
    return [[row[column] for row in rows] for column in find(name).training_columns]


@pytest.mark.parametrize("name", ["classify", "tag", "translate", "generate"])
def test_rows_in_memory_train_the_same_weights_as_a_file(name, tmp_path):
    report = train(tmp_path / "file", task=name)
    model = find(name).fit(*columns(name), out=tmp_path / "memory", **SMALL)
    assert type(model) is find(name)
    one, two = weights(tmp_path / "file"), weights(tmp_path / "memory")
    assert one.keys() == two.keys()
    assert all(torch.equal(one[key], two[key]) for key in one)
    assert model.metadata["test"] == report["test"]
    assert model.metadata["rows"] == report["rows"]


def test_the_rules_that_follow_from_the_rows_act_as_for_a_file(caplog):
    given = {**SMALL, "from_data": True}
    with caplog.at_level(logging.INFO, "zoo"):
        zoo.Classify.fit(*columns("classify"), **given)
    said = [message.partition("=")[0] for message in caplog.messages]
    assert "task.pool" in said
    assert "train.tolerance" in said
    assert "train.epochs" not in said  # it is given


def test_settings_may_be_sections_or_single_names(tmp_path):
    rows = toy("classify")
    sections = zoo.Classify.fit(rows, out=tmp_path / "a", **{**SMALL, "seed": 3})
    flat = {f"{s}.{n}": v for s in SMALL if isinstance(SMALL[s], dict) for n, v in SMALL[s].items()}
    plain = {name: value for name, value in SMALL.items() if not isinstance(value, dict)}
    single = zoo.Classify.fit(rows, out=tmp_path / "b", seed=np.int64(3), **plain, **flat)
    assert sections.metadata["test"] == single.metadata["test"]
    assert sections.metadata["seed"] == 3
    one, two = weights(tmp_path / "a"), weights(tmp_path / "b")
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_an_option_class_is_a_section():
    config = zoo.GenerationConfig(beam_size=3, max_length=7)
    model = zoo.Translate.fit(*columns("translate"), generation=config, **SMALL)
    assert model.config.generation == config


def test_valid_and_test_are_measured_where_they_are_given():
    texts, labels = columns("classify")
    model = zoo.Classify.fit(
        texts, labels, valid=(texts[:5], labels[:5]), test=toy("classify")[:7], **SMALL
    )
    assert model.metadata["rows"] == {"train": len(texts), "valid": 5, "test": 7}


def test_nothing_stays_on_the_disk_without_out(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    model = zoo.Classify.fit(*columns("classify"), **SMALL)
    assert [*tmp_path.iterdir()] == []
    assert 0 <= model.metadata["test"]["accuracy"] <= 1
    assert not model.training
    assert model.predict("Gulls follow the trawler home.")[0] in model.labels


def test_the_folder_of_out_says_how_it_was_made_and_loads(tmp_path):
    folder = tmp_path / "run"
    model = zoo.Classify.fit(toy("classify"), out=folder, seed=2, **SMALL)
    again = zoo.load(folder)
    assert again.predict("sea") == model.predict("sea")
    assert again.metadata["data"] == "memory"
    assert again.metadata["command"].startswith("zoo.Classify.fit(…, out=")
    assert "seed=2" in (folder / "README.md").read_text("utf-8")
    assert json.loads((folder / "report.json").read_text("utf-8"))["seed"] == 2
    with pytest.raises(InputError, match="holds a run already: choose another out=DIR"):
        zoo.Classify.fit(toy("classify"), out=folder, **SMALL)


def test_a_run_that_was_interrupted_goes_on_with_the_same_rows(tmp_path, monkeypatch):
    whole = zoo.Classify.fit(toy("classify"), out=tmp_path / "whole", **SMALL)
    evaluated = pipeline.fit

    def interrupted(*arguments, **keywords):
        monkeypatch.setattr(pipeline, "fit", evaluated)
        evaluated(*arguments, **keywords)
        raise Stopped.at(tmp_path / "run")

    monkeypatch.setattr(pipeline, "fit", interrupted)
    with pytest.raises(Stopped, match=r"^interrupted; go on with Classify.fit\(…, resume='.*run'"):
        zoo.Classify.fit(toy("classify"), out=tmp_path / "run", **SMALL)
    with pytest.raises(InputError, match=r"^data=memory: .*: go on in Python, fit\(…, resume=DIR"):
        zoo.train(f"resume={tmp_path / 'run'}")
    with pytest.raises(InputError, match="seed=2 changes what the run trains"):
        zoo.Classify.fit(toy("classify"), resume=tmp_path / "run", seed=2)
    with pytest.raises(InputError, match=r"task.name=tag changes what the run trains"):
        zoo.Tag.fit(toy("tag"), resume=tmp_path / "run")
    with pytest.raises(InputError, match=r"^resume=.*rows"):
        zoo.Classify.fit(toy("classify")[1:], resume=tmp_path / "run")
    model = zoo.Classify.fit(toy("classify"), resume=tmp_path / "run")
    assert model.metadata["test"] == whole.metadata["test"]
    more = zoo.Classify.fit(toy("classify"), resume=tmp_path / "run", train={"epochs": 3})
    assert more.metadata["rows"] == whole.metadata["rows"]
    assert len(lines(tmp_path / "run" / "metrics.jsonl")) == 3


def test_an_interruption_without_a_folder_says_that_nothing_is_kept(monkeypatch):
    def interrupted(*arguments, **keywords):
        raise Stopped("interrupted")

    monkeypatch.setattr(pipeline, "fit", interrupted)
    with pytest.raises(Stopped, match=r"^interrupted; nothing is kept without out=DIR$"):
        zoo.Classify.fit(toy("classify"), **SMALL)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"epochs": 3}, "epochs: no such setting; did you mean train={'epochs': …}?"),
        ({"pool": "max"}, "pool: no such setting; did you mean task={'pool': …}?"),
        ({"tain": {"epochs": 3}}, "tain: no such setting; did you mean train?"),
        ({"train": {"epoch": 3}}, "train.epoch: no such setting; did you mean train.epochs?"),
        ({"train": 3}, "train=3: a dict is needed"),
        ({"train.epochs": "many"}, "train.epochs=many: Input should be a valid integer"),
        ({"train": {"epochs": 0}}, "train.epochs=0: "),
        ({"task": {"pool": "meen"}}, "task.pool=meen: .*did you mean mean?"),
        ({"task": {"name": "tag"}}, "task.name: Classify.fit trains classify: leave it out"),
        ({"data": {"txt": "a"}}, "data.txt: no such setting; there are: text, label"),
        ({"data": {"name": "imdb"}}, "data.name: no such setting"),
        ({"model": "x"}, "model: Classify.fit does not have this setting: leave it out"),
        ({"folds": 1}, "folds=1: a fold is scored by a model of the others"),
        ({"folds": 3, "tune": 1.0}, "tune=… folds=…: tune first"),
        ({"tune": -1}, "tune=-1: "),
        ({"generation": {"beam_size": 2}}, "generation.…: classify does not generate"),
        ({"init": "nowhere"}, "nowhere: neither a model folder"),
        ({"init": "x", "backbone": {"hidden_size": 2}}, "init=… brings its backbone"),
    ],
)
def test_a_wrong_setting_is_named_with_the_cure(given, said):
    with pytest.raises(InputError, match="^" + said.replace("?", r"\?").replace("(", r"\(")):
        zoo.Classify.fit(toy("classify"), **given)


def test_a_wrong_value_is_named_before_anything_is_written(tmp_path):
    texts, labels = columns("classify")
    texts[3] = None
    with pytest.raises(InputError, match=r"^rows\[3\]: column 'text' holds None"):
        zoo.Classify.fit(texts, labels, out=tmp_path / "run", **SMALL)
    assert not (tmp_path / "run").exists()


def test_words_and_labels_of_unequal_number_are_named():
    words, labels = columns("tag")
    labels[2] = labels[2][1:]
    with pytest.raises(InputError, match=r"^rows\[2\]: \d+ words and \d+ labels: each word needs"):
        zoo.Tag.fit(words, labels, **SMALL)


def test_numbers_as_labels_become_texts():
    texts, labels = columns("classify")
    names = sorted({*labels})
    model = zoo.Classify.fit(texts, np.array([names.index(label) for label in labels]), **SMALL)
    assert model.labels == [str(number) for number in range(len(names))]


def test_one_text_trains_a_language_model():
    text = "\n".join(row["text"] for row in toy("generate"))
    model = zoo.Generate.fit(text, **SMALL)
    assert model.metadata["test"]["perplexity"] > 1


def test_a_class_that_is_not_registered_says_so():
    class Stranger(zoo.Classify):
        pass

    with pytest.raises(InputError, match=r"^Stranger: call zoo.register\(Stranger\) first"):
        Stranger.fit(toy("classify"))
    with pytest.raises(InputError, match=r"^Task: call zoo.register"):
        Task.fit(["a"])


def test_random_numbers_and_threads_of_the_caller_are_as_before():
    torch.manual_seed(5)
    before = torch.get_rng_state(), torch.get_num_threads()
    zoo.Classify.fit(toy("classify"), seed=7, **SMALL)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert torch.get_num_threads() == before[1]


QUIET = """
import logging, sys
import zoo
rows = [{"text": f"number {n} of them all", "label": "xy"[n % 2]} for n in range(40)]
for said in ("quiet", "set up"):
    zoo.Classify.fit(rows, train={"epochs": 1}, device="cpu", baseline=False)
    log = logging.getLogger("zoo")
    assert (log.level, log.handlers, log.propagate) == (0, [], True)
    print(said, flush=True)
    logging.basicConfig(level=logging.INFO, format="HOST %(message)s", stream=sys.stdout)
"""


def test_without_notebook_and_terminal_only_the_log_is_shown_that_the_program_set_up():
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", QUIET],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    first, *shown, last = done.stdout.splitlines()
    assert (first, last) == ("quiet", "set up")
    assert all(line.startswith("HOST ") for line in shown)
    assert any("test rows: accuracy" in line for line in shown)
