"""mode=chat: an interactive session with a model, with commands that change its settings."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import IO

from zoo.config import arguments
from zoo.data.readers import Row
from zoo.errors import InputError
from zoo.generation.config import GenerationConfig
from zoo.task import Task

HELP = """\
Type a text; the answer appears behind it. A line that begins with / is a command:
  /NAME VALUE   change a generation setting: /temperature 0.5, /sample false, /seed 7
  /settings     show them all          /help   this text          /quit   leave (or Ctrl-D)"""


def chat(task: Task, source: IO[str], out: IO[str]) -> None:
    """Answer each line of `source` into `out`, until the end of `source` or /quit."""
    interactive = source.isatty()
    if interactive:
        print(HELP, file=out)
    for line in _lines(source, out if interactive else None):
        if line == "/quit":
            return
        try:
            if line.startswith("/"):
                print(command(task, line), file=out)
            elif line.strip():
                answer(task, line, out)
        except InputError as error:
            print(f"error: {error}", file=out)
        out.flush()


def answer(task: Task, line: str, out: IO[str]) -> None:
    """Write one answer, piece by piece as it is generated."""
    for piece in task.stream_answer(Row({"text": line}, "here")):
        out.write(piece)
        out.flush()
    out.write("\n")
    seed = task.generation.seed
    if seed is not None:  # the next sample differs, and a session is still repeatable
        task.generation = replace(task.generation, seed=(seed + 1) % 2**32)


def command(task: Task, line: str) -> str:
    """Run a command. Return its output.

    Raises InputError for an unknown command or a wrong value.
    """
    name, _, value = line[1:].partition(" ")
    settings = asdict(task.generation)
    if name == "help":
        return HELP
    if name == "settings" and task.generates:
        return "\n".join(f"/{name} {value}" for name, value in settings.items())
    if name not in settings or not task.generates:
        raise InputError(f"/{name}: no such command; see /help")
    given = [value.strip()] if name == "stop" and value.strip() else value.strip() or ()
    try:
        checked = arguments(
            GenerationConfig, settings | {name: None if given == "null" else given}, "generation"
        )
        task.generation = GenerationConfig(**checked)
    except ValueError as error:
        raise InputError(str(error)) from None
    return f"/{name} {getattr(task.generation, name)}"


def _lines(source: IO[str], prompt: IO[str] | None) -> Iterator[str]:
    """Yield the lines of `source`, each after a prompt on `prompt` if it is given."""
    while True:
        if prompt is not None:
            print("> ", end="", file=prompt, flush=True)
        line = source.readline()
        if not line:
            return
        yield line.rstrip("\n")


def start(task: Task) -> None:
    """Chat on the terminal. Ctrl-C ends an answer. Without a terminal it ends the chat."""
    while True:
        try:
            return chat(task, sys.stdin, sys.stdout)
        except KeyboardInterrupt:
            print()
            if not sys.stdin.isatty():
                return None
