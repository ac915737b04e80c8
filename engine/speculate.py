"""Guessing how a text goes on, so that one step can check several tokens.

Speculative decoding (Leviathan et al. 2022, arXiv:2211.17192), and with a text's own n-grams
prompt lookup decoding (Saxena 2023). A guess never changes a text: at each place the model chooses
as it would have without one, and a guess counts as far as it is what was chosen.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from collections.abc import Sequence as Ids
from dataclasses import dataclass, field
from typing import Protocol

from torch import Tensor

from .cache.static import StaticCache
from .runner import Runner
from .sampling.sampler import checked, choose
from .sequence import Sequence
from .spec import ExpertsSpec, ModelSpec
from .step import Piece, Step

SIZES = (3, 2)
"""How many of a text's last tokens are looked up in what stands before; the first match counts."""

DRAFTED = 8
"""Tokens that a draft model guesses at once, at most."""

FIRST, FEWEST = 4, 2
"""Tokens of a text's first guess, and of one after a failure."""

CHECK, TOKEN = 0.25, 0.05
"""What checking a guess costs and what each of its tokens adds, in plain steps: measured between a
model that stays in the cache and one of 1 B, and rounded up (benchmarks/speculation.py)."""

LOSS = 0.04
"""Plain steps a token that guesses may cost for nothing: whoever has lost more rests as long."""

CREDIT = 4.0
"""Plain steps won that may be lost again before guesses rest."""

REST = (8, 256)
"""Tokens without a guess after a first failure and, doubling, after many."""

ROWS = 4
"""More texts than that at once, and there is no guessing: their steps are busy enough."""

LAYER_BYTES, ATTEND_BYTES = 6 << 20, 3 << 18
"""Bytes of weights that could be read while a layer's operations are called, and those of its
attention."""

ATTENDING = 3
"""Times as long as a byte of weights takes one of keys or values."""


class Drafter(Protocol):
    """Guesses how one text goes on."""

    def propose(self, sequence: Sequence, count: int) -> Ids[int]:
        """Ids that may follow the text so far, `count` at most."""
        ...


class LookupDrafter:
    """Guesses that a text goes on as it did the last time that it said what it says now.

    >>> drafter = LookupDrafter()
    >>> drafter.propose(Sequence(Request((1, 2, 3, 4, 5, 1, 2, 3))), 3)
    [4, 5, 1]
    """

    def __init__(self) -> None:
        self._ids: list[int] = []
        self._following: dict[tuple[int, ...], int] = {}

    def propose(self, sequence: Sequence, count: int) -> list[int]:
        """See `Drafter`. Where the text ends too soon, what is copied from it starts over."""
        ids = self._ids
        for id in sequence.said(len(ids), sequence.total):
            # The last n-gram is entered only now, so that it never finds itself.
            for size in SIZES:
                if len(ids) >= size:
                    self._following[tuple(ids[-size:])] = len(ids)
            ids.append(id)
        for size in SIZES:
            begin = self._following.get(tuple(ids[-size:]))
            if begin is not None:
                return [ids[begin + place % (len(ids) - begin)] for place in range(count)]
        return []


class ModelDrafter:
    """Guesses what a smaller model of the same vocabulary would say.

    It draws by the rules and the random numbers of the text itself: where both models are of one
    mind, they choose alike at any temperature.
    """

    def __init__(self, runner: Runner, context: int, chunk: int) -> None:
        self._runner = runner
        self._context = context
        self._chunk = chunk
        self._cache = StaticCache(runner.spec, 1, context, chunk, runner.dtype, runner.device)
        self._read: list[int] = []  # what is cached: a text and perhaps a wrong guess
        self._sure = 0  # of which so many are the text
        self._dropped = 0  # from whose context so many tokens had gone

    def propose(self, sequence: Sequence, count: int) -> list[int]:
        """See `Drafter`. Beyond the end of its own context the model is silent."""
        count = min(count, self._context - sequence.length)
        if count < 1:
            return []
        if sequence.dropped != self._dropped:
            self._read, self._sure, self._dropped = [], 0, sequence.dropped
        later = sequence.ids(self._sure, len(self._read))
        pairs = zip(self._read[self._sure :], later, strict=False)
        wrong = next((n for n, (own, id) in enumerate(pairs) if own != id), len(later))
        del self._read[self._sure + wrong :]
        self._sure = sequence.length
        guess: list[int] = []
        ids = sequence.ids(len(self._read), sequence.length)
        while True:
            logits = self._feed(ids)
            guess.extend(choose(logits, [sequence.draw(guess)]))
            if len(guess) == count:
                return guess
            ids = guess[-1:]

    def _feed(self, ids: Ids[int]) -> Tensor:
        """The logits after the text so far and `ids`, [1, V]."""
        logits: Tensor | None = None
        extent = len(self._read) + len(ids)
        for first in range(0, len(ids), self._chunk):
            piece = Piece(0, len(self._read), ids[first : first + self._chunk], extent)
            self._read.extend(piece.ids)
            self._cache.reserve(0, len(self._read))
            logits = self._runner(Step.of([piece], self._runner.device), self._cache)
        assert logits is not None, "a text always ends in a token that isn't read yet"
        return checked(logits)


class Pace:
    """How much of a text to guess: more where guesses come true, ever less often where they don't.

    It counts what guesses have won and cost, in plain steps, as they are reckoned to: no clock is
    asked, so that a text is guessed in the same way whenever it is made.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._length = min(FIRST, most)
        self._balance = 0.0
        self._pause = REST[0]
        self._rest = 0

    def next(self) -> int:
        """How many tokens to guess before the next step."""
        if self._rest == 0:
            return self._length
        self._rest -= 1
        return 0

    def learn(self, guessed: int, right: int, price: float) -> None:
        """Take note of what became of a guess, and what it cost."""
        self._balance = min(CREDIT, self._balance + right - price)
        self._length = min(self._most, 2 * right if right == guessed else max(FEWEST, right + 1))
        if self._balance < 0:
            self._rest = max(self._pause, math.ceil(-self._balance / LOSS))
            self._pause = min(2 * self._pause, REST[1])
            self._balance = 0.0
        elif self._balance >= 1:
            self._pause = REST[0]


@dataclass(frozen=True)
class Way:
    """A way to guess: each text gets a drafter of its own, asked for `most` tokens at most.

    `cost` is what it takes to guess a token, in plain steps of the model that checks it.
    """

    make: Callable[[], Drafter]
    most: int
    cost: float = 0.0


@dataclass(frozen=True)
class Price:
    """What it costs to check a guessed token, in plain steps: `token`, and `slot` a cached one."""

    token: float = TOKEN
    slot: float = 0.0

    def of(self, guessed: int, cost: float, length: int, rows: int) -> float:
        """What a guess costs in a text of `length`, `cost` a token to make.

        All rows of a step wait for it, while what it wins is one row's.
        """
        return CHECK + (cost + self.token + self.slot * length) * guessed * rows

    @classmethod
    def apart(cls, spec: ModelSpec, width: int, step: float) -> Price:
        """Where each token attends by itself, to keys and values of `width` bytes a number.

        `step` are the bytes of a plain step.
        """
        seen = 0
        for layer in spec.layers:
            mixer = layer.mixer
            if mixer.window is None:
                seen += mixer.kv_heads * (mixer.key_width + mixer.value_width) * width
        calls = len(spec.layers) * ATTEND_BYTES
        return cls(TOKEN + calls / step, ATTENDING * seen / step)


@dataclass(frozen=True)
class Guessing:
    """How to guess, and how guesses are checked: all tokens attend together, or each `apart`."""

    ways: tuple[Way, ...]
    price: Price = field(default_factory=Price)
    apart: bool = False


class Guesser:
    """Guesses for the texts under way: of several ways, the first that has something to say.

    Each way has a pace of its own in each text.
    """

    def __init__(self, guessing: Guessing) -> None:
        self._ways = guessing.ways
        self._price = guessing.price
        self._texts: dict[Sequence, list[tuple[Drafter, Pace]]] = {}
        self._last: dict[Sequence, tuple[Way, Pace]] = {}

    def guess(self, sequence: Sequence, room: int) -> tuple[int, ...]:
        """Ids that may follow the text so far, up to `room`."""
        if sequence not in self._texts:
            self._texts[sequence] = [(way.make(), Pace(way.most)) for way in self._ways]
        for way, (drafter, pace) in zip(self._ways, self._texts[sequence], strict=True):
            count = min(pace.next(), room)
            guess = tuple(drafter.propose(sequence, count)) if count > 0 else ()
            if guess:
                self._last[sequence] = (way, pace)
                return guess
        return ()

    def learn(self, sequence: Sequence, guessed: int, right: int, rows: int) -> None:
        """Take note of how much of a guess was right, in a step of so many rows."""
        if guessed:
            way, pace = self._last[sequence]
            price = self._price.of(guessed, way.cost, sequence.length, rows)
            pace.learn(guessed, right, price)
        if sequence.finish is not None:
            self._texts.pop(sequence, None)
            self._last.pop(sequence, None)


def step_bytes(spec: ModelSpec, parameters: int, width: float) -> float:
    """What a plain step of a model costs, in bytes read: those of its weights, and its calls.

    `width` is the bytes of a number. Experts that aren't chosen and a table of which one row is
    read don't count.
    """
    for layer in spec.layers:
        if isinstance(layer.feed, ExpertsSpec):
            feed = layer.feed
            matrices = 3 if feed.expert.gated else 2
            parameters -= (feed.count - feed.active) * matrices * feed.expert.width * spec.hidden
    if not spec.tied:
        parameters -= spec.vocab * (spec.embed_width or spec.hidden)
    return parameters * width + len(spec.layers) * LAYER_BYTES
