"""Large weights taken some rows at a time, so that no second copy of one is ever whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

NUMBERS = 1 << 20
"""Numbers of a weight in one block: few enough to stay in the cache between two passes."""

MANY = 1 << 26
"""The same where a pass costs the more, the less it does: on a GPU."""


def blocks(rows: int, width: int, numbers: int = NUMBERS) -> Iterator[slice]:
    """Slices that cover `rows` of `width` numbers each, with about so many numbers in each."""
    size = max(1, numbers // width)
    for begin in range(0, rows, size):
        yield slice(begin, min(begin + size, rows))


def wide_enough(dtype: torch.dtype) -> torch.dtype:
    """What to unpack in, to be rounded to `dtype`: scales can be too small for float16."""
    return torch.float32 if dtype == torch.float16 else dtype


def product(
    x: Tensor, outputs: int, dense: Callable[[slice], Tensor], bias: Tensor | None
) -> Tensor:
    """x @ weights.T + bias, with weights that `dense` unpacks block by block: [T, outputs]."""
    out = torch.empty(x.shape[0], outputs, dtype=x.dtype, device=x.device)
    for rows in blocks(outputs, x.shape[1], NUMBERS if x.device.type == "cpu" else MANY):
        out[:, rows] = F.linear(x, dense(rows))
    return out if bias is None else out.add_(bias)
