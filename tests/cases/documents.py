"""What the tests of the documents share: how a document is cut into prose, code, cells, sentences."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
LANGUAGES = ("ja", "zh-TW")  # a document NAME.md may have a sibling NAME.LANGUAGE.md
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
OWN_TASK = re.compile(r"task=\S+\.py")  # a file of the reader
COMMAND = re.compile(r"(?:python|-m) ?(?:-m )?(zoo\.\w+)((?: .*)?)$")


def documents() -> list[Path]:
    """Every document of the project; model cards and the changelog are not among them."""
    found = [README, *sorted(ROOT.glob("README.*.md")), *sorted((ROOT / ".github").rglob("*.md"))]
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
    """The sentences outside of tables and formulas. Headings, list items and paragraphs each end one.

    A point inside of inline code or of a number ends none.
    """
    blocks: list[list[str]] = [[]]
    for line in lines:
        if is_row(line) or line.startswith("$$") or not line.strip():
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


def parts_of(path: Path) -> list[Path]:
    """A document and its siblings in other languages."""
    return [path, *(path.with_suffix(f".{language}.md") for language in LANGUAGES)]


def cjk_sentences(lines: list[str]) -> Iterator[str]:
    """The sentences of a Japanese or Chinese document, cells included; links count by their text."""
    for line in lines:
        text = LINK.sub(r"\1", BLOCK.sub("", line, count=1))
        for cell in text.strip().strip("|").split(" | ") if is_row(line) else [text]:
            yield from (part.strip() for part in re.split(r"(?<=[。！？])", cell) if part.strip())


def numbers(lines: list[str]) -> Counter[str]:
    """How often each number stands in prose and tables; of a link only its text counts."""
    text = LINK.sub(r"\1", "\n".join(lines))
    return Counter(found.rstrip(".,") for found in re.findall(r"(?<![A-Za-z])\d[\d,.]*", text))


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


def tables(path: Path) -> Iterator[tuple[list[str], list[list[str]]]]:
    """The header and the rows of each table of a document."""
    rows: list[list[str]] = []
    for line in [*path.read_text("utf-8").splitlines(), ""]:
        if is_row(line):
            rows.append([cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip().strip("|"))])
        elif rows:
            yield rows[0], rows[2:]
            rows = []


def run_block(source: str, names: dict) -> object:
    """Run Python source in a namespace; the value of its last line, None if that is no expression."""
    *lines, last = ast.parse(source).body
    if not isinstance(last, ast.Expr):
        lines.append(last)
    exec(compile(ast.Module(lines, []), "README.md", "exec"), names)
    if isinstance(last, ast.Expr):
        return eval(compile(ast.Expression(last.value), "README.md", "eval"), names)
    return None
