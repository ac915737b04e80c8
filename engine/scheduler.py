"""Who sits in which row of the cache, and what each brings to the next step."""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable, Hashable, Iterable, Iterator
from collections.abc import Sequence as Many
from dataclasses import dataclass, replace
from itertools import islice

from .cache.blocks import names_of
from .cache.layout import Rooms
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
        return self.piece.answers

    def pieces(self, apart: bool) -> list[Piece]:
        """Its pieces of the step; `apart`, each token of a guess is one, that attends by itself.

        That takes longer, but to half-precise numbers the order of a sum can make a difference.
        """
        if not self.guess or not apart:
            return [self.piece]
        row, begin = self.piece.row, self.piece.begin
        return [
            Piece(row, place, (id,), self.piece.extent)
            for place, id in enumerate(self.piece.ids, begin)
        ]

    def with_guess(self, guess: tuple[int, ...]) -> Part:
        """A single token with a guess behind it, and logits after every token of both."""
        ids = (*self.piece.ids, *guess)
        return Part(self.sequence, replace(self.piece, ids=ids, logits="all"), guess)


class Scheduler:
    """A queue in front of `rows` cache rows; who leaves makes room for whoever waits longest.

    Requests are looked at only once there is a row for them. Where memory ends, whoever came last
    gives its row up and waits in its old place. So the first of all always goes on.
    `border` says where the step that begins at a position of a prompt has to end. `kind` tells
    which texts, by their extents, are read alike: see `stretched`.
    """

    def __init__(
        self,
        sequences: Iterable[Sequence],
        rows: int,
        border: Callable[[int], int] | None = None,
        kind: Callable[[int], Hashable] | None = None,
    ) -> None:
        self._coming = enumerate(sequences)
        self._waiting: list[Sequence] = []
        self._border = border
        self._kind = kind
        self._most = rows
        self._rows: list[Sequence | None] = []
        self.preempted = 0
        self.found = 0

    def seated(self) -> Iterator[Sequence]:
        """Who has a row, from the first row on."""
        return (sequence for sequence in self._rows if sequence is not None)

    def seat(self, cache: Rooms) -> bool:
        """Clear the rows of the finished and give them away; False if nobody is left.

        Where nobody comes, the last row moves into the gap: neighbours run as one segment.
        """
        self._publish(cache)
        for row, sequence in enumerate(self._rows):
            if sequence is not None and sequence.finish is not None:
                cache.release(row)
                self._rows[row] = None
        self._admit(cache)
        while self._waiting and all(sequence.waits for sequence in self.seated()):
            # Whoever came first holds less than there is, and needs nobody who came later.
            newest = max(self.seated(), key=_rank, default=None)
            assert newest is not None, "a text that doesn't fit alone is not let in"
            self._preempt(newest, cache)
            self._admit(cache)
        while None in self._rows:
            last = self._rows.pop()
            if last is not None:
                gap = self._rows.index(None)
                cache.move(last.row, gap, last.cached)
                self._put(last, gap)
        return bool(self._rows)

    def provided(self, parts: Many[Part], cache: Rooms) -> list[Part]:
        """Those parts that there is memory for; the first of all is always one of them."""
        for part in sorted(parts, key=lambda part: part.sequence.rank):
            sequence, piece = part.sequence, part.piece
            while sequence.row >= 0 and not cache.reserve(sequence.row, part.end, piece.begin):
                self._preempt(max(self.seated(), key=_rank), cache)
        return [part for part in parts if part.sequence.row >= 0]

    def _admit(self, cache: Rooms) -> None:
        """Give free rows to those who wait.

        Those who come together into rows of their own are seated by length, since neighbours of
        like length waste least. A text whose beginning somebody else is about to read waits for it.
        """
        taken = {sequence.row for sequence in self.seated()}
        free = [row for row in range(self._most) if row not in taken]
        more = islice(self._coming, max(0, len(free) - len(self._waiting)))
        for rank, sequence in more:
            sequence.rank = rank
            self._waiting.append(sequence)
        coming = self._waiting[: len(free)]
        if not cache.block:
            coming.sort(key=lambda sequence: sequence.length)
        promised = {name for one in self.seated() for name in one.names[one.published :]}
        for newcomer in coming:
            names = self._shareable(newcomer, cache.block)
            found = cache.find(names)
            if found < len(names) and names[found] in promised:
                continue
            length = newcomer.length if newcomer.reads else 1
            spare = sum(not sequence.waits for sequence in self.seated())
            entered = cache.enter(free[0], names, length, spare)
            if entered is None:
                return
            if entered:
                newcomer.cached, newcomer.published = entered, found
                self.found += entered
            promised.update(names[found:])
            if not newcomer.generated:
                newcomer.opening.absent -= 1
            self._waiting.remove(newcomer)
            self._put(newcomer, free.pop(0))

    def _put(self, sequence: Sequence, row: int) -> None:
        self._rows.extend([None] * (row + 1 - len(self._rows)))
        self._rows[row], sequence.row = sequence, row

    def _preempt(self, sequence: Sequence, cache: Rooms) -> None:
        """Take a row back; its text is made again, and says the same."""
        cache.release(sequence.row)
        self._rows[sequence.row] = None
        sequence.step_back()
        insort(self._waiting, sequence, key=_rank)
        self.preempted += 1

    def _publish(self, cache: Rooms) -> None:
        """Let the whole blocks of what was read be found."""
        if not cache.block:
            return
        for sequence in self.seated():
            whole = self._whole(sequence, sequence.cached, cache.block)
            if whole > sequence.published:
                cache.publish(sequence.row, self._named(sequence, whole, cache.block))
                sequence.published = whole

    def _shareable(self, sequence: Sequence, block: int) -> Many[bytes]:
        """The names of those first blocks of a text that it could take over from another.

        The last token is read in any case, since logits are wanted after it.
        """
        request, said = sequence.request, sequence.generated
        if not block or not sequence.reads or (request.prompt_logprobs and not said):
            return ()
        return self._named(sequence, self._whole(sequence, sequence.length - 1, block), block)

    def _whole(self, sequence: Sequence, length: int, block: int) -> int:
        """Whole blocks of a text's first tokens that are what other texts have, too."""
        # Where ropes stretch, a later token has its own, as long as the text was then.
        stretches = self._kind is not None and self._kind(sequence.total) != self._kind(0)
        return (min(length, sequence.extent) if stretches else length) // block

    def _named(self, sequence: Sequence, count: int, block: int) -> Many[bytes]:
        names = sequence.names
        if len(names) < count:
            kind = self._kind(sequence.extent) if self._kind else None
            ids, extent = sequence.ids(0, count * block), sequence.extent
            names += names_of(ids, names, kind, block, extent)
        return names[:count]

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
    return Part(sequence, Piece(sequence.row, sequence.cached, ids, sequence.extent, wanted))


def _rank(sequence: Sequence) -> int:
    return sequence.rank
