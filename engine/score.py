"""How well a model foretells text: the loss of every token, by a sliding window or text by text.

The loss of a token is -log p(token | what stands before it), in nats. Windows are those of
transformers' guide to perplexity (https://huggingface.co/docs/transformers/perplexity).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from .. import InputError, UsageError
from .cache.static import StaticCache
from .device import memory_errors, to_host
from .loop import CHUNK, ROWS
from .session import Session
from .step import Piece, Step

TOKENS = 2048
"""Tokens run together at most, of however many texts: enough to keep the cores busy."""
LOGITS = 1 << 24
"""Logits held at a time, 64 MB of them."""
BLOCK = 64
"""Neighbouring tokens whose losses are taken as one for an error bar, since they hang together."""
SHARES = 1024
"""Shares of a text that losses are kept of at most."""


@dataclass(frozen=True)
class Passage:
    """Ids to run as one text, of which those from `first` on are scored, by all before them.

    `first` is 1 or more: nothing stands before the first token of all.
    """

    ids: Sequence[int]
    first: int


def slide(blocks: Iterable[Sequence[int]], width: int, stride: int) -> Iterator[Passage]:
    """The windows over a text whose ids come in blocks; every token but the first is scored once.

    Each window has `width` tokens and begins `stride` after the one before, so that its last
    `stride` tokens are new. At least one token is carried over. Raises `UsageError` where that
    can't be.
    """
    check_window(width, stride)
    kept = min(width - stride, width - 1) or 1
    held: list[int] = []
    first = 1
    for block in blocks:
        held.extend(block)
        begin = 0
        while len(held) - begin > width:
            yield Passage(held[begin : begin + width], first)
            begin += width - kept
            first = kept
        del held[:begin]
    if first < len(held):
        yield Passage(held, first)


def check_window(width: int, stride: int) -> None:
    """Raise `UsageError` for a window that is no window."""
    if width < 2:
        raise UsageError(f"a window of {width} tokens foretells nothing", hint="take 2 or more")
    if not 0 < stride <= width:
        raise UsageError(f"a stride of {stride} doesn't go with a window of {width} tokens")


def losses(session: Session, passages: Iterable[Passage]) -> Iterator[list[float]]:
    """The losses of each passage's scored tokens, in nats, passage by passage.

    As many passages as make `TOKENS` are run together. Raises `InputError` for one that is longer
    than the context or has an id outside the vocabulary.
    """
    batch: list[Passage] = []
    longest = 0
    for passage in passages:
        _check(session, passage)
        longest = max(longest, len(passage.ids))
        if batch and ((len(batch) + 1) * min(longest, CHUNK) > TOKENS or len(batch) == ROWS):
            yield from _run(session, batch)
            batch, longest = [], len(passage.ids)
        batch.append(passage)
    if batch:
        yield from _run(session, batch)


def _check(session: Session, passage: Passage) -> None:
    if len(passage.ids) > session.context:
        raise InputError(
            f"a text of {len(passage.ids):,} tokens doesn't fit into a context of "
            f"{session.context:,}"
        )
    if not all(0 <= id < session.spec.vocab for id in passage.ids):
        outside = next(id for id in passage.ids if not 0 <= id < session.spec.vocab)
        raise InputError(
            f"token id {outside} is outside the vocabulary of {session.spec.vocab} ids"
        )


def _run(session: Session, batch: Sequence[Passage]) -> list[list[float]]:
    """The batch's losses; each passage has a row of the cache and is fed `CHUNK` at a time."""
    found: list[list[float]] = [[] for _ in batch]
    decoder = session.decoder
    longest = max(len(passage.ids) for passage in batch)
    with memory_errors("scoring"), torch.inference_mode():
        cache = StaticCache(decoder.spec, len(batch), longest, CHUNK, decoder.dtype, decoder.device)
        for begin in range(0, longest, CHUNK):
            rows = [row for row, passage in enumerate(batch) if begin < len(passage.ids)]
            pieces = [
                Piece(row, begin, batch[row].ids[begin : begin + CHUNK], len(batch[row].ids), "all")
                for row in rows
            ]
            for piece in pieces:
                cache.reserve(piece.row, piece.begin + len(piece.ids))
            hidden = decoder.hidden(Step.of(pieces, decoder.device), cache)
            for row, values in zip(rows, _losses(session, hidden, pieces, batch), strict=True):
                found[row].extend(values)
    return found


def _losses(
    session: Session, hidden: Tensor, pieces: Sequence[Piece], batch: Sequence[Passage]
) -> Iterator[list[float]]:
    """What each piece's hidden states, [T, M] in all, say of the tokens that follow theirs."""
    start = 0
    for piece in pieces:
        passage, end = batch[piece.row], piece.begin + len(piece.ids)
        since = max(piece.begin, passage.first - 1)
        until = min(end, len(passage.ids) - 1)
        told: list[float] = []
        rows = max(1, LOGITS // session.spec.vocab)
        for place in range(since, until, rows):
            stop = min(place + rows, until)
            states = hidden[start + place - piece.begin : start + stop - piece.begin]
            targets = torch.tensor(passage.ids[place + 1 : stop + 1], device=hidden.device)
            logits = session.decoder.logits(states)
            chosen = logits.gather(1, targets[:, None])[:, 0]
            told.extend(to_host(torch.logsumexp(logits, 1) - chosen))
        start += len(piece.ids)
        yield told


@dataclass
class Shares:
    """A text's losses in shares of equally many blocks: (nats, tokens) each.

    Where there are `SHARES` of them, two become one, so a text of any length has few. Models with
    the same tokens have the same shares.
    """

    sums: list[tuple[float, int]] = field(default_factory=list[tuple[float, int]])
    _width: int = 1
    _filled: int = 0

    def add(self, nats: float, tokens: int) -> None:
        """Count a block."""
        if self._filled:
            before = self.sums.pop()
            nats, tokens = nats + before[0], tokens + before[1]
        self.sums.append((nats, tokens))
        self._filled = (self._filled + 1) % self._width
        if len(self.sums) == SHARES and not self._filled:
            pairs = zip(self.sums[::2], self.sums[1::2], strict=True)
            self.sums = [(a + c, b + d) for (a, b), (c, d) in pairs]
            self._width *= 2


@dataclass
class Loss:
    """Losses summed up, in nats, with what an error bar needs; two of them can be added.

    `bytes` are those that the scored tokens stand for. The error is that of a mean over blocks of
    `BLOCK` neighbours, as if these were independent; they are nearly so.
    """

    tokens: int = 0
    bytes: int = 0
    nats: float = 0.0
    shares: Shares = field(default_factory=Shares)
    _blocks: int = 0
    _squares: tuple[float, float, float] = (0.0, 0.0, 0.0)
    _open: list[float] = field(default_factory=list[float])

    def add(self, values: Iterable[float]) -> None:
        """Count these tokens' losses."""
        for value in values:
            self.tokens += 1
            self.nats += value
            self._open.append(value)
            if len(self._open) == BLOCK:
                self.close()

    def close(self) -> None:
        """End a text: what follows is no neighbour of what came before."""
        if self._open:
            total, count = math.fsum(self._open), len(self._open)
            ll, ln, nn = self._squares
            self._squares = (ll + total * total, ln + total * count, nn + count * count)
            self._blocks += 1
            self.shares.add(total, count)
            self._open.clear()

    def __add__(self, other: Loss) -> Loss:
        """Both together, each closed."""
        self.close()
        other.close()
        return Loss(
            self.tokens + other.tokens,
            self.bytes + other.bytes,
            self.nats + other.nats,
            Shares([*self.shares.sums, *other.shares.sums]),
            self._blocks + other._blocks,
            (
                self._squares[0] + other._squares[0],
                self._squares[1] + other._squares[1],
                self._squares[2] + other._squares[2],
            ),
        )

    @property
    def mean(self) -> float | None:
        """Nats a token; None of no token."""
        return self.nats / self.tokens if self.tokens else None

    @property
    def error(self) -> float | None:
        """The standard error of `mean`; None of a single block."""
        self.close()
        if self._blocks < 2 or not self.tokens:
            return None
        mean, (ll, ln, nn) = self.nats / self.tokens, self._squares
        spread = max(0.0, ll - 2 * mean * ln + mean * mean * nn)
        return math.sqrt(spread * self._blocks / (self._blocks - 1)) / self.tokens

    @property
    def perplexity(self) -> float | None:
        """e to the mean loss; infinite where a float can't hold it."""
        if self.mean is None:
            return None
        return math.exp(self.mean) if self.mean < 709 else math.inf

    @property
    def bits_per_byte(self) -> float | None:
        """Bits that the model needs for a byte of text: comparable between tokenizers."""
        return self.nats / math.log(2) / self.bytes if self.bytes else None

    @property
    def bits_error(self) -> float | None:
        """The standard error of `bits_per_byte`."""
        if self.error is None or not self.bytes:
            return None
        return self.error * self.tokens / math.log(2) / self.bytes
