"""Matrices in whatever form they are held give one and the same product."""

from __future__ import annotations

import pytest
import torch

from lmtool.engine import matrix
from lmtool.engine.matrix import WIDENED, Widened


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("rows", [1, WIDENED - 1, WIDENED, 50])
@pytest.mark.parametrize("numbers", [1, 7 * 48, matrix.NUMBERS])
def test_widened_weights_give_the_rounded_product(
    monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype, rows: int, numbers: int
) -> None:
    """`numbers`: a row at a time, some with a rest, all."""
    monkeypatch.setattr(matrix, "NUMBERS", numbers)
    source = torch.Generator().manual_seed(rows)
    weight, x, bias = (
        torch.randn(size, generator=source).to(dtype) for size in ((40, 48), (rows, 48), (40,))
    )
    held = Widened(weight)
    wanted = x.double() @ weight.double().T
    step = torch.finfo(dtype).eps
    torch.testing.assert_close(held(x).double(), wanted, rtol=step, atol=step / 8)
    torch.testing.assert_close(held(x, bias).double(), wanted + bias, rtol=step, atol=step * 8)
    assert held(x).dtype == dtype
    assert held.dense() is weight
