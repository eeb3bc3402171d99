"""Start trainings of one folder at almost the same moment; no run may be lost, none end badly.

    python tests/campaigns/starts.py [ROUNDS] [SEED] [SECONDS]

Two or three processes begin 0 to SECONDS apart (10), with one `out=` or with default names. With one
`out=` exactly one may train, and the others end with one line; with default names each has its own.
"""

from __future__ import annotations

import logging
import os
import random
import sys
import tempfile
import time
import traceback
from pathlib import Path

sys.path.extend([str(Path(__file__).parents[1]), str(Path(__file__).parents[1] / "cases")])
from conftest import DATA, SMALL

from zoo import run

WORDS = ["task=classify", "data=files", f"data.train={DATA / 'classify.jsonl'}", *SMALL]
WORDS += ["threads=1", "train.epochs=1"]


def start(folder: Path, words: list[str], seconds: float, output: Path) -> int:
    """Fork a child that waits and then trains in a folder; its process number."""
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        with open(output, "wb") as file:
            for stream in (1, 2):
                os.dup2(file.fileno(), stream)
        os.chdir(folder)
        time.sleep(seconds)
        status = run.main(words)
    except BaseException:
        traceback.print_exc()
    finally:
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def is_whole(folder: Path) -> bool:
    """Whether a run has ended there and nothing half-written is left."""
    left = [*folder.rglob("*.part"), *folder.glob("checkpoint")]
    return (folder / "manifest.json").exists() and (folder / "report.json").exists() and not left


def one_round(folder: Path, chance: random.Random, apart: float) -> str:
    """Start two or three trainings; return what went wrong, or ""."""
    count, shared = chance.choice([2, 3]), chance.random() < 0.6
    words = [*WORDS, "out=run"] if shared else WORDS
    waits = [chance.choice([0.0, 0.05, apart * chance.random()]) for _ in range(count)]
    outputs = [folder / f"{number}.log" for number in range(count)]
    work = folder / "work"
    work.mkdir()
    children = [start(work, words, *each) for each in zip(waits, outputs, strict=True)]
    statuses = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    said = [output.read_text("utf-8", "replace") for output in outputs]
    runs = [work / "run"] if shared else sorted((work / "runs").iterdir())
    named = "one out" if shared else "default names"
    if any("Traceback" in text for text in said):
        return f"{named}: traceback: {[text.splitlines()[-1:] for text in said]}"
    if statuses.count(0) != len(runs) or {*statuses} - {0, 2}:
        return f"{named}: statuses {statuses} and {len(runs)} runs"
    if len(runs) != (1 if shared else count) or not all(map(is_whole, runs)):
        return f"{named}: {[*map(str, runs)]} are not whole: {statuses}"
    return ""


def main(arguments: list[str]) -> int:
    """Play the rounds and print what went wrong. 1 if anything did."""
    rounds = int(arguments[0]) if arguments else 60
    chance = random.Random(int(arguments[1]) if arguments[1:] else 0)
    apart = float(arguments[2]) if arguments[2:] else 10.0
    found = 0
    for number in range(1, rounds + 1):
        with tempfile.TemporaryDirectory() as folder:
            wrong = one_round(Path(folder), chance, apart)
        found += bool(wrong)
        print(f"{number}/{rounds}: {wrong or 'good'}", flush=True)
    print(f"starts: {rounds} rounds, {found} wrong")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
