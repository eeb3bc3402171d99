"""python -m zoo.hub: shipped models, and model folders on the Hugging Face hub."""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

from zoo.errors import InputError
from zoo.messages import _, failed


def main(arguments: list[str] | None = None) -> int:
    """Run a command. Return 0, 1 when a check fails, or 2 after an error on standard error."""
    parser = _parser()
    chosen, more = parser.parse_known_args(arguments)  # settings may stand behind --out
    if more and (chosen.command != "retrain" or any(text.startswith("-") for text in more)):
        parser.error(f"unrecognized arguments: {' '.join(more)}")
    chosen.more = more
    commands = {
        "list": _list,
        "check": _check,
        "retrain": _retrain,
        "push": _push,
        "pull": _pull,
    }
    try:
        return commands[chosen.command](chosen)
    except (InputError, OSError) as error:
        return failed(error)
    except KeyboardInterrupt:
        return failed(_("interrupted; the same command goes on"))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m zoo.hub", description=__doc__)
    parts = parser.add_subparsers(dest="command", required=True)
    parts.add_parser("list", help="the shipped models")
    part = parts.add_parser("check", help="compare a model's answers with its expected.json")
    part.add_argument("name", nargs="*", help="model folders or names; all shipped ones if none")
    part = parts.add_parser("retrain", help="train a shipped model again, by its recipe")
    part.add_argument("name")
    part.add_argument("settings", nargs="*", help="as for zoo.run: data.path=FOLDER")
    part.add_argument("--out", type=Path, help="folder of the trainings; default runs/TASK-NAME")
    part = parts.add_parser("push", help="copy a model folder to the Hugging Face hub")
    part.add_argument("model", help="a model folder or name")
    part.add_argument("to", help="OWNER/NAME on the hub, or a folder")
    part.add_argument("--overwrite", action="store_true", help="replace an earlier model there")
    part = parts.add_parser("pull", help="fetch a model folder, and check it")
    part.add_argument("source", help="OWNER/NAME on the hub, or a folder")
    part.add_argument("folder", type=Path, nargs="?", help="without: zoo.load(OWNER/NAME) finds it")
    part.add_argument("--revision", help="a branch, tag or commit of the hub")
    return parser


def _list(chosen: argparse.Namespace) -> int:
    from zoo.hub.shipped import list_models

    print(list_models())
    return 0


def _check(chosen: argparse.Namespace) -> int:
    from zoo.hub.retrain import examples
    from zoo.loading import load
    from zoo.model_folder.verify import read_expected, shipped

    failed = 0
    for name in chosen.name or shipped():
        model = load(name)
        expected = read_expected(name)
        found = examples(model, [case["input"] for case in expected])
        wrong = [(old, new) for old, new in zip(expected, found, strict=True) if old != new]
        print(f"{name}: {len(expected) - len(wrong)} of {len(expected)} answers as expected")
        for old, new in wrong:
            print(f"  {old['input']}: {old['answer']}, now {new['answer']}")
        failed += bool(wrong)
    return int(failed > 0)


def _retrain(chosen: argparse.Namespace) -> int:
    from zoo.hub.retrain import differences, retrain

    logging.basicConfig(format="%(message)s", level=logging.WARNING, stream=sys.stdout)
    logging.getLogger("zoo").setLevel(logging.INFO)
    made = retrain(chosen.name, chosen.settings + chosen.more, chosen.out)
    for metric, own, other in differences(chosen.name, made):
        print(f"{metric}: {other:.4f}, shipped {own:.4f}")
    print(f"made: {made}")
    return 0


def _push(chosen: argparse.Namespace) -> int:
    from zoo.hub.remote import push

    print(push(chosen.model, chosen.to, chosen.overwrite))
    return 0


def _pull(chosen: argparse.Namespace) -> int:
    from zoo.hub.remote import pull

    print(pull(chosen.source, chosen.folder, chosen.revision))
    if chosen.folder is None:
        print(f"zoo.load({chosen.source!r}) and model={chosen.source} find it there")
    return 0


if __name__ == "__main__":
    sys.exit(main())
