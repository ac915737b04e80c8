"""Who sits in which row of the cache, and what each brings to the next step."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from .cache.layout import KVCache
from .sequence import Sequence
from .step import Piece


@dataclass(frozen=True, slots=True)
class Part:
    """What a sequence brings to a step: its own next ids, and behind them perhaps a `guess`."""

    sequence: Sequence
    piece: Piece
    guess: tuple[int, ...] = ()

    @property
    def completes(self) -> bool:
        """Whether all of the text is cached afterwards, so that a token can follow."""
        return self.end >= self.sequence.length

    @property
    def end(self) -> int:
        """How many of its ids are cached afterwards, a guess among them."""
        return self.piece.begin + len(self.piece.ids)

    @property
    def answers(self) -> int:
        """How many rows of logits it gets."""
        return {"none": 0, "last": 1, "all": len(self.piece.ids)}[self.piece.logits]

    def pieces(self, apart: bool) -> list[Piece]:
        """Its pieces of the step; `apart`, each token of a guess is one, that attends by itself.

        That takes longer, but to half-precise numbers the order of a sum can make a difference.
        """
        if not self.guess or not apart:
            return [self.piece]
        row, begin = self.piece.row, self.piece.begin
        return [
            Piece(row, place, (id,), place + 1) for place, id in enumerate(self.piece.ids, begin)
        ]

    def with_guess(self, guess: tuple[int, ...]) -> Part:
        """A single token with a guess behind it, and logits after every token of both."""
        ids = (*self.piece.ids, *guess)
        return Part(self.sequence, replace(self.piece, ids=ids, logits="all"), guess)


class Scheduler:
    """A queue in front of `rows` cache rows; who leaves makes room for whoever waits longest.

    `border` says where the step that begins at a position of a prompt has to end.
    """

    def __init__(
        self,
        sequences: Iterable[Sequence],
        rows: int,
        border: Callable[[int], int] | None = None,
    ) -> None:
        self._waiting = deque(sequences)
        self._border = border
        self._rows: list[Sequence | None] = [None] * min(rows, len(self._waiting))

    @property
    def rows(self) -> int:
        """Rows that it uses of a cache."""
        return len(self._rows)

    def seated(self) -> Iterator[Sequence]:
        """Who has a row, from the first row on."""
        return (sequence for sequence in self._rows if sequence is not None)

    def seat(self, cache: KVCache) -> bool:
        """Clear the rows of the finished and give them away; False if nobody is left.

        Who comes together is seated by length, since neighbours of like length waste least. Where
        nobody waits, the last row moves into the gap: neighbours run as one segment.
        """
        free = [
            row
            for row, sequence in enumerate(self._rows)
            if sequence is None or sequence.finish is not None
        ]
        for row in free:
            self._rows[row] = None
        coming = [self._waiting.popleft() for _ in range(min(len(free), len(self._waiting)))]
        for newcomer in coming:
            newcomer.opening.absent -= 1
        for row, newcomer in zip(free, sorted(coming, key=lambda one: one.length), strict=False):
            self._put(newcomer, row)
        while None in self._rows:
            last = self._rows.pop()
            if last is not None:
                gap = self._rows.index(None)
                cache.fork(last.row, gap, last.cached)
                self._put(last, gap)
        return bool(self._rows)

    def _put(self, sequence: Sequence, row: int) -> None:
        self._rows[row], sequence.row = sequence, row

    def parts(self, most: int) -> list[Part]:
        """What comes next of each text, `most` tokens together.

        First come texts with a single token left, row by row; what then has room is shared out to
        longer ones in the order of their requests.
        """
        reading = [sequence for sequence in self.seated() if sequence.reads]
        parts = [_part(sequence, 1) for sequence in reading if sequence.left == 1]
        room = most - len(parts)
        longer = [sequence for sequence in reading if sequence.left > 1]
        for sequence in sorted(longer, key=lambda sequence: sequence.number):
            if room > 0:
                parts.append(_part(sequence, self._up_to_border(sequence, room)))
                room -= len(parts[-1].piece.ids)
        return parts

    def _up_to_border(self, sequence: Sequence, room: int) -> int:
        if self._border is None or sequence.generated:
            return room
        return min(room, self._border(sequence.cached) - sequence.cached)


def _part(sequence: Sequence, room: int) -> Part:
    ids = sequence.ids(sequence.cached, sequence.cached + room)
    wanted = "last" if len(ids) == sequence.left else "none"
    if sequence.request.prompt_logprobs and not sequence.generated:
        wanted = "all"
    return Part(sequence, Piece(sequence.row, sequence.cached, ids, sequence.length, wanted))
