"""What is done to caches, told to whoever has to do the same to caches of their own.

Where a model is split over several processes, each keeps the keys and values of its own heads,
and one of them decides which rows there are.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeAlias, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

Listener: TypeAlias = Callable[[object, str, tuple[Any, ...]], None]
"""Hears of a cache, the method that was called, and its arguments, by place all of them."""

_listeners: list[Listener] = []


def listen(listener: Listener) -> None:
    """Hear of everything that this process does to caches from now on."""
    _listeners.append(listener)


def doing(method: Callable[P, R]) -> Callable[P, R]:
    """Mark a method of a cache, which may be its making, that others have to repeat.

    What it does by other such methods isn't told again.
    """
    name = method.__name__

    @wraps(method)
    def told(*args: P.args, **kwargs: P.kwargs) -> R:
        if not _listeners:
            return method(*args, **kwargs)
        assert not kwargs, "what is told is told by place"
        heard = _listeners[:]
        _listeners.clear()
        try:
            answer = method(*args, **kwargs)
        finally:
            _listeners.extend(heard)
        cache, *rest = args
        for listener in heard:
            listener(cache, name, tuple(rest))
        return answer

    return told
