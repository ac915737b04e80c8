"""What tells a checkpoint from any other, without reading all of it. No torch."""

from __future__ import annotations

import json
from hashlib import sha256
from itertools import chain

from .checkpoint import Checkpoint
from .shards import Shard

WHOLE = 64 << 20
"""Bytes up to which a shard is read whole."""

SAMPLE, PLACES, FEW = 1024, 4, 4096
"""Bytes read at a place, and places a tensor; more than `FEW` tensors have one place each."""


def fingerprint(checkpoint: Checkpoint) -> str:
    """A digest of the config, the shards' headers, and their bytes: all of a small one's.

    Of a large one some of every tensor are read. Training changes nearly all numbers of a tensor,
    so it changes those too.
    """
    digest = sha256(json.dumps(checkpoint.config, sort_keys=True).encode())
    for shard in checkpoint.shards:
        size = shard.path.stat().st_size
        digest.update(f"{size};".encode())
        whole = [(0, size)] if size <= WHOLE else chain(_header(shard), _samples(shard))
        for begin, end in whole:
            digest.update(memoryview(shard.bytes_of_file())[begin:end])
    return digest.hexdigest()


def _header(shard: Shard) -> list[tuple[int, int]]:
    return [(0, min((entry.begin for entry in shard.entries.values()), default=0))]


def _samples(shard: Shard) -> list[tuple[int, int]]:
    """Where to read of each tensor: evenly spread places, the first and the last bytes too."""
    places = PLACES if len(shard.entries) <= FEW else 1
    found: list[tuple[int, int]] = []
    for entry in sorted(shard.entries.values(), key=lambda entry: entry.begin):
        last = max(entry.begin, entry.end - SAMPLE)
        for place in range(places):
            begin = entry.begin + (last - entry.begin) * place // max(1, places - 1)
            found.append((begin, min(begin + SAMPLE, entry.end)))
    return found
