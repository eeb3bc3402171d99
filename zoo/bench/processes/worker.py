"""A process that trains on the same batches whenever it reads a line: see `compare`."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from zoo.bench.sides import prepared
from zoo.config import check, compose
from zoo.errors import InputError
from zoo.messages import failed
from zoo.training.loop import step
from zoo.training.pipeline import set_up_process
from zoo.training.state import TrainingState

ROWS = 2048
BATCHES = 12  # in a round, at most


def main(arguments: Sequence[str]) -> int:
    """Answer each line of standard input with the tokens of a round; returns the exit status."""
    try:
        settings = check(compose([*arguments]))
        accelerator, _ = set_up_process(settings)
        rows, task = prepared(settings, ROWS)
    except InputError as error:
        return failed(error)
    with tempfile.TemporaryDirectory() as folder:
        dataset = type(task).dataset_class.write(rows, task.encode, Path(folder) / "rows")
        training = TrainingState(task, dataset, settings.train, settings.seed, accelerator)
        generator = np.random.default_rng(settings.seed)
        sampler = dataset.sampler(settings.train.batch_tokens, settings.train.batch_rows, generator)
        batches = [*islice(sampler, BATCHES)]
        training.model.train()
        for _ in sys.stdin:
            before = training.progress.tokens
            for numbers in batches:
                step(training, numbers)
            training.progress.rows = 0
            print(json.dumps(training.progress.tokens - before), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
