"""The routes: JSON in, JSON out, the page, and what watches the server."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import Future
from contextlib import asynccontextmanager
from dataclasses import asdict
from functools import partial
from importlib.metadata import version
from mimetypes import guess_type
from pathlib import Path
from typing import Any

import torch
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import HTTPException
from starlette.exceptions import HTTPException as PlainHTTPException
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from zoo.config import ServeConfig
from zoo.data.processors import LabelEncoder, LabelSetEncoder, SeriesScaler
from zoo.errors import InputError
from zoo.explanation.answer import explain_answer
from zoo.prediction.answer_rows import AnswerColumns
from zoo.serving.guard import Guard, Left, Refused
from zoo.serving.metrics import Metrics
from zoo.serving.requests import (
    Body,
    ExplainBody,
    PredictBody,
    StreamBody,
    check_labels,
    finite,
    generation_of,
    line_for_client,
    parse,
    row_of,
    rows_of,
)
from zoo.serving.worker import Call, Full, Job, Prediction, Stream, Worker
from zoo.task import Generative, Task

log = logging.getLogger("zoo")

PAGE = Path(__file__).resolve().parent / "page"
LABELS = 200  # of a model, in GET /models
TYPES = {".js": "text/javascript", ".css": "text/css", ".json": "application/json"}

# The page loads nothing from elsewhere, and no other page may show it in a frame.
POLICY = {
    "content-security-policy": "default-src 'none'; script-src 'self'; connect-src 'self'; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-cache",
}


class Answer(Response):
    """A JSON response. Numbers that JSON does not have are null."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """Return plain data as JSON in UTF-8."""
        try:
            text = json.dumps(content, ensure_ascii=False, allow_nan=False)
        except ValueError:
            text = json.dumps(finite(content), ensure_ascii=False, allow_nan=False)
        return text.encode("utf-8", "replace")


class Models:
    """The models of a server, each with its worker."""

    def __init__(
        self,
        tasks: Mapping[str, Task],
        options: ServeConfig,
        metrics: Metrics,
        precision: str,
        threads: int,
    ) -> None:
        each = threads or max(1, torch.get_num_threads() // max(1, len(tasks)))
        self.workers = {
            name: Worker(name, task, options, metrics, precision, each)
            for name, task in tasks.items()
        }
        for name, worker in self.workers.items():
            metrics.watch(name, partial(getattr, worker, "waiting"))

    def find(self, name: str | None) -> Worker:
        """Return the worker of a model; without a name, of the only one. Raises Refused."""
        there = ", ".join(self.workers)
        if name is None:
            if len(self.workers) == 1:
                return next(iter(self.workers.values()))
            raise Refused(422, f'model: several are served: add "model": one of {there}')
        if name not in self.workers:
            raise Refused(404, f"model: there is no such one here; there are: {there}")
        return self.workers[name]

    def stop(self) -> None:
        """Answer what was accepted, and end the threads."""
        for worker in self.workers.values():
            worker.stop()


def create_app(
    models: Mapping[str, Task],
    options: ServeConfig | None = None,
    *,
    examples: Mapping[str, Any] | None = None,
    precision: str = "fp32",
    threads: int = 0,
    splitter: str = "words",
) -> FastAPI:
    """Return the app that serves models by their names.

    `examples` are inputs to try, by model. `threads` answer batches, for each model; 0: as many
    as torch has, shared by the models. `splitter` splits texts into words for taggers.
    """
    options = options or ServeConfig()
    metrics = Metrics()
    served = Models(models, options, metrics, precision, threads)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        await asyncio.to_thread(served.stop)

    app = FastAPI(
        title="sequence-zoo",
        version=version("sequence-zoo"),
        description="Sequence tasks on one LSTM: predict, explain and stream.",
        docs_url=None,  # they load scripts from another host
        redoc_url=None,
        lifespan=lifespan,
    )
    app.state.models = served
    app.state.stopping = False  # then each response ends its connection
    routes = Routes(served, options, metrics, examples or {}, splitter)
    routes.add_to(app)
    paths = {str(getattr(route, "path", "")) for route in app.routes}
    app.add_middleware(Guard, options=options, metrics=metrics, routes=paths)
    app.add_exception_handler(Refused, _refused)
    app.add_exception_handler(InputError, _wrong_input)
    app.add_exception_handler(PlainHTTPException, _http_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(Exception, _error)
    return app


class Routes:
    """What the server answers."""

    def __init__(
        self,
        models: Models,
        options: ServeConfig,
        metrics: Metrics,
        examples: Mapping[str, Any],
        splitter: str,
    ) -> None:
        self.models = models
        self.options = options
        self.metrics = metrics
        self.splitter = splitter
        self.described = {
            "models": [
                describe(name, worker.task, examples.get(name))
                for name, worker in models.workers.items()
            ]
        }
        # Read once: no request opens a file.
        self.files = {
            path.name: (path.read_bytes(), TYPES.get(path.suffix) or guess_type(path.name)[0])
            for path in sorted(PAGE.iterdir())
            if path.is_file()
        }

    def add_to(self, app: FastAPI) -> None:
        """Add the routes to an app."""
        app.get("/", include_in_schema=False)(self.page)
        app.get("/static/{name}", include_in_schema=False)(self.static)
        app.get("/favicon.ico", include_in_schema=False)(self.icon)
        app.get("/health", summary="Whether the server is up")(self.health)
        app.get("/metrics", summary="Counters for Prometheus")(self.counters)
        app.get("/models", summary="The models, what they read and what they scored")(self.list)
        app.post("/predict", summary="Answer inputs", **_takes(PredictBody))(self.predict)
        app.post("/explain", summary="Explain an answer", **_takes(ExplainBody))(self.explain)
        app.post("/stream", summary="Answer a text in pieces", **_takes(StreamBody))(self.stream)

    async def page(self) -> Response:
        """The page."""
        return self.static("index.html")

    def static(self, name: str) -> Response:
        """A file of the page."""
        if name not in self.files:
            raise Refused(404, "the page has no such file")
        content, kind = self.files[name]
        return Response(content, media_type=kind, headers=POLICY)

    async def icon(self) -> Response:
        """No icon: browsers ask for one."""
        return Response(status_code=204)

    async def health(self) -> Response:
        """Say that the server is up."""
        return Answer({"status": "ok"})

    async def counters(self) -> Response:
        """Return the counters as text."""
        return Response(self.metrics.text(), media_type=Metrics.content_type)

    async def list(self) -> Response:
        """Return what is known of each model."""
        return Answer(self.described)

    async def predict(self, request: Request) -> Response:
        """Answer one input or several, in their order."""
        body = parse(PredictBody, await _json(request))
        worker = self.models.find(body.model)
        task = worker.task
        check_labels(task, body)
        config = generation_of(task, body.generation, self.options)
        job = Prediction(rows_of(task, body, self.options, self.splitter), config)
        answers, cut = await self._answer(worker, job, job.answers, request)
        columns = AnswerColumns(task, body.top, body.threshold, config)
        self.metrics.answers.labels(worker.name).inc(len(answers))
        found = {"model": worker.name, "answers": [columns.as_json(one) for one in answers]}
        return Answer(found | ({"cut": cut} if cut else {}))

    async def explain(self, request: Request) -> Response:
        """Explain the answer to one input."""
        body = parse(ExplainBody, await _json(request))
        worker = self.models.find(body.model)
        task, splitter = worker.task, self.splitter
        config = generation_of(task, body.generation, self.options)
        row_of(task, body.input, self.options, splitter)
        job = Call(
            lambda: explain_answer(
                task, body.input, target=body.target, config=config, splitter=splitter
            )
        )
        found = await self._answer(worker, job, job.answers, request)
        return Answer({"model": worker.name, "explanation": found})

    async def stream(self, request: Request) -> Response:
        """Send the answer to a text in pieces, as server-sent events."""
        body = parse(StreamBody, await _json(request))
        worker = self.models.find(body.model)
        if not isinstance(worker.task, Generative):
            raise Refused(422, f"{worker.task.name} generates no text: POST /predict answers it")
        config = generation_of(worker.task, body.generation, self.options)
        row_of(worker.task, body.input, self.options, self.splitter)
        pieces: asyncio.Queue[str | Exception | None] = asyncio.Queue()
        loop = asyncio.get_running_loop()

        def send(piece: str | Exception | None) -> None:
            loop.call_soon_threadsafe(pieces.put_nowait, piece)

        job = Stream(body.input, config, send)
        self._submit(worker, job)
        return Events(self._events(pieces), job)

    async def _events(self, pieces: asyncio.Queue[str | Exception | None]) -> AsyncIterator[bytes]:
        """Yield server-sent events for the pieces of a text, then one for its end."""
        while True:
            try:
                async with asyncio.timeout(self.options.timeout):
                    piece = await pieces.get()
            except TimeoutError:
                piece = Refused(408, self._too_slow())
            if isinstance(piece, str):
                yield _event(None, {"text": piece})
            elif piece is None:
                yield _event("end", {})
                return
            else:
                yield _event("error", {"error": _line(piece)})
                return

    def _submit(self, worker: Worker, job: Job) -> None:
        """Let a job wait for its model. Raises Refused when its queue is full."""
        try:
            worker.submit(job)
        except Full:
            raise Refused(
                503, f"{self.options.queue} requests wait for {worker.name} already: try again", 1
            ) from None

    async def _answer(
        self, worker: Worker, job: Job, answers: Future[Any], request: Request
    ) -> Any:
        """Return the result of a job. A client that leaves, or waits too long, ends it."""
        self._submit(worker, job)
        found = asyncio.wrap_future(answers)
        left = asyncio.ensure_future(request.receive())
        try:
            await asyncio.wait(
                {found, left}, timeout=self.options.timeout, return_when=asyncio.FIRST_COMPLETED
            )
            if found.done():
                return found.result()
            if left.done():
                raise Left
            raise Refused(408, self._too_slow())
        finally:
            left.cancel()
            found.cancel()
            job.gone = True

    def _too_slow(self) -> str:
        return f"no answer within {self.options.timeout:g} s: send fewer or shorter inputs"


class Events(StreamingResponse):
    """Server-sent events. When the client leaves, the job behind them ends."""

    def __init__(self, events: AsyncIterator[bytes], job: Job) -> None:
        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
        super().__init__(events, media_type="text/event-stream", headers=headers)
        self.job = job

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self.job.gone = True


async def _json(request: Request) -> bytes:
    """Return the body of a request that says that it is JSON. Raises Refused.

    A foreign page can send other kinds without asking the server first.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise Refused(415, "the header Content-Type is not application/json: add it")
    return await request.body()


def _takes(kind: type[Body]) -> dict[str, Any]:
    """Return what OpenAPI shows of a body that the route reads itself."""
    content = {"application/json": {"schema": kind.model_json_schema()}}
    return {"openapi_extra": {"requestBody": {"required": True, "content": content}}}


def _event(name: str | None, data: Mapping[str, Any]) -> bytes:
    """Return a server-sent event."""
    start = "" if name is None else f"event: {name}\n"
    return f"{start}data: {json.dumps(data)}\n\n".encode()


def describe(name: str, task: Task, example: Any = None) -> dict[str, Any]:
    """Return what GET /models shows of a model."""
    metadata = task.metadata or {}
    test = metadata.get("test")
    encoder, scaler = (task.processors.get(name) for name in ("labels", "scaler"))
    labels = encoder.labels if isinstance(encoder, (LabelEncoder, LabelSetEncoder)) else None
    config = task.config.generation if isinstance(task, Generative) else None
    return {
        "name": name,
        "task": task.name,
        "reads": task.reads,
        "cell": task.backbone.config.cell,
        "why": task.why,
        "parameters": task.parameter_count,
        "metric": task.metric,
        "score": test.get(task.metric) if isinstance(test, Mapping) else None,
        "input_columns": [*task.input_columns],
        "columns": scaler.columns if isinstance(scaler, SeriesScaler) else None,
        "example": task.example if example is None else example,
        "labels": labels if labels is None else [str(label) for label in labels[:LABELS]],
        "generation": None if config is None else asdict(config),
    }


def _line(error: Exception) -> str:
    """Return what a client is told of an error."""
    if isinstance(error, (Refused, InputError)):
        return line_for_client(error)
    log.error("an error in the model", exc_info=error)
    return "an error in the model: the log of the server says more"


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    return Answer({"error": error.line}, error.status, error.headers)


async def _wrong_input(request: Request, error: Exception) -> Response:
    return Answer({"error": line_for_client(error)}, 422)


async def _http_error(request: Request, error: Exception) -> Response:
    """Answer an unknown path or method."""
    assert isinstance(error, PlainHTTPException)
    lines = {404: "no such address: GET /models, POST /predict, /explain, /stream"}
    line = lines.get(error.status_code, str(error.detail))
    if error.status_code == 405:
        line = f"this address takes {(error.headers or {}).get('Allow', 'another method')} only"
    return Answer({"error": line}, error.status_code, error.headers)


async def _error(request: Request, error: Exception) -> Response:
    """Answer a request in which something failed."""
    return Answer({"error": "an error of the server: its log says more"}, 500)
