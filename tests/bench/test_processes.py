"""Training in several processes is timed beside that in one."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from contextlib import contextmanager

import pytest
from conftest import DATA, SMALL

from zoo.bench.__main__ import main
from zoo.bench.processes import compare, link, worker

SETTINGS = ["task=classify", "data=files", f"data.train={DATA / 'classify.jsonl'}", *SMALL]


def test_a_worker_trains_on_the_same_batches_at_each_line(monkeypatch, capsys):
    steps = []
    real = worker.step
    monkeypatch.setattr(worker, "step", lambda t, n: steps.append(n.tolist()) or real(t, n))
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n\n"))
    assert worker.main([*SETTINGS, "train.batch_rows=100"]) == 0
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert first == second > 0
    half = len(steps) // 2
    assert steps[:half] == steps[half:]
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n"))
    assert worker.main(["task=classify", "train.epoch=1"]) == 2
    assert capsys.readouterr().err.startswith("error: train.epoch: no such setting")


def fake(program):
    return subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def test_two_threads_stand_against_two_processes_and_one_against_a_link(monkeypatch, capsys):
    started = []

    @contextmanager
    def begin(settings, places, threads):
        started.append((len(places), threads, [place.prefix for place in places]))
        yield [None] * len(places)

    @contextmanager
    def between(rate):
        yield [link.Place(["in", side]) for side in "ab"]

    monkeypatch.setattr(compare, "_started", begin)
    monkeypatch.setattr(compare, "_round", lambda workers: 12.0)
    monkeypatch.setattr(compare, "linked", between)
    assert main(["processes", "tasks=tag,generate"]) == 0
    assert started == [(1, 2, [()]), (2, 1, [(), ()])] * 2
    said = capsys.readouterr().out.splitlines()
    assert said[1].startswith(
        "generate: training in 2 processes of 1 thread, against one of 2 threads: "
    )
    started.clear()
    assert main(["processes", "tasks=tag", "link=1gbit"]) == 0
    assert started == [(1, 1, [()]), (2, 1, [["in", "a"], ["in", "b"]])]
    assert "of 1 thread over 1gbit, against one of 1 thread: " in capsys.readouterr().out


def test_a_worker_that_has_ended_and_a_wrong_link_are_one_line(capsys):
    workers = [fake("input(); print(5, flush=True); input()"), fake("input()")]
    with pytest.raises(compare.InputError, match="has ended"):
        compare._round(workers)
    for process in workers:
        process.communicate("\n")
    assert main(["processes", "tasks=tag", "link=fast"]) == 2
    assert capsys.readouterr().err == "error: link=fast: give a rate such as 100mbit or 1gbit\n"
