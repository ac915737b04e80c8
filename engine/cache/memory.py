"""Zeros that take memory only where something is written."""

from __future__ import annotations

import math
import mmap
import sys
from contextlib import suppress

import torch
from torch import Tensor

_PRIVATE = getattr(mmap, "MAP_PRIVATE", 0) | getattr(mmap, "MAP_ANONYMOUS", 0)
# Python names this flag from 3.13 on. Without it the system may refuse more than it has.
_NORESERVE = getattr(mmap, "MAP_NORESERVE", 0x4000 if sys.platform == "linux" else 0)
_SMALL_PAGES = getattr(mmap, "MADV_NOHUGEPAGE", None)


def lazy_zeros(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Zeros of that shape; on the CPU of a Unix, addresses whose pages come when written to.

    Raises what torch or the system raise where there isn't room for the addresses.
    """
    size = math.prod(shape) * dtype.itemsize
    if device.type != "cpu" or not _PRIVATE or size == 0:
        return torch.zeros(shape, dtype=dtype, device=device)
    memory = mmap.mmap(-1, size, flags=_PRIVATE | _NORESERVE)
    if _SMALL_PAGES is not None:
        # Each head's slots begin on pages of their own: with huge ones, short texts would take
        # 2 MB a head. Read at 8,000 tokens, they were no faster.
        with suppress(OSError):  # a kernel without huge pages
            memory.madvise(_SMALL_PAGES)
    return torch.frombuffer(memory, dtype=dtype).view(shape)
