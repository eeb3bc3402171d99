"""The thread of a model: what is answered together, and what an error or a gone client ends."""

from __future__ import annotations

import threading
import time

import pytest
import torch
from every_task import asked, toys, untrained

from zoo.config import ServeConfig
from zoo.data.readers import Row
from zoo.errors import RowError
from zoo.generation.config import GenerationConfig
from zoo.serving import worker as worker_module
from zoo.serving.worker import Call, Full, Gone, Place, Prediction, Stream, Worker


class Counts:
    """Notes the sizes of the batches."""

    def __init__(self):
        self.batches = []

    def batch(self, model, inputs):
        self.batches.append(inputs)


@pytest.fixture(scope="module")
def task():
    return untrained("translate", "generation.max_length=6")


@pytest.fixture
def worker(task):
    worker = Worker("toy", task, ServeConfig(batch_wait=5, batch_inputs=6, queue=8), Counts())
    yield worker
    worker.stop()


def prediction(task, inputs, config=None):
    rows = [task._as_row(one) for one in inputs]
    for number, row in enumerate(rows):
        row.source = Place(number)
    return Prediction(rows, config)


@pytest.fixture(scope="module")
def texts(task):
    return asked(task, toys("translate")[:6])


def texts_of(job):
    return [answer["text"] for answer in job.answers.result(timeout=60)[0]]


def test_requests_that_arrive_together_are_one_batch(task, worker, texts):
    jobs = [prediction(task, part) for part in (texts[:1], texts[1:3], texts[3:])]
    for job in jobs:
        worker.submit(job)
    assert [texts_of(job) for job in jobs] == [
        task.predict(part) for part in (texts[:1], texts[1:3], texts[3:])
    ]
    assert worker.counts.batches == [6]
    assert worker.waiting == 0


def test_requests_with_different_configs_are_different_batches(task, worker, texts):
    sampled = [GenerationConfig(sample=True, seed=seed, max_length=6) for seed in (1, 2)]
    configs = [*sampled, GenerationConfig(max_length=2), *sampled, None]
    jobs = [prediction(task, [texts[n]], config) for n, config in enumerate(configs)]
    for job in jobs:
        worker.submit(job)
    wanted = [task.predict(texts[n], config) for n, config in enumerate(configs)]
    assert [texts_of(job) for job in jobs] == wanted
    assert worker.counts.batches == [2, 2, 1, 1]


def test_an_error_belongs_to_the_request_that_it_is_about(task, worker, texts):
    wrong = Prediction([Row({"source": texts[0]}, Place(0)), Row({"x": 1}, Place(1))], None)
    jobs = [prediction(task, texts[:2]), wrong, prediction(task, texts[2:4])]
    for job in jobs:
        worker.submit(job)
    with pytest.raises(RowError, match=r"^inputs\[1\]: no column 'source'"):
        wrong.answers.result(timeout=60)
    assert texts_of(jobs[0]) == task.predict(texts[:2])
    assert texts_of(jobs[2]) == task.predict(texts[2:4])


def test_nothing_is_computed_for_clients_that_are_gone(task, worker, texts):
    gone, there = prediction(task, texts[:3]), prediction(task, texts[3:])
    gone.gone = True
    worker.submit(gone)
    worker.submit(there)
    assert texts_of(there) == task.predict(texts[3:])
    assert worker.counts.batches == [3]


def test_a_computation_ends_when_all_its_clients_are_gone(task, worker, texts):
    config = GenerationConfig(sample=True, seed=1, min_length=50_000, max_length=100_000)
    job = prediction(task, texts, config)
    worker.submit(job)
    while not worker.counts.batches:
        time.sleep(0.01)
    job.gone = True
    with pytest.raises(Gone):
        job.answers.result(timeout=20)
    assert worker.waiting == 0


def test_freed_memory_goes_back_after_a_batch(task, worker, texts, monkeypatch):
    released = threading.Event()
    monkeypatch.setattr(worker_module, "release_memory", lambda since: released.set() or since)
    job = prediction(task, texts)
    worker.submit(job)
    texts_of(job)
    assert released.wait(10)


def test_work_ends_in_the_own_model_alone(task, worker, texts):
    other, done = torch.nn.Linear(2, 2), []

    def work():
        job.gone = True
        done.append(other(torch.zeros(1, 2)))
        done.append(task.predict(texts))

    job = Call(work)
    worker.submit(job)
    with pytest.raises(Gone):
        job.answers.result(timeout=20)
    assert len(done) == 1
    worker.stop()
    assert not any(module._forward_pre_hooks for module in task.modules())


def test_a_full_queue_refuses(task, worker):
    started, go_on = threading.Event(), threading.Event()
    worker.options = ServeConfig(batch_wait=0, queue=2)

    def block():
        started.set()
        go_on.wait(60)

    first, second = Call(block), Call(lambda: 3)
    worker.submit(first)
    assert started.wait(60)
    worker.submit(second)
    with pytest.raises(Full):
        worker.submit(Call(lambda: 4))
    go_on.set()
    assert second.answers.result(timeout=60) == 3


def test_streams_advance_between_the_batches_and_the_end_answers_all(task, texts):
    worker = Worker("toy", task, ServeConfig(batch_wait=0), Counts())
    pieces = []
    config = GenerationConfig(sample=True, seed=1, max_length=6)
    jobs = [prediction(task, [text]) for text in texts]
    for job in jobs:
        worker.submit(Stream(texts[0], config, pieces.append))
        worker.submit(job)
    worker.stop()  # what was accepted is answered
    assert all(job.answers.done() for job in jobs)
    assert pieces.count(None) == len(jobs)
    assert worker.waiting == 0
    with pytest.raises(Full):
        worker.submit(Call(print))
