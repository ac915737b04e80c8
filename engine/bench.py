"""How fast a model reads prompts and writes tokens, beside what the machine could do at best.

A point is measured as a request would run: behind `depth` tokens that are cached already, each of
`batch` rows reads a prompt and is continued greedily. Ids are random, and no id ends a text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from random import Random
from statistics import median
from time import perf_counter

import torch
from torch import Tensor

from .. import InputError, OutOfMemoryError
from .cache.static import StaticCache
from .cost import Cost, held_bytes
from .device import memory_errors
from .loop import CHUNK
from .machine import (
    Machine,
    forget_peak_memory,
    matrix_rate,
    memory_bandwidth,
    peak_memory,
)
from .quant.kinds import Quant
from .request import Sampling
from .runner import Compiled, Runner
from .sampling.draw import Draw
from .sampling.sampler import checked, choose
from .session import ModelCard, Session
from .step import Piece, Step

FRESH_S = 3.0
"""How long a measured ceiling is believed: machines that others use drift. It takes most of a
second to measure."""

WARM_TOKENS = 8
"""Tokens decoded before anything is measured, after a chunk of the prompt."""

GREEDY = Sampling()

Watch = Callable[["Point", int], None]
"""Hears which point is under way, and which repeat: 0 while it gets warm."""


@dataclass(frozen=True)
class Point:
    """What to measure: `prompt` tokens to read behind `depth`, `tokens` to write, in each row."""

    batch: int
    depth: int
    prompt: int
    tokens: int

    def __str__(self) -> str:
        """For people."""
        parts = [f"batch {self.batch}", f"depth {self.depth}"]
        return ", ".join([*parts, f"prompt {self.prompt}", f"{self.tokens} tokens"])

    @property
    def length(self) -> int:
        """Tokens of each row in the end."""
        return self.depth + self.prompt + self.tokens


@dataclass(frozen=True)
class Ceiling:
    """What the machine can do: bytes read and floating-point operations done a second."""

    bandwidth: float
    matrix_rate: float


@dataclass(frozen=True)
class Repeat:
    """Seconds of one run through a point, the ceiling just before it, and its peak memory.

    `first_token_s` is from the prompt's beginning until every row's first token is chosen; what
    a point doesn't ask for is None.
    """

    prefill_s: float | None
    first_token_s: float | None
    decode_s: float | None
    ceiling: Ceiling
    peak_bytes: int | None


@dataclass(frozen=True)
class Spread:
    """The middle of several measurements, and how far they lie apart."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread | None:
        """Of any number of values; None of none."""
        return cls(median(values), min(values), max(values)) if values else None


@dataclass(frozen=True)
class Result:
    """A point's repeats, or in `error` why there are none; rates and shares follow from them."""

    point: Point
    cost: Cost
    repeats: tuple[Repeat, ...]
    error: OutOfMemoryError | None = None

    @property
    def prefill(self) -> Spread | None:
        """Prompt tokens read a second, over all rows."""
        count = self.point.batch * self.point.prompt
        return Spread.of([count / s for s in self._taken("prefill_s")])

    @property
    def first_token_s(self) -> Spread | None:
        """Seconds from the prompt's beginning to the first token of every row."""
        return Spread.of(self._taken("first_token_s"))

    @property
    def decode(self) -> Spread | None:
        """Tokens written a second, over all rows."""
        count = self.point.batch * self.point.tokens
        return Spread.of([count / s for s in self._taken("decode_s")])

    @property
    def matrix_share(self) -> Spread | None:
        """Operations of the prompts a second, as shares of the matrix rate measured beside."""
        flops = self.cost.prompt_flops
        done = [(one.prefill_s, one.ceiling.matrix_rate) for one in self.repeats]
        return Spread.of([flops / s / most for s, most in done if s is not None])

    @property
    def bandwidth_share(self) -> Spread | None:
        """Bytes that decoding reads a second, as shares of the bandwidth measured beside."""
        read = self.cost.step_bytes * self.point.tokens
        done = [(one.decode_s, one.ceiling.bandwidth) for one in self.repeats]
        return Spread.of([read / s / most for s, most in done if s is not None])

    @property
    def ceiling(self) -> Ceiling | None:
        """The middle of the ceilings that were measured beside the repeats."""
        if not self.repeats:
            return None
        ceilings = [one.ceiling for one in self.repeats]
        return Ceiling(
            median(one.bandwidth for one in ceilings), median(one.matrix_rate for one in ceilings)
        )

    @property
    def peak_bytes(self) -> int | None:
        """The most memory that any of the repeats took."""
        peaks = [one.peak_bytes for one in self.repeats if one.peak_bytes is not None]
        return max(peaks, default=None)

    def _taken(self, name: str) -> list[float]:
        found = (getattr(one, name) for one in self.repeats)
        return [seconds for seconds in found if seconds is not None]


@dataclass(frozen=True)
class Subject:
    """What is measured, how many bytes its weights take, and how and where it runs."""

    model: ModelCard
    weight_bytes: int
    compiled: bool
    machine: Machine

    @classmethod
    def of(cls, session: Session) -> Subject:
        """A session's model on this machine."""
        decoder = session.decoder
        compiled = isinstance(session.runner, Compiled)
        return cls(session.card, held_bytes(decoder), compiled, Machine.of(decoder.device))


def check_room(points: Sequence[Point], context: int) -> None:
    """Raises `InputError` for the first point that has no room in the context."""
    for point in points:
        if point.length > context:
            raise InputError(
                f"no room for a depth of {point.depth}, a prompt of {point.prompt} and "
                f"{point.tokens} tokens: together {point.length}, and the context has {context}",
                hint="-d, -p and -n make it less, -c the context longer",
            )


def run(
    session: Session,
    points: Sequence[Point],
    repeats: int,
    seed: int = 0,
    watch: Watch = lambda point, repeat: None,
) -> Iterator[Result]:
    """Measure each point `repeats` times, after once to get warm; results come as they are had.

    Memory that ends at one point is that result's `error`. The same `seed` makes the same ids.
    Raises `InputError` before anything runs if a point has no room in the session's context.
    """
    check_room(points, session.context)
    ceilings = _Ceilings(session)
    texts: Texts | None = None
    for point in points:
        if texts is not None and texts.rows != point.batch:
            texts = None  # its cache goes before the next one comes
        cost = Cost.of(session.decoder, point.batch, point.depth, point.prompt, point.tokens)
        try:
            with memory_errors(f"measuring {point}"):
                if texts is None:
                    texts = Texts(session.runner, point.batch, session.context, seed)
                watch(point, 0)
                texts.warm_up(point)
                done: list[Repeat] = []
                for number in range(1, repeats + 1):
                    watch(point, number)
                    done.append(_repeat(texts, point, ceilings.now()))
            yield Result(point, cost, tuple(done))
        except OutOfMemoryError as error:
            texts = None
            yield Result(point, cost, (), error)


def _repeat(texts: Texts, point: Point, ceiling: Ceiling) -> Repeat:
    """Run through a point once, by the clock."""
    device = texts.device
    prefill_s = first_token_s = decode_s = None
    forget_peak_memory(device)
    begin = point.depth + point.prompt
    ids = texts.ids(begin)
    if point.prompt:
        started = perf_counter()
        logits = texts.read(point.depth, begin)
        prefill_s = perf_counter() - started
        ids = texts.choose(logits, begin)
        first_token_s = perf_counter() - started
    if point.tokens:
        started = perf_counter()
        texts.write(ids, begin, point.tokens)
        decode_s = perf_counter() - started
    return Repeat(prefill_s, first_token_s, decode_s, ceiling, peak_memory(device))


class _Ceilings:
    """The machine's ceilings for a model's device and numbers, measured anew when they are old."""

    def __init__(self, session: Session) -> None:
        decoder = session.decoder
        self._device, self._dtype = decoder.device, decoder.dtype
        self._quant: Quant | None = session.card.quant
        self._last: Ceiling | None = None
        self._at = 0.0

    def now(self) -> Ceiling:
        """As they were no longer than `FRESH_S` ago."""
        if self._last is None or perf_counter() - self._at > FRESH_S:
            rate = matrix_rate(self._device, self._dtype, self._quant)
            self._last = Ceiling(memory_bandwidth(self._device), rate)
            self._at = perf_counter()
        return self._last


def doublings(begin: int, end: int) -> list[int]:
    """The powers of two from `begin` to before `end`.

    >>> doublings(100, 600)
    [128, 256, 512]
    """
    return [1 << n for n in range(end.bit_length()) if begin <= 1 << n < end]


class Texts:
    """Rows of random ids side by side, and the cache that holds them.

    Rewinding is writing anew from an earlier position: what is cached beyond it is never looked
    at. (A window's ring may hold keys of a text undone; as many are read, and that is what counts.)
    """

    def __init__(self, runner: Runner, rows: int, context: int, seed: int) -> None:
        self.rows = rows
        self.device = runner.device
        self._runner = runner
        self._cache = StaticCache(runner.spec, rows, context, CHUNK, runner.dtype, runner.device)
        self._held = 0
        self._randoms = [Random(f"{seed} {row}") for row in range(rows)]
        self._ids: list[list[int]] = [[] for _ in range(rows)]

    def warm_up(self, point: Point) -> None:
        """Make room for a point, fill its depth, and run a little of it."""
        for row in range(self.rows):
            self._cache.reserve(row, point.length)
        if self._held < point.depth:
            self.read(self._held, point.depth)
        begin = point.depth + min(point.prompt, CHUNK)
        ids = self.ids(begin)
        if point.prompt:
            ids = self.choose(self.read(point.depth, begin), begin)
        ids = self.write(ids, begin, min(point.tokens, WARM_TOKENS))
        if point.tokens:
            for place in doublings(point.depth + point.prompt, point.length):
                self.write(ids, place, 1)  # records of steps are made for so many slots

    def ids(self, place: int) -> list[int]:
        """The id that stands at a place in each row."""
        return [self.span(row, place, place + 1)[0] for row in range(self.rows)]

    def read(self, begin: int, end: int) -> Tensor:
        """Feed the places from `begin` to `end`, a chunk a step, and answer the logits [R, V]."""
        steps: list[list[Piece]] = [[]]
        room = CHUNK
        for row in range(self.rows):
            first = begin
            while first < end:
                if room == 0:
                    steps.append([])
                    room = CHUNK
                last = min(first + room, end)
                ids = self.span(row, first, last)
                steps[-1].append(Piece(row, first, ids, end, "last" if last == end else "none"))
                room -= last - first
                first = last
        logits = torch.cat([self._run(pieces) for pieces in steps])
        self._held = max(self._held, end)
        return logits

    def choose(self, logits: Tensor, length: int) -> list[int]:
        """Each row's likeliest next id, as generation chooses it at temperature 0."""
        return choose(logits, [Draw(GREEDY, row, length) for row in range(self.rows)])

    def write(self, ids: list[int], begin: int, tokens: int) -> list[int]:
        """Continue every row by so many tokens, the first after `ids` at place `begin`."""
        for place in range(begin, begin + tokens):
            pieces = [Piece(row, place, (id,), place + 1) for row, id in enumerate(ids)]
            ids = self.choose(self._run(pieces), place + 1)
        self._held = max(self._held, begin + tokens)
        return ids

    def _run(self, pieces: list[Piece]) -> Tensor:
        """A step as generation runs it, with its look at whether the logits are numbers."""
        return checked(self._runner(Step.of(pieces, self.device), self._cache))

    def span(self, row: int, begin: int, end: int) -> list[int]:
        """The random ids of some of a row's places, whatever is cached there."""
        ids = self._ids[row]
        while len(ids) < end:
            ids.append(self._randoms[row].randrange(self._runner.spec.vocab))
        return ids[begin:end]
