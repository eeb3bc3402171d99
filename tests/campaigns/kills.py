"""Kill trainings of every task at random moments; each must go on to the bits of one left alone.

    python tests/campaigns/kills.py [KILLS PER TASK] [SEED] [TASK …]

After SIGKILL the next command opens the folder and goes on; SIGTERM, SIGINT and SIGHUP come twice in
a row. At the end the folder must hold the files of the training that was left alone, and no others.
"""

from __future__ import annotations

import hashlib
import logging
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

sys.path.extend([str(Path(__file__).parents[1]), str(Path(__file__).parents[1] / "cases")])
from conftest import resume, train

from zoo.errors import InputError
from zoo.files.run_folder import has_checkpoint
from zoo.training.resume.cleaning import clean

SUBWORDS = ["tokenizer.kind=subwords", "tokenizer.size=80"]
SETTINGS = {
    "classify": [],
    "tag": ["task.crf=true", "task.unseen_words=0.2"],
    "translate": [*SUBWORDS, "task.subword_sampling=0.2"],
    "generate": SUBWORDS,
    "forecast": [],
}
SHORT = ["train.epochs=3", "train.patience=0", "train.checkpoint_steps=3"]
ASKED = signal.SIGTERM, signal.SIGINT, signal.SIGHUP
STEP = 0.003  # seconds between two looks at a child
CRASHED = 3  # exit status of a child that raised what it should not


def start(work: Callable[[], None]) -> int:
    """Fork a child that does some work; its process number. Being interrupted is no crash."""
    child = os.fork()
    if child:
        return child
    status = CRASHED
    try:
        logging.disable(logging.CRITICAL)
        work()
        status = 0
    except (InputError, KeyboardInterrupt) as error:
        status = 0 if "interrupted" in str(error) or not str(error) else CRASHED
        if status:
            print("child:", error, flush=True)
    except BaseException as error:
        print("child:", repr(error)[:300], flush=True)
    finally:
        os._exit(status)


def wait(child: int, seconds: float, number: signal.Signals) -> tuple[int, bool]:
    """Wait, then send a signal; return the exit status, and whether the signal was sent."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status), False
        time.sleep(STEP)
    os.kill(child, number)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), True


def files(folder: Path) -> set[str]:
    """The files in a folder and those below it."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def weights(folder: Path) -> str:
    return hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()


def is_finished(folder: Path) -> bool:
    """Whether a run has ended, once the next command has opened its folder."""
    if folder.is_dir():
        clean(folder)
    return (folder / "resume").is_dir() and not (folder / "checkpoint").exists()


def go_on(folder: Path, task: str) -> None:
    """What a user does next: resume the run if it has a checkpoint, else begin again."""
    if folder.is_dir():
        clean(folder)
    if has_checkpoint(folder / "checkpoint"):
        resume(folder)
    else:
        train(folder, *SETTINGS[task], *SHORT, task=task)


def campaign(
    task: str, kills: int, chance: random.Random, place: Path
) -> tuple[int, int, list[str]]:
    """Kill runs of a task; return the kills, the runs, and what went wrong, one line each."""
    whole = place / f"{task}-whole"
    began = time.monotonic()
    if wait(start(partial(go_on, whole, task)), 3600, signal.SIGKILL) != (0, False):
        return 0, 0, [f"{task}: fails without a kill"]
    took = time.monotonic() - began
    sent, runs, wrong = 0, 0, []
    while sent < kills:
        runs += 1
        folder = place / f"{task}-{runs}"
        plan = [signal.SIGKILL] * 3 if runs % 3 else [chance.choice(ASKED)] * 2
        while not is_finished(folder):
            moment = chance.random() * took if plan else 3600.0
            number = plan.pop() if plan else signal.SIGKILL
            status, was_sent = wait(start(partial(go_on, folder, task)), moment, number)
            sent += was_sent
            if status == CRASHED:
                break
        if not is_finished(folder):
            wrong.append(f"{task}, run {runs}: not finished, see {folder}")
        elif weights(folder) != weights(whole):
            wrong.append(f"{task}, run {runs}: other weights, see {folder}")
        elif files(folder) != files(whole):
            wrong.append(f"{task}, run {runs}: {sorted(files(folder) ^ files(whole))}")
        print(f"{task}: {sent} kills, {runs} runs, {len(wrong)} wrong", flush=True)
    return sent, runs, wrong


def main(words: list[str]) -> int:
    """Kill each task's runs; print a line for each. 1 if anything went wrong."""
    kills, seed = int(words[0]) if words else 40, int(words[1]) if words[1:] else 0
    place = Path(tempfile.mkdtemp(prefix="kills-"))
    failed = 0
    for task in words[2:] or SETTINGS:
        sent, runs, wrong = campaign(task, kills, random.Random(f"{seed} {task}"), place)
        print(f"{task}: {sent} kills, {runs} runs:", *wrong or ["good"], sep="\n", flush=True)
        failed += len(wrong)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
