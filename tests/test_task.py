"""The contract, for every task in `tasks/`: a new task is tested here without an edit."""

from __future__ import annotations

import ast
import copy
import json
import re
import subprocess
import sys

import pytest
import torch
from conftest import DATA, ROOT, build_task, lines, settings, train
from every_task import TASKS

import zoo
from zoo.cli import explain
from zoo.config import check, compose
from zoo.data import readers
from zoo.data.batch import Batch
from zoo.data.readers import Row
from zoo.errors import InputError
from zoo.model_folder import verify
from zoo.registry import find
from zoo.task import Estimator, Generative, Task, predict_rows

CELLS = "lstm", "gru"


@pytest.fixture(scope="module", params=[(name, cell) for name in TASKS for cell in CELLS], ids=str)
def task(request) -> Task:
    """A task as it stands before training, for its toy rows, with each kind of recurrent layer."""
    return untrained(*request.param)


def untrained(name: str, cell: str) -> Task:
    """A task as it stands before training."""
    torch.manual_seed(0)
    return build_task(settings(None, f"backbone.cell={cell}", task=name)).eval()


def toys(task: Task) -> list[Row]:
    return list(readers.read(DATA / f"{task.name}.jsonl"))


def batch(task: Task, some: list[Row]) -> Batch:
    return task.collate([task.encode(row) for row in some])


def test_there_is_a_file_a_config_and_toy_rows_for_each_task():
    assert "classify" in TASKS
    for name in TASKS:
        assert issubclass(find(name), Task)
        assert (ROOT / "configs" / "task" / f"{name}.yaml").is_file()
        assert (DATA / f"{name}.jsonl").is_file()


@pytest.mark.parametrize("kind", [Estimator, Task, Generative, *map(find, TASKS)])
def test_a_class_has_at_most_twelve_public_methods_of_its_own(kind):
    """What a class inherits, or implements of its base, is not its own."""
    known = {name for base in kind.__mro__[1:] for name in vars(base)}
    methods = {name for name, value in vars(kind).items() if hasattr(value, "__get__")}
    own = {name for name in methods - known if not name.startswith("_")}
    own -= {name for name in own if isinstance(vars(kind)[name], property)}
    assert len(own) <= 12, own
    if kind is Estimator:
        assert own == {"fit", "from_pretrained", "predict", "explain", "save"}


def test_a_task_says_what_it_reads_and_why(task):
    assert task.reads in ("output", "h_n", "c_n", "h_n, c_n")
    assert len(task.why.split()) >= 5
    assert explain.sentence(task).startswith(f"{task.name} reads {task.reads}: ")


@torch.no_grad()
def test_padding_and_company_change_nothing(task):
    some = toys(task)[:12]
    together = task(batch(task, some))
    for place, row in enumerate(some):
        alone = task(batch(task, [row]))
        steps = len(alone[0])  # logits of every step end in padding
        torch.testing.assert_close(alone[0], together[place][:steps], atol=1e-5, rtol=1e-5)


def test_every_parameter_gets_a_gradient(task):
    task = copy.deepcopy(task).train()  # after one step: a head may start at zero
    for _ in range(2):
        optimizer = torch.optim.SGD(task.parameters(), 0.1)
        task.zero_grad()
        task.training_step(batch(task, toys(task)[:16])).loss.backward()
        gradients = {name: weight.grad for name, weight in task.named_parameters()}
        optimizer.step()
    for name, gradient in gradients.items():
        assert gradient is not None, name
        assert bool(gradient.isfinite().all()), name
        assert bool((gradient != 0).any()), name


@pytest.mark.parametrize("name", TASKS)
def test_the_loss_falls_to_half(name, tmp_path):
    report = train(tmp_path / "run", "train.epochs=25", "train.patience=0", task=name)
    history = lines(tmp_path / "run" / "metrics.jsonl")
    assert history[-1]["loss"] < history[0]["loss"] / 2
    assert history[-1]["valid"]["loss"] < history[0]["valid"]["loss"]
    assert report["test"][find(name).metric] >= 0


SCRIPT = """
import sys, torch
from pathlib import Path
import zoo
from zoo.data import readers
torch.set_num_threads(1)
folder, data, *names = sys.argv[1:]
for name in names:
    task = zoo.load(f"{folder}/{name}")
    some = list(readers.read(Path(data, f"{task.name}.jsonl")))[:12]
    with torch.no_grad():
        torch.save(task(task.collate([task.encode(row) for row in some])), f"{folder}/{name}.pt")
"""


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory):
    """A folder with the logits NAME-CELL.pt of every task, saved, loaded and run in another process."""
    folder = tmp_path_factory.mktemp("elsewhere")
    names = [f"{name}-{cell}" for name in TASKS for cell in CELLS]
    for each in names:
        untrained(*each.split("-")).save(folder / each)
    words = [sys.executable, "-c", SCRIPT, folder, DATA, *names]
    subprocess.run(words, check=True, cwd=ROOT, timeout=120)
    return folder


def test_a_saved_model_gives_the_same_bits_in_another_process(task, elsewhere):
    with torch.no_grad():
        here = task(batch(task, toys(task)[:12]))
    there = torch.load(elsewhere / f"{task.name}-{task.backbone.config.cell}.pt", weights_only=True)
    assert torch.equal(here, there)


def test_answers_keep_the_rows_order(task):
    task = copy.deepcopy(task)
    torch.manual_seed(1)
    with torch.no_grad():
        for weight in task.parameters():
            weight.normal_()  # answers that differ from row to row
    some = toys(task)
    alone = [task.format(next(predict_rows(task, [row]))) for row in some]
    together = [task.format(answer) for answer in predict_rows(task, some)]
    if task.text_columns:
        assert together == alone
    else:  # numbers, which differ in their last digits
        numbers = [[float(v) for v in text.split()] for text in (*together, *alone)]
        half = len(together)
        for one, other in zip(numbers[:half], numbers[half:], strict=True):
            assert one == pytest.approx(other, rel=1e-4, abs=1e-5)
    assert len({*alone}) > 1


def test_an_empty_text_is_answered(task):
    empty = Row(dict.fromkeys(task.input_columns, ""), "here")
    assert isinstance(task.format(next(predict_rows(task, [empty]))), str)
    assert len(list(predict_rows(task, []))) == 0


def test_the_shapes_are_those_of_a_real_batch(task):
    found = {line.name: line.shape for line in explain.shapes(task, batch(task, toys(task)[:5]))}
    given = found["ids" if task.text_columns else "features"]
    assert given[0] == found["output"][0] == found["h_n"][1] == 5
    lstm = task.backbone.config.cell == "lstm"
    assert found.get("c_n") == (found["h_n"] if lstm else None)  # a GRU has none
    assert found["output"][2] == task.backbone.output_size
    assert f"read from {task.reads}" in found


def test_save_and_load_keep_all_options(task, tmp_path):
    task.save(tmp_path)
    loaded = zoo.load(tmp_path)
    assert type(loaded) is type(task)
    assert loaded.config == task.config
    assert loaded.backbone.config == task.backbone.config
    with pytest.raises(InputError, match=r"unknown or missing|no such setting"):
        spoil(tmp_path, "config", {"unheard_of": 1})


def spoil(folder, key, value):
    config = json.loads((folder / "config.json").read_text())
    config[key] |= value
    (folder / "config.json").write_text(json.dumps(config))
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"]["config.json"] = verify.sha256(folder / "config.json")
    (folder / "manifest.json").write_text(json.dumps(manifest))
    zoo.load(folder)


@pytest.mark.parametrize("name", TASKS)
def test_every_config_composes_and_is_checked(name):
    for group in ("data",):
        for path in (ROOT / "configs" / group).glob("*.yaml"):
            needed = [
                f"data.{key}=x" for key in re.findall(r"^(\w+): \?\?\?", path.read_text(), re.M)
            ]
            check(compose([f"task={name}", f"{group}={path.stem}", *needed]))


def test_the_shared_parts_never_import_a_task():
    """Two files above the tasks name them, for type checkers alone."""
    named = {ROOT / "zoo" / "__init__.py", ROOT / "zoo" / "loading.py"}
    for path in {*(ROOT / "zoo").rglob("*.py")} - named:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not [n for n in names if n.split(".")[0] == "tasks"], path
