"""Where the loss of a text sits: the bits of its first tokens, and the words that cost most.

Memory is bounded whatever the text's length: `Heat` takes tokens as they are measured.
"""

from __future__ import annotations

import heapq
import math
from array import array
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from .prompt_words import Spelling, Word
from .text_table import printable

DEAREST = 12
"""Words that are listed."""
_BEFORE = 16
"""Tokens that are kept of what stood before a word."""
_LONGEST = 64
"""Tokens after which a word ends that has no end: a text may have no spaces."""
_HALVES = 4
"""Tokens that make a character at most."""


class Band(NamedTuple):
    """Bits of a token from `least` on, the mark that shows them, and how they are set in colours.

    The grounds grow darker, so that they can be told apart without telling red from green.
    """

    least: float
    mark: str
    style: str


BANDS = (
    Band(0, " ", ""),
    Band(1, "▂", "38;5;16;48;5;230"),
    Band(4, "▄", "38;5;16;48;5;222"),
    Band(8, "▆", "38;5;16;48;5;209"),
    Band(12, "█", "1;38;5;231;48;5;124"),
)


def band_of(bits: float) -> int:
    """The number of the band that a token's bits are in; a model that gives no number is hottest.

    >>> [band_of(bits) for bits in (0.2, 1, 7.9, 40, math.nan)]
    [0, 1, 2, 4, 4]
    """
    above = (number for number, band in enumerate(BANDS[1:]) if bits < band.least)
    return next(above, len(BANDS) - 1)


def range_of(number: int) -> str:
    """The bits of a band, in words."""
    if number == len(BANDS) - 1:
        return f"{BANDS[number].least:g} or more"
    above = BANDS[number + 1].least
    return f"{BANDS[number].least:g} to {above:g}" if number else f"below {above:g}"


def chance_of(number: int) -> str:
    """The chances that go with the bits of a band, in words."""
    if number == len(BANDS) - 1:
        return f"1 in {2 ** BANDS[number].least:,.0f} or less"
    return f"over 1 in {2 ** BANDS[number + 1].least:,.0f}"


@dataclass(frozen=True, order=True)
class Dear:
    """A word and what it cost: `place` is its first token's in the text, from 0 on."""

    bits: float
    place: int
    tokens: int
    before: bytes
    """Some of what stands before it in its document."""
    word: str


class Cell(NamedTuple):
    """Tokens that make whole characters, mostly one: where the first is, and each one's bits.

    The first of a document has None: nothing stood before it that could foretell it.
    """

    place: int
    ids: Sequence[int]
    bits: Sequence[float | None]
    data: bytes

    @property
    def band(self) -> int | None:
        """The band of its tokens' mean; None where none was foretold."""
        told = [bits for bits in self.bits if bits is not None]
        return band_of(sum(told) / len(told)) if told else None


@dataclass
class Heat:
    """The loss of one text by one model, token by token."""

    spelling: Spelling
    keep: int
    """Tokens that are kept to be shown, the first ones."""
    tokens: int = 0
    counts: list[int] = field(default_factory=lambda: [0] * len(BANDS))
    """How many tokens are in each band."""
    sums: list[float] = field(default_factory=lambda: [0.0] * len(BANDS))
    """The bits of these."""
    _ids: array[int] = field(default_factory=lambda: array("q"))
    _bits: array[float] = field(default_factory=lambda: array("d"))
    _begins: set[int] = field(default_factory=set[int])
    _dearest: list[Dear] = field(default_factory=list[Dear])
    _before: deque[int] = field(default_factory=lambda: deque[int](maxlen=_BEFORE))
    _word: list[tuple[int, float]] = field(default_factory=list[tuple[int, float]])

    def begin(self, id: int) -> None:
        """A document begins with this token, which nothing foretells."""
        self._end_words()
        self._before.clear()
        if self.tokens < self.keep:
            self._begins.add(self.tokens)
        self._take(id, 0.0)

    def add(self, ids: Sequence[int], nats: Sequence[float]) -> None:
        """The next tokens of a document, and their losses."""
        for id, loss in zip(ids, nats, strict=True):
            bits = max(0.0, loss / math.log(2)) if loss == loss else loss
            band = band_of(bits)
            self.counts[band] += 1
            self.sums[band] += bits
            self._take(id, bits)
        self._end_words(but_last=len(self._word) <= _LONGEST)

    def dearest(self) -> list[Dear]:
        """The words that cost most, the dearest first."""
        self._end_words()
        return sorted(self._dearest, key=lambda dear: (-dear.bits, dear.place))

    def cells(self, limit: int) -> Iterator[Cell]:
        """The first tokens that were kept, `limit` at most, as what can be shown of them."""
        held: list[int] = []
        data = b""
        for place, id in enumerate(self._ids[:limit]):
            held.append(place)
            data += self.spelling.data(id)
            if len(held) < _HALVES and _is_half(data) and place + 1 not in self._begins:
                continue
            yield self._cell(held, data)
            held, data = [], b""
        if held:
            yield self._cell(held, data)

    def begins(self, place: int) -> bool:
        """Whether a document begins with the token that is kept at `place`."""
        return place in self._begins

    def _cell(self, places: Sequence[int], data: bytes) -> Cell:
        bits = [None if place in self._begins else self._bits[place] for place in places]
        return Cell(places[0], [self._ids[place] for place in places], bits, data)

    def _take(self, id: int, bits: float) -> None:
        if self.tokens < self.keep:
            self._ids.append(id)
            self._bits.append(bits)
        self._word.append((id, bits))
        self.tokens += 1

    def _end_words(self, *, but_last: bool = False) -> None:
        """Weigh the words that wait; the last of them may go on."""
        words = self.spelling.words([id for id, _ in self._word])
        if but_last:
            words = words[:-1]
        for word in words:
            self._weigh(word)
        if words:
            del self._word[: words[-1].end]

    def _weigh(self, word: Word) -> None:
        """Keep a word, given by its place among the tokens that wait, if it is a dear one."""
        tokens = self._word[word.begin : word.end]
        bits = sum(bits for _, bits in tokens)
        if bits and (len(self._dearest) < DEAREST or bits > self._dearest[0].bits):
            place = self.tokens - len(self._word) + word.begin
            before = b"".join(map(self.spelling.data, self._before))
            heapq.heappush(self._dearest, Dear(bits, place, len(tokens), before, word.shown))
            if len(self._dearest) > DEAREST:
                heapq.heappop(self._dearest)
        self._before.extend(id for id, _ in tokens)


def _is_half(data: bytes) -> bool:
    """Whether the last character lacks bytes."""
    try:
        data.decode()
    except UnicodeDecodeError as error:
        return error.end == len(data) and error.reason == "unexpected end of data"
    return False


def course_of(shares: Sequence[tuple[float, int]], columns: int) -> list[float]:
    """Bits a token from a text's beginning to its end, in `columns` steps or fewer.

    `shares` are (nats, tokens) each, as `engine.score.Shares` has them.
    """
    steps = min(columns, len(shares))
    out: list[float] = []
    for step in range(steps):
        part = shares[step * len(shares) // steps : (step + 1) * len(shares) // steps]
        nats, tokens = sum(one for one, _ in part), sum(count for _, count in part)
        out.append(nats / math.log(2) / tokens)
    return out


def before_of(dear: Dear) -> str:
    """What stood before a word, on a line."""
    return printable(dear.before.decode("utf-8", "replace").lstrip("\ufffd"))
