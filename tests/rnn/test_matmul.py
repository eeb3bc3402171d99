"""The matrix product of the recurrence: against torch.mm, in every precision, packed or not."""

from __future__ import annotations

import pytest
import torch

from zoo import torch_private
from zoo.rnn import matmul
from zoo.rnn.matmul import PackedWeight, QuantizedWeight, compute_dtype

ROWS = torch.randn(5, 7, generator=torch.Generator().manual_seed(1))
WEIGHT = torch.randn(3, 7, generator=torch.Generator().manual_seed(2))
TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 2e-2}
dtypes = pytest.mark.parametrize("dtype", TOLERANCE, ids=str)


@dtypes
def test_without_autocast_products_are_in_the_tensors_own_precision(dtype):
    assert compute_dtype(ROWS.to(dtype)) == dtype


def test_under_autocast_all_but_float64_is_in_its_precision():
    with torch.autocast("cpu", torch.bfloat16):
        assert compute_dtype(ROWS) == torch.bfloat16
        assert compute_dtype(ROWS.double()) == torch.float64


@dtypes
@pytest.mark.parametrize("onednn", [True, False])
def test_products_are_those_of_torch(monkeypatch, dtype, onednn):
    if not onednn:
        monkeypatch.setattr(matmul.torch_private, "has_onednn_linear", lambda: False)
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    rows, weight, bias = ROWS.to(wide), WEIGHT.to(wide), torch.ones(3, dtype=dtype)
    wanted = rows @ weight.t()
    close = {"rtol": TOLERANCE[dtype], "atol": 4 * TOLERANCE[dtype]}
    packed = PackedWeight(weight, dtype)
    for found in (matmul.matmul(rows, weight, dtype), packed(rows)):
        torch.testing.assert_close(found, wanted, **close)
    torch.testing.assert_close(packed(rows, bias), wanted + 1, **close)


def test_a_product_of_no_rows_is_empty_and_one_of_no_features_is_zero():
    assert matmul.matmul(ROWS[:0], WEIGHT, torch.float32).shape == (0, 3)
    assert PackedWeight(WEIGHT, torch.float32)(ROWS[:0]).shape == (0, 3)
    found = matmul.matmul(ROWS[:, :0], WEIGHT[:, :0], torch.float32)
    assert torch.equal(found, torch.zeros(5, 3))


needs_int8 = pytest.mark.skipif(not torch_private.has_onednn_int8(), reason="no int8 products")


@needs_int8
def test_an_int8_weight_gives_the_product_of_its_rounded_numbers():
    torch.manual_seed(1)
    weight, bias = torch.randn(300, 70), torch.randn(300)
    weight[5] = 0
    weight[7] *= 1e4  # each row has its scale
    quantized = QuantizedWeight(weight)
    for row in (torch.randn(1, 70), torch.zeros(1, 70), 1e-3 * torch.randn(70)):
        wanted = (row.view(1, -1) @ weight.t())[0]
        found = quantized(row, bias)
        assert found.shape == (*row.shape[:-1], 300)
        error = (found.view(-1) - bias - wanted).abs() / weight.norm(dim=1).clamp(min=1e-9)
        assert float(error.max()) <= 0.02 * float(row.norm())
    torch.testing.assert_close(quantized(torch.zeros(1, 70))[0], torch.zeros(300))


def test_a_processor_without_int8_products_says_so(monkeypatch):
    monkeypatch.setattr(torch_private, "has_onednn_int8", lambda: False)
    with pytest.raises(RuntimeError, match="no int8 products"):
        QuantizedWeight(torch.ones(2, 3))
