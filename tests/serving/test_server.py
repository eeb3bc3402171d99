"""A real server in a process of its own: what clients may do to it, and how it stops."""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress

import pytest
from conftest import ROOT

from zoo.model_folder.verify import SHIPPED

HEADERS = {"content-type": "application/json"}
LIMITS = ["timeout=2", "idle=1", "connections=40", "generated=100000"]
HEAD = b"POST /predict HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
SLOW = {
    b"": b"",
    b"POST /pre": b"HTTP/1.1 408 ",
    HEAD + b"x-slow: ": b"HTTP/1.1 408 ",
    HEAD + b"content-length: 50\r\n\r\n{": b"HTTP/1.1 408 ",
    HEAD + b"transfer-encoding: chunked\r\n\r\n1\r\n{": b"HTTP/1.1 408 ",
    b"\x16\x03\x01 this is TLS\r\n\r\n": b"HTTP/1.1 400 ",
}  # what a client sends, and how the answer to it begins


class Server:
    """`mode=serve` of two shipped models, whose folders are removed once it is up."""

    def __init__(self, folder):
        names = {"langid": "classify/langid", "pydoc": "generate/pydoc"}
        for own, name in names.items():
            shutil.copytree(SHIPPED / name, folder / own)
        models = f"model={folder / 'langid'},{folder / 'pydoc'}"
        self.classify, self.generate = str(folder / "langid"), str(folder / "pydoc")
        limits = [f"serve.{limit}" for limit in LIMITS]
        self.process = subprocess.Popen(
            [sys.executable, "-W", "error", "-m", "zoo.run", "serve", models, "port=0", *limits],
            cwd=ROOT,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        line = self.process.stderr.readline()
        self.port = int(re.match(r"serve: http://127\.0\.0\.1:(\d+) ", line)[1])
        shutil.rmtree(folder)
        self.slow = {
            start: self.connect(start) for start in SLOW
        }  # they wait while others are asked

    def ask(self, path, body=None, **headers):
        """Status and JSON, or text, of one request."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        content = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        method = "GET" if body is None else "POST"
        connection.request(method, path, content, HEADERS | headers)
        response = connection.getresponse()
        text = response.read().decode()
        connection.close()
        kind = response.headers["content-type"]
        return response.status, json.loads(text) if kind == "application/json" else text

    def connect(self, start: bytes = b"") -> socket.socket:
        """A connection on which something was sent."""
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=60)
        connection.sendall(start)
        return connection

    def waiting(self) -> float:
        """The requests that wait for the language model or are answered by it."""
        text = self.ask("/metrics")[1]
        return float(re.search(rf'zoo_queue{{model="{self.generate}"}} (\S+)', text)[1])

    def is_free_within(self, seconds: float) -> bool:
        """Whether the language model's work ends in time."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if not self.waiting():
                return True
            time.sleep(0.05)
        return False


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("models"))
    yield server
    for connection in server.slow.values():  # a test of another process may have been theirs
        connection.close()
    server.process.kill()
    server.process.wait()
    server.process.stderr.close()


def received(connection: socket.socket) -> bytes:
    """All that comes until the server closes the connection."""
    parts = []
    with suppress(ConnectionResetError):
        while part := connection.recv(65536):
            parts.append(part)
    connection.close()
    return b"".join(parts)


def test_it_answers_without_the_folders_of_its_models(server):
    text = "Jeder Mensch hat die gleichen Rechte."
    status, found = server.ask("/predict", {"model": server.classify, "input": text})
    assert (status, found["answers"][0]["label"]) == (200, "de")
    assert server.ask("/models")[0] == server.ask("/")[0] == 200


def test_a_large_body_is_refused_and_its_client_reads_why(server):
    body = b'{"input": "' + b"x" * 50_000_000
    status, found = server.ask("/predict", body)
    assert (status, [*found]) == (413, ["error"])
    # A client that asks first sends nothing.
    asking = HEAD + b"content-length: 50000000\r\nexpect: 100-continue\r\n\r\n"
    assert received(server.connect(asking)).startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize("path", ["/static/../app.py", "/static//etc/passwd", "//etc/passwd"])
def test_no_path_leads_out_of_the_page(server, path):
    request = f"GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"
    assert received(server.connect(request.encode())).startswith(b"HTTP/1.1 404 ")


LONG = {"sample": True, "seed": 1, "max_length": 100_000}


def test_an_answer_that_takes_too_long_is_given_up(server):
    body = {"model": server.generate, "input": "The", "generation": LONG}
    status, found = server.ask("/predict", body)
    assert (status, found["error"].partition(":")[0]) == (408, "no answer within 2 s")
    assert server.is_free_within(5)


@pytest.mark.parametrize("start", SLOW)
def test_a_slow_client_is_told_and_let_go(server, start):
    found = received(server.slow[start])
    assert found.startswith(SLOW[start])
    assert not found or json.loads(found.rpartition(b"\r\n\r\n")[2]).keys() == {"error"}


def test_connections_that_are_opened_and_left_do_not_exhaust_it(server):
    left = [server.connect() for _ in range(100)]
    assert server.ask("/health") == (200, {"status": "ok"})
    for connection in left[:50]:  # closed in favour of later ones
        assert received(connection) == b""
    for connection in left[50:]:
        connection.close()


def test_a_client_that_is_gone_in_mid_stream_frees_its_work(server):
    body = json.dumps({"model": server.generate, "input": "The", "generation": LONG}).encode()
    head = HEAD.replace(b"/predict", b"/stream")
    connection = server.connect(head + b"content-length: %d\r\n\r\n%b" % (len(body), body))
    found = b""
    while found.count(b"data: ") < 3:
        found += connection.recv(65536)
    assert server.waiting() == 1
    connection.close()
    assert server.is_free_within(5)


def test_what_was_accepted_is_answered_before_it_stops(server):
    outcomes = []
    body = json.dumps({"model": server.classify, "inputs": ["17. Mai 2031"] * 5}).encode()

    def ask_again_and_again():
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        while True:
            try:
                connection.connect()
            except ConnectionRefusedError:
                outcomes.append("refused")
                return
            while connection.sock is not None:  # http.client closes it as the server asks
                try:
                    connection.request("POST", "/predict", body, HEADERS)
                    response = connection.getresponse()
                except ConnectionError:  # it was idle, or not accepted yet, when the server stopped
                    outcomes.append("closed")
                    connection.close()
                    break
                found = json.loads(response.read())
                outcomes.append(response.status)
                assert len(found["answers"]) == 5

    def run():
        try:
            ask_again_and_again()
        except Exception as error:
            outcomes.append(repr(error))

    clients = [threading.Thread(target=run) for _ in range(8)]
    for client in clients:
        client.start()
    while outcomes.count(200) < 16:
        time.sleep(0.01)
    server.process.send_signal(signal.SIGTERM)
    _, errors = server.process.communicate(timeout=30)
    for client in clients:
        client.join()
    assert server.process.returncode == 0
    assert outcomes.count("refused") == 8
    assert {*outcomes} - {"closed"} == {200, "refused"}
    assert outcomes.count("closed") <= 2  # all clients wait: were they dropped, it would be eight
    assert errors == "serve: stopped; what was accepted is answered\n"
