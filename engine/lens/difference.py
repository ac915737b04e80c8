"""Two prompts compared: which of the words that differ move the next token, and to what.

Each change is made in the first prompt alone, and taken back in the second alone. How far that
moves what comes next is the Kullback-Leibler divergence from the untouched prompt's distribution,
as in activation patching (Zhang & Nanda 2023, arXiv:2309.16042), though it is words that change.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import pairwise

import torch
from torch import Tensor

from ... import InputError
from ..cache.static import StaticCache
from ..device import memory_errors
from ..loop import CHUNK, ROWS
from ..model.decoder import Decoder
from ..sampling.sampler import checked
from ..step import Piece, Step
from .explanation import Guess
from .moves import Answer, Move

TOKENS = 2048
"""Tokens run together at most: as in scoring, enough to keep the cores busy."""
CHANGES = 32
"""Changes that are told apart; of more, those that lie nearest to each other count as one."""
TOP = 5
"""Guesses told of each prompt, and tokens that each change made likelier, and less likely."""

Word = tuple[int, ...]
"""The tokens of a word."""


@dataclass(frozen=True, slots=True)
class Change:
    """Tokens of the first prompt that gave way to tokens of the second: one of them may be none."""

    before: range
    after: range


@dataclass(frozen=True, slots=True)
class Moved:
    """A change and what it does: made in the first prompt alone, taken back in the second alone."""

    change: Change
    alone: Move
    undone: Move


@dataclass(frozen=True, slots=True)
class Difference:
    """How the next token differs after two prompts, in all and by each change.

    `first` and `second` are the likeliest tokens after each prompt; `forth` and `back` lead from
    the first one's distribution to the second one's, and back. `found` counts the changes before
    neighbours were put together.
    """

    first: tuple[Guess, ...]
    second: tuple[Guess, ...]
    forth: Move
    back: Move
    changes: tuple[Moved, ...]
    found: int


def compare(
    decoder: Decoder,
    first: Sequence[Word],
    second: Sequence[Word],
    context: int,
    *,
    watched: Sequence[int] = (),
    top: int = TOP,
    most: int = CHANGES,
) -> Difference:
    """What the words in which two prompts differ do to the token that comes next.

    The likeliest token of each prompt is watched in any case. Every prompt and every change needs
    a prefill, and a second one where there are several. Raises `InputError` where a prompt with a
    change in it alone is longer than `context`, `OutOfMemoryError`.
    """
    aligned = align(first, second)
    changes = join_nearest(aligned, most)
    one, other = (tuple(id for word in words for id in word) for words in (first, second))
    texts: list[tuple[int, ...]] = [one, other]
    if len(changes) > 1:
        texts += (_made(one, other, change) for change in changes)
        texts += (_taken_back(one, other, change) for change in changes)
    _check(texts, context)
    with memory_errors("comparing"), torch.inference_mode():
        answers = map(Answer, _logits(decoder, texts))
        p, q = next(answers), next(answers)
        best = p.best(top), q.best(top)
        seen = tuple(dict.fromkeys((best[0][0].id, best[1][0].id, *watched)))
        forth, back = p.towards(q, seen, top), q.towards(p, seen, top)
        if len(changes) > 1:
            alone = [p.towards(next(answers), seen, top) for _ in changes]
            undone = [q.towards(next(answers), seen, top) for _ in changes]
        else:
            alone, undone = [forth] * len(changes), [back] * len(changes)
    moved = tuple(map(Moved, changes, alone, undone))
    return Difference(*best, forth, back, moved, len(aligned))


def align(first: Sequence[Word], second: Sequence[Word]) -> list[Change]:
    """What of one prompt's words became what of the other's, in their order (`difflib`).

    Where as many words gave way to as many, each gave way to one.

    >>> align([(7,), (1, 2)], [(7,), (3,), (8,)])
    [Change(before=range(1, 3), after=range(1, 3))]
    """
    starts = [_starts(words) for words in (first, second)]
    codes = SequenceMatcher(None, first, second, autojunk=False).get_opcodes()
    found: list[Change] = []
    for kind, begin, end, other, other_end in codes:
        if kind == "equal":
            continue
        counts = end - begin, other_end - other
        step = 1 if counts[0] == counts[1] else max(counts)
        for place in range(0, max(counts), step):
            before, after = (
                range(own[first + place], own[min(first + place + step, last)])
                for own, first, last in zip(starts, (begin, other), (end, other_end), strict=True)
            )
            found.append(Change(before, after))
    return found


def _starts(words: Sequence[Word]) -> list[int]:
    """Where each word begins, in tokens, and where the last one ends."""
    starts = [0]
    for word in words:
        starts.append(starts[-1] + len(word))
    return starts


def join_nearest(changes: Sequence[Change], most: int) -> list[Change]:
    """At most so many changes: with what lies between them, the nearest neighbours become one."""
    gaps = [two.before.start - one.before.stop for one, two in pairwise(changes)]
    order = sorted(range(len(gaps)), key=gaps.__getitem__)
    closed = set(order[: max(0, len(changes) - most)])
    joined: list[Change] = []
    for place, change in enumerate(changes):
        if place - 1 in closed:
            one = joined.pop()
            change = Change(
                range(one.before.start, change.before.stop),
                range(one.after.start, change.after.stop),
            )
        joined.append(change)
    return joined


def _made(one: Word, other: Word, change: Change) -> Word:
    """The first prompt with one change in it."""
    after = other[change.after.start : change.after.stop]
    return (*one[: change.before.start], *after, *one[change.before.stop :])


def _taken_back(one: Word, other: Word, change: Change) -> Word:
    """The second prompt but for one change."""
    return _made(other, one, Change(change.after, change.before))


def _check(texts: Sequence[Word], context: int) -> None:
    longest = max(map(len, texts))
    if longest > context:
        raise InputError(
            f"a prompt with a single change has {longest:,} tokens, the context {context:,}",
            hint="shorten the prompts",
        )


def _logits(decoder: Decoder, texts: Sequence[Word]) -> Iterator[Tensor]:
    """The logits after each text, [V] each; as many texts are read together as make `TOKENS`."""
    longest = max(map(len, texts))
    rows = max(1, min(ROWS, TOKENS // min(longest, CHUNK)))
    for begin in range(0, len(texts), rows):
        yield from _read(decoder, texts[begin : begin + rows], longest)


def _read(decoder: Decoder, texts: Sequence[Word], longest: int) -> list[Tensor]:
    device = decoder.device
    cache = StaticCache(decoder.spec, len(texts), longest, CHUNK, decoder.dtype, device)
    found: dict[int, Tensor] = {}
    for begin in range(0, longest, CHUNK):
        pieces = [
            Piece(
                row,
                begin,
                ids[begin : begin + CHUNK],
                len(ids),
                "last" if len(ids) <= begin + CHUNK else "none",
            )
            for row, ids in enumerate(texts)
            if begin < len(ids)
        ]
        for piece in pieces:
            cache.reserve(piece.row, piece.begin + len(piece.ids))
        if pieces:
            logits = checked(decoder(Step.of(pieces, device), cache))
            ended = (piece.row for piece in pieces if piece.logits == "last")
            found |= zip(ended, logits, strict=True)
    return [found[row] for row in range(len(texts))]
