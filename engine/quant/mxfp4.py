"""MXFP4: numbers of four bits that share a scale in blocks of 32.

OCP Microscaling Formats 1.0. The layout is that of gpt-oss checkpoints, as transformers'
integrations/mxfp4.py reads it.
"""

from __future__ import annotations

import torch
from torch import Tensor

VALUES = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
"""The eight magnitudes of E2M1; the fourth bit is the sign."""


def unpack_mxfp4(blocks: Tensor, scales: Tensor, dtype: torch.dtype) -> Tensor:
    """blocks uint8 [..., G, 16] and scales uint8 [..., G] -> [..., 32 G].

    A byte holds two numbers, the first in its lower half. A scale is the exponent of a power of
    two, from -127 on.

    >>> blocks = torch.tensor([[0x21] + [0] * 15], dtype=torch.uint8)
    >>> unpack_mxfp4(blocks, torch.tensor([128], dtype=torch.uint8), torch.float32)[:3]
    tensor([1., 2., 0.])
    """
    table = torch.tensor((*VALUES, *(-value for value in VALUES)), device=blocks.device)
    halves = torch.stack((blocks & 0x0F, blocks >> 4), dim=-1).flatten(-2)  # [..., G, 32]
    numbers = torch.ldexp(table[halves.int()], scales.int()[..., None] - 127)
    return numbers.to(dtype).flatten(-2)
