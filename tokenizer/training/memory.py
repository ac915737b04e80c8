"""How much memory training may take: what a person says, or a share of what is free."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from ... import UsageError

USUAL = 1280 << 20
"""Enough for some hundred million letters of distinct words. Always the same where there is as much
memory, since what has no room is left out: so one text gives one tokenizer on every machine."""

_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([kmgt]?)(?:i?b)?", re.IGNORECASE)
_LEAST = 256 << 20
_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
_USED = ("/sys/fs/cgroup/memory.current", "/sys/fs/cgroup/memory/memory.usage_in_bytes")


def read_size(text: str, option: str = "--max-memory", least: int | None = None) -> int:
    """The bytes in `2G`, `800M` or `1.5 GiB`; units are powers of 1024.

    Raises `UsageError` for what is no size, or too little to work with.
    """
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        raise UsageError(f"{option} {text!r} is no size", hint="write for instance 800M or 2G")
    size = int(float(found[1]) * _UNITS[found[2].lower()])
    if size < (_LEAST if least is None else least):
        raise UsageError(f"{option} {text} is too little", hint="256M is the least")
    return size


def usual_memory() -> int:
    """What to take where nobody says: `USUAL`, or half of what is free if that is less."""
    free = _free()
    return USUAL if free is None else max(_LEAST, min(USUAL, free // 2))


def _free() -> int | None:
    """Bytes that can be had without swapping, within the container's limit; None if unknown."""
    found: list[int] = []
    try:
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                found.append(int(line.split()[1]) * 1024)
    except (OSError, ValueError):
        pass
    for limit, used in zip(_LIMITS, _USED, strict=True):
        try:
            found.append(int(Path(limit).read_text()) - int(Path(used).read_text()))
        except (OSError, ValueError):
            continue  # no such limit, or "max"
    return min(found, default=None)


def peak_memory() -> tuple[int, int] | None:
    """The most bytes that this process took, and the largest of those that it started (0: none).

    By the operating system's count (ru_maxrss, as `time -v` tells it); None where there is none.
    """
    try:
        import resource
    except ImportError:  # Windows
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    largest = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return unit * own, unit * largest
