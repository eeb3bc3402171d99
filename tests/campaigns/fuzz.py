"""Feed wild settings, command lines, chats, files and texts; nothing may end with a traceback.

    python tests/campaigns/fuzz.py KIND [COUNT] [SEED]

KIND: settings  each setting at its bounds, beyond them, and at other extremes, in a small training
      words     mutated command lines of every mode and program
      chat      lines and commands of a chat
      readers   mutated files of every format
      texts     texts for a small model of each task, and for the shipped models
"""

from __future__ import annotations

import gzip
import io
import logging
import os
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

sys.path.extend([str(Path(__file__).parents[1]), str(Path(__file__).parents[1] / "cases")])
from conftest import DATA, SMALL
from every_task import TASKS, untrained
from forked import forked

import zoo
from zoo import memory, run
from zoo.cli.chat import Chat
from zoo.config import compose
from zoo.data import readers
from zoo.errors import InputError
from zoo.generation.config import GenerationConfig
from zoo.model_folder.verify import SHIPPED
from zoo.option_classes import flat

FREE = 1_500_000_000  # bytes of memory that a case may count on
LIMIT = 4_500_000_000  # bytes of addresses that it may take: torch alone maps two billion
WORK = 30  # seconds of work of a case, then it counts as a run
NUMBERS = [0, 1, -1, 2, 0.5, 1.0, 1e-30, -1e-9, 1e30, 64, 65, 1000, 1001, 65_536, 65_537, 100_000]
NUMBERS += [1_000_001, 10**9, 10**9 + 1, 2**31, 2**32, 2**63, 10**30]
WORDS = [
    "nan",
    "inf",
    "-inf",
    "1e400",
    "",
    "null",
    "true",
    "x",
    "[]",
    "[1]",
    "{a: 1}",
    "''",
    "日本",
]
WORDS += ["a=b", "${oc.env:HOME}", "../..", "\udcff", "-", "\\", "'", '"', "9" * 5000]
CHARACTERS = "aZ0 9.,:;/\\'\"|{}[]()<>=~#$%&*+-_?!\t\u3000日é\u0301\u200b\ufeff\udc80\ud83d\U0001f600\x00\x1b"


def command(words: list[str], folder: Path) -> str:
    """Run a command line in a folder; return what is wrong with its end, or ""."""

    def work() -> int:
        os.chdir(folder)
        memory.free_memory = lambda device=None: FREE
        return run.main(words)

    status, said = forked(work, WORK, memory=LIMIT)
    ends = said.strip().splitlines()
    if "Traceback" in said:
        return f"traceback: {ends[-1][:200]}"
    if status in (0, -24):  # SIGXCPU: it was at work
        return ""
    errors = [line for line in ends if "error: " in line]
    runs = sum("failed" in line for line in ends if line.startswith("│"))  # -m: a line for each
    return "" if status == 2 and len(errors) == max(1, runs) else f"status {status}: {ends[-1:]}"


def settings(count: int, chance: random.Random) -> Iterator[str]:
    """Yield what is wrong when a setting has an extreme value."""
    with tempfile.TemporaryDirectory() as folder:
        for number in range(count):
            task = chance.choice(TASKS)
            given = [f"task={task}", "data=files", f"data.train={DATA / task}.jsonl", *SMALL]
            given += ["train.epochs=1", "threads=1", f"out=run-{number}"]
            name = chance.choice([*flat(compose(given)), *map("generation.{}".format, GENERATION)])
            value = chance.choice([*NUMBERS, *WORDS])
            words = [word for word in given if not word.startswith(f"{name}=")]
            wrong = command([*words, f"{name}={value}"], Path(folder))
            yield wrong and f"{task} {name}={str(value)[:40]!r}: {wrong}"


GENERATION = [*GenerationConfig.__dataclass_fields__]
LINES = [
    ["task=classify", "data=files", f"data.train={DATA / 'classify.jsonl'}", *SMALL, "out=run"],
    ["task=tag", "data=files", f"data.train={DATA / 'tag.jsonl'}", *SMALL, "train.epochs=1"],
    ["predict", "model=classify/langid", "text=the sea"],
    [
        "predict",
        "model=tag/fields",
        f"input={DATA / 'tag.jsonl'}",
        "format=json",
        "output=out.jsonl",
    ],
    ["evaluate", "model=classify/langid", "data=files", f"data.test={DATA / 'classify.jsonl'}"],
    ["explain", "model=classify/langid", "text=the sea", "out=pictures"],
    ["chat", "model=generate/pydoc"],
    ["hub", "list"],
    ["hub", "verify", "classify/langid"],
    ["hub", "push", "classify/langid", "folder"],
    ["export", "model=tag/fields", "to=x.pt2"],
    ["bench", "classify", "--rounds", "1"],
    ["--cfg", "task=forecast"],
    ["--help", "task=translate"],
    ["--complete", "train."],
    ["-m", "task=classify", "seed=1,2", "data=files", "data.train=nothing.jsonl"],
]


def mutated(text: str, chance: random.Random) -> str:
    """Change a text in one place."""
    place = chance.randrange(len(text) + 1)
    piece = "".join(chance.choices(CHARACTERS, k=chance.choice([1, 1, 2, 9])))
    kind = chance.randrange(5)
    if kind == 0:
        return text[:place] + piece + text[place:]
    if kind == 1:
        return text[:place] + text[place + chance.choice([1, 3]) :]
    if kind == 2:
        return text[:place] + piece + text[place + len(piece) :]
    if kind == 3:
        return text.partition("=")[0] + "=" + str(chance.choice([*NUMBERS, *WORDS]))
    return text[place:] + text[:place]


def words(count: int, chance: random.Random) -> Iterator[str]:
    """Yield what is wrong when a command line is mutated."""
    for _ in range(count):
        line = [*chance.choice(LINES)]
        for _ in range(chance.choice([1, 1, 2, 3])):
            place = chance.randrange(len(line))
            kind = chance.randrange(6)
            if kind == 0 and len(line) > 1:
                del line[place]
            elif kind == 1:
                line.insert(place, chance.choice(chance.choice(LINES)))
            else:
                line[place] = mutated(line[place], chance)
        with tempfile.TemporaryDirectory() as folder:
            wrong = command(line, Path(folder))
        yield wrong and f"{line}: {wrong}"


def text(chance: random.Random) -> str:
    """Return a text of wild characters."""
    kind = chance.randrange(4)
    length = chance.choice([0, 1, 3, 20, 200])
    if kind == 0:
        return "".join(chance.choices(CHARACTERS, k=length))
    if kind == 1:
        return "".join(chr(chance.randrange(0x110000)) for _ in range(length))
    if kind == 2:
        return " ".join(
            chance.choices(["the", "sea", "Rain", "12", "…", "\ud800", "a" * 50], k=length)
        )
    return mutated("Gulls follow the trawler home, 3 km away.", chance)


def chat(count: int, chance: random.Random) -> Iterator[str]:
    """Yield what is wrong with lines that are typed in a chat."""
    quick = GenerationConfig(max_length=8, beam_size=2)
    chats = [Chat(untrained(name)) for name in ("classify", "tag")]
    chats += [Chat(untrained(name), quick) for name in ("generate", "translate")]
    names = [*GENERATION, "settings", "help", "stop", "", "x", "quit "]
    for _ in range(count):
        one = chance.choice(chats)
        line = text(chance)
        if chance.random() < 0.5:
            value = chance.choice([*NUMBERS[:12], *WORDS, text(chance)])
            line = f"/{chance.choice(names)} {value}"
        source = io.StringIO(line.replace("\n", " ").replace("\r", " ") + "\n")
        try:
            one.run(source, io.StringIO())
        except Exception as error:
            yield f"{line[:80]!r}: {type(error).__name__}: {error}"
        else:
            yield ""
        if one.config is not None:  # else a long text would be generated from then on
            one.config = quick


BEGINNINGS = {
    ".jsonl": '{"text": "the sea", "label": "a"}\n{"text": "a\\u00e9 \\"b\\"", "label": "b"}\n',
    ".json": '[{"text": "the sea", "label": "a"}, {"text": "x", "label": "b"}]',
    ".csv": 'text,label\n"the, sea",a\nx;y,b\n"a ""b""",a\n',
    ".tsv": "text\tlabel\nthe sea\ta\nx\tb\n",
    ".txt": "the sea\n\nx y\n",
    ".conll": "Rain B-X\nfell O\n\nOslo B-Y\n",
    ".conllu": "# text = a\n1\tRain\train\tNOUN\t_\t_\t0\troot\t_\t_\n\n",
}


def file(folder: Path, chance: random.Random) -> Path:
    """Write a mutated file; its path."""
    suffix = chance.choice([*BEGINNINGS])
    data = bytearray(
        BEGINNINGS[suffix].encode(chance.choice(["utf-8", "utf-8", "utf-16", "utf-8-sig"]))
    )
    for _ in range(chance.choice([1, 1, 2, 5])):
        place = chance.randrange(len(data) + 1)
        kind = chance.randrange(4)
        if kind == 0:
            data[place:place] = chance.randbytes(chance.choice([1, 2, 8]))
        elif kind == 1:
            del data[place : place + chance.choice([1, 4, 30])]
        elif kind == 2:
            data[place:place] = chance.choice(CHARACTERS).encode("utf-8", "surrogatepass")
        else:
            data[place:place] = data[: chance.randrange(40)]
    packed = chance.random() < 0.05
    path = folder / f"file{suffix}{'.gz' * packed}"
    path.write_bytes(gzip.compress(bytes(data)) if packed else bytes(data))
    return path


def reading(count: int, chance: random.Random) -> Iterator[str]:
    """Yield what is wrong when mutated files are read."""
    shared = "/dev/shm" if os.path.isdir("/dev/shm") else None
    with tempfile.TemporaryDirectory(dir=shared) as folder:
        for _ in range(count):
            path = file(Path(folder), chance)
            try:
                for row in readers.read(path):
                    str(row).encode()
                yield ""
            except InputError as error:
                yield "" if "\n" not in str(error) else f"{path.read_bytes()!r}: {error}"
            except Exception as error:
                yield f"{path.name} {path.read_bytes()!r}: {type(error).__name__}: {error}"


def texts(count: int, chance: random.Random) -> Iterator[str]:
    """Yield what is wrong when models answer wild texts."""
    short = GenerationConfig(max_length=4, beam_size=1)
    models = {name: untrained(name) for name in TASKS if name != "forecast"}
    models |= {path.parent.name: zoo.load(path.parent) for path in SHIPPED.glob("*/*/config.json")}
    for number in range(count):
        name = [*models][number % len(models)]
        options = {"config": short} if hasattr(models[name], "generate") else {}
        given = text(chance)
        try:
            str(models[name].predict([given], **options)).encode()
            yield ""
        except InputError as error:
            yield "" if "\n" not in str(error) else f"{name} {given!r}: {error}"
        except Exception as error:
            yield f"{name} {given[:80]!r}: {type(error).__name__}: {error}"


KINDS = {"settings": settings, "words": words, "chat": chat, "readers": reading, "texts": texts}
USUAL = {"settings": 200, "words": 500, "chat": 3_000, "readers": 1_000_000, "texts": 20_000}


def main(arguments: list[str]) -> int:
    """Run one kind of fuzz and print what went wrong. 1 if anything did."""
    if not arguments or arguments[0] not in KINDS:
        print((__doc__ or "").strip(), file=sys.stderr)
        return 2
    kind = arguments[0]
    count = int(arguments[1]) if arguments[1:] else USUAL[kind]
    chance = random.Random(int(arguments[2]) if arguments[2:] else 0)
    logging.disable(logging.CRITICAL)
    began, done = time.monotonic(), 0
    found: Counter[str] = Counter()
    for wrong in KINDS[kind](count, chance):
        done += 1
        if wrong:
            found[wrong] += 1
            print(wrong, flush=True)
        if done in (10, 100) or done % 1000 == 0:
            print(f"{kind}: {done:,} done, {found.total()} wrong", flush=True)
    took = time.monotonic() - began
    print(f"{kind}: {done:,} in {took:,.0f} s, {found.total()} wrong")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
