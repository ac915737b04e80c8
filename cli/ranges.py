"""Settings that take many values at once: `1,2,4`, `0-8192+2048`, `128-1024*2`, names with commas.

The syntax of ranges is llama-bench's (tools/llama-bench/README.md of llama.cpp).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import takewhile

MOST = 1000
"""Values in one range; more are a slip of the finger."""

_RANGE = re.compile(r"(\d+)(?:-(\d+)(?:([+*])(\d+))?)?")


@dataclass(frozen=True)
class Ranges:
    """Whole numbers, none below `at_least`: parted by commas, or as ranges with their last value.

    >>> Ranges(0).accept("1,0-4+2,128-1024*2")
    (1, 0, 2, 4, 128, 256, 512, 1024)
    """

    at_least: int = 0

    @property
    def says(self) -> str:
        """See `settings.Kind`."""
        return (
            f"whole numbers, {self.at_least} or more, such as 512 or 1,2,4 "
            "or 0-8192+2048 or 128-1024*2"
        )

    def accept(self, raw: object) -> tuple[int, ...]:
        """See `settings.Kind`."""
        if isinstance(raw, bool) or not isinstance(raw, (int, str)):
            raise ValueError
        return tuple(
            value for part in str(raw).split(",") for value in expand(part.strip(), self.at_least)
        )


def expand(part: str, at_least: int) -> list[int]:
    """The values of `7`, `1-4`, `0-8192+2048` or `128-1024*2`. Raises ValueError."""
    match = _RANGE.fullmatch(part)
    if match is None:
        raise ValueError
    first = int(match[1])
    last, operator, by = int(match[2] or first), match[3] or "+", int(match[4] or 1)
    endless = by == 0 if operator == "+" else by < 2 or first == 0
    if first < at_least or last < first or (endless and first < last):
        raise ValueError
    if first == last:
        return [first]
    steps = (first + by * n if operator == "+" else first * by**n for n in range(MOST + 1))
    values = list(takewhile(lambda value: value <= last, steps))
    if len(values) > MOST:
        raise ValueError
    return values


@dataclass(frozen=True)
class Names:
    """Some of a few names, parted by commas."""

    names: tuple[str, ...]

    @property
    def says(self) -> str:
        """See `settings.Kind`."""
        return f"one or more of {','.join(self.names)}"

    def accept(self, raw: object) -> tuple[str, ...]:
        """See `settings.Kind`."""
        if not isinstance(raw, str):
            raise ValueError
        chosen = tuple(name.strip() for name in raw.split(","))
        if not set(chosen) <= set(self.names):
            raise ValueError
        return chosen
