"""The matrix product of the recurrence: against torch.mm, in every precision, packed or not."""

from __future__ import annotations

import pytest
import torch

from zoo.rnn import matmul
from zoo.rnn.matmul import PackedWeight, compute_dtype

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
