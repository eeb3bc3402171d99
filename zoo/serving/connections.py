"""A connection: closed when it is idle, and when there are too many."""

from __future__ import annotations

import asyncio
import json
from http import HTTPStatus
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

from zoo.config import ServeConfig


class Limits:
    """The idle connections of a server, the one that is idle for longest first."""

    def __init__(self, options: ServeConfig) -> None:
        self.idle_seconds = options.idle
        self.stalled_seconds = options.timeout
        self.most = options.connections
        self.idle: dict[Connection, None] = {}


class Connection(H11Protocol):
    """uvicorn's connection, which has no limit on the time until a request's header is complete.

    It is idle from its beginning, or from the end of a response, to the next complete header.
    """

    def __init__(self, limits: Limits, *values: Any, **named: Any) -> None:
        super().__init__(*values, **named)
        self.limits = limits
        self.begun = False  # a header has begun
        self.timer: asyncio.TimerHandle | None = None
        self.stalled: asyncio.TimerHandle | None = None  # while the client does not read

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin; beyond the limit, in the place of the connection that is idle for longest."""
        super().connection_made(transport)
        self._mark()
        if len(self.connections) > self.limits.most:
            oldest = next(iter(self.limits.idle))
            if oldest is self:
                line = "all connections are busy: try again in a second"
                self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, line)
            else:
                oldest._busy()
                oldest.transport.abort()

    def data_received(self, data: bytes) -> None:
        """Read a part of a request."""
        self.begun = True
        super().data_received(data)
        self._mark()

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        self.begun = False
        super().on_response_complete()
        self._mark()

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self.resume_writing()
        super().connection_lost(exc)
        self._busy()

    def pause_writing(self) -> None:
        """Wait for a client that does not read its answer, but not for ever."""
        super().pause_writing()
        if self.stalled is None:
            self.stalled = self.loop.call_later(self.limits.stalled_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        """Go on writing."""
        if self.stalled is not None:
            self.stalled.cancel()
            self.stalled = None
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP."""
        self._refuse(HTTPStatus.BAD_REQUEST, "this is no HTTP/1.1 request: use a client for HTTP")

    def _mark(self) -> None:
        """Note whether a request is answered now."""
        if self.cycle is not None and not self.cycle.response_complete:
            self._busy()
        elif self.timer is None and not self.transport.is_closing():
            self.limits.idle[self] = None
            self.timer = self.loop.call_later(self.limits.idle_seconds, self._too_idle)

    def _busy(self) -> None:
        self.limits.idle.pop(self, None)
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None

    def _too_idle(self) -> None:
        """Close the connection. A client that has begun a header is told why."""
        if self.begun:
            line = "the header of the request did not arrive in time: send it faster"
            self._refuse(HTTPStatus.REQUEST_TIMEOUT, line)
        else:
            self._close()

    def _close(self) -> None:
        """Send what waits to be sent, and close; a client that does not read it loses it."""
        self.transport.close()
        self.loop.call_later(self.limits.idle_seconds, self.transport.abort)

    def _refuse(self, status: HTTPStatus, line: str) -> None:
        """Send an answer without a request, and close."""
        content = json.dumps({"error": line}).encode()
        head = [
            f"HTTP/1.1 {status.value} {status.phrase}",
            "content-type: application/json",
            f"content-length: {len(content)}",
            "retry-after: 1",
            "connection: close",
        ]
        self.transport.write("\r\n".join([*head, "", ""]).encode() + content)
        self._close()
