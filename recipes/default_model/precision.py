"""What a model is trained in: bf16 where the machine multiplies it fast, float32 elsewhere."""

from __future__ import annotations

import time
from functools import cache

import torch
from torch import Tensor


@cache
def working_type(device: str) -> torch.dtype:
    """bf16, unless a matrix product takes longer in it than in float32.

    Processors without bf16 instructions emulate them: fifty times as slow, on AVX2.
    """
    wide = torch.ones(512, 256, device=device)
    narrow = wide.bfloat16()
    return torch.bfloat16 if _seconds(narrow) <= _seconds(wide) else torch.float32


def _seconds(matrix: Tensor) -> float:
    """What the fastest of a few products takes."""
    taken: list[float] = []
    for _ in range(5):
        began = time.perf_counter()
        float((matrix @ matrix.T)[0, 0])  # reading a number waits for a GPU
        taken.append(time.perf_counter() - began)
    return min(taken)
