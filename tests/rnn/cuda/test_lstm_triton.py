"""The kernels compile for the GPUs that they are meant for. No GPU is needed."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from conftest import ROOT
from pointwise_cases import INTERPRETED, needs_triton

pytestmark = [
    needs_triton,
    pytest.mark.skipif(INTERPRETED, reason="the interpreter compiles nothing"),
    pytest.mark.skipif(sys.platform != "linux", reason="Triton's compiler is for Linux"),
]
KERNELS = [  # dtype, hidden units, with layer norm, with padding, compute capabilities
    ("fp16", 512, True, True, [80, 90]),
    ("fp16", 512, False, False, [90]),
    ("bf16", 100, True, False, [80]),
    ("fp32", 4096, True, True, [90]),
    ("fp32", 1030, False, True, [80]),
    ("fp16", 3, True, True, [80]),
]
# In a process of its own, whatever the other tests have made of Triton.
COMPILE = """
import json
import sys
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from zoo.rnn.cuda import lstm_triton as triton_steps


def compile_kernels(low, hidden, layer_norm, padded, capabilities):
    types = dict.fromkeys(("sums", "d_sums", "read", "h", "d_output"), "*" + low)
    types |= {"pad": "*u8", "t": "i32", "batch": "i32"}
    block, _, warps = triton_steps._launch(1, hidden, layer_norm)
    fixed = {"HIDDEN": hidden, "BLOCK": block, "HAS_BIAS": True, "HAS_NORM": layer_norm,
             "HAS_PAD": padded}
    for kernel in (triton_steps._forward_kernel, triton_steps._backward_kernel):
        names = kernel.arg_names
        signature = {n: "constexpr" if n in fixed else types.get(n, "*fp32") for n in names}
        constants = {(place,): fixed[n] for place, n in enumerate(names) if n in fixed}
        aligned = {(place,): [["tt.divisibility", 16]]
                   for place, n in enumerate(names) if signature[n].startswith("*")}
        for capability in capabilities:
            source = ASTSource(kernel, signature, constants, aligned)
            made = triton.compile(source, GPUTarget("cuda", capability, 32), {"num_warps": warps})
            assert len(made.asm["cubin"]) > 1000
            assert "atom" not in made.asm["ptx"]


for given in json.loads(sys.argv[1]):
    compile_kernels(*given)
    print(*given)
"""


def test_the_kernels_compile_without_atomic_sums(tmp_path, monkeypatch):
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    words = [sys.executable, "-c", COMPILE, json.dumps(KERNELS)]
    made = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    wanted = "".join(f"{' '.join(map(str, given))}\n" for given in KERNELS)
    assert made.stdout == wanted, made.stderr  # the first one that lacks is the one that fails
