"""The engine: checkpoints in, token ids in, token ids out. It knows tensors and no terminal.

For programs: `from lmtool.engine import Request, Session`. What is named here is kept as it is;
docs/api.md tells of it. `Session` alone imports torch.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .request import Candidate, Grammar, Outcome, Request, Sampling, Stop, Timings, Token
    from .session import Session

__all__ = [
    "Candidate",
    "Grammar",
    "Outcome",
    "Request",
    "Sampling",
    "Session",
    "Stop",
    "Timings",
    "Token",
]

# torch reads this at its first allocation: weights in pages of 2 MB are read an eighth faster.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")


def __getattr__(name: str) -> object:
    """What programs import from here, once it is asked for: the engine's own files do without."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name == "Session":
        from .session import Session

        return Session
    from . import request

    return getattr(request, name)
