"""Imports point down, and none go in circles: which folder may use which, read from the sources."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import ROOT

# Lowest first. A file may import from its own folder and from the lines above its own.
LAYERS = [
    {"zoo.messages", "zoo.torch_private"},
    {"zoo.errors"},
    {"zoo.option_classes"},
    {"zoo.config", "zoo.device", "zoo.files", "zoo.memory"},
    {"zoo.text", "zoo.rnn"},
    {"zoo.nn", "zoo.data"},
    {"zoo.generation", "zoo.evaluation"},
    {"zoo.runtime"},
    {"zoo.model_folder"},
    {"zoo.task"},
    {"tasks", "zoo.registry"},
    {"zoo.loading", "zoo.explanation"},
    {"zoo.prediction"},
    {"zoo.training"},
    {"zoo.shared_backbone"},
    {"zoo.hub"},
    {"zoo.tuning"},
    {"zoo.cli", "zoo.docs", "zoo.export"},
    {"zoo.bench"},
    {"zoo.serving"},
    {"zoo.run"},
]
LEVEL = {part: level for level, parts in enumerate(LAYERS) for part in parts}
MOST = 12  # files in a folder
# What is imported where it is used, because it needs a package that may be missing.
OPTIONAL = {"zoo.rnn.cuda.lstm_triton"}

# What is not so yet. These only shrink: what does not occur any more has to leave its list.
UPWARD: set[str] = set()
CIRCLES: set[str] = set()
LATE: set[str] = set()
CROWDED: set[str] = set()


def name_of(path: Path) -> str:
    """A source's name as a module."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


SOURCES = {name_of(p): p for top in ("zoo", "tasks") for p in sorted((ROOT / top).rglob("*.py"))}


def part_of(module: str) -> str:
    """The folder or file that a module belongs to in LAYERS."""
    return module if module == "tasks" else ".".join(module.split(".")[: 1 + (module[:3] == "zoo")])


def is_entry(module: str) -> bool:
    """Whether a module is started by itself, so that it may import late; `zoo` gives names on."""
    return module in ("zoo", "zoo.run") or module.endswith(".__main__")


def imports(source: str) -> Iterator[tuple[str, bool]]:
    """Every module of ours that a source imports, and whether it does so inside a function.

    Imports for type checkers count like all others.
    """

    def walk(node: ast.AST, late: bool) -> Iterator[tuple[str, bool]]:
        if isinstance(node, ast.Import):
            yield from ((alias.name, late) for alias in node.names if alias.name in SOURCES)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            for alias in node.names:
                found = f"{node.module}.{alias.name}"
                found = found if found in SOURCES else node.module
                if found in SOURCES:
                    yield found, late
        inner = late or isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        for child in ast.iter_child_nodes(node):
            yield from walk(child, inner)

    yield from walk(ast.parse(source), False)


GRAPH = {module: {*imports(path.read_text("utf-8"))} for module, path in SOURCES.items()}
EDGES = {(a, b) for a, found in GRAPH.items() for b, _ in found if a != "zoo"}


def reached(start: str, edges: set[tuple[str, str]]) -> set[str]:
    """The modules that an import of `start` brings with it."""
    found: set[str] = set()
    waiting = [start]
    while waiting:
        module = waiting.pop()
        new = {b for a, b in edges if a == module} - found
        found |= new
        waiting += new
    return found


def circular(edges: set[tuple[str, str]]) -> set[str]:
    """The imports that lie on a circle."""
    reach = {module: reached(module, edges) for module, _ in edges}
    return {f"{a} -> {b}" for a, b in edges if a in reach.get(b, set())}


def test_every_folder_has_its_layer():
    assert {part_of(module) for module in SOURCES} - {"zoo"} <= LEVEL.keys()


def test_imports_point_down():
    parts = {(a, b): (part_of(a), part_of(b)) for a, b in EDGES}
    found = {
        f"{a} -> {b}"
        for (a, b), (own, other) in parts.items()
        if own != other and (other == "zoo" or LEVEL[other] >= LEVEL[own])
    }
    assert found == UPWARD


def test_no_imports_go_in_circles():
    assert circular(EDGES) == CIRCLES


def test_only_entry_points_import_late():
    found = {
        f"{module} -> {other}"
        for module, others in GRAPH.items()
        for other, late in others
        if late and not is_entry(module) and other not in OPTIONAL
    }
    assert found == LATE


def test_nothing_outside_the_tasks_asks_for_one_by_its_name():
    """What one task does otherwise is an attribute or a method of it, so that any task can."""
    names = {module.removeprefix("tasks.") for module in SOURCES if module.startswith("tasks.")}
    found = []
    for module, path in SOURCES.items():
        if not module.startswith("zoo"):
            continue
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Compare) and isinstance(node.ops[0], (ast.Eq, ast.NotEq)):
                sides = [node.left, *node.comparators]
                known = {side.value for side in sides if isinstance(side, ast.Constant)}
                found += [f"{module}:{node.lineno}"] if known & names else []
    assert not found


def test_no_folder_is_crowded():
    counts: dict[str, int] = {}
    for path in SOURCES.values():
        folder = path.parent.relative_to(ROOT).as_posix()
        counts[folder] = counts.get(folder, 0) + 1
    assert {folder for folder, count in counts.items() if count > MOST} == CROWDED


@pytest.mark.parametrize(
    ("source", "wanted"),
    [
        ("from zoo import task", {("zoo.task", False)}),
        ("import zoo.task", {("zoo.task", False)}),
        ("from zoo.rnn.lstm import LSTM", {("zoo.rnn.lstm", False)}),
        ("if TYPE_CHECKING:\n    from zoo.task import Task", {("zoo.task", False)}),
        ("def f():\n    if x:\n        from zoo.rnn import lstm", {("zoo.rnn.lstm", True)}),
        ("import torch\nfrom json import load", set()),
    ],
)
def test_imports_are_seen_wherever_they_stand(source, wanted):
    assert {*imports(source)} == wanted


def test_circles_are_found():
    edges = {("a", "b"), ("b", "c"), ("c", "a"), ("c", "d"), ("e", "a")}
    assert circular(edges) == {"a -> b", "b -> c", "c -> a"}
