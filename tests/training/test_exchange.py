"""Two processes that exchange gradients, or share the weights, take the steps of one process."""

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
KINDS = "gradients", "memory"


@pytest.fixture(scope="module")
def found():
    """What both processes find: for each kind of exchange, for each clip."""
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


@pytest.mark.parametrize("kind", range(2), ids=KINDS)
@pytest.mark.parametrize("clip", range(len(CLIPS)), ids=CLIPS)
def test_two_processes_take_the_steps_of_one(found, kind, clip):
    """With few rows, with none, with most of a table; with weights that one or none has used."""
    steps = found[0][kind][clip]
    wanted = exchanged.alone(float(CLIPS[clip]))
    assert len(steps) == len(wanted) + 1
    for (norm, *ours), (expected, *weights) in zip(steps, wanted, strict=False):
        assert norm == pytest.approx(expected, rel=1e-5)
        for weight, one in zip(ours, weights, strict=True):
            torch.testing.assert_close(torch.tensor(weight), torch.tensor(one))


@pytest.mark.parametrize("kind", range(2), ids=KINDS)
def test_both_processes_have_the_same_bits_and_in_the_end_weights_of_their_own(found, kind):
    assert found[0][kind] == found[1][kind]
    assert [steps[-1] for steps in found[0][kind]] == [[1.0]] * len(CLIPS)
