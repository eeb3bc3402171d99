"""What stands before the routes: limits on one request's host, body and time."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Collection

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from zoo.config import ServeConfig
from zoo.serving.metrics import Metrics

LOCAL = "127.0.0.1", "localhost", "::1"
ANY = "0.0.0.0", "::"  # as `host`: every address of the machine
BODIES = 64  # largest bodies that are held at a time
READ_AWAY = 64 << 20  # bytes of a body too large that are read, so that its client reads the answer


class Refused(Exception):
    """A request that is not answered: its status, and one line with the cure."""

    def __init__(self, status: int, line: str, retry: int | None = None) -> None:
        """`retry` are the seconds after which another try may be made."""
        super().__init__(line)
        self.status = status
        self.line = line
        self.headers = {} if retry is None else {"retry-after": str(retry)}


class Left(Exception):
    """The client has closed its connection, and waits for no answer."""


def allowed_hosts(options: ServeConfig) -> frozenset[str] | None:
    """Return the names by which this server may be called; None for any name.

    A foreign page whose name was turned to this machine's address (DNS rebinding) sends its own.
    """
    if options.host in ANY and not options.hosts:
        return None
    return frozenset(name.lower() for name in (*LOCAL, options.host, *options.hosts))


class Guard:
    """Counts a request, checks its host, and reads its body, before the app sees it."""

    def __init__(
        self, app: ASGIApp, options: ServeConfig, metrics: Metrics, routes: Collection[str]
    ) -> None:
        self.app = app
        self.options = options
        self.metrics = metrics
        self.routes = frozenset(routes)
        self.hosts = allowed_hosts(options)
        self.held = 0  # bytes of the bodies of all requests

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start = time.perf_counter()
        route = _route(scope["path"], self.routes)
        status = 0
        self.metrics.requests.labels(route).inc()

        async def sent(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                if scope["app"].state.stopping:
                    MutableHeaders(scope=message)["connection"] = "close"
            await send(message)

        size = 0
        try:
            self._check_host(scope)
            body = await self._body(scope, receive)
            size = len(body)
            await self.app(scope, _replayed(body, receive), sent)
        except Refused as error:
            await answer(sent, error)
        except Left:  # nobody reads an answer
            pass
        finally:
            self.held -= size
            if status:
                self.metrics.responses.labels(route, str(status)).inc()
                self.metrics.seconds.labels(route).observe(time.perf_counter() - start)
            else:
                self.metrics.left.inc()

    def _check_host(self, scope: Scope) -> None:
        """Raise Refused for a request to a name that is not this machine's."""
        if self.hosts is None:
            return
        given = dict(scope["headers"]).get(b"host", b"").decode("latin-1").lower()
        name = given.rpartition(":")[0] if given.rpartition(":")[2].isdigit() else given
        if name.strip("[]") not in self.hosts:
            raise Refused(
                400,
                "the header Host is none of this server's names: start it with serve.hosts=[NAME]",
            )

    async def _body(self, scope: Scope, receive: Receive) -> bytes:
        """Return the body of a request. Raises Refused when it is too large or too slow."""
        most = self.options.body_bytes
        too_large = Refused(
            413, f"the request has more than {most:,} bytes: send fewer inputs in each request"
        )
        headers = dict(scope["headers"])
        length = headers.get(b"content-length", b"0")
        if int(length) > most and b"expect" in headers:  # the client waits to be told
            raise too_large
        body = bytearray()
        size = 0
        complete = False
        try:
            async with asyncio.timeout(self.options.timeout):
                more = True
                while more and size <= READ_AWAY:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise Left
                    part = message.get("body", b"")
                    more = message.get("more_body", False)
                    size += len(part)
                    if size <= most:
                        body += part
                        self.held += len(part)
                    if self.held > BODIES * most:
                        raise Refused(503, "too many large requests at a time: try again", 1)
            if size > most:
                raise too_large
            complete = True
        except TimeoutError:
            seconds = f"{self.options.timeout:g}"
            raise Refused(
                408, f"the request did not arrive within {seconds} s: send it faster, or less"
            ) from None
        finally:
            if not complete:
                self.held -= len(body)
        return bytes(body)


def _route(path: str, routes: Collection[str]) -> str:
    """Return the route of a path as the counters show it."""
    if path.startswith("/static/"):
        return "/static"
    return path if path in routes else "other"


def _replayed(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` that gives the whole body first."""
    given = False

    async def replayed() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replayed


async def answer(send: Send, error: Refused) -> None:
    """Send a refusal as JSON, and close the connection: its body may not have been read."""
    content = json.dumps({"error": error.line}, ensure_ascii=False).encode()
    headers = {
        "content-type": "application/json",
        "content-length": str(len(content)),
        "connection": "close",
        **error.headers,
    }
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": error.status, "headers": raw})
    await send({"type": "http.response.body", "body": content})
