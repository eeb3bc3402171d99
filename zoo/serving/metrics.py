"""Counters of the server, in the text format of Prometheus."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
INPUTS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """The counters of one app, in a registry of their own.

    Labels are routes, models and statuses, never what a client has sent.
    """

    content_type = CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.requests = self._counter("requests", "Requests that arrived", "route")
        self.responses = self._counter("responses", "Responses that were sent", "route", "status")
        self.answers = self._counter("answers", "Answered inputs", "model")
        self.left = self._counter("left", "Requests whose client was gone before the answer")
        self.seconds = Histogram(
            "zoo_request_seconds",
            "Seconds from a request's header to its response's end",
            ["route"],
            buckets=SECONDS,
            registry=self.registry,
        )
        self.batches = Histogram(
            "zoo_batch_inputs",
            "Inputs that were answered together",
            ["model"],
            buckets=INPUTS,
            registry=self.registry,
        )
        self.queue = Gauge(
            "zoo_queue",
            "Requests that wait for a model or are answered by it",
            ["model"],
            registry=self.registry,
        )

    def _counter(self, name: str, about: str, *labels: str) -> Counter:
        return Counter(f"zoo_{name}", about, labels, registry=self.registry)

    def batch(self, model: str, inputs: int) -> None:
        """Count a batch and its inputs."""
        self.batches.labels(model).observe(inputs)

    def watch(self, model: str, waiting: Callable[[], float]) -> None:
        """Show as a model's queue what `waiting` returns."""
        self.queue.labels(model).set_function(waiting)

    def text(self) -> bytes:
        """Return all counters as text."""
        return generate_latest(self.registry)
