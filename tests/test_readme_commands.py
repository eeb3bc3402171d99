"""The commands of the README, typed in order in each of its languages, print what stands below them."""

from __future__ import annotations

import itertools
import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import ROOT, write
from documents import LANGUAGES, README, prose_and_code

from zoo import registry, run

# Few rows and steps; what a command chooses by its rows, and how it says so, stays the same.
LOCALES = ("de", "ja", "zh_Hant")
FEW = {
    "task=classify": [
        f"data.locales=[{','.join(LOCALES)}]",
        "data.documents=20",
        "tokenizer.size=900",
    ],
    "data=files": ["train.epochs=1"],
    "task=my_task.py": ["train.epochs=1"],
}
ELSEWHERE = ("mode=serve", "zoo.export")  # their commands run in tests/serving and tests/runtime
PATHS = {language: README.with_suffix(f".{language}.md") for language in LANGUAGES}


def typed(path: Path) -> Iterator[tuple[list[str], list[str]]]:
    """The words of each command of the zoo, and the lines that stand below it."""
    _, blocks = prose_and_code(path.read_text("utf-8"))
    for (language, block), (after, output) in itertools.pairwise([*blocks, ("", "")]):
        for line in block.splitlines() if language == "bash" else ():
            for command in line.split("&&"):
                if "-m zoo." in command:
                    yield shlex.split(command), output.splitlines() if after == "text" else []


def shape(line: str) -> list[str]:
    """The cells of a line without its figures, the precision among them."""
    line = re.sub("bf16|fp32", "PRECISION", re.sub(r"\d[\d,.]*", "0", line))
    return [" ".join(cell.split()) for cell in re.split("([│┃])", line)]


def is_shown(shown: str, printed: str) -> bool:
    """Whether a printed line has the shown cells; few test rows have one with an interval more."""
    if shown.endswith(" …"):
        return shape(printed)[0].startswith(shape(shown.removesuffix(" …"))[0])
    if shown in LOCALES:  # the answer of a model that was trained on few rows
        return printed in LOCALES
    cells = iter(shape(printed))
    return all(cell in cells for cell in shape(shown))


@pytest.mark.parametrize("path", [README, *PATHS.values()], ids=["en", *PATHS])
def test_a_command_prints_what_is_shown(path, tmp_path, monkeypatch, capfd):
    language = next((name for name, each in PATHS.items() if each == path), "en")
    monkeypatch.setenv("LC_ALL", "en_US.UTF-8")  # in C and POSIX all is English
    monkeypatch.setenv("LANGUAGE", language.replace("-", "_"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tests").symlink_to(ROOT / "tests")
    shutil.copy(ROOT / "tests" / "cases" / "toy_forecast.py", "my_task.py")
    series = [{"past": [n, n + 1, n + 2], "future": [n + 3, n + 4, n + 5]} for n in range(40)]
    write(tmp_path / "rows.jsonl", series)
    monkeypatch.setattr(registry, "_registered", {})
    ran = 0
    for words, shown in typed(path):
        program, arguments = words[2], words[3:]
        if not {*ELSEWHERE} & {program, *arguments}:
            ran += 1
            small = FEW.get(arguments[0], [])
            assert (program, run.main([*arguments, *small])) == ("zoo.run", 0), words
            printed = iter(capfd.readouterr().out.splitlines())
            for line in shown:
                assert line == "…" or any(is_shown(line, said) for said in printed), line
    assert ran == 5
