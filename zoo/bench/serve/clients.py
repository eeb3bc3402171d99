"""Clients that ask a server for some seconds, each one request after the other."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.request import urlopen

from zoo.errors import InputError

HEAD = "POST /predict HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
START = 120  # seconds until a server is up
LOOKS = 4  # at the server's memory while the clients ask


@dataclass
class Asked:
    """What the clients got: status, body and seconds of each request, by its number.

    `memory` is the server's resident memory in MiB, at the start and after each of LOOKS parts.
    """

    got: list[tuple[int, int, bytes, float]] = field(default_factory=list)
    seconds: float = 0.0
    memory: list[float] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Requests per second."""
        return len(self.got) / self.seconds

    def quantile(self, share: float) -> float:
        """Return the seconds within which this share of the requests was answered."""
        seconds = sorted(one[3] for one in self.got)
        return seconds[min(len(seconds) - 1, int(share * len(seconds)))]


@contextmanager
def server(model: str, *settings: str) -> Iterator[int]:
    """Start `mode=serve` in a process of its own; yield its port. Raises InputError."""
    command = [sys.executable, "-m", "zoo.run", "serve", f"model={model}", "port=0", *settings]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        line = process.stderr.readline()
        found = re.match(r"serve: http://[^ ]*:(\d+) ", line)
        if found is None:
            raise InputError(f"the server did not start: {line.strip()}")
        try:
            yield int(found[1])
        finally:
            process.send_signal(signal.SIGTERM)


def memory(port: int) -> float:
    """Return the resident memory of a server, in MiB."""
    text = urlopen(f"http://127.0.0.1:{port}/metrics").read().decode()
    found = re.search(r"^process_resident_memory_bytes (\S+)", text, re.MULTILINE)
    return 0.0 if found is None else float(found[1]) / 2**20


def ask(port: int, bodies: Sequence[Sequence[Any]], seconds: float) -> Asked:
    """Ask for some seconds. Client n sends the bodies (number, JSON) of its own list in turns."""
    return asyncio.run(_ask(port, bodies, seconds))


async def _ask(port: int, bodies: Sequence[Sequence[Any]], seconds: float) -> Asked:
    asked = Asked(memory=[memory(port)])
    start = time.perf_counter()
    until = start + seconds
    looking = asyncio.create_task(_look(port, seconds, asked))
    await asyncio.gather(*(_client(port, own, until, asked) for own in bodies))
    asked.seconds = time.perf_counter() - start
    await looking
    return asked


async def _look(port: int, seconds: float, asked: Asked) -> None:
    """Note the server's memory LOOKS times in so many seconds."""
    for _ in range(LOOKS):
        await asyncio.sleep(seconds / LOOKS)
        asked.memory.append(await asyncio.to_thread(memory, port))


async def _client(port: int, bodies: Sequence[Any], until: float, asked: Asked) -> None:
    """Send one request after the other on one connection."""
    raw = [(number, json.dumps(body).encode()) for number, body in bodies]
    requests = [
        (number, f"{HEAD}content-length: {len(body)}\r\n\r\n".encode() + body)
        for number, body in raw
    ]
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    turn = 0
    while time.perf_counter() < until:
        number, request = requests[turn % len(requests)]
        turn += 1
        began = time.perf_counter()
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
        assert length is not None
        body = await reader.readexactly(int(length[1]))
        asked.got.append((number, int(head[9:12]), body, time.perf_counter() - began))
    writer.close()
    await writer.wait_closed()
