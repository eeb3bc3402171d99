"""python -m zoo.run: train, evaluate, predict, explain.

Nothing heavy is imported before it is needed: `--help` answers at once.
"""

from __future__ import annotations

import logging
import os
import shlex
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo.errors import InputError

if TYPE_CHECKING:
    from zoo.config import Settings

# Set before torch is imported: torch then allocates large tensors in huge pages. With 4 kB pages, a
# third of a training step over a large vocabulary (half a second) went into new pages.
HUGE_PAGES = "THP_MEM_ALLOC_ENABLE", "1"

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

settings of the run:

{top}

groups; each is a folder in {configs}:

{groups}

Write a setting of a group as group.setting: train.epochs=3 backbone.hidden_size=256
task.pool=max data.path=FOLDER tokenizer.kind=subwords. `--cfg` prints all settings with the values
that a run would use. The file of a task or a corpus explains each of its settings.
"""


def main(arguments: list[str] | None = None) -> int:
    """Run a command line; returns the exit status.

    It is 0, or 2 after one line on standard error that says what is wrong.
    """
    began = time.time()
    os.environ.setdefault(*HUGE_PAGES)
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        if {"-h", "--help"} & set(arguments):
            print(_help())
        elif "--cfg" in arguments:
            _print_settings([a for a in arguments if a != "--cfg"])
        else:
            _run(arguments, began)
    except BrokenPipeError:  # `… | head`: the reader has closed the pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except InputError as error:
        return _fail(str(error))
    except OSError as error:  # full disk, read-only folder, …
        path = f"{error.filename}: " if error.filename else ""
        return _fail(f"{path}{error.strerror or error}")
    except RuntimeError as error:  # deterministic=true: torch refuses an operation
        if "deterministic" not in str(error):
            raise
        return _fail(f"deterministic=true: {error}")
    except KeyboardInterrupt:
        return _fail("interrupted before there was anything to save")
    return 0


def _fail(line: str) -> int:
    print(f"error: {' '.join(line.split())}", file=sys.stderr)
    return 2


def _help() -> str:
    from zoo.config import find_configs

    configs = find_configs()
    lines = (configs / "config.yaml").read_text("utf-8").splitlines()
    top = [line for line in lines if "#" in line and not line.startswith("#")]
    groups = []
    for folder in sorted(p for p in configs.iterdir() if p.is_dir() and p.name != "recipe"):
        names = " | ".join(sorted(p.stem for p in folder.glob("*.yaml")))
        groups.append(f"  {folder.name + '=':<12}{names}")
    shown = "\n".join("  " + line for line in top)
    return HELP.format(top=shown, groups="\n".join(groups), configs=configs)


def _print_settings(arguments: list[str]) -> None:
    import json

    from zoo.config import check, compose

    print(json.dumps(check(compose(arguments)).model_dump(), indent=1, ensure_ascii=False))


def _run(arguments: list[str], began: float) -> None:
    from zoo.config import check, check_together, compose

    wrong = next((a for a in arguments if "=" not in a), None)
    if wrong is not None:
        raise InputError(f"{wrong}: settings are given as NAME=VALUE; see --help")
    given = _with_task(arguments)
    settings = check(_with_generation(compose(given), given))
    check_together(settings, arguments)
    _log_to(sys.stdout if settings.mode == "train" else sys.stderr)
    command = shlex.join(["python", "-m", "zoo.run", *arguments])
    if settings.mode == "train":
        _train(settings, command, began)
    elif settings.mode == "evaluate":
        _evaluate(settings)
    elif settings.mode in ("predict", "chat"):
        _use(settings)
    else:
        _explain(settings)


def _with_task(arguments: list[str]) -> list[str]:
    """Add the task of `model=` to the arguments. Raises InputError if `task=` names another one."""
    given = dict(argument.partition("=")[::2] for argument in arguments)
    if "model" not in given:
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
    return [f"task={name}", *(a for a in arguments if not a.startswith("task="))]


def _with_generation(composed: dict[str, Any], arguments: list[str]) -> dict[str, Any]:
    """Replace the recipe's generation config by that of `model=`; the arguments override both."""
    from zoo.config import compose
    from zoo.model_folder.verify import read_generation

    saved = None if composed["model"] is None else read_generation(composed["model"])
    if saved is not None:
        others = [a for a in arguments if not a.lstrip("+").startswith("generation")]
        recipe = compose(others)["generation"]
        names = {a.lstrip("+").partition("=")[0] for a in arguments}
        given = {
            name: value
            for name, value in composed["generation"].items()
            if value != recipe[name] or f"generation.{name}" in names
        }
        composed["generation"] = vars(saved) | given
    return composed


def _log_to(stream: Any) -> None:
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter("%(message)s"))
    log = logging.getLogger("zoo")
    log.handlers = [handler]
    log.propagate = False
    rank = int(os.environ.get("RANK", "0"))  # of several processes, only the first one logs
    log.setLevel(logging.INFO if rank == 0 else logging.ERROR)


def _train(settings: Settings, command: str, began: float) -> None:
    from zoo.training import pipeline

    folder, report = pipeline.run(settings, command, began)
    if report:
        from zoo.cli.summary import training

        training(folder, report)


def _evaluate(settings: Settings) -> None:
    import json

    from zoo.files import write_text
    from zoo.training import pipeline

    task, metrics = pipeline.evaluate_saved(settings)
    if settings.out is not None:
        report = {"task": task.name, "data": settings.data["name"], "test": metrics}
        path = Path(settings.out) / "report.json"
        write_text(path, json.dumps(report, indent=1) + "\n")
    for name, value in metrics.items():
        print(f"{name} {value:.4f}")


def _use(settings: Settings) -> None:
    from zoo import device
    from zoo.loading import load
    from zoo.training.build import configure

    task = load(str(settings.model), str(device.find_device(settings.device)))
    configure(task, settings)
    if settings.mode == "chat":
        from zoo.cli import chat

        chat.start(task)
    else:
        from zoo.cli.predict import predict

        predict(task, settings)


def _explain(settings: Settings) -> None:
    from itertools import islice

    from zoo.cli import explain
    from zoo.cli.summary import explanation
    from zoo.data.dataset import Batch
    from zoo.data.readers import Row
    from zoo.loading import load
    from zoo.training import build

    if settings.model is not None:
        task = load(settings.model)
        build.configure(task, settings)
    else:
        splits = build.open_rows(settings, build.check_options(settings)[0])
        task = build.build(settings, splits, rows=2000)
    if settings.text is not None:
        rows = [Row({"text": settings.text}, "text")]
    else:
        rows = list(islice(build.open_rows(settings, type(task)).valid, 8))
    inputs = [task.input_row(row) for row in rows]
    batch = Batch.collate([task.encode(row) for row in inputs], range(len(inputs)))
    explanation(task, batch)
    if settings.text is not None and int(batch.lengths[0]):
        folder = Path(settings.out or f"runs/explain-{task.name}")
        print(f"gates over the tokens: {explain.draw(task, batch, folder)}")
        path = folder / "answer.png"
        if task.plot(inputs[0], next(task.predict_rows(inputs)), path):
            print(f"its answer as a picture: {path}")


if __name__ == "__main__":
    sys.exit(main())
