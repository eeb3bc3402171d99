"""The command line: `zoo` and `python -m zoo.run` train, evaluate, predict, chat, explain and serve.

Nothing heavy is imported before it is needed: `--help` answers at once.
"""

from __future__ import annotations

import codecs
import io
import logging
import os
import re
import shlex
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo.cli.completion import FLAGS, PROGRAMS
from zoo.cli.environment import variables
from zoo.errors import InputError
from zoo.messages import Formatter, _, failed

if TYPE_CHECKING:
    from zoo.config import Settings
    from zoo.training.progress import Heartbeat

log = logging.getLogger("zoo")

MODES = ("train", "evaluate", "predict", "chat", "explain", "serve")  # as in Settings
SHORT = {"host": "serve.host", "port": "serve.port"}  # settings with a short name

ESCAPED = "backslashreplace"

# What a terminal without Unicode shows of the characters in our own texts.
PLAIN = {"…": "...", "–": "-", "−": "-", "→": "->", "×": "x", "≥": ">=", "≤": "<="}
PLAIN |= {"“": '"', "”": '"', "‘": "'", "’": "'"}


def main(arguments: list[str] | None = None) -> int:
    """Run a command line; returns the exit status.

    It is 0, or 2 after one line on standard error that says what is wrong.
    """
    began = time.time()
    os.environ.update(variables())
    _escape_what_cannot_be_printed()
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments[:1] and arguments[0] in PROGRAMS:
        return _start_program(arguments[0], arguments[1:])
    try:
        if arguments[:1] == ["--complete"]:
            from zoo.cli.completion import candidates

            print("\n".join(candidates(arguments[1:])))
        elif {"-m", "--multirun"} & set(arguments):
            return _run_several([a for a in arguments if a not in ("-m", "--multirun")])
        else:
            _run_flag_or_mode(_with_mode(arguments), began)
    except BrokenPipeError:  # `… | head`: the reader has closed the pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except InputError as error:
        return failed(error)
    except OSError as error:  # full disk, read-only folder, …
        path = f"{error.filename}: " if error.filename else ""
        return failed(f"{path}{error.strerror or error}")
    except RuntimeError as error:  # deterministic=true: torch refuses an operation
        if "deterministic" not in str(error):
            raise
        return failed(f"deterministic=true: {error}")
    except KeyboardInterrupt:
        return failed(_("interrupted before there was anything to save"))
    return 0


def _run_flag_or_mode(arguments: list[str], began: float) -> None:
    """Do what a flag asks for; without one, run the mode of the settings."""
    if {"-h", "--help"} & set(arguments):
        _print_help([a for a in arguments if a not in ("-h", "--help")])
    elif {"-V", "--version"} & set(arguments):
        print(f"sequence-zoo {sys.modules['zoo'].__version__}")
    elif "--completion" in arguments:
        from zoo.cli.completion import script

        shells = [a for a in arguments if a != "--completion"]
        print(script(shells[0] if shells else ""), end="")
    elif "--cfg" in arguments:
        _print_settings([a for a in arguments if a != "--cfg"])
    else:
        _run(arguments, began)


def _run_several(arguments: list[str]) -> int:
    """Train once for each combination of the given values; 2 if a training failed."""
    from zoo.cli import multirun

    runs = multirun.combinations(_with_mode(arguments))
    checked = [_given(words)[1] for words in runs]  # nothing starts when a setting is wrong
    outcomes = multirun.train_each(runs, checked)
    multirun.print_table(outcomes)
    return 0 if all(outcome.report for outcome in outcomes) else 2


def _with_mode(arguments: list[str]) -> list[str]:
    """Write a first word like `predict` as the setting `mode=predict`; `train` is the default.

    Short names of settings become their full ones.
    """
    arguments = [_full_name(argument) for argument in arguments]
    if arguments[:1] == ["train"]:
        return arguments[1:]
    if arguments[:1] and arguments[0] in MODES:
        return [f"mode={arguments[0]}", *arguments[1:]]
    return arguments


def _full_name(argument: str) -> str:
    name, equals, value = argument.partition("=")
    return f"{SHORT[name]}={value}" if equals and name in SHORT else argument


def _start_program(name: str, arguments: list[str]) -> int:
    """Run `zoo hub …` as `python -m zoo.hub …`, in this process; returns the exit status."""
    if name == "hub":
        from zoo.hub.__main__ import main as start
    elif name == "export":
        from zoo.export.program import main as start
    else:
        from zoo.bench.__main__ import main as start
    return start(arguments)


def _escape_what_cannot_be_printed() -> None:
    """Let no character end a run that the terminal's encoding lacks.

    Ours become plain ones, others escapes like \\u65e5. In UTF-8, the bytes of a file name that
    is none are printed as they are.
    """
    codecs.register_error("zoo", _plain)
    codecs.register_error("zoo-bytes", _bytes)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            unicode = codecs.lookup(stream.encoding).name.startswith("utf")
            stream.reconfigure(errors="zoo-bytes" if unicode else "zoo")


def _plain(error: UnicodeError) -> tuple[str, int]:
    """An error handler of `codecs`: plain characters for ours, escapes for others."""
    assert isinstance(error, UnicodeEncodeError)
    wrong = error.object[error.start : error.end]
    parts = (PLAIN.get(c) or c.encode("ascii", ESCAPED).decode() for c in wrong)
    return "".join(parts), error.end


def _bytes(error: UnicodeError) -> tuple[bytes, int]:
    """An error handler of `codecs`: the bytes of a file name, escapes for other halves of pairs."""
    assert isinstance(error, UnicodeEncodeError)
    wrong = error.object[error.start : error.end]
    parts = (
        bytes([ord(c) - 0xDC00]) if "\udc80" <= c <= "\udcff" else c.encode("ascii", ESCAPED)
        for c in wrong
    )
    return b"".join(parts), error.end


def _print_help(chosen: list[str]) -> None:
    """Print help about the last of `chosen`: a task, a corpus, a section; without any, an overview.

    Only tasks and the sections whose classes need torch import it.
    """
    from zoo.cli.help import corpus, overview

    if not chosen:
        print(overview())
    elif chosen[-1].startswith("data="):
        print(corpus(chosen[-1].removeprefix("data=")))
    else:
        from zoo.cli.show_settings import of_section, of_task

        print(of_task(chosen[-1]) if chosen[-1].startswith("task=") else of_section(chosen[-1]))


def _print_settings(arguments: list[str]) -> None:
    from zoo.cli.show_settings import print_settings

    given = _with_task(arguments)
    print_settings(given, _checked(given))


def _checked(given: list[str]) -> Settings:
    """The checked settings of a command line, with the generation config of its model."""
    from zoo.config import check, compose

    return check(_with_generation(compose(given)))


def _run(arguments: list[str], began: float) -> None:
    from zoo.config import recipes, typed
    from zoo.files.run_folder import MANIFEST

    given, settings = _given(arguments)
    _log_to("stdout" if settings.mode == "train" else "stderr")
    command = shlex.join(["python", "-m", "zoo.run", *arguments])
    if settings.model is not None and (Path(settings.model) / MANIFEST).is_file():
        from zoo.training.resume.cleaning import clean

        clean(Path(settings.model))
    if settings.mode == "train":
        log.info(_announcement(settings))
        if settings.resume is None:
            names = ", ".join(recipes(given)) or _("none, all settings are defaults")
            log.info(_("recipes: {names}", names=names))
        files = [a.partition("=")[2] for a in arguments if re.fullmatch(r"task=.*\.py", a)]
        with _heartbeat():
            _train(settings, command, began, files[-1] if files else None, typed(arguments))
    elif settings.mode == "evaluate":
        with _heartbeat():
            _evaluate(settings)
    elif settings.mode in ("predict", "chat"):
        _use(settings)
    elif settings.mode == "serve":
        from zoo.serving.server import serve

        serve(settings)
    else:
        _explain(settings)


def _given(arguments: list[str]) -> tuple[list[str], Settings]:
    """The settings of a command line, with their tasks loaded, and as checked values."""
    from zoo.config import check_together

    wrong = next((a for a in arguments if "=" not in a), None)
    if wrong is not None:
        from zoo.option_classes import did_you_mean

        near = did_you_mean(wrong, [*MODES, *PROGRAMS, *FLAGS])
        cure = _(
            "{wrong}: settings are given as NAME=VALUE; see --help{near}", wrong=wrong, near=near
        )
        raise InputError(cure)
    given = _with_task(arguments)
    settings = _checked(given)
    check_together(settings, arguments)
    return given, settings


def _announcement(settings: Settings) -> str:
    """The first line of a training. It appears before torch is imported, which takes seconds."""
    if settings.resume is not None:
        return _("train: go on with {folder} …", folder=settings.resume)
    data = settings.data
    rows = data.get("train") or data.get("path") or ""
    place = _(" ({rows})", rows=rows) if rows else ""
    begin = "" if settings.init is None else _(", from {model}", model=settings.init)
    return _(
        "train: task={task} on data={data}{place}{begin} …",
        task=settings.task["name"],
        data=data["name"],
        place=place,
        begin=begin,
    )


def _with_task(arguments: list[str]) -> list[str]:
    """Load `task=FILE.py`, and add the task of `model=`. Raises InputError if `task=` is another."""
    if any(re.fullmatch(r"task=.*\.py", argument) for argument in arguments):
        from zoo.registry import resolve

        arguments = resolve(arguments)
    given = dict(argument.partition("=")[::2] for argument in arguments)
    if "model" not in given or given.get("mode") == "serve":  # which may have several
        return arguments
    from zoo.model_folder.verify import read_config

    name = read_config(given["model"])["task"]
    if name == "multitask":
        raise InputError(
            f"model={given['model']}: several heads on one backbone: they answer in "
            f"Python, zoo.load({given['model']!r}).predict(…)"
        )
    if given.get("task", name) != name:
        raise InputError(f"task={given['task']}: {given['model']} is a model of task={name}")
    if "task" not in given:
        from zoo.config import find_configs

        if not (find_configs() / "task" / f"{name}.yaml").is_file():
            raise InputError(
                f"{given['model']} is a model of task {name}, which is not one of the zoo: add "
                "task=FILE.py"
            )
    from zoo.model_folder.data_settings import with_data

    return with_data([f"task={name}", *(a for a in arguments if not a.startswith("task="))])


def _with_generation(composed: dict[str, Any]) -> dict[str, Any]:
    """Add the generation config of `model=` below what the command line gives."""
    if composed.get("model") is None or composed.get("mode") == "serve":
        return composed
    from dataclasses import fields

    from zoo.model_folder.verify import read_generation

    saved = read_generation(composed["model"])
    if saved is not None:
        changed = {
            field.name: getattr(saved, field.name)
            for field in fields(saved)
            if getattr(saved, field.name) != field.default
        }
        composed["generation"] = changed | (composed.get("generation") or {})
    return composed


class _Printer(logging.Handler):
    """Print each record to `sys.stdout` or `sys.stderr` as it is at that moment.

    While a progress bar is drawn, rich has put a stream there that prints above the bar.
    """

    def __init__(self, stream: str) -> None:
        super().__init__()
        self.setFormatter(Formatter())
        self.stream = stream

    def emit(self, record: logging.LogRecord) -> None:
        print(self.format(record), file=getattr(sys, self.stream), flush=True)


def _log_to(stream: str) -> None:
    """Send the log to the stream of this name in `sys`."""
    log.handlers = [_Printer(stream)]
    log.propagate = False
    rank = int(os.environ.get("RANK", "0"))  # of several processes, only the first one logs
    log.setLevel(logging.INFO if rank == 0 else logging.ERROR)


def _heartbeat() -> Heartbeat:
    """What says every ten seconds that a long run is still at work."""
    from zoo.training.progress import Heartbeat

    return Heartbeat()


def _train(
    settings: Settings, command: str, began: float, file: str | None, typed: list[str]
) -> None:
    from zoo.files.run_folder import TUNING
    from zoo.training import pipeline

    if settings.folds:
        from zoo.tuning import cross_validation

        cross_validation.run(settings, command)
        return
    if settings.tune or (Path(settings.resume or "") / TUNING).is_file():
        from zoo.tuning import tune

        folder, report = tune.run(settings, command, began, typed)
    else:
        folder, report = pipeline.run(settings, command, began, changes=typed)
    if report:
        from zoo.cli.summary import training
        from zoo.registry import find

        training(folder, report, find(report["task"]), file)


def _evaluate(settings: Settings) -> None:
    import json

    from zoo.cli.summary import evaluation
    from zoo.files import write_text
    from zoo.files.own_files import check_new_in
    from zoo.training import pipeline

    if settings.out is not None:
        check_new_in(Path(settings.out), ["report.json"], settings.overwrite)
    report = pipeline.measure(settings)
    if not report:
        return  # of several processes the first one reports
    if settings.out is not None:
        path = Path(settings.out) / "report.json"
        write_text(path, json.dumps(report, indent=1) + "\n")
    evaluation(report)


def _use(settings: Settings) -> None:
    from zoo import device
    from zoo.loading import load
    from zoo.training.options import evaluation_of, generation_of

    task = load(str(settings.model), str(device.find_device(settings.device)))
    generation = generation_of(settings, type(task))
    evaluation = evaluation_of(settings, type(task))
    if settings.mode == "chat":
        from zoo.cli import chat

        chat.start(task, generation, settings.tokens)
    else:
        from zoo.cli.predict import predict

        predict(task, settings, generation, evaluation)


def _explain(settings: Settings) -> None:
    from itertools import islice

    from zoo.cli import explain
    from zoo.cli.summary import explanation
    from zoo.data.readers import Row
    from zoo.files.own_files import check_new_in
    from zoo.files.run_folder import create_next
    from zoo.loading import load
    from zoo.task import input_row
    from zoo.training.build import build
    from zoo.training.defaults import from_data
    from zoo.training.options import generation_of, options_of
    from zoo.training.rows import open_rows

    if settings.out is not None:
        check_new_in(Path(settings.out), [*explain.FILES], settings.overwrite)
    if settings.model is not None:
        task = load(settings.model)
    else:
        options = options_of(settings)
        splits = open_rows(settings, options.kind)
        settings, options = from_data(settings, options, splits)
        task = build(options, settings, splits, rows=2000)
    if settings.text is not None:
        rows = [Row({"text": settings.text}, "text")]
    else:
        rows = list(islice(open_rows(settings, type(task)).valid, 8))
    batch = task.collate([task.encode(input_row(task, row, settings.tokens)) for row in rows])
    why = None
    if settings.text is not None and int(batch.lengths[0]):
        config = generation_of(settings, type(task))
        why = explain.answer(task, rows[0], config, settings.target, settings.tokens)
    explanation(task, batch)
    if why is not None:
        out = settings.out
        folder = Path(out) if out else create_next(f"runs/explain-{task.name}")[0]
        for line in explain.draw_all(task, batch, why, folder):
            print(line)


if __name__ == "__main__":
    sys.exit(main())
