"""What stays cached between generations, so that a prompt that begins alike is not read again."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from collections.abc import Sequence as Ids
from typing import Protocol

from torch import Tensor

from .cache.static import StaticCache
from .sequence import Sequence
from .spec import DynamicScaling, LongScaling, ModelSpec

FEWEST = 1024
"""Tokens that a kept cache has room for at first; it grows by doubling."""

STRIDES = ((512, 32), (2048, 128))
"""Up to a position, the tokens of a step where steps end at borders; `LAST` beyond."""

LAST = 512

Maker = Callable[[int, int], StaticCache]
"""A fresh cache of so many rows, for texts of so many tokens."""


class Keeper(Protocol):
    """Keeps one text's keys and values for the next generation, which tells it how it goes.

    The text is that of the first sample that gets a row, which is row 0. A generation calls
    `open` and `begin`, `read` once its prompt is read, and `end`, come what may.
    """

    @property
    def border(self) -> Callable[[int], int] | None:
        """Where a step that begins at a position of the prompt has to end, if it matters."""
        ...

    def open(self, spec: ModelSpec, rows: int, longest: int, make: Maker) -> StaticCache:
        """The cache to generate with: of `rows` rows, for texts of `longest` tokens."""
        ...

    def begin(self, text: Sequence, cache: StaticCache) -> int:
        """Have row 0 hold as much of the prompt as can be reused, and say how many tokens."""
        ...

    def read(self, text: Sequence, cache: StaticCache, logits: Tensor) -> None:
        """The whole prompt is cached, and `logits` [1, V] come after it."""
        ...

    def end(self, text: Sequence) -> None:
        """The generation is over, or was broken off."""
        ...


class KeptCache:
    """The keys and values of the last text, kept in memory for the next one: a talk's next turn.

    `session.generate(request, kept=kept)` reads only what the last text did not begin with; the
    answer stays cached too. Whoever breaks off closes the generation, and what was cached until
    then is reused. One generation at a time may use it: a second takes it over. Where several
    samples are asked for, only their prompt is kept.

    What was cached in smaller steps can differ in a number's last digit from what a prompt read
    at once would give, as anything does whose sums are made in another order.
    """

    border = None

    def __init__(self) -> None:
        self._spec: ModelSpec | None = None
        self._cache: StaticCache | None = None
        self._make: Maker | None = None
        self._ids: tuple[int, ...] = ()
        self._extent = 0
        self._text: Sequence | None = None

    @property
    def ids(self) -> tuple[int, ...]:
        """The ids whose keys and values are cached."""
        if self._text is not None:
            self.end(self._text)
        return self._ids

    def clear(self) -> None:
        """Keep nothing, and give the memory back."""
        self.__init__()

    def open(self, spec: ModelSpec, rows: int, longest: int, make: Maker) -> StaticCache:
        """See `Keeper`. What another model has cached is forgotten."""
        if self._text is not None:
            self.end(self._text)
        if spec is not self._spec:
            self.clear()
            self._spec = spec
        self._make = make
        return make(rows, longest) if rows > 1 else self._room(longest)

    def begin(self, text: Sequence, cache: StaticCache) -> int:
        """See `Keeper`."""
        count = self._reusable(text)
        if cache is not self._cache:
            if count:
                assert self._cache is not None
                reached = self._cache.reached(0)
                cache.hold(0, self._cache.held(0, reached), reached, count)
        elif count == 0:
            cache.begin_anew(0)
        text.cached = count
        if cache is self._cache:
            self._text = text
        return count

    def read(self, text: Sequence, cache: StaticCache, logits: Tensor) -> None:
        """See `Keeper`. Where other samples will go on from it, the prompt is copied."""
        del logits
        if cache is self._cache:
            return
        length = len(text.request.ids)
        own = self._room(length)
        own.hold(0, cache.held(text.row, length), length, length)
        self._ids, self._extent = text.request.ids, length

    def end(self, text: Sequence) -> None:
        """See `Keeper`. A step that was broken off has cached nothing."""
        if text is self._text:
            self._ids = text.ids(0, text.cached)
            self._extent = text.anew or len(text.request.ids)
            self._text = None

    def _room(self, longest: int) -> StaticCache:
        """The cache that is kept, grown to hold `longest` tokens."""
        if self._cache is None or self._cache.context < longest:
            assert self._make is not None
            grown = self._make(1, 1 << (max(longest, FEWEST) - 1).bit_length())
            if self._cache is not None:
                reached = self._cache.reached(0)
                grown.hold(0, self._cache.held(0, reached), reached, reached)
            self._cache = grown
        return self._cache

    def _reusable(self, text: Sequence) -> int:
        """How much of a prompt is cached: not its last token, after which logits are wanted."""
        ids = text.request.ids
        if self._cache is None or self._spec is None or text.request.prompt_logprobs:
            return 0
        count = alike(self._ids, ids, self._spec, self._extent, len(ids))
        count = min(count, len(ids) - 1)
        return count if self._cache.goes_on_at(0, count) else 0


def next_border(position: int) -> int:
    """Where a step has to end that begins at `position`, so that any prompt has the same steps.

    Only its last step is a prompt's own. Products of other shapes may be rounded otherwise: what a
    step has computed is what it would compute in another prompt if it begins and ends alike.
    """
    return (position // _stride(position) + 1) * _stride(position)


def last_border(position: int) -> int:
    """The last border up to `position`."""
    return position // _stride(position) * _stride(position)


def _stride(position: int) -> int:
    return next((stride for end, stride in STRIDES if position < end), LAST)


def alike(cached: Ids[int], ids: Ids[int], spec: ModelSpec, extent: int, length: int) -> int:
    """How many tokens `cached` and `ids` begin with alike, and would be turned alike.

    Some ropes turn a key by how long its text is known to be: that was `extent`, or as far as the
    token itself for those that came later, and is `length`.
    """
    pairs = enumerate(zip(cached, ids, strict=False))
    most = min(len(cached), len(ids))
    count = next((place for place, (one, other) in pairs if one != other), most)
    value = stretched(spec)
    now = value(length)
    if value(max(extent, count)) == value(extent) == now:  # it only ever grows
        return count
    return next((p for p in range(count) if value(max(extent, p + 1)) != now), count)


def stretched(spec: ModelSpec) -> Callable[[int], Hashable]:
    """How a text's length changes its ropes: texts that have the same value are turned alike."""
    scalings = [rope.scaling for rope in spec.ropes()]
    growing = [s.original for s in scalings if isinstance(s, DynamicScaling)]
    turning = [s.original for s in scalings if isinstance(s, LongScaling)]

    def value(extent: int) -> Hashable:
        return [max(extent, one) for one in growing], [extent > one for one in turning]

    return value
