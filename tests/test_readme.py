"""The documentation keeps its limits, its paths exist, and its command lines compose."""

from __future__ import annotations

import importlib.util
import json
import re
import shlex

import torch
import yaml
from conftest import SMALL
from documents import (
    CODE,
    LINK,
    LONGEST_CELL,
    LONGEST_SENTENCE,
    OWN_TASK,
    PATH,
    README,
    ROOT,
    anchors,
    cells,
    commands,
    each_document,
    prose_and_code,
    run_block,
    sentences,
    tables,
    word_count,
)

import zoo
from zoo import registry
from zoo.config import check, compose

LARGEST = 10_240  # bytes of README.md


def test_what_counts_as_a_sentence_and_a_cell():
    text = (
        "# A heading\nOne `a.b. c` two, 0.5 [three four](x.md).\nFive (et al. 2017) six!\n\n"
        "$$a_t + b$$\n```\nnot. this. block\n```\n- item\n- other item\n\n| a \\| b | [link](t.md) |\n|---|---|\n"
    )
    lines, blocks = prose_and_code(text)
    assert [word_count(s) for s in sentences(lines)] == [2, 7, 5, 1, 2]
    assert list(cells(lines)) == ["a \\| b", "link", "---", "---"]
    assert blocks == [("", "not. this. block")]


def test_readme_is_short():
    assert len(README.read_bytes()) <= LARGEST


@each_document
def test_sentences_are_short(path):
    lines, _ = prose_and_code(path.read_text("utf-8"))
    long = [f"{word_count(s)}: {s}" for s in sentences(lines) if word_count(s) > LONGEST_SENTENCE]
    assert not long, "\n".join(long)


@each_document
def test_table_cells_are_short(path):
    lines, _ = prose_and_code(path.read_text("utf-8"))
    long = [f"{len(cell)}: {cell}" for cell in cells(lines) if len(cell) > LONGEST_CELL]
    assert not long, "\n".join(long)


@each_document
def test_links_lead_somewhere(path):
    lines, _ = prose_and_code(path.read_text("utf-8"))
    lost = []
    for _, target in LINK.findall("\n".join(lines)):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        there = path.parent / name if name else path
        if not there.exists() or (anchor and anchor not in anchors(there)):
            lost.append(target)
    assert not lost, "\n".join(lost)


@each_document
def test_paths_in_backticks_exist(path):
    lines, _ = prose_and_code(path.read_text("utf-8"))
    named = [code for code in CODE.findall("\n".join(lines)) if PATH.fullmatch(code)]
    lost = [
        name
        for name in named
        if not re.search(r"[A-Z]{3,}", name.removesuffix("README.md"))
        and not any((folder / name).exists() for folder in (ROOT, path.parent))
    ]
    assert not lost, "\n".join(lost)


def test_the_tree_of_readme_shows_every_folder():
    _, blocks = prose_and_code(README.read_text("utf-8"))
    tree = next(block for language, block in blocks if language == "text" and "zoo/rnn/" in block)
    shown = {line.split()[0].rstrip("/") for line in tree.splitlines() if line.strip()}
    lost = [name for name in sorted(shown) if not (ROOT / name).exists()]
    assert not lost, f"in the tree, but not there: {', '.join(lost)}"
    folders = {p.parent.relative_to(ROOT).as_posix() for p in (ROOT / "zoo").glob("*/__init__.py")}
    missing = {*folders, "zoo/pretrained"} - shown
    assert not missing, f"there, but not in the tree: {', '.join(sorted(missing))}"


@each_document
def test_commands_compose(path):
    for module, text in commands(path):
        assert importlib.util.find_spec(module) is not None, module
        arguments = shlex.split(text)
        if module == "zoo.run" and not {"--help", "--cfg"} & {*arguments}:
            check(compose([a for a in arguments if not OWN_TASK.fullmatch(a)]))
        elif module == "zoo.hub":
            from zoo.hub.__main__ import _parser

            _parser().parse_known_args(arguments)


def test_readme_has_the_commands_that_start_and_test():
    _, blocks = prose_and_code(README.read_text("utf-8"))
    lines = [line for _, block in blocks for line in block.splitlines()]
    assert 'pip install -e ".[test]" && pytest -n 2' in lines
    assert "pip install -e . && python -m zoo.run task=classify" in lines


def test_the_task_of_tasks_readme_trains(tmp_path, monkeypatch):
    _, blocks = prose_and_code((ROOT / "tasks" / "README.md").read_text("utf-8"))
    (source,) = [block for _, block in blocks if "(zoo.Task):" in block]
    (tmp_path / "my_trend.py").write_text(source)
    rows = [{"series": [n, n + 1, n + 2], "next": n + 3} for n in range(40)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    monkeypatch.setattr(registry, "_registered", {})
    registry.load_file(tmp_path / "my_trend.py")
    data = ["data=files", f"data.train={tmp_path / 'rows.jsonl'}"]
    model, report = zoo.train("task=trend", *data, *SMALL)
    assert report["test"]["error"] < 40
    assert isinstance(model.predict({"series": [1, 2, 3]})[0], float)


def test_the_code_of_each_task_runs():
    """From the shapes at the top to the last task, in one namespace."""
    page, _, _ = (ROOT / "tasks" / "README.md").read_text("utf-8").partition("## One file")
    names: dict = {}
    blocks = [block for language, block in prose_and_code(page)[1] if language == "python"]
    assert len(blocks) == 6
    for block in blocks[1:]:
        assert len(block.splitlines()) <= 6, block
    for block in blocks:
        run_block(block, names)
    assert names["vector"].shape == (4, 256)
    assert names["scores"].shape == (4, 5, 7)
    assert names["values"].shape == (4, 4, 24)
    output, (h_n, _) = torch.nn.LSTM(64, 8, bidirectional=True)(names["x"])
    assert torch.equal(output[-1, :, :8], h_n[-2])
    assert torch.equal(output[0, :, 8:], h_n[-1])


def test_the_python_of_readme_runs_and_prints_what_stands_below_it(tmp_path, monkeypatch):
    """In one namespace, in order; every training is a small one on a few tickets."""
    rows = [("the invoice is wrong", "billing"), ("I cannot log in", "login")] * 20
    lines = [f"{text} {number},{label}" for number, (text, label) in enumerate(rows)]
    table = tmp_path / "tests" / "data" / "tickets.csv"
    table.parent.mkdir(parents=True)
    table.write_text("\n".join(["text,label", *lines]), "utf-8")
    monkeypatch.chdir(tmp_path)
    train, small = zoo.train, [*SMALL, "data=files", f"data.train={table}"]
    monkeypatch.setattr(zoo, "train", lambda *given: train(*given, *small))
    _, blocks = prose_and_code(README.read_text("utf-8"))
    names: dict = {}
    ran = shown = 0
    for (language, block), (after, output) in zip(blocks, [*blocks[1:], ("", "")], strict=True):
        if language != "python" or "MyTask" in block:
            continue
        value = run_block(block, names)
        ran += 1
        if after == "text" and value is not None:
            shown += 1
            assert repr(value) == output
    assert (ran >= 2, shown >= 1) == (True, True)
    assert {"model", "report"} <= {*names}


def test_every_setting_of_a_corpus_is_in_the_table_with_its_default():
    told = {
        (file.strip("` "), row[0].strip("`")): row[2].strip("`")
        for header, rows in tables(ROOT / "configs" / "README.md")
        if header == ["setting", "file", "default", "meaning"]
        for row in rows
        for file in row[1].split(",")
    }
    wanted = {}
    for path in sorted((ROOT / "configs" / "data").glob("*.yaml")):
        values = yaml.safe_load(path.read_text("utf-8"))
        settings = {
            name: value for name, value in values.items() if name not in ("defaults", "name")
        }
        wanted |= {(f"data/{path.stem}", f"data.{name}"): each for name, each in settings.items()}
    assert {*told} == {*wanted}
    for key, value in wanted.items():
        assert yaml.safe_load(told[key]) == value, key
