"""Requests without end, some hundreds at a time: whose text fails, fails alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from collections.abc import Sequence as Many
from dataclasses import replace
from itertools import islice

from .. import LmtoolError, OutOfMemoryError
from .request import Outcome, Request, Token

WAVE = 256
"""Requests that are taken at a time: of so many texts few wait for the longest."""

Start = Callable[[Many[Request]], Iterable[Token]]
"""Starts requests that run side by side; `Token.request` says whose a token is."""


def in_waves(requests: Iterable[Request], start: Start) -> Iterator[Token | Outcome]:
    """Tokens as they come, and an outcome for each request once nothing can change it.

    Requests are taken when there is room for them, in their order.
    """
    waiting, first = iter(requests), 0
    while wave := list(islice(waiting, WAVE)):
        yield from _wave(wave, first, start)
        first += len(wave)


def _wave(wave: Many[Request], first: int, start: Start) -> Iterator[Token | Outcome]:
    """One wave; where it fails, what isn't complete is run again, each request alone.

    An error doesn't say whose it is, and what was begun beside it can't go on.
    """
    left = set(range(first, first + len(wave)))
    try:
        for event in _run(wave, first, start):
            if isinstance(event, Outcome):
                left.discard(event.request)
            yield event
        return
    except OutOfMemoryError:
        raise
    except LmtoolError as error:
        if len(wave) == 1:
            yield Outcome(first, error=error)
            return
    for number in sorted(left):
        yield from _wave([wave[number - first]], number, start)


def _run(wave: Many[Request], first: int, start: Start) -> Iterator[Token | Outcome]:
    told: dict[int, list[list[Token]]] = {}
    for token in start(wave):
        place = token.request
        token = replace(token, request=first + place)
        yield token
        samples = told.setdefault(place, [[] for _ in range(wave[place].samples)])
        samples[token.sample].append(token)
        if token.finish and all(own and own[-1].finish for own in samples):
            yield Outcome(token.request, tuple(map(tuple, told.pop(place))))
    # Whoever wanted no token has none.
    for place, request in enumerate(wave):
        if request.max_new == 0:
            yield Outcome(first + place, ((),) * request.samples)
