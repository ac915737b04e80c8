"""What one forward pass works on: tokens of several sequences laid end to end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

WASTE = 1024
"""Slots of padding that a segment may bring: less than another segment costs, a layer."""


@dataclass(frozen=True, slots=True)
class Segment:
    """Neighbouring cache rows that each bring `width` tokens, so that they can run as one block.

    Its tokens stand at `start` to `stop` of the step, row after row. `lengths` counts each row's
    tokens once this step's are cached. `scattered` are the rows where they aren't neighbours, as
    only a cache of blocks can read them: one row may be there several times, each time longer.
    A `framed` one is of a prompt's tokens in one block of such a cache: they attend as if all of
    the block did, so that it doesn't matter where a prompt is cut.
    """

    start: int
    row: int
    width: int
    lengths: tuple[int, ...]
    scattered: tuple[int, ...] = ()
    framed: bool = False

    @property
    def members(self) -> Sequence[int]:
        """The number of each row."""
        return self.scattered or range(self.row, self.row + self.rows)

    @property
    def rows(self) -> int:
        """How many rows, R."""
        return len(self.lengths)

    @property
    def waste(self) -> int:
        """Slots that attention reads in vain, each row being as long as the longest."""
        return self.rows * max(self.lengths) - sum(self.lengths)

    @property
    def stop(self) -> int:
        """One past the last token's place in the step."""
        return self.start + self.rows * self.width


@dataclass(frozen=True, slots=True)
class Piece:
    """The next tokens of one sequence: `ids` at positions from `begin` on, into cache row `row`.

    `extent` is how long the text is known to be: a prompt's whole length even where it is fed in
    pieces, so that a rope that depends on length doesn't depend on the pieces. Tokens beyond are
    guesses, each of which knows the text up to itself. `logits` says after which of the tokens they
    are wanted.
    """

    row: int
    begin: int
    ids: Sequence[int]
    extent: int
    logits: Literal["none", "last", "all"] = "last"

    @property
    def answers(self) -> int:
        """How many rows of logits it gets."""
        return {"none": 0, "last": 1, "all": len(self.ids)}[self.logits]


@dataclass(frozen=True, slots=True)
class Step:
    """The flat tensors of one forward pass over T tokens; prefill and decode look alike.

    `ids` and `positions` are int64 [T], `extents` one number a token; `wanted` [O] holds the
    places in the step whose logits are asked for, None: all. Those tokens by themselves are the
    step `answered`, None: all, or none of them.
    """

    ids: Tensor
    positions: Tensor
    extents: tuple[int, ...]
    segments: tuple[Segment, ...]
    wanted: Tensor | None
    answered: Step | None = None

    @property
    def longest(self) -> int:
        """Tokens of the longest row, once this step's are cached."""
        return max(max(segment.lengths) for segment in self.segments)

    @classmethod
    def of(cls, pieces: Sequence[Piece], device: torch.device, block: int = 0) -> Step:
        """Lay `pieces` end to end.

        Neighbouring rows with one token each share a segment where their lengths are near. For a
        cache of blocks of `block` tokens, prompts are cut at the blocks' ends, each token beyond a
        prompt attends by itself, and all such tokens that follow each other share a segment.
        """
        ids: list[int] = []
        positions: list[int] = []
        extents: list[int] = []
        wanted: list[int] = []
        segments: list[Segment] = []
        for piece in pieces:
            width, length = len(piece.ids), piece.begin + len(piece.ids)
            for begin, end, framed in _runs(piece, width, block):
                start = len(ids) + begin - piece.begin
                _append(
                    segments, Segment(start, piece.row, end - begin, (end,), framed=framed), block
                )
            ids.extend(piece.ids)
            positions.extend(range(piece.begin, length))
            extents.extend(max(piece.extent, place + 1) for place in range(piece.begin, length))
            wanted.extend(range(len(ids) - piece.answers, len(ids)))
        step = cls(
            torch.tensor(ids, device=device),
            torch.tensor(positions, device=device),
            tuple(extents),
            tuple(segments),
            None
            if len(wanted) == len(ids)
            else torch.tensor(wanted, dtype=torch.int64, device=device),
        )
        if step.wanted is None or not wanted:
            return step
        only = step.wanted
        own = tuple(extents[place] for place in wanted)
        alone = _answered(pieces, block)
        return replace(step, answered=cls(step.ids[only], step.positions[only], own, alone, None))


def _answered(pieces: Sequence[Piece], block: int) -> tuple[Segment, ...]:
    """The segments of just the tokens that are wanted, those of single tokens as they were."""
    single: list[Segment] = []
    segments: list[Segment] = []
    start, before = 0, True
    for piece in pieces:
        if not piece.answers:
            continue
        if (len(piece.ids) == 1) != before:
            segments += single
            single, before = [], not before
        for begin, end, framed in _runs(piece, piece.answers, block):
            segment = Segment(start, piece.row, end - begin, (end,), framed=framed)
            _append(single, segment, block)
            start = segment.stop
    return (*segments, *single)


def _runs(piece: Piece, last: int, block: int) -> Iterator[tuple[int, int, bool]]:
    """Which of a piece's `last` tokens attend together: from where, to where, and if framed."""
    stop = piece.begin + len(piece.ids)
    begin = stop - last
    while begin < stop:
        framed = block > 0 and begin < piece.extent
        end = stop
        if framed:
            end = min(stop, piece.extent, (begin // block + 1) * block)
        elif block:
            end = begin + 1
        yield begin, end, framed
        begin = end


def _append(segments: list[Segment], segment: Segment, block: int) -> None:
    """Add a segment to others, joined to the last one if they can run together."""
    joined = _joined(segments[-1], segment, block > 0) if segments else None
    if joined is None:
        segments.append(segment)
    else:
        segments[-1] = joined


def _joined(before: Segment, after: Segment, paged: bool) -> Segment | None:
    if before.framed or after.framed or not before.width == after.width == 1:
        return None
    lengths = before.lengths + after.lengths
    if paged:
        return Segment(before.start, -1, 1, lengths, (*before.members, *after.members))
    if before.row + before.rows != after.row:
        return None
    both = Segment(before.start, before.row, 1, lengths)
    return both if both.waste <= WASTE else None
