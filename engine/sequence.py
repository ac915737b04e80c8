"""A sample under way."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence as Ids
from dataclasses import dataclass, field

from torch import Tensor

from .cache.layout import KVCache
from .request import Finish, Request
from .sampling.draw import Draw
from .sampling.grammar import Constraint


@dataclass(eq=False)
class Opening:
    """What the samples of one request share: a prompt that only one of them, `reader`, reads.

    The others start from its row. `logits` [1, V] are those after the prompt, None until it is
    read; `absent` counts the samples that have no row yet.
    """

    reader: Sequence
    absent: int
    logits: Tensor | None = None


@dataclass(eq=False)
class Sequence:
    """One sample of a request: its ids so far, how many of them are cached, how it ended.

    `number` is the request's place among those that run together, `row` the cache's (-1: none yet).
    `dropped` tokens, those behind the `request.shift` first, have left a full context.
    `constraint` is how far it has come in the request's grammar, `seed` the sample's own.
    `anew` is how long the text was when it last became another one, that is read from its beginning
    (0: as the prompt). `rank` is its place in the queue for a row. Its first whole blocks have
    `names`, by which others find those that were `published`.
    """

    request: Request
    sample: int = 0
    number: int = 0
    row: int = -1
    cached: int = 0
    anew: int = 0
    rank: int = 0
    published: int = 0
    names: list[bytes] = field(default_factory=list[bytes])
    generated: list[int] = field(default_factory=list[int])
    dropped: int = 0
    finish: Finish | None = None
    constraint: Constraint | None = None
    opening: Opening = field(init=False)
    seed: int = field(init=False)

    def __post_init__(self) -> None:
        """Alone until `samples_of` says otherwise."""
        self.opening = Opening(self, 1)
        self.seed = self.request.sampling.seed_of(self.sample)

    @classmethod
    def samples_of(
        cls, request: Request, number: int = 0, constraint: Constraint | None = None
    ) -> Iterator[Sequence]:
        """A request's samples in the order in which they get rows: whoever reads comes first.

        That is the last one, since it starts last where rows are scarce. `constraint` is where the
        request's grammar begins.
        """
        count = request.samples if request.max_new != 0 else 1  # all alike: no tokens
        last = Sequence(request, count - 1, number, constraint=_fork(constraint))
        last.opening.absent = count
        yield last
        for sample in range(count - 1):
            sequence = Sequence(request, sample, number, constraint=_fork(constraint))
            sequence.opening = last.opening
            yield sequence

    @property
    def whole(self) -> bool:
        """Whether a grammar asks for nothing more."""
        return self.constraint is None or self.constraint.whole

    @property
    def total(self) -> int:
        """Prompt and generated tokens together."""
        return len(self.request.ids) + len(self.generated)

    @property
    def length(self) -> int:
        """Tokens that are in the context: all but those that have left it."""
        return self.total - self.dropped

    @property
    def extent(self) -> int:
        """How long the text was known to be when it was read: later tokens know it up to them."""
        return self.anew or len(self.request.ids)

    @property
    def left(self) -> int:
        """How many ids aren't cached yet."""
        return self.length - self.cached

    @property
    def reads(self) -> bool:
        """Whether its ids have to be fed: not those of a prompt that another sample reads."""
        return bool(self.generated) or self.opening.reader is self

    @property
    def may_start(self) -> bool:
        """Whether its first token can be chosen: whoever has read lets all others start before."""
        opening = self.opening
        read = not self.generated and opening.logits is not None
        return read and (opening.reader is not self or opening.absent == 0)

    @property
    def waits(self) -> bool:
        """Whether it can't go on before another sample does something."""
        idle = not self.reads or (not self.generated and self.opening.logits is not None)
        return idle and not self.may_start

    def start(self, cache: KVCache) -> None:
        """Make the prompt that another sample has read its own."""
        reader = self.opening.reader
        if reader is not self:
            cache.fork(reader.row, self.row, reader.cached)
            self.cached = reader.cached

    def step_back(self) -> None:
        """Give up its row: it will read again what it has said."""
        self.row, self.cached, self.published = -1, 0, 0
        if not self.generated:
            self.opening.absent += 1
            if self.opening.reader is self:
                self.opening.logits = None

    def begin_anew(self) -> None:
        """Have all of the text read again, as another one that was always as long as it is now."""
        self.cached, self.anew, self.published = 0, self.length, 0
        self.names.clear()

    def ids(self, begin: int, stop: int) -> tuple[int, ...]:
        """The tokens in the context from position `begin` on, up to `stop` or the text's end."""
        if not self.dropped:
            return self.said(begin, stop)
        kept, gone = self.request.shift or 0, self.dropped
        head = self.said(begin, min(stop, kept))
        return (*head, *self.said(max(begin, kept) + gone, max(stop, kept) + gone))

    def said(self, begin: int, stop: int) -> tuple[int, ...]:
        """Prompt and generated tokens from place `begin` on, in the context or not."""
        prompt = self.request.ids
        own = self.generated[max(0, begin - len(prompt)) : max(0, stop - len(prompt))]
        return (*prompt[begin:stop], *own)

    def room(self, context: int) -> int:
        """How many more tokens it may get."""
        most = self.request.max_new
        left = context - self.length
        return left if most is None else min(left, most - len(self.generated))

    def draw(self, ahead: Ids[int] = ()) -> Draw:
        """Whose turn it is after the text so far and `ahead`."""
        request, stop = self.request, self.request.stop
        early = len(self.generated) + len(ahead) < stop.min_tokens
        barred = stop.eos | stop.ids if early else frozenset[int]()
        mask = self.constraint.mask(ahead) if self.constraint else None
        position, sampling = self.total + len(ahead), request.sampling
        if not sampling.adjusts:
            return Draw(sampling, self.seed, position, barred=barred, mask=mask)
        counts = sampling.presence or sampling.frequency
        rereads = sampling.no_repeat_ngram or sampling.dry_multiplier
        return Draw(
            sampling,
            self.seed,
            position,
            self.recent(ahead),
            barred,
            mask,
            said=(*self.generated, *ahead) if counts else (),
            text=(*request.ids, *self.generated, *ahead) if rereads else (),
        )

    def recent(self, ahead: Ids[int] = ()) -> tuple[int, ...]:
        """The ids that the repetition penalty looks at; none where it is off."""
        sampling = self.request.sampling
        if sampling.repetition == 1 or sampling.repeat_last == 0:
            return ()
        count = sampling.repeat_last
        if count < 0 or count > self.total + len(ahead):
            return (*self.request.ids, *self.generated, *ahead)
        tail = (*self.generated[-count:], *ahead)[-count:]
        missing = count - len(tail)
        return (*self.request.ids[-missing:], *tail) if missing else tail

    def accept(self, id: int, context: int) -> None:
        """Append a chosen id and see whether it ends the sample."""
        self.generated.append(id)
        stop, request = self.request.stop, self.request
        if id in stop.ids:
            self.finish = "stop"
        elif id in stop.eos:
            self.finish = "eos"
        elif self.constraint is not None and self._completes(self.constraint, id):
            self.finish = "stop"
        elif request.max_new is not None and len(self.generated) >= request.max_new:
            self.finish = "length"
        elif self.length >= context:
            self._make_room()

    def _make_room(self) -> None:
        """End the text, or let the older half of what may leave a full context leave it.

        What stays is read anew: keys know the positions that they had.
        """
        kept = self.request.shift
        if kept is None:
            self.finish = "context"
            return
        self.dropped += max(1, (self.length - kept) // 2)
        self.begin_anew()

    def _completes(self, constraint: Constraint, id: int) -> bool:
        """Whether a chosen id makes the text one that its grammar lets nothing follow.

        Where no id could end it, a text ends as soon as it may.
        """
        constraint.take(id)
        may_end = len(self.generated) >= self.request.stop.min_tokens
        return constraint.over or (constraint.whole and constraint.open_ended and may_end)


def _fork(constraint: Constraint | None) -> Constraint | None:
    return None if constraint is None else constraint.fork()
