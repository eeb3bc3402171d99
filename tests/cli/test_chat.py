"""mode=chat: answers to lines, settings that change between them, and errors that end nothing."""

from __future__ import annotations

import contextlib
import io
import os
import re
import subprocess
import sys
from dataclasses import replace

import pytest
from conftest import DATA, ROOT, command, fails, settings
from generate_cases import language

from zoo.cli.chat import HELP, Chat
from zoo.data.corpora import open_corpus
from zoo.data.readers import Row
from zoo.generation.config import GenerationConfig
from zoo.task import predict_rows
from zoo.training.build import build
from zoo.training.options import options_of

LINES = ["the old cat", "a", "the old cat", "my sister"]
DRAWN = GenerationConfig(sample=True, seed=3, max_length=8)


def model(config=DRAWN, kind="words"):
    return Chat(language(kind), config)


def said(chat, *lines):
    """Return the output of a chat for these lines."""
    out = io.StringIO()
    chat.run(io.StringIO("".join(line + "\n" for line in lines)), out)
    return out.getvalue()


def answers(config, *lines):
    """Return the continuation of each line, with the seed one higher each time."""
    task, found = model(config).task, ""
    for count, line in enumerate(lines):
        later = config if config.seed is None else replace(config, seed=config.seed + count)
        found += "".join(task.stream(line, later)) + "\n"
    return found


def test_each_line_is_answered_with_the_line_and_what_follows():
    found = said(model(), *LINES)
    assert found == answers(DRAWN, *LINES)
    parts = found.split("the old cat")
    assert parts[1].partition("\na ")[0] != parts[2].partition("\nmy sister")[0]  # another draw


def test_a_session_can_be_repeated_and_its_seed_goes_up_by_one():
    talk = model()
    first = said(talk, *LINES)
    assert talk.config == replace(DRAWN, seed=3 + len(LINES))
    assert said(talk, *LINES) != first
    talk.config = DRAWN
    assert said(talk, *LINES) == first
    last = model(replace(DRAWN, seed=2**32 - 1))
    said(last, "a")
    assert last.config.seed == 0


def test_without_a_seed_there_is_none_to_count():
    talk = model(GenerationConfig(beam_size=1, max_length=8))
    assert said(talk, "a", "a") == answers(talk.config, "a", "a")
    assert talk.config == GenerationConfig(beam_size=1, max_length=8)


def test_lines_without_text_and_the_end_of_the_input_say_nothing():
    assert said(model(), "", "  ", "\t") == ""
    assert said(model()) == ""
    out = io.StringIO()
    model().run(io.StringIO("a"), out)  # no line end
    assert out.getvalue() == answers(DRAWN, "a")


def test_quit_ends_it_and_nothing_else_is_read():
    source, out = io.StringIO("a\n/quit\na\n"), io.StringIO()
    model().run(source, out)
    assert out.getvalue() == answers(DRAWN, "a")
    assert source.read() == "a\n"


@pytest.mark.parametrize(
    ("line", "name", "value", "shown"),
    [
        ("/temperature 0.5", "temperature", 0.5, "0.5"),
        ("/temperature   2", "temperature", 2.0, "2.0"),
        ("/sample false", "sample", False, "False"),
        ("/seed 7", "seed", 7, "7"),
        ("/seed null", "seed", None, "None"),
        ("/top_k 4", "top_k", 4, "4"),
        ("/top_p 0.25", "top_p", 0.25, "0.25"),
        ("/max_length 3", "max_length", 3, "3"),
        ("/beam_size 2", "beam_size", 2, "2"),
        ("/repetition_penalty 1.5", "repetition_penalty", 1.5, "1.5"),
        ("/stop cat", "stop", ("cat",), "('cat',)"),
        ("/stop the cat", "stop", ("the cat",), "('the cat',)"),
    ],
)
def test_a_command_changes_one_setting_and_the_answers_after_it(line, name, value, shown):
    talk, wanted = model(), replace(DRAWN, **{name: value})
    assert said(talk, line) == f"/{name} {shown}\n"
    assert talk.config == wanted
    if value is not None:
        found = said(model(), line, "a", "/settings")
        text, _, settings = found.removeprefix(f"/{name} {shown}\n").partition("\n/beam")
        assert f"/{name} {8 if name == 'seed' else shown}\n" in f"/beam{settings}"
        if wanted.sample:
            assert text + "\n" == answers(wanted, "a")


def test_stop_without_a_string_is_none_again():
    talk = model()
    assert said(talk, "/stop cat", "/stop", "a") == "/stop ('cat',)\n/stop ()\n" + answers(
        DRAWN, "a"
    )
    assert talk.config.stop == ()


def test_settings_and_help_show_what_there_is():
    assert said(model(), "/help") == HELP + "\n"
    shown = said(model(), "/settings").splitlines()
    assert shown == [f"/{name} {value}" for name, value in vars(DRAWN).items()]
    assert "/temperature 1.0" in shown


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        ("/temperature 0", "generation.temperature=0: Input should be greater than 0"),
        (
            "/temperature warm",
            "generation.temperature=warm: Input should be a valid number, "
            "unable to parse string as a number",
        ),
        ("/temperature", "generation.temperature=(): Input should be a valid number"),
        ("/top_p 1.1", "generation.top_p=1.1: Input should be less than or equal to 1"),
        ("/seed -1", "generation.seed=-1: Input should be greater than or equal to 0"),
        ("/max_length 0", "generation.max_length=0: Input should be greater than or equal to 1"),
        ("/tempo 1", "/tempo: no such command; see /help"),
        ("/", "/: no such command; see /help"),
        ("/quit now", "/quit: no such command; see /help"),
    ],
)
def test_what_is_wrong_is_one_line_and_the_chat_goes_on(line, wrong):
    talk = model()
    found = said(talk, line, "a")
    assert found == f"error: {wrong}\n" + answers(DRAWN, "a")
    assert talk.config == replace(DRAWN, seed=4)


def test_settings_that_do_not_go_together_are_refused():
    talk = model(GenerationConfig(beam_size=1, sample=True, n_best=3, seed=1, max_length=8))
    line = "error: generation: n_best=3 needs a beam as wide, not beam_size=1"
    assert said(talk, "/sample false").startswith(line)
    assert talk.config.sample


@pytest.mark.parametrize("n_best", [1, 3])
def test_a_beam_shows_its_best_text_when_it_is_done(n_best):
    config = GenerationConfig(beam_size=3, n_best=n_best, max_length=8)
    best = model(config).task.predict("a", config)[0]
    assert said(model(config), "a") == (best if n_best == 1 else best[0]) + "\n"


def test_an_answer_appears_in_pieces():
    class Watched(io.StringIO):
        seen = ()

        def flush(self):
            self.seen = (*self.seen, self.getvalue())

    out = Watched()
    model(replace(DRAWN, max_length=5)).run(io.StringIO("the old cat\n"), out)
    assert out.seen[0] == "the old cat"
    assert len({*out.seen}) == 7  # the prompt, five words and the line end
    assert all(b.startswith(a) for a, b in zip(out.seen, out.seen[1:], strict=False))


def test_a_classifier_answers_and_has_no_settings():
    chosen = settings(None)
    task = build(options_of(chosen), chosen, open_corpus(chosen.data)).eval()
    texts = ["a fine film", "a dull film"]
    shown = [
        task.format(answer)
        for answer in predict_rows(task, (Row({"text": t}, "here") for t in texts))
    ]
    found = said(Chat(task), texts[0], "/temperature 1", texts[1], "/quit", texts[0])
    wrong = "error: /temperature: no such command; see /help"
    assert found.splitlines() == [shown[0], wrong, shown[1]]


def test_a_chat_on_the_command_line(tmp_path):
    talk = model(kind="characters")
    talk.task.float().save(tmp_path)
    words = [
        "generation.sample=true",
        "generation.max_length=8",
        "generation.temperature=1.0",
        "generation.top_k=0",
        "generation.beam_size=1",
    ]
    options = [*words, "seed=3", "threads=1", "device=cpu"]
    lines = "the old cat\n/no\n/temperature 0.5\na\n/quit\nmore\n"
    done = command("mode=chat", f"model={tmp_path}", *options, given=lines)
    assert (done.returncode, done.stderr) == (0, "")
    talk.config = replace(DRAWN, beam_size=1)
    assert done.stdout == said(talk, "the old cat", "/no", "/temperature 0.5", "a")
    assert "error: /no: no such command; see /help\n/temperature 0.5\na" in done.stdout


def test_a_chat_needs_a_model(capsys):
    line = "mode=chat needs model=DIR, a folder that a training wrote"
    assert fails(capsys, "mode=chat", "task=generate") == line
    given = f"data.train={DATA / 'classify.jsonl'}"
    assert fails(capsys, "mode=chat", "data=files", given) == line


TALK = """
import sys
from zoo.cli import chat
from zoo.generation.config import GenerationConfig

class Echo(chat.Chat):
    def __init__(self, task, config=None, splitter="words"):
        super().__init__(task, config, splitter)
        self.config = GenerationConfig()
    def _pieces(self, line):
        yield f"<{line}>"

chat.Chat = Echo
chat.start(None)
print("left")
"""


def typed(tmp_path, *keys):
    """What a terminal shows of a chat in which these keys are typed, each after a prompt."""
    pty = pytest.importorskip("pty")
    pytest.importorskip("readline")
    main, side = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", TALK],
        stdin=side,
        stdout=side,
        stderr=side,
        cwd=ROOT,
        env=os.environ | {"TERM": "xterm", "XDG_STATE_HOME": str(tmp_path)},
        start_new_session=True,
    )
    os.close(side)
    written, waiting = b"", [*keys]
    with contextlib.suppress(OSError):  # the end of a terminal on Linux
        while part := os.read(main, 4096):
            written += part
            if waiting and written.rstrip(b"\x1b[?2004hl").endswith(b"> "):
                os.write(main, waiting.pop(0).encode())
    os.close(main)
    assert process.wait(timeout=60) == 0, written
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", written.decode())


def test_lines_are_edited_completed_and_kept(tmp_path):
    up, left, tab = "\x1b[A", "\x1b[D", "\t"
    said = typed(tmp_path, "helo" + left + "l\n", f"/temp{tab} 0.5\n", up + up + "!\n", "\x04")
    assert "<hello>" in said
    assert "\n/temperature 0.5\r\n" in said
    assert "<hello!>" in said
    assert said.rstrip().endswith("left")
    history = tmp_path / "zoo" / "chat_history"
    assert history.read_text().splitlines()[-3:] == ["hello", "/temperature 0.5", "hello!"]
    assert history.stat().st_mode & 0o077 == 0
    assert "<hello!>" in typed(tmp_path, up + "\n", "/quit\n")  # a line of the chat before


def test_a_home_that_cannot_be_written_ends_no_chat(tmp_path):
    (tmp_path / "zoo").write_text("a file, no folder")
    assert typed(tmp_path, "hello\n", "/quit\n").rstrip().endswith("left")


def test_tab_completes_commands_only():
    talk = model()
    assert [talk.complete("/top", number) for number in range(3)] == ["/top_k", "/top_p", None]
    assert talk.complete("/q", 0) == "/quit"
    assert talk.complete("to", 0) is None
