"""The one generation loop: ids in, ids out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from collections.abc import Sequence as Many
from dataclasses import dataclass
from itertools import repeat
from time import perf_counter

import torch
from torch import Tensor

from .cache.paged import PagedCache, Plan
from .cache.static import StaticCache
from .device import to_host
from .kept import Keeper, stretched
from .request import Candidate, PromptToken, Request, Timings
from .runner import Runner
from .sampling.grammar import Constraint
from .sampling.sampler import checked, choose
from .scheduler import Part, Scheduler
from .sequence import Sequence
from .speculate import ROWS as GUESSED_ROWS
from .speculate import Guesser, Guessing
from .step import Step

CHUNK = 512
"""Tokens fed in one step: enough to keep the cores busy, little enough to bound memory."""

ROWS = 32
"""Texts decoded together; more of them wait for their turn."""

STREAMED = 128
"""The same, where texts come without end."""

Cache = StaticCache | PagedCache

Turn = tuple[Sequence, tuple[int, ...]]
"""Whose turn it is to take a token, and the guess behind it."""

Report = tuple[float | None, tuple[Candidate, ...]]
"""A chosen id's log-probability and its likeliest alternatives, if asked for."""


@dataclass(frozen=True, slots=True)
class Emission:
    """One id that a sequence has just taken, with the model's own log-probabilities if asked."""

    sequence: Sequence
    id: int
    logprob: float | None
    top: tuple[Candidate, ...]


class Loop:
    """Runs requests side by side: each step takes every text one token or piece of prompt further.

    Texts come and go at every step; what a text says doesn't depend on who runs beside it.
    With `guessing`, steps check several tokens of a text at once, and it stays the
    same. `prompts` fill, one a request, where a request asks for its prompt's log-probabilities.
    `constraints` are where the requests' grammars begin, one a request, or none at all.
    `kept` may have cached a part of the prompt before; then there can be but one request.
    With a `plan`, texts share a cache of blocks, and requests are taken as there is room for them.
    Without one, each has a row as long as the longest, and all requests are taken at once.
    """

    def __init__(
        self,
        decoder: Runner,
        requests: Iterable[Request],
        context: int,
        timings: Timings,
        rows: int = ROWS,
        chunk: int = CHUNK,
        guessing: Guessing | None = None,
        kv_dtype: torch.dtype | None = None,
        constraints: Iterable[Constraint | None] | None = None,
        kept: Keeper | None = None,
        plan: Plan | None = None,
    ) -> None:
        assert kept is None or plan is None, "what is kept is a row of its own"
        self.prompts = defaultdict[int, list[PromptToken]](list)
        self._decoder = decoder
        self._device = decoder.device
        self._turning_points = decoder.spec.turning_points()
        self._requests = requests
        self._constraints = repeat(None) if constraints is None else iter(constraints)
        self._context = context
        self._timings = timings
        self._chunk = chunk
        self._kv_dtype = kv_dtype or decoder.dtype
        self._guesser = Guesser(guessing) if guessing else None
        self._apart = guessing is not None and guessing.apart
        self._kept = kept
        self._plan = plan
        self._exact = plan is not None and plan.alike is not None
        # Two at least, since one of several samples keeps its row until all have started.
        self._most = max(rows, 2)

    def run(self) -> Iterator[Emission]:
        """Every id of every sample, interleaved, as soon as it is chosen.

        Whoever iterates may set a sequence's `finish` to end it early.
        Raises `ModelError` if the logits turn out not to be numbers.
        """
        spec = self._decoder.spec
        if self._plan is not None:
            table = Scheduler(self._sequences(), self._most, kind=stretched(spec))
            cache = self._plan.make(spec, self._kv_dtype, self._device)
            yield from self._generate(table, cache)
            return
        texts = list(self._sequences())
        rows, longest = min(self._most, len(texts)), self._longest(texts)
        if self._kept is None:
            yield from self._generate(Scheduler(texts, rows), self._cache(rows, longest))
            return
        kept = self._kept
        table = Scheduler(texts, rows, kept.border)
        cache = kept.open(spec, rows, longest, self._cache)
        try:
            self._timings.reused_tokens = kept.begin(texts[0], cache)
            yield from self._generate(table, cache)
        finally:
            kept.end(texts[0])

    def _cache(self, rows: int, longest: int) -> StaticCache:
        spec, longest = self._decoder.spec, min(longest, self._context)
        return StaticCache(spec, rows, longest, self._chunk, self._kv_dtype, self._device)

    def _generate(self, table: Scheduler, cache: Cache) -> Iterator[Emission]:
        while table.seat(cache):
            began = perf_counter()
            parts = table.provided(self._guess(table.parts(self._chunk)), cache)
            logits = self._run(parts, cache)
            self._clock(parts, perf_counter() - began)
            self._timings.preempted = table.preempted
            began = perf_counter()
            turns, logits = self._turns(table, parts, logits, cache)
            runs = self._choose(turns, logits)
            self._timings.decode_s += perf_counter() - began
            for (sequence, _), run in zip(turns, runs, strict=True):
                yield from self._speak(sequence, run)
            self._learn(turns, runs)

    def _longest(self, texts: Many[Sequence]) -> int:
        """Tokens that a text can come to: a cache for the whole context may be far too large."""
        unbounded = self._context
        most = [
            unbounded if request.max_new is None else len(request.ids) + request.max_new
            for request in (text.request for text in texts)
        ]
        return min(unbounded, max(most, default=0))

    def _sequences(self) -> Iterator[Sequence]:
        for number, request in enumerate(self._requests):
            if self._plan is not None:
                self._plan.check(request, self._context)
            yield from Sequence.samples_of(request, number, next(self._constraints))

    def _run(self, parts: Many[Part], cache: Cache) -> Tensor:
        """The wanted logits of one step, [O, V], and they are numbers."""
        if not parts:
            return torch.empty(0, device=self._device)
        pieces = [piece for part in parts for piece in part.pieces(self._apart)]
        step = Step.of(pieces, self._device, cache.block)
        logits = checked(self._decoder(step, cache))
        for part in parts:  # only now: whoever breaks off a step has cached nothing by it
            part.sequence.cached = part.end
        return logits

    def _clock(self, parts: Many[Part], seconds: float) -> None:
        """Share out what a step took to prompts and texts, by their tokens."""
        widths = [(not part.sequence.generated, len(part.piece.ids)) for part in parts]
        read = sum(width for reads, width in widths if reads)
        share = seconds * read / max(1, sum(width for _, width in widths))
        self._timings.prompt_tokens += read
        self._timings.prefill_s += share
        self._timings.decode_s += seconds - share

    def _turns(
        self, table: Scheduler, parts: Many[Part], logits: Tensor, cache: Cache
    ) -> tuple[list[Turn], Tensor]:
        """Whose turn it is, and the logits to choose by, [R, V]: as many rows as a turn has ids."""
        turns: list[Turn] = []
        places: list[int] = []
        end = 0
        for part in parts:
            sequence, begin, end = part.sequence, end, end + part.answers
            if sequence.generated and part.completes:
                turns.append((sequence, part.guess))
                places.extend(range(begin, end))
            elif not sequence.generated:
                self._read(part, logits[begin:end], cache)
        if len(places) < len(logits):
            logits = logits[places]
        starting = [sequence for sequence in table.seated() if sequence.may_start]
        for sequence in starting:
            sequence.start(cache)
        if starting:
            first = [sequence.opening.logits for sequence in starting]
            logits = torch.cat([logits, *(row for row in first if row is not None)])
        for sequence in starting:
            if sequence.opening.absent == 0:  # nobody else will ask
                sequence.opening.logits = None
        return [*turns, *((sequence, ()) for sequence in starting)], logits

    def _read(self, part: Part, logits: Tensor, cache: Cache) -> None:
        """Take what a piece of a prompt gave: its tokens' scores, and in the end its answer."""
        sequence = part.sequence
        if sequence.request.prompt_logprobs:
            self._score(part, logits)
        if part.completes and self._kept is not None:
            assert isinstance(cache, StaticCache)
            began = perf_counter()
            self._kept.read(sequence, cache, logits[-1:])
            self._timings.decode_s -= perf_counter() - began  # which goes on counting
        if part.completes and sequence.request.max_new == 0:
            sequence.finish = "length"
        elif part.completes:
            sequence.opening.logits = logits[-1:].clone()  # a view would keep a whole chunk's

    def _guess(self, parts: list[Part]) -> list[Part]:
        """The same parts, with guesses behind those that bring a text's last token."""
        if self._guesser is None or len(parts) > GUESSED_ROWS:
            return parts
        guessing: list[Part] = []
        for part in parts:
            sequence = part.sequence
            room = min(sequence.room(self._context), self._chunk // len(parts)) - 1
            # Beyond a turning point the text has to be read anew before it can go on.
            turns = (point for point in self._turning_points if point > sequence.length)
            room = min([room, *(point - 1 - sequence.length for point in turns)])
            if sequence.generated and sequence.left == 1:
                guess = self._guesser.guess(sequence, room)
                if guess and sequence.constraint is not None:
                    guess = guess[: sequence.constraint.right(guess)]
                part = part.with_guess(guess) if guess else part
            guessing.append(part)
        return guessing

    def _choose(self, turns: Many[Turn], logits: Tensor) -> list[list[tuple[int, Report]]]:
        """What each text takes: a token, and before it as much of its guess as comes true."""
        if not turns:
            return []
        texts = [(text, guess[:place]) for text, guess in turns for place in range(len(guess) + 1)]
        draws = [sequence.draw(ahead) for sequence, ahead in texts]
        counts = [sequence.request.logprobs for sequence, _ in texts]
        taken = [
            pair
            for some in self._at_once(len(texts))
            for ids in [choose(logits[some], draws[some])]
            for pair in zip(ids, _reports(logits[some], ids, counts[some]), strict=True)
        ]
        ids = [id for id, _ in taken]
        runs: list[list[tuple[int, Report]]] = []
        begin = 0
        for sequence, guess in turns:
            chosen = ids[begin : begin + len(guess)]
            pairs = enumerate(zip(guess, chosen, strict=True))
            right = next((place for place, (one, id) in pairs if one != id), len(guess))
            sequence.cached -= len(guess) - right  # the rest is overwritten
            runs.append(taken[begin : begin + right + 1])
            begin += len(guess) + 1
        return runs

    def _at_once(self, count: int) -> list[slice]:
        """Which of so many rows of logits are looked at together: all, or each by itself."""
        return [slice(n, n + 1) for n in range(count)] if self._exact else [slice(0, count)]

    def _speak(self, sequence: Sequence, run: Many[tuple[int, Report]]) -> Iterator[Emission]:
        """A text takes its tokens, unless one of them ends it."""
        for id, (logprob, top) in run:
            sequence.accept(id, self._context)
            self._timings.decoded_tokens += 1
            yield Emission(sequence, id, logprob, top)
            if sequence.finish is not None:
                return
        if sequence.length in self._turning_points:
            sequence.begin_anew()  # now that the text is known to be longer

    def _learn(self, turns: Many[Turn], runs: Many[Many[object]]) -> None:
        """Take note of which guesses came true."""
        if self._guesser is None:
            return
        for (sequence, guess), run in zip(turns, runs, strict=True):
            self._timings.guessed = (self._timings.guessed or 0) + len(guess)
            self._timings.right += len(run) - 1
            self._guesser.learn(sequence, len(guess), len(run) - 1, len(turns))

    def _score(self, part: Part, logits: Tensor) -> None:
        """Log-probabilities of the prompt's tokens after a piece's, from their predecessors."""
        sequence, begin = part.sequence, part.piece.begin
        ids, prompt = sequence.request.ids, self.prompts[sequence.number]
        if begin == 0:
            prompt.clear()  # whoever gave up a row reads anew
            prompt.append(PromptToken(ids[0], None))
        following = list(ids[begin + 1 : begin + 1 + len(logits)])
        counts = [sequence.request.logprobs] * len(following)
        for some in self._at_once(len(following)):
            own = following[some]
            reports = _reports(logits[: len(following)][some], own, counts[some])
            for id, (logprob, top) in zip(own, reports, strict=True):
                prompt.append(PromptToken(id, logprob, top))


def _reports(logits: Tensor, ids: list[int], counts: Many[int | None]) -> list[Report]:
    """Log-probability of each row's id and of its `counts` likeliest; None asks for nothing."""
    reports: list[Report] = [(None, ())] * len(ids)
    asking = [row for row, count in enumerate(counts) if count is not None]
    if not asking:
        return reports
    logprobs = torch.log_softmax(logits if len(asking) == len(ids) else logits[asking], dim=-1)
    places = torch.tensor([ids[row] for row in asking], device=logits.device)
    chosen = to_host(logprobs.gather(-1, places[:, None]).squeeze(-1))
    most = max(count or 0 for count in counts)
    best = logprobs.topk(min(most, logits.shape[-1]), dim=-1)
    pairs = zip(to_host(best.indices), to_host(best.values), strict=True)
    for row, own, (top, values) in zip(asking, chosen, pairs, strict=True):
        reports[row] = (own, tuple(map(Candidate, top[: counts[row]], values[: counts[row]])))
    return reports
