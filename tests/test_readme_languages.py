"""The documents in Japanese and in Chinese say what the English ones say, in sentences of their own."""

from __future__ import annotations

import ast
import itertools
import logging
import re
import shlex

import pytest
from documents import (
    CODE,
    LANGUAGES,
    README,
    ROOT,
    cjk_sentences,
    is_row,
    numbers,
    parts_of,
    prose_and_code,
)

import zoo
from zoo import messages

TASKS = ROOT / "tasks" / "README.md"
LONGEST = 120  # characters of a sentence or a cell
WIDE = r"[\u3000-\u30ff\u3400-\u9fff\uff00-\uffef]"  # Japanese or Chinese, with its punctuation
TRANSLATED = [path for document in (README, TASKS) for path in parts_of(document)[1:]]
each_translation = pytest.mark.parametrize(
    "path", TRANSLATED, ids=[path.relative_to(ROOT).as_posix() for path in TRANSLATED]
)


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


def answers() -> list[tuple[str, str, str]]:
    """(model, text, answer) of each command of a README that asks a shipped model."""
    found = []
    for path in parts_of(README):
        _, blocks = prose_and_code(path.read_text("utf-8"))
        for (language, block), (_, output) in itertools.pairwise(blocks):
            if language == "bash" and "mode=predict model=" in block:
                settings = dict(word.split("=", 1) for word in shlex.split(block) if "=" in word)
                if "/" in settings["model"] and not settings["model"].startswith("runs/"):
                    found.append((settings["model"], settings["text"], output))
    return found


def test_shipped_models_answer_what_is_shown():
    shown = {*answers()}
    assert len(shown) >= 2
    for model, text, answer in shown:
        assert zoo.load(model).predict([text]) == [answer]


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_run_on_the_csv_says_of_its_choices_what_is_shown(language, caplog, monkeypatch):
    path = README.with_suffix(f".{language}.md")
    (command,) = [b for b in blocks_of(path.read_text("utf-8"), "bash") if "data.train=tests" in b]
    _, blocks = prose_and_code(path.read_text("utf-8"))
    shown = blocks[blocks.index(("bash", command)) + 1][1]
    file = re.search(r"data.train=(\S+)", command)[1]
    example = next(
        block for block in blocks_of(path.read_text("utf-8"), "text") if "text,label" in block
    )
    rows = (ROOT / file).read_text("utf-8").splitlines()
    assert {*example.splitlines()} <= {*rows}
    assert len(rows) == 301
    caplog.set_level(logging.INFO, "zoo")
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("LC_ALL", "en_US.UTF-8")  # in C and POSIX all is English
    monkeypatch.setenv("LANGUAGE", language.replace("-", "_"))
    zoo.train("data=files", f"data.train={file}", "train.epochs=1", "baseline=false")
    choices = [line for line in shown.splitlines() if re.match(r"[a-z]+\.[a-z]+=|.*valid", line)]
    assert len(choices) >= 3
    said = [messages.text_of(record) for record in caplog.records]
    assert [line for line in choices if line not in said] == []
