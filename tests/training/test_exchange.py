"""Gradients that two processes exchange are those of one process, to the bit the same in both."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import torch
from cases import exchanged
from conftest import ROOT

CLIPS = "1e9", "0.01"


@pytest.fixture(scope="module")
def found():
    """The gradients of both processes, for each clip."""
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(20_000 + (os.getpid() + 7) % 20_000)}
    shared = os.environ | place | {"WORLD_SIZE": "2", "OMP_NUM_THREADS": "1"}
    shared["PYTHONPATH"] = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    script = [sys.executable, str(ROOT / "tests" / "cases" / "exchanged.py"), *CLIPS]
    running = [
        subprocess.Popen(
            script, cwd=ROOT, stdout=subprocess.PIPE, env=shared | {"RANK": rank}, text=True
        )
        for rank in "01"
    ]
    return [json.loads(process.communicate(timeout=120)[0]) for process in running]


@pytest.mark.parametrize("clip", range(len(CLIPS)), ids=CLIPS)
def test_two_processes_find_the_gradients_of_one(found, clip):
    """Of rows, of none, of a whole table; of weights that one process or none has used."""
    for ours, wanted in zip(found[0][clip], exchanged.alone(float(CLIPS[clip])), strict=True):
        for grad, expected in zip(ours, wanted, strict=True):
            assert (grad is None) == (expected is None)
            if grad is not None:
                torch.testing.assert_close(torch.tensor(grad), torch.tensor(expected))


def test_both_processes_have_the_same_bits(found):
    assert found[0] == found[1]
