"""kernels: which engine and kernel would run, and exactly which condition decides it. No GPU."""

from __future__ import annotations

import re
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from zoo import LSTM
from zoo.rnn import kernels
from zoo.rnn.kernels import A100, H100, PERSISTENT, SMALL, STANDARD, T4, V100, Device, Shape

HALF, BF16, SINGLE, DOUBLE = torch.float16, torch.bfloat16, torch.float32, torch.float64
BASE = Shape(128, 256, batch=64, time=20)  # gets the persistent kernel wherever there is one
A30 = Device("cuda", "A30", (8, 0), 56)
FEW = Device("cuda", "97 processors", (8, 0), 97)
A40 = Device("cuda", "A40", (8, 6), 108)
LOOP = "torch's own loop"


ENOUGH = Device("cuda", "98 processors", (8, 0), 98)


@pytest.mark.parametrize("device", [V100, A100, H100, ENOUGH], ids=lambda d: d.name)
def test_the_base_gets_the_persistent_kernel(device):
    found = kernels.explain(BASE, device, HALF)
    assert (found.engine, found.kernel) == ("torch", PERSISTENT)
    assert found.failing == found.rewrites == []


@pytest.mark.parametrize("device", [V100, A100, H100], ids=lambda d: d.name)
@pytest.mark.parametrize(
    ("changes", "wants"),
    [
        ({"hidden_size": 200}, "hidden_size a multiple of 128, at most 1024"),
        ({"hidden_size": 1152}, "hidden_size a multiple of 128, at most 1024"),
        ({"input_size": 100}, "each layer's input_size a multiple of 128"),
        ({"batch": 60}, "batch "),
        ({"batch": 136}, "batch "),
        ({"num_layers": 2}, "one layer in a call"),
        ({"bidirectional": True}, "one direction in a call"),
        ({"proj_size": 64}, "no projection (proj_size=0)"),
        ({"lengths": True}, "each layer's input_size a multiple of 128 with the column that marks"),
    ],
)
def test_a_broken_condition_is_the_only_one_named(device, changes, wants):
    found = kernels.explain(replace(BASE, **changes), device, HALF)
    assert found.kernel == STANDARD
    [failing] = found.failing
    assert failing.startswith(wants)


VOLTA = "Volta, or compute capability 8.0"
PASCAL, KEPLER = Device("cuda", "P100", (6, 0), 56), Device("cuda", "K80", (3, 7), 13)


@pytest.mark.parametrize(
    ("device", "dtype", "wants"),
    [
        *((H100, dtype, "float16") for dtype in (SINGLE, BF16, DOUBLE)),
        *((device, HALF, VOLTA) for device in (T4, A30, A40, FEW, PASCAL)),
    ],
    ids=str,
)
def test_a_device_or_dtype_that_is_left_out_is_the_only_one_named(device, dtype, wants):
    found = kernels.explain(BASE, device, dtype)
    assert found.kernel == STANDARD
    [failing] = found.failing
    assert failing.startswith(wants)


@pytest.mark.parametrize(
    ("device", "batch", "time", "fast"),
    [
        (V100, 8, 10, True),
        (V100, 16, 10, True),
        (V100, 32, 10, True),
        (V100, 32, 9, False),
        (V100, 24, 40, False),
        (V100, 48, 19, False),
        (V100, 48, 20, True),
        (V100, 96, 20, True),
        (V100, 96, 19, False),
        (V100, 80, 40, False),
        (V100, 112, 40, False),
        (V100, 128, 39, False),
        (V100, 128, 40, True),
        (V100, 144, 99, False),
        (V100, 4, 99, False),
        (A100, 8, 1, True),
        (A100, 24, 1, True),
        (A100, 80, 999, True),
        (A100, 4, 999, False),
    ],
)
def test_volta_has_a_table_of_batch_and_time_and_newer_devices_look_at_the_batch_alone(
    device, batch, time, fast
):
    found = kernels.explain(replace(BASE, batch=batch, time=time), device, HALF)
    assert found.kernel == (PERSISTENT if fast else STANDARD)
    assert len(found.failing) == (not fast)


@pytest.mark.parametrize("dtype", [HALF, BF16, SINGLE], ids=str)
@pytest.mark.parametrize(
    ("hidden", "kernel"),
    [
        (1, SMALL),
        (128, SMALL),
        (129, f"{SMALL} forward, {STANDARD} backward"),
        (192, f"{SMALL} forward, {STANDARD} backward"),
        (193, STANDARD),
    ],
)
def test_few_units_have_a_kernel_of_their_own(dtype, hidden, kernel):
    shape = replace(BASE, hidden_size=hidden, num_layers=2)
    found = kernels.explain(shape, H100, dtype)
    assert found.kernel == kernel
    assert bool(found.rewrites) == (kernel != SMALL)
    for refused in (shape, H100, DOUBLE), (replace(shape, proj_size=8), H100, dtype):
        assert kernels.explain(*refused).kernel == STANDARD
    assert kernels.explain(shape, KEPLER, HALF).kernel == STANDARD


@pytest.mark.parametrize(
    ("device", "fused"),
    [
        (replace(H100, cudnn=91200), False),
        (replace(H100, cudnn=91300), True),
        (A100, True),
        (V100, False),
        (T4, False),
    ],
)
def test_bfloat16_wants_a_new_cudnn_and_a_new_device(device, fused):
    found = kernels.explain(replace(BASE, hidden_size=96), device, BF16)
    assert (found.kernel == SMALL) == fused
    assert found.kernel.startswith(LOOP) != fused
    if not fused:
        assert found.failing == ["bfloat16 wants cuDNN 9.13 and compute capability 8.0"]


@pytest.mark.parametrize("device", [H100, Device("cpu")], ids=lambda d: d.kind)
@pytest.mark.parametrize(
    ("norm", "asked", "engine", "wants"),
    [
        (True, "auto", "hoisted", "no layer norm: the fused kernels have none"),
        (True, "reference", "reference", "no layer norm: the fused kernels have none"),
        (False, "hoisted", "hoisted", "engine='auto' or 'torch', not 'hoisted'"),
        (False, "reference", "reference", "engine='auto' or 'torch', not 'reference'"),
    ],
)
def test_other_engines_say_why(device, norm, asked, engine, wants):
    found = kernels.explain(replace(BASE, layer_norm=norm), device, SINGLE, asked)
    assert (found.engine, found.failing) == (engine, [wants])


GRAPH = "a CUDA graph launches all steps at once"
NORM = replace(BASE, layer_norm=True)


@pytest.mark.parametrize(
    ("shape", "device", "dtype", "kernel", "wants"),
    [
        (NORM, H100, HALF, GRAPH, None),
        (NORM, A100, BF16, GRAPH, None),
        (NORM, replace(H100, triton=False), HALF, "calls", "Triton can be imported"),
        (NORM, V100, HALF, "calls", "compute capability 8.0 or newer"),
        (NORM, H100, DOUBLE, "calls", "float32, float16 or bfloat16"),
        (replace(NORM, proj_size=64), H100, HALF, "calls", "no projection (proj_size=0)"),
        (
            replace(NORM, hidden_size=4097),
            H100,
            HALF,
            "calls",
            "hidden_size at most 4096 with layer norm",
        ),
        (replace(NORM, time=10**5), H100, HALF, "Triton kernel", "buffers of at most 1024 MiB"),
    ],
    ids=str,
)
def test_on_cuda_the_hoisted_engine_says_what_runs_its_steps(shape, device, dtype, kernel, wants):
    found = kernels.explain(shape, device, dtype)
    assert kernel in found.kernel
    assert found.kernel.endswith("each launched by Python") == (wants is not None)
    assert found.failing[1:] == ([] if wants is None else [wants])


COMPILER = "a C compiler: cc, gcc, clang or the package ziglang"


@pytest.mark.parametrize(
    ("changes", "dtype", "compiler", "wants"),
    [
        ({}, SINGLE, True, None),
        ({"lengths": True}, DOUBLE, True, None),
        ({}, SINGLE, False, COMPILER),
        ({}, BF16, True, None),
        ({"hidden_size": 256}, BF16, True, None),
        ({"proj_size": 64}, SINGLE, True, "no projection (proj_size=0)"),
    ],
)
def test_on_a_processor_the_hoisted_engine_says_what_runs_its_steps(
    changes, dtype, compiler, wants
):
    found = kernels.explain(replace(NORM, **changes), Device("cpu", compiler=compiler), dtype)
    assert found.kernel.startswith("all steps in one call of C") == (wants is None)
    assert found.kernel.startswith("one product and some calls") == (wants is not None)
    assert found.failing[1:] == ([] if wants is None else [wants])


CPU, AMX = Device("cpu", bf16=False), Device("cpu", bf16=True)
MANY = {"num_layers": 3, "bidirectional": True, "lengths": True}


@pytest.mark.parametrize(
    ("device", "dtype", "changes", "wants"),
    [
        (CPU, SINGLE, {}, None),
        (CPU, SINGLE, MANY, None),
        (AMX, SINGLE, {}, None),
        (AMX, BF16, {}, None),
        (AMX, DOUBLE, {}, "float32 or bfloat16"),
        (CPU, BF16, {}, "bf16 instructions (AVX512-BF16 or AMX): it crawls without"),
        (CPU, DOUBLE, {}, "float32 or bfloat16"),
        (CPU, HALF, {}, "float32 or bfloat16"),
        (CPU, SINGLE, {"proj_size": 8}, "no projection (proj_size=0)"),
        (replace(CPU, onednn=False), SINGLE, {}, "torch built with oneDNN"),
    ],
)
def test_a_processor_runs_onednn_or_torchs_own_loop(device, dtype, changes, wants):
    found = kernels.explain(replace(BASE, **changes), device, dtype)
    assert found.kernel.startswith("oneDNN" if wants is None else LOOP)
    assert found.failing == ([] if wants is None else [wants])
    assert [line[:14] for line in found.rewrites] == ["torch.autocast"] * (
        device is AMX and dtype == SINGLE
    )


# What a rewrite begins with, the option that it sets to its number, and the condition it meets.
REWRITES = {
    "torch.autocast('cuda', torch.float16)": ("", "float16"),
    "one call per layer and direction": ("", "one "),
    "zero-pad hidden_size": ("hidden_size", "hidden_size"),
    "zero-pad the input": ("input_size", "each layer's input_size"),
    "pad the batch": ("batch", "batch"),
}


def rewritten(shape, dtype, rewrite):
    """What a rewrite makes of a shape and a dtype, and how the condition that it meets begins."""
    [(option, wants)] = [found for start, found in REWRITES.items() if rewrite.startswith(start)]
    changes = {option: int(re.findall(r"to (\d+)", rewrite)[0])} if option else {}
    if wants == "one ":
        changes["split"] = True
    return replace(shape, **changes), HALF if wants == "float16" else dtype, wants


@pytest.mark.parametrize("dtype", [HALF, SINGLE], ids=str)
@pytest.mark.parametrize(
    ("changes", "device"),
    [
        ({"hidden_size": 150}, H100),
        ({"hidden_size": 1000, "input_size": 300}, V100),
        ({"num_layers": 2}, A100),
        ({"lengths": True}, H100),
        ({"num_layers": 2, "bidirectional": True, "hidden_size": 200, "input_size": 1}, A100),
        ({"lengths": True, "input_size": 127, "bidirectional": True}, H100),
        ({"lengths": True, "batch": 61, "hidden_size": 300}, A100),
        ({"batch": 60}, H100),
        ({"batch": 36, "time": 40, "lengths": True}, V100),
        ({"batch": 70, "time": 40}, V100),
    ],
)
def test_rewrites_meet_their_conditions_and_give_the_persistent_kernel(changes, device, dtype):
    shape = replace(BASE, **changes)
    for rewrite in kernels.explain(shape, device, dtype).rewrites:
        shape, dtype, wants = rewritten(shape, dtype, rewrite)
        assert not [w for w in kernels.explain(shape, device, dtype).failing if w.startswith(wants)]
    assert kernels.explain(shape, device, dtype).kernel == PERSISTENT


@pytest.mark.parametrize("device", [T4, A30, A40], ids=lambda d: d.name)
def test_no_padding_is_advised_where_the_device_has_no_such_kernel(device):
    advice = kernels.explain(replace(BASE, hidden_size=200), device, HALF).rewrites
    assert not [line for line in advice if "pad" in line]


def test_no_padding_is_advised_beyond_what_the_kernel_takes():
    for changes in ({"batch": 130}, {"hidden_size": 1100}, {"proj_size": 4, "batch": 60}):
        assert not kernels.explain(replace(BASE, **changes), H100, HALF).rewrites


def test_in_print_every_condition_has_a_line():
    found = kernels.explain(replace(BASE, hidden_size=200, batch=60), H100, SINGLE)
    first, *lines = str(found).splitlines()
    assert first == f"engine torch: {STANDARD}"
    marks = [
        f"  {'no ' if c.requirement in found.failing else 'yes'} {c.requirement}"
        for c in found.conditions
    ]
    assert lines == marks + [f"  would help: {rewrite}" for rewrite in found.rewrites]
    assert len(found.failing) == len(found.rewrites) == 3


def test_an_lstm_passes_its_sizes_and_options_on_and_runs_nothing(monkeypatch):
    lstm = LSTM(
        3,
        5,
        2,
        bidirectional=True,
        proj_size=4,
        dropout=0.1,
        weight_dropout=0.1,
        engine="torch",
        device="meta",
    )
    monkeypatch.setattr(LSTM, "forward", None)
    monkeypatch.setattr(kernels, "explain", lambda *given: given)
    shape = Shape(3, 5, 2, True, 4, False, True, 7, 9, True)
    assert lstm.explain(7, 9, A100, HALF, lengths=True) == (shape, A100, HALF, "torch")
    shape = Shape(3, 5, layer_norm=True, split=True, batch=7, time=9)
    normed = LSTM(3, 5, layer_norm=True, device="meta")
    assert normed.explain(7, 9) == (shape, "cpu", SINGLE, "auto")


def test_a_devices_name_is_the_machine_at_hand_or_an_h100(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert kernels.describe(torch.device("cuda")) == H100
    assert LSTM(128, 256, device="meta").explain(64, 20, "cuda", HALF).kernel == PERSISTENT
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    found = SimpleNamespace(name="T4", major=7, minor=5, multi_processor_count=40)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: found)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: False)
    monkeypatch.setattr(torch.backends.cudnn, "version", lambda: 91300)
    assert kernels.describe(torch.device("cuda")) == T4
    found = kernels.describe(torch.device("cpu"))
    assert (found.kind, found.onednn) == ("cpu", torch.backends.mkldnn.is_available())
    assert kernels.explain(BASE, "cpu", SINGLE) == kernels.explain(BASE, found, SINGLE)
