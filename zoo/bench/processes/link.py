"""Two network namespaces with a slow link between them, which stand for two machines."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from zoo.errors import InputError

RATE = re.compile(r"\d+(k|m|g)bit")
ADDRESSES = "10.213.77.1", "10.213.77.2"
BURST = "64kb"  # what may pass at once
# In a namespace of its own, a place also has shared memory of its own.
APART = 'mount -t tmpfs tmpfs /dev/shm && exec "$@"'
LATENCY = "400ms"  # how long a packet may wait


@dataclass(frozen=True)
class Place:
    """Where a process is started: words before its command, and environment variables."""

    prefix: Sequence[str] = ()
    variables: Mapping[str, str] = field(default_factory=dict)


LOCAL = Place(variables={"MASTER_ADDR": "127.0.0.1"})


@contextmanager
def linked(rate: str) -> Iterator[list[Place]]:
    """Yield two places whose only network is a link of `rate` in each direction.

    `rate` is written as `tc` reads it: 100mbit, 1gbit. Raises InputError where the system cannot
    make such a link. It is removed at the end.
    """
    if not RATE.fullmatch(rate):
        raise InputError(f"link={rate}: give a rate such as 100mbit or 1gbit")
    if shutil.which("ip") is None or shutil.which("tc") is None:
        raise InputError(f"link={rate}: needs Linux with the commands ip and tc (iproute2)")
    names = [f"zoo{os.getpid()}{side}" for side in "ab"]
    try:
        _make(names, rate)
        yield [
            Place(
                ["ip", "netns", "exec", name, "sh", "-c", APART, "sh"],
                {"MASTER_ADDR": ADDRESSES[0], "GLOO_SOCKET_IFNAME": name},
            )
            for name in names
        ]
    finally:
        for name in names:  # the link goes with them
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)


def _make(names: Sequence[str], rate: str) -> None:
    """Make the namespaces and the link, whose ends have the names of the namespaces."""
    for name in names:
        _run("ip", "netns", "add", name)
    first, second = names
    ends = ["type", "veth", "peer", "name", second, "netns", second]
    _run("ip", "link", "add", first, "netns", first, *ends)
    for name, address in zip(names, ADDRESSES, strict=True):
        inside = ["ip", "-n", name]
        _run(*inside, "address", "add", f"{address}/24", "dev", name)
        _run(*inside, "link", "set", "lo", "up")
        _run(*inside, "link", "set", name, "up")
        shape = ["root", "tbf", "rate", rate, "burst", BURST, "latency", LATENCY]
        _run("tc", "-n", name, "qdisc", "add", "dev", name, *shape)


def _run(*command: str) -> None:
    """Run a command. Raises InputError with what it says."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        said = " ".join(done.stderr.split()) or f"exit status {done.returncode}"
        raise InputError(f"link: {' '.join(command[:3])} … failed: {said}")
