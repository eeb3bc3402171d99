"""mode=chat: an interactive session with a model, with commands that change its settings."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import IO

from zoo.data.readers import Row
from zoo.errors import InputError
from zoo.generation.config import GenerationConfig
from zoo.messages import _, message_of, translated
from zoo.task import Generative, Task, input_row, predict_rows

LINES_KEPT = 1000  # of earlier chats

HELP = """\
Type a text; the answer appears behind it. A line that begins with / is a command:
  /NAME VALUE   change a generation setting: /temperature 0.5, /sample false, /seed 7
  /settings     show them all          /help   this text          /quit   leave (or Ctrl-D)
The arrow keys bring back earlier lines; TAB completes a command."""


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
        for line in _typed(out) if interactive else _lines(source):
            if line == "/quit":
                return
            try:
                if line.startswith("/"):
                    print(self.command(line), file=out)
                elif line.strip():
                    self.answer(line, out)
            except InputError as error:
                said = _("error: {line}", line=message_of(error))
                print(translated(said), file=out)
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

    def complete(self, begun: str, number: int) -> str | None:
        """Return the command number `number` that begins with `begun`; None when there are no more."""
        settings = {} if self.config is None else asdict(self.config)
        names = [f"/{name}" for name in (*settings, "settings", "help", "quit")]
        found = [name for name in names if begun.startswith("/") and name.startswith(begun)]
        return found[number] if number < len(found) else None


def _lines(source: IO[str]) -> Iterator[str]:
    """Yield the lines of `source`."""
    while line := source.readline():
        yield line.rstrip("\n")


def _typed(out: IO[str]) -> Iterator[str]:
    """Yield the lines that are typed on the terminal. readline edits them, if there is one."""
    while True:
        try:
            yield input("> ")
        except EOFError:
            print(file=out)
            return


@contextmanager
def line_editing(chat: Chat) -> Iterator[None]:
    """Edit lines with the keys of a shell; TAB completes commands; keep the lines of earlier chats.

    Does nothing where Python has no readline, as on Windows.
    """
    try:
        import readline
    except ImportError:
        yield
        return
    readline.set_completer(chat.complete)
    readline.set_completer_delims(" ")
    libedit = "libedit" in (readline.__doc__ or "")
    readline.parse_and_bind("bind ^I rl_complete" if libedit else "tab: complete")
    path = history_file()
    with suppress(OSError):  # none yet, or unreadable
        readline.read_history_file(path)
    readline.set_history_length(LINES_KEPT)
    try:
        yield
    finally:
        readline.set_completer(None)
        with suppress(OSError):  # a read-only home: the chat was none the worse
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch(mode=0o600)
            readline.write_history_file(path)


def history_file() -> Path:
    """Return where the lines of earlier chats are kept."""
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state) / "zoo" / "chat_history"


def start(task: Task, config: GenerationConfig | None = None, splitter: str = "words") -> None:
    """Chat on the terminal. Ctrl-C ends an answer. Without a terminal it ends the chat."""
    chat = Chat(task, config, splitter)
    if sys.stdin is None or sys.stdout is None:
        raise InputError(
            _("a chat needs standard input and output: one is closed; mode=predict needs neither")
        )
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="replace")  # a wrong byte is U+FFFD, not the end of the chat
    if not sys.stdin.isatty():
        try:
            chat.run(sys.stdin, sys.stdout)
        except KeyboardInterrupt:
            print()
        return
    with line_editing(chat):
        while True:
            try:
                return chat.run(sys.stdin, sys.stdout)
            except KeyboardInterrupt:
                print()
