"""The overview that `zoo --help` prints, and the settings of a corpus. It imports no torch."""

from __future__ import annotations

import ast
import sys
import textwrap
from pathlib import Path

from zoo.config import SECTIONS, Settings, corpora, find_configs
from zoo.errors import InputError
from zoo.option_classes import Option, as_text, did_you_mean, options

HELP = """\
Usage: {program} [MODE] [SETTING=VALUE …]

First commands
{commands}

Tasks: --help task=NAME prints the settings of one
{tasks}

Corpora: --help data=NAME prints the settings of one
{corpora}

{top}

More settings: --help SECTION explains them, --help backbone
{sections}

Flags
{flags}

Write a setting of a section as section.setting: train.epochs=3 backbone.hidden_size=256
task.pool=max data.path=FOLDER tokenizer.kind=subwords.
"""

COMMANDS = {
    "": "train a classifier on built-in data",
    "data=files data.train=mine.csv": "… on your rows (columns text, label)",
    "data=files data.train=mine.csv tune=60": "… after a minute of trying settings",
    "task=translate": "train a translator from pairs of texts",
    "task=generate": "train a language model",
    "task=tag": "train a tagger: a label for each word",
    'predict model=classify/langid text="…"': "answer a text",
    "predict model=DIR input=FILE output=FILE": "answer each row of a file",
    "chat model=DIR": "talk to a model",
    "evaluate model=DIR data=…": "measure a saved model",
    "explain": "show what the task reads of the LSTM",
    'explain model=DIR text="…"': "… and draw the gates over a text",
    "resume=DIR": "continue an interrupted training",
    "hub list": "list the models in the package",
    "export DIR model.onnx": "export a model to ONNX (or .pt2)",
}

# Headings of the run's own settings. What stands under none of them is about answers.
HEADINGS = {
    "What is done": ("mode", "model", "init", "directions", "tune", "folds", "resume", "out"),
    "How it is computed": ("seed", "device", "deterministic", "precision", "threads"),
    "Checks": ("baseline", "strict"),
}
LAST_HEADING = "Answers of predict and chat"

ABOUT = {
    "backbone": "embedding and LSTM: sizes, layers, directions, dropout",
    "tokenizer": "how text becomes ids",
    "train": "epochs, batches, learning rate, patience, …",
    "generation": "beam search, sampling and length of generated texts",
    "evaluate": "sizes of batches in evaluation and prediction",
    "serve": "address, limits and batches of mode=serve",
}  # section -> what is in it

FLAGS = {
    "--help [WHAT]": "this text, or the settings of task=NAME, data=NAME or a section",
    "--cfg": "every setting with its value and where the value comes from",
    "-m, --multirun": "one run for each value, then a table: -m train.epochs=4,8 seed=1,2 are four",
    "--completion SHELL": "a script that completes words with TAB, for bash or zsh; to switch it on: "
    'eval "$(zoo --completion bash)"',
    "-V, --version": "the version",
}

WIDTH = 98  # columns of a line


def overview() -> str:
    """Return how the command line is used, with all tasks, corpora and settings of a run."""
    program = "zoo" if Path(sys.argv[0]).stem == "zoo" else "python -m zoo.run"
    typed = [f"  {program} {words}" for words in COMMANDS]
    wide = max(map(len, typed)) + 1
    commands = [
        line.ljust(wide) + does for line, does in zip(typed, COMMANDS.values(), strict=True)
    ]
    tasks = [_line(f"  {'task=' + name:<15} ", line) for name, line in describe_tasks()]
    tasks += ["  task=FILE.py    A task of your own: the file defines one subclass of zoo.Task"]
    sections = [f"  {name + '.…':<15} {about}" for name, about in ABOUT.items()]
    flags = [_line(f"  {flag:<19} ", does) for flag, does in FLAGS.items()]
    return HELP.format(
        program=program,
        commands="\n".join(commands),
        tasks="\n".join(tasks),
        corpora=_line("  data=", " | ".join(corpora())),
        top="\n\n".join(_settings_of_a_run()),
        sections="\n".join(sections),
        flags="\n".join(flags),
    )


def _settings_of_a_run() -> list[str]:
    """Return the settings that are in no section, each group under its heading."""
    headings = {name: heading for heading, group in HEADINGS.items() for name in group}
    groups: dict[str, list[str]] = {heading: [heading] for heading in [*HEADINGS, LAST_HEADING]}
    for option in options(Settings):
        if option.name not in SECTIONS:
            groups[headings.get(option.name, LAST_HEADING)].append(_setting(option))
    return ["\n".join(group) for group in groups.values()]


def _setting(option: Option) -> str:
    choices = "|" in option.type and " | null" not in option.type
    described = option.description + (f" ({option.type})" if choices else "")
    return _line(f"  {option.name:<13}  {as_text(option.default):<7} ", described)


def corpus(name: str) -> str:
    """Return the file that explains the settings of a corpus. Raises InputError."""
    if name not in corpora():
        there = ", ".join(corpora())
        near = did_you_mean(name, corpora())
        raise InputError(f"data={name}: no such data; there are: {there}{near}")
    text = (find_configs() / "data" / f"{name}.yaml").read_text("utf-8").strip()
    head, _, rest = text.partition(f"name: {name}")
    lines = [f"  data.{line}" for line in rest.strip().splitlines()]
    about = " ".join(line.removeprefix("#").strip() for line in head.splitlines())
    return "\n".join([_line(f"data={name}: ", about), "", *(lines or ["It has no settings."])])


def _line(start: str, text: str) -> str:
    """Return a start with a text behind it, wrapped beside the start."""
    return textwrap.fill(text, WIDTH, initial_indent=start, subsequent_indent=" " * len(start))


def describe_tasks() -> list[tuple[str, str]]:
    """The zoo's tasks with the first line of their class's docstring. Nothing is imported."""
    found = []
    for path in sorted((Path(__file__).resolve().parents[2] / "tasks").glob("[a-z]*.py")):
        wanted = path.stem.replace("_", "")
        for node in ast.parse(path.read_text("utf-8")).body:
            if isinstance(node, ast.ClassDef) and node.name.lower() == wanted:
                found.append((path.stem, (ast.get_docstring(node) or "").partition("\n")[0]))
    return found
