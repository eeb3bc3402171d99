"""Compare what a server answers to many clients at once with what `predict` answers one by one."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from zoo.bench.serve.clients import Asked, ask, server
from zoo.config import check, compose
from zoo.errors import InputError
from zoo.generation.config import GenerationConfig
from zoo.loading import load
from zoo.model_folder.verify import read_config
from zoo.prediction.answer_rows import AnswerColumns
from zoo.registry import find
from zoo.task import Generative, Task, predict_rows
from zoo.training.rows import open_rows

OWN = {"clients": 32, "seconds": 60, "texts": 512}  # settings of this benchmark
ROUNDING = 1e-5  # of probabilities: sums of float32 in another order
# One request at a time, each a batch of its own.
ALONE = ("serve.batch_inputs=1", "serve.batch_wait=0", "threads=1")
CONFIGS: tuple[dict[str, Any], ...] = (
    {},
    {"beam_size": 1},
    {"beam_size": 3, "n_best": 2},
    {"length_penalty": 0.3},
    {"max_length": 5},
    {"repetition_penalty": 1.5},
    {"sample": True, "seed": 1},
    {"sample": True, "seed": 2, "temperature": 0.7, "top_k": 10, "n_best": 2},
)  # client n asks for the n-th of them


def serve(arguments: Sequence[str], rounds: int) -> Iterator[dict[str, Any]]:
    """Measure a server: `model=NAME data=… clients=32 seconds=60 texts=512`.

    Our side forms batches, the peer serves one request at a time. Each answer is compared with that
    of `predict` to its text alone. Clients of a model that generates have different configs.
    """
    del rounds  # it runs for `seconds`
    given = dict(argument.partition("=")[::2] for argument in arguments)
    own = {name: int(given.pop(name, value)) for name, value in OWN.items()}
    name = given.pop("model", None)
    if name is None:
        raise InputError("serve needs model=NAME and the data= of its texts")
    served = [f"{key}={given.pop(key)}" for key in [*given] if key.startswith("serve.")]
    ours_threads = [f"threads={given['threads']}"] if "threads" in given else []
    task = load(name)
    texts = _texts(read_config(name)["task"], given, own["texts"])
    bodies, wanted = _questions(task, texts, own["clients"])
    with server(name, *served, *ours_threads) as port:
        ask(port, bodies, min(5, own["seconds"]))  # warm
        ours = ask(port, bodies, own["seconds"])
    with server(name, *served, *ALONE) as port:
        ask(port, bodies, min(5, own["seconds"]))
        alone = ask(port, bodies, own["seconds"])
    yield {
        "name": f"serve {name}, {own['clients']} clients, {own['seconds']} s",
        "unit": "requests/s",
        "ours": ours.rate,
        "peer": alone.rate,
        "ratio": ours.rate / alone.rate,
        "requests": len(ours.got) + len(alone.got),
        "wrong": _wrong(ours, wanted) + _wrong(alone, wanted),
        "p50": ours.quantile(0.5),
        "p99": ours.quantile(0.99),
        "p99_alone": alone.quantile(0.99),
        "memory": ours.memory,
    }


def _texts(task: str, given: Mapping[str, str], count: int) -> list[str]:
    """Return different test texts of a corpus, in a fixed random order."""
    settings = check(compose([f"task={task}", *(f"{k}={v}" for k, v in given.items())]))
    kind = find(task)
    rows = open_rows(settings, kind).test
    names = *kind.input_columns, "text"  # which a language model continues
    found = (next(row[name] for name in names if name in row) for row in rows)
    texts = [*dict.fromkeys(" ".join(t) if isinstance(t, list) else str(t) for t in found)]
    step = max(1, len(texts) // count)  # spread: corpora are sorted
    return texts[::step][:count]


def _questions(
    task: Task, texts: Sequence[str], clients: int
) -> tuple[list[list[tuple[int, dict[str, Any]]]], list[Any]]:
    """Return the numbered bodies that each client sends, and the right answers by number."""
    bodies: list[list[tuple[int, dict[str, Any]]]] = [[] for _ in range(clients)]
    wanted = []
    for number, text in enumerate(texts):
        client = number % clients
        options = CONFIGS[client % len(CONFIGS)] if isinstance(task, Generative) else None
        body: dict[str, Any] = {"input": text}
        config: GenerationConfig | None = None
        if options is not None and isinstance(task, Generative):
            body["generation"] = options
            config = replace(task.config.generation, **options)
        answer = next(predict_rows(task, [task._as_row(text)], config=config))
        wanted.append(AnswerColumns(task, 1, 0.0, config).as_json(answer))
        bodies[client].append((number, body))
    return bodies, wanted


def _wrong(asked: Asked, wanted: Sequence[Any]) -> int:
    """Return the number of answers that are not those of `predict`."""
    found = 0
    for number, status, body, _ in asked.got:
        right = status == 200 and same(json.loads(body)["answers"], [wanted[number]])
        found += not right
    return found


def same(found: Any, wanted: Any) -> bool:
    """Return whether answers are equal, numbers up to ROUNDING."""
    if isinstance(wanted, Mapping):
        return found.keys() == wanted.keys() and all(same(found[k], wanted[k]) for k in wanted)
    if isinstance(wanted, list):
        return len(found) == len(wanted) and all(map(same, found, wanted))
    if isinstance(wanted, float):
        return math.isclose(found, wanted, rel_tol=ROUNDING, abs_tol=ROUNDING)
    return bool(found == wanted)
