"""The documents in Japanese and in Chinese say what the English ones say, in sentences of their own."""

from __future__ import annotations

import ast
import re

import pytest
from documents import (
    CODE,
    README,
    ROOT,
    cjk_sentences,
    is_row,
    numbers,
    parts_of,
    prose_and_code,
)

TASKS = ROOT / "tasks" / "README.md"
LONGEST = 120  # characters of a sentence or a cell
WIDE = r"[\u3000-\u30ff\u3400-\u9fff\uff00-\uffef]"  # Japanese or Chinese, with its punctuation
TRANSLATED = [path for document in (README, TASKS) for path in parts_of(document)[1:]]
each_translation = pytest.mark.parametrize(
    "path", TRANSLATED, ids=[path.relative_to(ROOT).as_posix() for path in TRANSLATED]
)
each_readme = pytest.mark.parametrize("path", parts_of(README), ids=lambda path: path.name)


def english(path) -> str:
    """The English text of which `path` is the sibling; of tasks/README.md its first part."""
    text = path.with_name("README.md").read_text("utf-8")
    return text.partition("## Why this answer")[0]


def blocks_of(text: str, language: str) -> list[str]:
    return [block for kind, block in prose_and_code(text)[1] if kind == language]


def test_a_document_has_its_siblings_and_leads_to_them():
    for document in (README, TASKS):
        for path in parts_of(document):
            others = {other.name for other in parts_of(document)} - {path.name}
            text = path.read_text("utf-8")
            assert all(f"]({name})" in text for name in others), path


@each_translation
def test_figures_are_those_of_the_english_document(path):
    theirs = numbers(prose_and_code(english(path))[0])
    ours = numbers(prose_and_code(path.read_text("utf-8"))[0])
    assert (ours - theirs, theirs - ours) == ({}, {})


@each_translation
def test_sentences_and_cells_are_short(path):
    lines, _ = prose_and_code(path.read_text("utf-8"))
    long = [sentence for sentence in cjk_sentences(lines) if len(sentence) > LONGEST]
    assert not long, "\n".join(long)


@each_translation
def test_there_is_no_blank_and_no_line_end_inside_a_sentence(path):
    """Inline code may have blanks; two lines of a paragraph would be joined by one."""
    lines, _ = prose_and_code(path.read_text("utf-8"))
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        body = CODE.sub("x", re.sub(r"^\s*(#+ |- |\d+\. )", "", line))
        for cell in body.strip("| ").split(" | ") if is_row(line) else [body]:
            assert not re.search(f"{WIDE} | {WIDE}", cell.replace(" · ", "")), line
        starts_anew = not following.strip() or re.match(r"\s*([-#|!]|\d+\.)", following)
        assert not line.strip() or starts_anew, f"{line}\n{following}"


@each_translation
def test_commands_are_those_of_the_english_document(path):
    """But for the example: the text, the shipped model that reads it, and the file."""

    def plain(text: str) -> list[str]:
        example = r"(text=\"[^\"]*\"|(?<=predict )model=[a-z]+/\S+|data.train=\S+csv)"
        return [re.sub(example, "EXAMPLE", block) for block in blocks_of(text, "bash")]

    assert plain(path.read_text("utf-8")) == plain(english(path))


@each_translation
def test_python_is_that_of_the_english_document(path):
    """But for comments and strings."""

    def plain(text: str) -> list[str]:
        trees = [ast.parse(block) for block in blocks_of(text, "python")]
        return [re.sub(r"Constant\(value='[^']*'\)", "TEXT", ast.dump(tree)) for tree in trees]

    assert plain(path.read_text("utf-8")) == plain(english(path))


@each_readme
def test_the_example_csv_has_300_rows_and_those_that_are_shown(path):
    text = path.read_text("utf-8")
    rows = (ROOT / re.search(r"data.train=(\S+csv)", text)[1]).read_text("utf-8").splitlines()
    shown = [block for block in blocks_of(text, "text") if "text,label" in block]
    assert {*"\n".join(shown).splitlines()} <= {*rows}
    assert len(rows) == 301
