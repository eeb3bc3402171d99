"""python -m zoo.bench gpu --minutes M --json FILE"""

from __future__ import annotations

import argparse
import json
import shlex
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from zoo import device as machine
from zoo.bench import gpu
from zoo.bench.gpu import packages
from zoo.bench.gpu.parts import Found, Setting, conduct
from zoo.errors import InputError
from zoo.files import write_text
from zoo.files.own_files import check_new
from zoo.messages import failed

# Each part has so many seconds of ten minutes. The last one gets what is left.
PARTS = {
    "right": 90,
    "kernels": 150,
    "tasks": 120,
    "strength": 240,
}
# A rehearsal on a CPU spends more time on starting processes than on measuring.
REHEARSED = {"right": 24, "kernels": 14, "tasks": 10, "strength": 12}


def main(arguments: Sequence[str]) -> int:
    """Run the programme and return the exit status.

    The status is 0, or 2 after one line on standard error. A part that fails counts as a result.
    """
    chosen = _parser().parse_args(arguments)
    try:
        programme(chosen, shlex.join(["python", "-m", "zoo.bench", "gpu", *arguments]))
    except (InputError, OSError) as error:
        return failed(error)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m zoo.bench gpu",
        description=(gpu.__doc__ or "").split("\n")[0],
        epilog=packages.epilog(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--minutes", type=_minutes, default=10.0, help="for all parts together")
    parser.add_argument("--json", type=Path, required=True, help="write the results into this file")
    parser.add_argument("--overwrite", action="store_true", help="replace earlier results")
    parser.add_argument(
        "--device",
        choices=("auto", "cpu", "cuda"),
        default="auto",
        help="cpu rehearses every part with tiny sizes",
    )
    parser.add_argument("--data", type=Path, help="a folder with WikiText-2, for strength")
    parser.add_argument("--keep", type=Path, help="a folder for the pieces of the trained model")
    parser.add_argument(
        "--only", type=_names, default=[*PARTS], help=f"some parts only: {','.join(PARTS)}"
    )
    return parser


def _minutes(text: str) -> float:
    minutes = float(text)
    if not 0 < minutes < 1e6:
        raise argparse.ArgumentTypeError(f"{text}: minutes are more than 0")
    return minutes


def _names(text: str) -> list[str]:
    names = text.split(",")
    if wrong := [name for name in names if name not in PARTS]:
        raise argparse.ArgumentTypeError(f"{wrong[0]}: no such part")
    return [name for name in PARTS if name in names]


def programme(
    chosen: argparse.Namespace, command: str, module: str = "zoo.bench.gpu.{}"
) -> dict[str, Any]:
    """Run the parts one after the other, and write the JSON file after every result."""
    check_new(chosen.json, chosen.overwrite, "--overwrite")
    device = machine.find_device(chosen.device).type
    shares = PARTS if device == "cuda" else REHEARSED
    if chosen.data is not None and not chosen.data.is_dir():
        raise InputError(f"--data {chosen.data}: no such folder")
    began = time.time()
    end = began + 60 * chosen.minutes
    report: dict[str, Any] = {
        "head": {"device": device, "versions": machine.versions()},
        "command": command,
        "minutes": chosen.minutes,
        "missing_packages": packages.missing(),
        "seconds": 0.0,
        "parts": {},
        "imported": [],
    }
    _write(chosen.json, report)
    for name in chosen.only:
        last = name == chosen.only[-1]
        seconds = 60 * chosen.minutes * shares[name] / sum(shares[each] for each in chosen.only)
        left = end - time.time()
        seconds = left if last else min(seconds, left)
        setting = Setting(
            device, seconds, time.time() + seconds, _text(chosen.data), _text(chosen.keep)
        )
        conduct(module.format(name), setting, _saver(name, report, chosen.json, began))
    return report


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)


def _saver(name: str, report: dict[str, Any], path: Path, began: float) -> Callable[[Found], None]:
    """Return a function that writes a part's results into the file and prints a line for each."""
    said: set[str] = set()

    def save(found: Found) -> None:
        report["head"] |= found.head
        report["parts"][name] = found.plain()
        report["imported"] = sorted({*report["imported"], *found.imported})
        report["seconds"] = round(time.time() - began, 1)
        _write(path, report)
        for each, measured in found.measurements.items():
            if each not in said and ("seconds" in measured or "error" in measured):
                said.add(each)
                print(f"{name}: {each}: {_said(measured)}", flush=True)
        if found.took is not None:
            reached = len(found.measurements)
            failed = "".join(f"; {each['error']}" for each in found.failures)
            print(
                f"{name}: {reached} of {reached + len(found.missed)} measurements in "
                f"{found.took:.1f} s{failed}",
                flush=True,
            )

    return save


def _said(measured: dict[str, Any]) -> str:
    if "error" in measured:
        return measured["error"].splitlines()[0]
    return f"{len(measured['cases'])} cases in {measured['seconds']:.1f} s"


def _write(path: Path, report: dict[str, Any]) -> None:
    write_text(path, json.dumps(report, indent=1, allow_nan=False) + "\n")
