"""Change model folders and checkpoints; each change must be seen, or be harmless.

    python tests/campaigns/strangers.py KIND [COUNT] [SEED]

KIND: flips        a bit of a file of a shipped folder: refused
      checkpoints  a bit of a file of a checkpoint: refused, or the epoch before is said and taken,
                   or the file is not read, and the run goes on to the same bits
      config       a wild number in config.json, hashes written again: one line or a model
      files        changed weights or tokenizers, hashes written again: one line or a model
"""

from __future__ import annotations

import json
import logging
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.extend([str(Path(__file__).parents[1]), str(Path(__file__).parents[1] / "cases")])
from conftest import resume, same, train
from every_task import untrained
from folder_cases import sign

import zoo
from zoo.errors import InputError
from zoo.generation.config import GenerationConfig
from zoo.model_folder.verify import SHIPPED
from zoo.task import Generative
from zoo.training import checkpoint
from zoo.training.loop import Stopped

SMALL = ("classify/langid", "translate/localise-en-ja", "tag/fields", "generate/pydoc")
WILD = [0, -1, 1, 2, 20_000, 100_000, 10**6, 10**9, 2**31, 2**63, 10**30, 1.5, "x", None, True]
WILD += [[], {}, [10**9] * 1000]
SLOW = 5.0  # seconds of work
MOST = 1_000_000  # kB


def flip(path: Path, chance: random.Random) -> str:
    """Flip a bit of a file; where it is."""
    data = bytearray(path.read_bytes())
    place, bit = chance.randrange(len(data)), chance.randrange(8)
    data[place] ^= 1 << bit
    path.write_bytes(data)
    return f"{path.name}, byte {place} of {len(data)}, bit {bit}"


def flips(count: int, chance: random.Random, place: Path) -> Iterator[str]:
    """Flip bits in every file of every shipped folder."""
    models = sorted(path.parent for path in SHIPPED.glob("*/*/config.json"))
    copies = [Path(shutil.copytree(each, place / each.name)) for each in models]
    paths = [path for each in copies for path in sorted(each.iterdir())]
    for number in range(count):
        path = paths[number % len(paths)]
        before = path.read_bytes()
        where = flip(path, chance)
        try:
            zoo.load(path.parent)
        except InputError as error:
            yield "" if "\n" not in str(error) else f"{where}: {error}"
        else:
            yield f"{path.parent.name}, {where}: not seen"
        path.write_bytes(before)


class _Said(logging.Handler):
    """Keep what is logged."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


def checkpoints(count: int, chance: random.Random, place: Path) -> Iterator[str]:
    """Flip bits in every file of the checkpoint of an interrupted run; a resume must see them."""
    begun = place / "begun"
    child = os.fork()
    if not child:
        interrupted(begun)
    os.waitpid(child, 0)
    whole = Path(shutil.copytree(begun, place / "whole"))
    resume(whole)
    names = [p for p in sorted((begun / "checkpoint").iterdir()) if p.is_file()]
    said = _Said()
    logging.getLogger("zoo").addHandler(said)
    for number in range(count):
        folder = Path(shutil.copytree(begun, place / "run", dirs_exist_ok=False))
        where = flip(folder / "checkpoint" / names[number % len(names)].name, chance)
        said.lines.clear()
        try:
            resume(folder)
        except InputError as error:
            yield "" if "\n" not in str(error) else f"{where}: {error}"
        except Exception as error:
            yield f"{where}: {type(error).__name__}: {error}"
        else:
            told = any("before" in line and "checkpoint" in line for line in said.lines)
            yield "" if told or same(folder, whole) else f"{where}: not seen"
        shutil.rmtree(folder)


def interrupted(folder: Path) -> None:
    """Train until a checkpoint and one before it are there, then end this process at once."""
    logging.disable(logging.CRITICAL)
    save = checkpoint.save

    def count_and_stop(*given: Any, **options: Any) -> None:
        save(*given, **options)
        if (folder / "checkpoint" / checkpoint.PREVIOUS).exists():
            os.kill(os.getpid(), signal.SIGKILL)

    checkpoint.save = count_and_stop
    try:
        train(folder, "train.epochs=4", "train.patience=0")
    except Stopped:
        pass
    finally:
        os._exit(1)


def numbers(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the paths of the single values inside nested objects."""
    if isinstance(value, dict):
        for key, each in value.items():
            yield from numbers(each, (*path, key))
    elif not isinstance(value, list):
        yield path


def config(count: int, chance: random.Random, place: Path) -> Iterator[str]:
    """Write a wild value into config.json, and the hashes again."""
    for folder in copies(count, chance, place):
        path = folder / "config.json"
        whole = json.loads(path.read_text("utf-8"))
        own = {key: value for key, value in whole.items() if key != "metadata"}
        keys, value = chance.choice([*numbers(own)]), chance.choice(WILD)
        inner = whole
        for key in keys[:-1]:
            inner = inner[key]
        inner[keys[-1]] = value
        path.write_text(json.dumps(whole), "utf-8")
        yield used(folder, f"{'.'.join(keys)}={str(value)[:30]}")


def files(count: int, chance: random.Random, place: Path) -> Iterator[str]:
    """Change a file of weights or of a processor, and write the hashes again."""
    known = {"manifest.json", "README.md", "expected.json", "config.json"}
    for folder in copies(count, chance, place):
        path = chance.choice([p for p in sorted(folder.iterdir()) if p.name not in known])
        data, kind = bytearray(path.read_bytes()), chance.randrange(5)
        start = chance.randrange(len(data))
        if kind == 0:
            for _ in range(chance.choice([1, 5, 50])):
                data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        elif kind == 1:
            data[chance.randrange(min(len(data), 2000))] = chance.randrange(256)
        elif kind == 2:
            del data[start:]
        elif kind == 3:
            data[start:start] = data[start : start + chance.randrange(1, 500)]
        else:
            data[start : start + 50] = chance.randbytes(50)
        path.write_bytes(data)
        yield used(folder, f"{path.name}, change {kind} at {start}")


def copies(count: int, chance: random.Random, place: Path) -> Iterator[Path]:
    """Yield a copy of a small shipped model, or of a small one of format 2, so many times."""
    own = {name: place / f"own-{name}" for name in ("classify", "tag", "translate", "generate")}
    for name, folder in own.items():
        untrained(name).save(folder)
    models = [*(SHIPPED / name for name in SMALL), *own.values()]
    for _ in range(count):
        shutil.rmtree(place / "model", ignore_errors=True)
        yield Path(shutil.copytree(chance.choice(models), place / "model"))


def used(folder: Path, what: str) -> str:
    """Sign, load and use a model; return what is wrong with that, or ""."""
    sign(folder)
    task = json.loads((folder / "config.json").read_text("utf-8")).get("task")
    what = f"{task}: {what}"
    began, short = time.process_time(), GenerationConfig(max_length=5, beam_size=2)
    try:
        model = zoo.load(folder)
        options = {"config": short} if isinstance(model, Generative) else {}
        model.predict("the sea is 3 km away", **options)
    except InputError as error:
        if "\n" in str(error):
            return f"{what}: {error}"
    except Exception as error:
        return f"{what}: {type(error).__name__}: {error}"
    took, largest = time.process_time() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return f"{what}: {took:.1f} s, {largest:,} kB" if took > SLOW or largest > MOST else ""


KINDS = {"flips": flips, "checkpoints": checkpoints, "config": config, "files": files}
USUAL = {"flips": 400, "checkpoints": 200, "config": 80, "files": 1_200}


def main(arguments: list[str]) -> int:
    """Run one kind of change and print what went wrong. 1 if anything did."""
    if not arguments or arguments[0] not in KINDS:
        print((__doc__ or "").strip(), file=sys.stderr)
        return 2
    kind = arguments[0]
    count = int(arguments[1]) if arguments[1:] else USUAL[kind]
    chance = random.Random(int(arguments[2]) if arguments[2:] else 0)
    found = done = 0
    with tempfile.TemporaryDirectory() as place:
        for wrong in KINDS[kind](count, chance, Path(place)):
            done += 1
            if wrong:
                found += 1
                print(wrong, flush=True)
            if done in (10, 50) or done % 100 == 0:
                print(f"{kind}: {done:,} done, {found} wrong", flush=True)
    print(f"{kind}: {done:,}, {found} wrong")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
