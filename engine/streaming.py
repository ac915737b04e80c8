"""Requests without end, taken as there is room for them: whose text fails, fails alone."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import NamedTuple

from .. import LmtoolError, OutOfMemoryError
from .request import Outcome, Request, Token
from .sampling.grammar import Constraint


class Ready(NamedTuple):
    """A request that can be run, and where its grammar begins, if it has one."""

    request: Request
    constraint: Constraint | None = None


Prepare = Callable[[Request], Ready]
"""Makes a request ready; raises what speaks against this one."""

Start = Callable[[Iterator[Ready]], Iterable[Token]]
"""Starts requests that run side by side, and are taken when it sees fit.

`Token.request` counts those that were taken.
"""


def streamed(
    requests: Iterable[Request], prepare: Prepare, start: Start
) -> Iterator[Token | Outcome]:
    """Tokens as they come, and an outcome for each request once nothing can change it.

    Raises what `requests` raises once all requests before are answered.
    """
    feed = _Feed(requests, prepare)
    while True:
        try:
            yield from feed.run(start)
            break
        except OutOfMemoryError:
            raise
        except LmtoolError:
            # It doesn't say whose it is, and what was begun beside it can't go on.
            yield from feed.run_apart(start)
    if feed.broken is not None:
        raise feed.broken


class _Feed:
    """Requests on their way: `under_way` is what isn't complete, by number."""

    def __init__(self, requests: Iterable[Request], prepare: Prepare) -> None:
        self.broken: Exception | None = None
        self._requests = enumerate(requests)
        self._prepare = prepare
        self._under_way: dict[int, Ready] = {}
        self._over: deque[Outcome] = deque()

    def run(self, start: Start) -> Iterator[Token | Outcome]:
        """All that are left, side by side."""
        yield from self._run(start, self._coming())

    def run_apart(self, start: Start) -> Iterator[Token | Outcome]:
        """Those under way, each by itself."""
        yield from self._leaving()
        for number, ready in list(self._under_way.items()):
            try:
                yield from self._run(start, iter([(number, ready)]))
            except OutOfMemoryError:
                raise
            except LmtoolError as error:
                yield Outcome(number, error=error)
            self._under_way.pop(number, None)

    def _coming(self) -> Iterator[tuple[int, Ready]]:
        """The next ones that there is anything to do for."""
        while True:
            try:
                number, request = next(self._requests)
            except StopIteration:
                return
            except Exception as error:  # whoever asks has failed, not those who were asked for
                self.broken = error
                return
            if request.max_new == 0:  # whoever wants no token has none
                self._over.append(Outcome(number, ((),) * request.samples))
                continue
            try:
                ready = self._prepare(request)
            except OutOfMemoryError:
                raise
            except LmtoolError as error:
                self._over.append(Outcome(number, error=error))
                continue
            self._under_way[number] = ready
            yield number, ready

    def _run(self, start: Start, coming: Iterator[tuple[int, Ready]]) -> Iterator[Token | Outcome]:
        numbers: dict[int, int] = {}
        told: dict[int, list[list[Token]]] = {}

        def taken() -> Iterator[Ready]:
            for place, (number, ready) in enumerate(coming):
                numbers[place] = number
                told[number] = [[] for _ in range(ready.request.samples)]
                yield ready

        for token in start(taken()):
            yield from self._leaving()
            token = replace(token, request=numbers[token.request])
            yield token
            samples = told[token.request]
            samples[token.sample].append(token)
            if token.finish and all(own and own[-1].finish for own in samples):
                del told[token.request], self._under_way[token.request]
                yield Outcome(token.request, tuple(map(tuple, samples)))
        yield from self._leaving()

    def _leaving(self) -> Iterator[Outcome]:
        while self._over:
            yield self._over.popleft()
