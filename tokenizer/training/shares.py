"""How many processes count, and how much memory each has for its tables."""

from __future__ import annotations

import os
from dataclasses import dataclass

_READING = 64 << 20
"""Bytes that reading, merging and what is merged take in the first process."""

_COUNTING = 112 << 20
"""Bytes that a block takes while it is split, and what counts frequent words."""

_LEAST_ROOM = 48 << 20
"""Bytes without which another process isn't worth it."""

_BARE = 64 << 20
"""Bytes that a process takes which has done nothing, where the system doesn't say."""


@dataclass(frozen=True)
class Share:
    """`processes` that count, each with `room` bytes for its tables; None for no bound."""

    processes: int
    room: int | None


def share_memory(max_memory: int, processes: int) -> Share:
    """Share `max_memory` bytes (0: no bound) among so many `processes` at most."""
    if not max_memory:
        return Share(processes, None)
    bare = _memory_used() or _BARE
    left = max_memory - bare - _READING
    for count in range(processes, 1, -1):
        room = left // count - bare - _COUNTING
        if room >= _LEAST_ROOM:
            return Share(count, room)
    return Share(1, max(left - _COUNTING, _LEAST_ROOM // 4))


def cores() -> int:
    """Processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _memory_used() -> int:
    """Bytes of memory that this process takes now, as the system counts it; 0 if it won't say."""
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0
