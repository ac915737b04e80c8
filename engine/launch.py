"""Whether this process is one of several that share a model, by what `torchrun` says. No torch."""

from __future__ import annotations

import os
from typing import NamedTuple

from .. import UsageError


class Launch(NamedTuple):
    """Process number `rank` of `size`; on its machine it is number `local` of `here`."""

    rank: int
    size: int
    local: int
    here: int


def launched() -> Launch | None:
    """What the environment says; None for a process that runs alone.

    Raises `UsageError` for an environment that says it wrongly.
    """
    if "WORLD_SIZE" not in os.environ or "RANK" not in os.environ:
        return None
    rank, size = _number("RANK"), _number("WORLD_SIZE")
    local, here = _number("LOCAL_RANK", rank), _number("LOCAL_WORLD_SIZE", size)
    return Launch(rank, size, local, here) if size > 1 else None


def alone(what: str) -> None:
    """Raise `UsageError` for `what` needs all of a model, where several processes share it."""
    if launched() is not None:
        raise UsageError(
            f"{what} doesn't work while several processes share a model",
            hint="start it without torchrun",
        )


def _number(name: str, default: int = 0) -> int:
    value = os.environ.get(name, str(default))
    if not value.isdecimal():
        raise UsageError(f"the environment variable {name} is no number: `{value}`")
    return int(value)
