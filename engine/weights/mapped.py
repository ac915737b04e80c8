"""Tensors as a file's own pages."""

from __future__ import annotations

import math
import warnings

import torch
from torch import Tensor

from ... import ModelError
from .shards import Entry, Shard

DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "U8": torch.uint8,
    "I8": torch.int8,
}
"""What can be computed from; bytes are what packed and quantized weights are made of."""


def mapped(shard: Shard, entry: Entry, dtype: torch.dtype) -> Tensor:
    """A tensor that is the file's own pages."""
    if entry.begin == entry.end:
        return torch.empty(entry.shape, dtype=dtype)
    with warnings.catch_warnings():
        # The map is read-only on purpose; torch warns because it can't express that.
        warnings.filterwarnings("ignore", message=".*not writable")
        flat = torch.frombuffer(
            shard.bytes_of_file(), dtype=dtype, count=math.prod(entry.shape), offset=entry.begin
        )
    return flat.view(entry.shape)


def readable(shard: Shard, entry: Entry, theirs: str) -> torch.dtype:
    """A stored tensor's dtype. Raises `ModelError` for one that nothing is computed from."""
    dtype = DTYPES.get(entry.dtype)
    if dtype is None:
        raise unreadable(shard, entry, theirs)
    return dtype


def unreadable(shard: Shard, entry: Entry, theirs: str) -> ModelError:
    """The error for a tensor of a dtype that nothing is computed from."""
    floats = [name for name, dtype in DTYPES.items() if dtype.is_floating_point]
    return ModelError(
        f"`{shard.path}`: `{theirs}` is stored as {entry.dtype}, which lmtool doesn't read",
        hint=f"it reads {', '.join(floats)}",
    )
