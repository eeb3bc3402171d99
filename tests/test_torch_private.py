"""What is private in torch stands in one file; each part does what its public counterpart does."""

from __future__ import annotations

import ast
import sys

import pytest
import torch
from conftest import ROOT
from torch import nn
from torch.nn import functional as F

from zoo import torch_private
from zoo.errors import InputError
from zoo.export.program import program
from zoo.rnn.lstm import LSTM

ROWS, WEIGHT, BIAS = torch.randn(5, 7), torch.randn(3, 7), torch.randn(3)


def parts(node: ast.AST) -> list[str]:
    """The names of `torch.a.b`, ["torch", "a", "b"]; nothing for what does not begin with a name."""
    found: list[str] = []
    while isinstance(node, ast.Attribute):
        found.append(node.attr)
        node = node.value
    return [node.id, *reversed(found)] if isinstance(node, ast.Name) else []


def private(source: str) -> set[str]:
    """What a source names of torch that is private: after an underscore, or of its operators."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        names = [parts(node)]
        if isinstance(node, ast.Import):
            names = [alias.name.split(".") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            module = (node.module or "").split(".")
            names = [[*module, alias.name] for alias in node.names]
        for name in names:
            if name[:1] == ["torch"] and any(n == "ops" or n[:1] == "_" for n in name):
                found.add(".".join(name))
    return found - {"torch.__version__", "torch.ops"}


def test_no_other_file_names_what_is_private():
    sources = [p for top in ("zoo", "tasks") for p in (ROOT / top).rglob("*.py")]
    found = {path.name: private(path.read_text("utf-8")) for path in sources}
    assert {name for name, names in found.items() if names} == {"torch_private.py"}


@pytest.mark.parametrize(
    ("source", "wanted"),
    [
        ("torch._C.f()", {"torch._C", "torch._C.f"}),
        ("torch.ops.aten.add(a, b)", {"torch.ops.aten", "torch.ops.aten.add"}),
        ("from torch import _VF", {"torch._VF"}),
        ("from torch.export._patches import f", {"torch.export._patches.f"}),
        ("torch.nn.Linear(1, 2)._parameters; torch.__version__; self._c", set()),
    ],
)
def test_what_is_private_is_seen(source, wanted):
    assert private(source) == wanted


@pytest.mark.parametrize("name", ["_is_avx512_bf16_supported", "_is_amx_tile_supported"])
def test_either_kind_of_bf16_will_do_and_none_is_missed(monkeypatch, name):
    for each in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.delattr(torch.cpu, each)
    assert not torch_private.has_bf16_instructions()
    monkeypatch.setattr(torch.cpu, name, lambda: True, raising=False)
    assert torch_private.has_bf16_instructions()


@pytest.mark.skipif(not torch_private.has_onednn_linear(), reason="torch without oneDNN")
@pytest.mark.parametrize("bias", [None, BIAS])
def test_onednn_is_a_linear_layer(bias):
    wanted = F.linear(ROWS, WEIGHT, bias)
    torch.testing.assert_close(torch_private.onednn_linear(ROWS, WEIGHT, bias), wanted)
    packed = torch_private.onednn_weight(WEIGHT)
    torch.testing.assert_close(torch_private.onednn_linear(ROWS, packed, bias), wanted)


@pytest.mark.parametrize("gone", ["_linear_pointwise", "_reorder_linear_weight"])
def test_a_torch_without_one_of_onednns_two_has_none(monkeypatch, gone):
    class Without:
        def __getattr__(self, name):
            if name == gone:
                raise AttributeError(name)
            return print

    monkeypatch.setattr(torch.ops, "mkldnn", Without())
    assert not torch_private.has_onednn_linear.__wrapped__()


def test_layer_norm_backward_is_that_of_autograd():
    rows, d_normed = torch.randn(2, 4, 6, requires_grad=True), torch.randn(2, 4, 6)
    F.layer_norm(rows, [6]).backward(d_normed)
    _, mean, rstd = torch.native_layer_norm(rows.detach(), [6], None, None, 1e-5)
    found = torch_private.layer_norm_backward(d_normed, rows.detach(), mean, rstd)
    torch.testing.assert_close(found, rows.grad)


@pytest.mark.parametrize("there", [True, False])
def test_lerp_moves_every_tensor_by_its_share(monkeypatch, there):
    if not there:
        monkeypatch.delattr(torch, "_foreach_lerp_")
    kept, others = [torch.zeros(2), torch.ones(3)], [torch.ones(2), torch.full((3,), 5.0)]
    torch_private.lerp_(kept, others, 0.25)
    assert [part.tolist() for part in kept] == [[0.25] * 2, [2.0] * 3]


@pytest.mark.filterwarnings("ignore")  # torch's own, about its own code
def test_the_time_of_an_lstm_is_free_inside_the_context():
    with torch_private.rnn_as_loop("LSTM"), torch.no_grad():
        free = ({0: torch.export.Dim("time", min=1)},)
        made = torch.export.export(nn.LSTM(3, 4), (torch.randn(6, 2, 3),), dynamic_shapes=free)
    assert made.module()(torch.randn(9, 2, 3))[0].shape == (9, 2, 4)


def test_a_torch_without_the_switch_is_told_from_one_that_fails(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.export._patches", None)
    with pytest.raises(ImportError):
        torch_private.rnn_as_loop("LSTM")
    with pytest.raises(InputError, match="no while_loop for LSTM"):
        program(LSTM(2, 3))
