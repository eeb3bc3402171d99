"""Words that the shell completes, and the scripts that ask for them."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest
from conftest import ROOT

from tasks.tag import TagConfig
from zoo.cli.completion import CLASSES, PROGRAMS, candidates, script
from zoo.cli.help import ABOUT, describe_tasks
from zoo.cli.show_settings import OWNERS
from zoo.config import SECTIONS, Settings, corpora
from zoo.model_folder.verify import shipped
from zoo.option_classes import option_names


def test_a_first_word_is_a_mode_a_program_or_a_setting():
    found = candidates([""])
    assert {"train", "predict", *PROGRAMS, "task=", "data.", "train.", "seed="} <= {*found}
    names = {text[:-1] for text in found if text.endswith("=")}
    assert names == Settings.model_fields.keys() - {*SECTIONS} | {"task", "data"}
    assert "predict" not in candidates(["train", ""])
    assert candidates(["pre"]) == ["precision=", "predict"]


@pytest.mark.parametrize("section", OWNERS)
def test_a_section_has_the_options_of_its_class(section):
    wanted = sorted(f"{section}.{name}=" for name in option_names(OWNERS[section]))
    assert candidates([f"{section}."]) == wanted
    assert CLASSES.keys() == OWNERS.keys() == ABOUT.keys()


def test_a_task_and_a_corpus_have_settings_of_their_own():
    assert candidates(["task=tag", "task."]) == sorted(
        f"task.{name}=" for name in option_names(TagConfig)
    )
    assert candidates(["task=nope", "task."]) == []
    assert candidates(["data=imdb", "data."]) == ["data.path="]
    assert "data.locales=" in candidates(["data."])


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (["task="], [f"task={name}" for name, _ in describe_tasks()]),
        (["data="], [f"data={name}" for name in corpora()]),
        (["predict", "model="], [f"model={name}" for name in shipped()]),
        (["format=c"], ["format=colour", "format=conll"]),
        (["train.freeze=b"], ["train.freeze=backbone"]),
        (["baseline="], ["baseline=false", "baseline=true"]),
        (["task.crf="], []),
        (["task=tag", "task.crf="], ["task.crf=false", "task.crf=true"]),
        (["data.train="], []),  # the shell completes files
        (["train.epochs="], []),
        (["hub", "li"], []),
        (["--c"], ["--cfg", "--completion"]),
        (["--completion", ""], ["bash", "zsh"]),
    ],
)
def test_values_are_completed_where_there_are_few(words, wanted):
    assert candidates(words) == wanted


def in_shell(shell, text, tmp_path):
    """What a shell makes of a line, as the completion script sees it."""
    (tmp_path / "rows.csv").write_text("")
    program = f'zoo() {{ PYTHONPATH={ROOT} {sys.executable} -m zoo.run "$@"; }}\n'
    asked = f"{program}{script(shell)}{text}\n"
    done = subprocess.run(
        [shell, "-c", asked], capture_output=True, text=True, cwd=tmp_path, timeout=60
    )
    return done.stdout


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("zoo predi", "predict |"),
        ("zoo predict mod", "model=|mode=|"),
        ("zoo predict model=classify/la", "classify/langid |"),
        ("zoo train.freeze=g", "gradual |"),
        ("zoo task=tag task.cr", "task.crf=|"),
        ("zoo data.train=ro", "rows.csv|"),
        ("zoo --completion ", "bash|zsh|"),
    ],
)
def test_bash_completes(line, wanted, tmp_path):
    text = f'COMP_LINE="{line}"; COMP_POINT=${{#COMP_LINE}}; _zoo; printf "%s|" "${{COMPREPLY[@]}}"'
    assert {*in_shell("bash", text, tmp_path).split("|")} == {*wanted.split("|")}


@pytest.mark.skipif(shutil.which("zsh") is None, reason="no zsh")
def test_zsh_reads_the_script(tmp_path):
    text = "autoload -Uz compinit; compinit -u; echo $_comps[zoo]"
    program = in_shell("zsh", text, tmp_path)
    assert program.endswith("_zoo\n")
