"""The documentation keeps its limits, its paths exist, and its command lines compose."""

from __future__ import annotations

import importlib.util
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from zoo.config import check, compose

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
LARGEST = 10_240  # bytes of README.md
LONGEST_SENTENCE = 30  # words
LONGEST_CELL = 120  # characters
TOPS = ("zoo", "tasks", "configs", "tests", "notebooks")  # folders that a path can begin with

FENCE = re.compile(r"^ {0,3}(```|~~~)")
LINK = re.compile(r"!?\[([^\]]*)\]\(([^)\s]*)\)")
CODE = re.compile(r"`([^`\n]+)`")
BLOCK = re.compile(r"^\s*(?:#{1,6}\s|[-*+]\s|\d+\.\s|>\s?)")  # what begins a block of its own
END = re.compile(r"(?<!\bal)(?<!\be\.g)(?<!\bi\.e)[.!?]+[)\"”*_]*(?=\s)")
PATH = re.compile(  # of a known folder, or any name that ends as a folder or a source does
    rf"(?:{'|'.join(TOPS)})(?:/[\w.+-]+)+|(?:[\w-]+/)+|(?:[\w-]+/)*[\w-]+\.(?:py|md|toml|yaml)"
)
COMMAND = re.compile(r"(?:python|-m) ?(?:-m )?(zoo\.\w+)((?: .*)?)$")


def documents() -> list[Path]:
    """Every document of the project; model cards and the changelog are not among them."""
    found = [README]
    for top in TOPS:
        found += sorted((ROOT / top).rglob("*.md"))
    return [path for path in found if "pretrained" not in path.parts]


DOCUMENTS = documents()
each_document = pytest.mark.parametrize(
    "path", DOCUMENTS, ids=[path.relative_to(ROOT).as_posix() for path in DOCUMENTS]
)


def prose_and_code(text: str) -> tuple[list[str], list[tuple[str, str]]]:
    """The lines outside of code blocks, and each code block with its language."""
    prose: list[str] = []
    blocks: list[tuple[str, str]] = []
    inside: list[str] | None = None
    language = ""
    for line in text.splitlines():
        if FENCE.match(line):
            if inside is None:
                inside, language = [], line.strip(" `~")
            else:
                blocks.append((language, "\n".join(inside)))
                inside = None
            prose.append("")
        elif inside is None:
            prose.append(line)
        else:
            inside.append(line)
    assert inside is None, "a code block has no end"
    return prose, blocks


def is_row(line: str) -> bool:
    return line.lstrip().startswith("|")


def cells(lines: list[str]) -> Iterator[str]:
    """The cells of all tables as they are read: a link counts by its text."""
    for line in filter(is_row, lines):
        inner = LINK.sub(r"\1", line).strip().strip("|")
        for cell in re.split(r"(?<!\\)\|", inner):
            yield cell.strip()


def sentences(lines: list[str]) -> Iterator[str]:
    """The sentences outside of tables. Headings, list items and paragraphs each end one.

    A point inside of inline code or of a number ends none.
    """
    blocks: list[list[str]] = [[]]
    for line in lines:
        if is_row(line) or not line.strip():
            blocks.append([])
        elif BLOCK.match(line):
            blocks.append([BLOCK.sub("", line, count=1)])
            if line.startswith("#"):
                blocks.append([])
        else:
            blocks[-1].append(line.strip())
    for block in blocks:
        text = LINK.sub(r"\1", " ".join(block))
        text = CODE.sub(lambda found: re.sub(r"[.!?…]", "x", found[1]), text)
        yield from (part for part in END.split(text + " ") if part.strip())


def word_count(sentence: str) -> int:
    """Pieces between blanks that hold a letter or a digit; inline code counts by its pieces."""
    return sum(any(c.isalnum() for c in piece) for piece in sentence.split())


def slug(heading: str) -> str:
    """The anchor of a heading."""
    plain = LINK.sub(r"\1", heading.lstrip("#").strip()).lower()
    return re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")


def anchors(path: Path) -> set[str]:
    return {slug(line) for line in prose_and_code(path.read_text("utf-8"))[0] if line[:1] == "#"}


def commands(path: Path) -> list[tuple[str, str]]:
    """(module, arguments) of each command line `python -m zoo.…` in a document's bash blocks."""
    found = []
    for language, block in prose_and_code(path.read_text("utf-8"))[1]:
        if language != "bash":
            continue
        for line in block.replace("\\\n", " ").splitlines():
            for part in re.split(r"&&|\|", line.split("  #")[0]):
                if match := COMMAND.search(part.strip()):
                    found.append((match[1], match[2]))
    return found


def test_what_counts_as_a_sentence_and_a_cell():
    text = (
        "# A heading\nOne `a.b. c` two, 0.5 [three four](x.md).\nFive (et al. 2017) six!\n\n"
        "```\nnot. this. block\n```\n- item\n- other item\n\n| a \\| b | [link](t.md) |\n|---|---|\n"
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
            check(compose(arguments))
        elif module == "zoo.hub":
            from zoo.hub.__main__ import _parser

            _parser().parse_known_args(arguments)


def test_readme_has_the_commands_that_start_and_test():
    _, blocks = prose_and_code(README.read_text("utf-8"))
    lines = [line for _, block in blocks for line in block.splitlines()]
    assert 'pip install -e ".[test]" && pytest' in lines
    assert "pip install -e . && python -m zoo.run task=classify" in lines


def settings_of_files() -> dict[str, dict[str, Any]]:
    """{file below configs: {setting: default}}, nested sections with a point between."""

    def flat(values: dict[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
        for name, value in values.items():
            if isinstance(value, dict):
                yield from flat(value, f"{before}{name}.")
            elif name not in ("defaults", "name"):
                yield before + name, value

    found = {}
    folder = ROOT / "configs"
    for path in sorted(folder.rglob("*.yaml")):
        name = path.relative_to(folder).with_suffix("").as_posix()
        if not name.startswith("recipe/"):
            found[name] = dict(flat(yaml.safe_load(path.read_text("utf-8"))))
    return found


def test_every_setting_is_in_the_table_with_its_default():
    text = (ROOT / "configs" / "README.md").read_text("utf-8")
    told: dict[tuple[str, str], str] = {}
    for line in filter(is_row, text.splitlines()):
        row = [cell.strip(" `") for cell in re.split(r"(?<!\\)\|", line.strip().strip("|"))]
        if len(row) == 4:  # setting, file, default, meaning
            for file in row[1].split(", "):
                told[file.strip(" `"), row[0]] = row[2]
    group = {"config": "", "backbone/default": "backbone.", "train/default": "train."}
    wanted = {}
    for file, values in settings_of_files().items():
        prefix = group.get(file, file.partition("/")[0] + ".")
        for name, value in values.items():
            wanted[file, prefix + name] = value
    missing = sorted({*wanted} - {*told})
    assert not missing, f"not in configs/README.md: {missing}"
    more = sorted({key for key in told if "." in key[1] or key[0] == "config"} - {*wanted})
    assert not more, f"in configs/README.md, but no setting: {more}"
    for key, value in wanted.items():
        assert yaml.safe_load(told[key]) == value, f"{key}: {told[key]} is not {value!r}"
