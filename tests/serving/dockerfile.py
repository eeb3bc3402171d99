"""Run the lines of the Dockerfile without Docker: `python tests/serving/dockerfile.py`.

It takes minutes: a fresh virtual environment gets all packages. What Docker itself does is left
out: the system, its user and its ports. TORCH_INDEX=ADDRESS is the build argument.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path
from urllib.request import Request, urlopen

ROOT = Path(__file__).resolve().parents[2]
OF_DOCKER = "FROM", "USER", "EXPOSE", "STOPSIGNAL", "ARG"
START = 300  # seconds until the server is up


def instructions(text: str) -> list[tuple[str, str]]:
    """The instructions of a Dockerfile: name and the rest of the line."""
    kept = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [(line.partition(" ")[0], line.partition(" ")[2]) for line in kept]


def main() -> None:
    """Install, serve, ask each model, and stop. Ends with an error where a step fails."""
    steps = instructions((ROOT / "Dockerfile").read_text("utf-8"))
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        venv.create(place / "venv", with_pip=True)
        source = place / "src"
        source.mkdir()
        environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME")}
        environment["PATH"] = f"{place / 'venv' / 'bin'}{os.pathsep}{environment['PATH']}"
        for name, rest in steps:
            print(name, rest, flush=True)
            if name == "ENV":
                environment |= dict(re.findall(r"(\w+)=(\S+)", rest))
            elif name == "COPY":
                *names, _ = rest.split()
                for each in names:
                    copy(ROOT / each, source / each)
            elif name == "RUN" and not rest.startswith("useradd"):
                subprocess.run(["sh", "-ec", rest], cwd=source, env=environment, check=True)
            elif name == "HEALTHCHECK":
                health = rest.partition("CMD ")[2]
            elif name == "CMD":
                command = json.loads(rest)
            elif name not in (*OF_DOCKER, "WORKDIR", "RUN"):
                sys.exit(f"Dockerfile: {name} is not known here")
        shutil.rmtree(source)  # only what was installed is used
        serve(command, health, environment, place)


def copy(source: Path, target: Path) -> None:
    """Copy a file, or a folder without compiled modules."""
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copy(source, target)


def serve(command: list[str], health: str, environment: dict[str, str], place: Path) -> None:
    """Start the server, ask its health and each of its models, and stop it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        environment["PORT"] = str(free.getsockname()[1])
    with subprocess.Popen(command, cwd=place, env=environment) as process:
        try:
            until = time.monotonic() + START
            check = ["sh", "-c", health]
            while subprocess.run(check, env=environment, stderr=subprocess.DEVNULL).returncode:
                if process.poll() is not None or time.monotonic() > until:
                    sys.exit("the server did not start")
                time.sleep(1)
            address = f"http://127.0.0.1:{environment['PORT']}"
            for model in json.load(urlopen(f"{address}/models"))["models"]:
                body = json.dumps({"model": model["name"], "input": model["example"]}).encode()
                request = Request(f"{address}/predict", body, {"content-type": "application/json"})
                print(model["name"], str(json.load(urlopen(request))["answers"][0])[:80])
        finally:
            process.send_signal(signal.SIGTERM)
    if process.returncode:
        sys.exit(f"the server ended with status {process.returncode}")
    print("all lines of the Dockerfile passed")


if __name__ == "__main__":
    main()
