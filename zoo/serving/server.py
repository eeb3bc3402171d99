"""Load the models of `mode=serve`, listen, and stop without losing a request."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, cast

import uvicorn
from fastapi import FastAPI

from zoo.config import ServeConfig, Settings
from zoo.device import find_device, find_precision
from zoo.errors import InputError
from zoo.loading import load
from zoo.memory import limit_kernels
from zoo.model_folder.verify import read_expected
from zoo.serving.app import create_app
from zoo.serving.connections import Connection, Limits
from zoo.shared_backbone import Multitask
from zoo.task import Task

log = logging.getLogger("zoo")

GRACE = 0.3  # seconds at the end in which requests on open connections are still answered
FILES = 100  # open files beside the connections
AT_THE_END = 5  # seconds beyond `timeout` for what was accepted
KERNELS = 256  # that oneDNN keeps: the batches of clients have ever new shapes


def serve(settings: Settings) -> None:
    """Serve the models of the settings until SIGTERM or Ctrl-C. Raises InputError."""
    limit_kernels(KERNELS)
    options = settings.serve
    chosen = names(str(settings.model))
    place = find_device(settings.device)
    precision = find_precision(
        "fp32" if settings.precision == "auto" else settings.precision, place
    )
    with listening(options) as door:
        models = {name: _load(name, str(place)) for name in chosen}
        app = create_app(
            models,
            options,
            examples={name: _example(name) for name in models},
            precision=precision,
            threads=settings.threads,
            splitter=settings.tokens,
        )
        run(app, options, door)


def names(given: str) -> list[str]:
    """Return the models of `model=NAME,NAME`. Raises InputError for one that is named twice."""
    if Path(given).is_dir():
        return [given]
    found = [name.strip() for name in given.split(",")]
    if "" in found:
        raise InputError(
            f"model={given}: a name is empty: write NAME,NAME without a comma at its end"
        )
    if twice := next((name for name in found if found.count(name) > 1), None):
        raise InputError(f"model={given}: {twice} is named twice")
    return found


def _load(name: str, place: str) -> Task:
    task = load(name, place)
    if isinstance(task, Multitask):
        raise InputError(
            f"model={name}: several heads on one backbone: they answer in Python, "
            f"zoo.load({name!r}).predict(…)"
        )
    return task


def _example(name: str) -> str | None:
    """Return a text to try, of those that a shipped model was checked with."""
    return next((case["input"] for case in read_expected(name) if case["input"]), None)


@contextmanager
def listening(options: ServeConfig) -> Iterator[socket.socket]:
    """Yield a socket that is bound to the host and the port. Raises InputError."""
    _allow_files(options.connections + FILES)
    place = f"serve.host={options.host} serve.port={options.port}"
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            options.host, options.port, type=socket.SOCK_STREAM
        )[0]
        door = socket.socket(family, kind, protocol)
    except (OSError, UnicodeError) as error:
        raise InputError(f"{place}: {getattr(error, 'strerror', None) or error}") from None
    with door:
        door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            door.bind(address)
        except OSError as error:
            raise InputError(
                f"{place}: {error.strerror}: choose another, port=0 is a free one"
            ) from None
        yield door


def _allow_files(count: int) -> None:
    """Allow this process so many open files, if the system does."""
    try:
        import resource
    except ImportError:  # not on Windows
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count if hard == resource.RLIM_INFINITY else min(count, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    if wanted < count:
        raise InputError(
            f"serve.connections={count - FILES}: the system allows {hard} open files: "
            f"serve.connections={max(1, hard - FILES)}"
        )


def run(app: FastAPI, options: ServeConfig, door: socket.socket) -> None:
    """Answer requests until SIGTERM or SIGINT; then answer what was accepted, and return."""
    protocol: Any = partial(Connection, Limits(options))
    config = uvicorn.Config(
        app,
        http=cast(Any, protocol),
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=cast(Any, options.idle),
        timeout_graceful_shutdown=int(options.timeout) + AT_THE_END,
    )
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)  # not for each client's mistake
    logging.getLogger("asyncio").setLevel(logging.ERROR)  # nor for each that has gone away
    signals = signal.SIGINT, signal.SIGTERM
    # uvicorn ends with the signal once more: here it has been obeyed already.
    before = {each: signal.signal(each, lambda *given: None) for each in signals}
    try:
        Server(config, options, app).run([door])
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
    log.info("serve: stopped; what was accepted is answered")


class Server(uvicorn.Server):
    """uvicorn, with a stop that loses no request."""

    def __init__(self, config: uvicorn.Config, options: ServeConfig, app: FastAPI) -> None:
        super().__init__(config)
        self.options = options
        self.app = app

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and say where."""
        await super().startup(sockets)
        assert sockets is not None
        host, port = sockets[0].getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        log.info("serve: http://%s:%s (Ctrl-C stops it)", shown, port)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take no more connections; answer what comes on open ones for a moment; then close them."""
        self.app.state.stopping = True
        await asyncio.sleep(0.05)  # accept what stands at the door
        for server in self.servers:
            server.close()
        await asyncio.sleep(GRACE)
        await super().shutdown(sockets)
