"""mode=chat: an interactive session with a model, with commands that change its settings."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import IO

from zoo.data.readers import Row
from zoo.errors import InputError
from zoo.generation.config import GenerationConfig
from zoo.task import Generative, Task, input_row, predict_rows

HELP = """\
Type a text; the answer appears behind it. A line that begins with / is a command:
  /NAME VALUE   change a generation setting: /temperature 0.5, /sample false, /seed 7
  /settings     show them all          /help   this text          /quit   leave (or Ctrl-D)"""


class Chat:
    """A session with a model. Its generation config belongs to it, not to the model."""

    def __init__(
        self, task: Task, config: GenerationConfig | None = None, splitter: str = "words"
    ) -> None:
        """`config` is by default the model's own. `splitter` splits text into words."""
        self.task = task
        self.config: GenerationConfig | None = None
        if isinstance(task, Generative):
            self.config = config or task.config.generation
        self.splitter = splitter

    def run(self, source: IO[str], out: IO[str]) -> None:
        """Answer each line of `source` into `out`, until the end of `source` or /quit."""
        interactive = source.isatty()
        if interactive:
            print(HELP, file=out)
        for line in _lines(source, out if interactive else None):
            if line == "/quit":
                return
            try:
                if line.startswith("/"):
                    print(self.command(line), file=out)
                elif line.strip():
                    self.answer(line, out)
            except InputError as error:
                print(f"error: {error}", file=out)
            out.flush()

    def answer(self, line: str, out: IO[str]) -> None:
        """Write one answer, piece by piece as it is generated."""
        for piece in self._pieces(line):
            out.write(piece)
            out.flush()
        out.write("\n")
        if self.config is not None and self.config.seed is not None:
            # The next sample differs, and a session is still repeatable.
            self.config = replace(self.config, seed=(self.config.seed + 1) % 2**32)

    def _pieces(self, line: str) -> Iterator[str]:
        if isinstance(self.task, Generative):
            yield from self.task.stream(line, self.config)
        else:
            row = input_row(self.task, Row({"text": line}, "here"), self.splitter)
            yield self.task.format(next(predict_rows(self.task, [row])))

    def command(self, line: str) -> str:
        """Run a command. Return its output.

        Raises InputError for an unknown command or a wrong value.
        """
        name, _, value = line[1:].partition(" ")
        if name == "help":
            return HELP
        settings = {} if self.config is None else asdict(self.config)
        if name == "settings" and settings:
            return "\n".join(f"/{name} {value}" for name, value in settings.items())
        if name not in settings:
            raise InputError(f"/{name}: no such command; see /help")
        given = [value.strip()] if name == "stop" and value.strip() else value.strip() or ()
        self.config = GenerationConfig(**settings | {name: None if given == "null" else given})
        return f"/{name} {getattr(self.config, name)}"


def _lines(source: IO[str], prompt: IO[str] | None) -> Iterator[str]:
    """Yield the lines of `source`, each after a prompt on `prompt` if it is given."""
    while True:
        if prompt is not None:
            print("> ", end="", file=prompt, flush=True)
        line = source.readline()
        if not line:
            return
        yield line.rstrip("\n")


def start(task: Task, config: GenerationConfig | None = None, splitter: str = "words") -> None:
    """Chat on the terminal. Ctrl-C ends an answer. Without a terminal it ends the chat."""
    chat = Chat(task, config, splitter)
    while True:
        try:
            return chat.run(sys.stdin, sys.stdout)
        except KeyboardInterrupt:
            print()
            if not sys.stdin.isatty():
                return None
