"""The overview that `python -m zoo.run --help` prints. It imports no torch."""

from __future__ import annotations

import ast
import textwrap
from pathlib import Path

from zoo.config import SECTIONS, Settings, find_configs
from zoo.option_classes import as_text, options

HELP = """\
usage: python -m zoo.run [SETTING=VALUE ...]

  python -m zoo.run                                     train a classifier on built-in data
  python -m zoo.run data=files data.train=mine.csv      … on your own rows (columns text, label)
  python -m zoo.run task=translate                      train a translator, English to Japanese
  python -m zoo.run task=generate                       train a language model
  python -m zoo.run task=tag                            train a tagger: a label for each word
  python -m zoo.run mode=predict model=classify/langid text="Schweden, 17. Mai 2031"
  python -m zoo.hub list                                list the models that come with the package
  python -m zoo.run mode=chat model=DIR                 talk to a model
  python -m zoo.run mode=evaluate model=DIR data=…      measure a saved model
  python -m zoo.run mode=explain                        show which output of the LSTM the task reads
  python -m zoo.run mode=explain model=DIR text="…"     … and draw the gates over a text
  python -m zoo.run resume=DIR                          continue an interrupted training
  python -m zoo.export DIR model.onnx                   export a model to ONNX (or .pt2)

tasks; --help task=NAME prints the options of one:

{tasks}
  task=FILE.py    A task of your own: the file defines one subclass of zoo.Task

corpora; each is a file in {configs}/data that explains its settings:

{corpora}

settings of the run:

{top}

Write a setting of a section as section.setting: train.epochs=3 backbone.hidden_size=256
task.pool=max data.path=FOLDER tokenizer.kind=subwords. `--cfg` prints every setting with its value
and where the value comes from.
"""


WIDTH = 98  # columns of a line


def overview() -> str:
    """Return how the command line is used, with all tasks, corpora and settings of a run."""
    configs = find_configs()
    top = []
    for option in options(Settings):
        if option.name in SECTIONS:
            continue
        choices = "|" in option.type and " | null" not in option.type
        described = option.description + (f" ({option.type})" if choices else "")
        top.append(_line(f"  {option.name:<13}  {as_text(option.default):<7} ", described))
    tasks = [_line(f"  {'task=' + name:<15} ", line) for name, line in _tasks()]
    corpora = " | ".join(sorted(path.stem for path in (configs / "data").glob("*.yaml")))
    wrapped = _line("  data=", corpora)
    return HELP.format(top="\n".join(top), tasks="\n".join(tasks), corpora=wrapped, configs=configs)


def _line(start: str, text: str) -> str:
    """Return a start with a text behind it, wrapped beside the start."""
    return textwrap.fill(text, WIDTH, initial_indent=start, subsequent_indent=" " * len(start))


def _tasks() -> list[tuple[str, str]]:
    """The zoo's tasks with the first line of their class's docstring. Nothing is imported."""
    found = []
    for path in sorted((Path(__file__).resolve().parents[2] / "tasks").glob("[a-z]*.py")):
        wanted = path.stem.replace("_", "")
        for node in ast.parse(path.read_text("utf-8")).body:
            if isinstance(node, ast.ClassDef) and node.name.lower() == wanted:
                found.append((path.stem, (ast.get_docstring(node) or "").partition("\n")[0]))
    return found
