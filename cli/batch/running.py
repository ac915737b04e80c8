"""Runs the rows of a job through the engine, and puts each answer where it belongs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import TYPE_CHECKING, Any

from ... import LmtoolError, OutOfMemoryError, UsageError
from ..answers import Answer, Describer
from ..exits import code_of
from ..requesting import token_text
from ..signals import Stopping
from .asking import Asked, Asking
from .job import Job, model_json
from .options import BatchEffort
from .rows import Row

if TYPE_CHECKING:
    from ...engine.request import Outcome, Request, Token
    from ...engine.session import Session


@dataclass
class Tally:
    """What has been done by this run, and what remains of earlier ones."""

    done: int = 0
    """Rows that have an answer, or an error for one."""
    failed: int = 0
    fresh: int = 0
    """Rows that this run has answered, and `tokens` that it decoded."""
    tokens: int = 0
    since: float = field(default_factory=monotonic)

    @property
    def tokens_per_s(self) -> float:
        """Tokens a second of this run."""
        return self.tokens / max(1e-9, self.seconds)

    @property
    def seconds(self) -> float:
        """How long this run has lasted."""
        return monotonic() - self.since


@dataclass
class _Waiting:
    """A row that the engine is asked about, since when, and when its first token came."""

    asked: Asked
    taken: float = field(default_factory=monotonic)
    first: float | None = None

    def json(self, since: float, tokens: int) -> dict[str, Any]:
        """Its line in the file of --timings, in seconds from `since`."""
        moments = {"taken_s": self.taken, "first_token_s": self.first, "done_s": monotonic()}
        return {
            "row": self.asked.row.number,
            **{name: at and round(at - since, 4) for name, at in moments.items()},
            "prompt_tokens": len(self.asked.prompt.ids),
            "completion_tokens": tokens,
        }


class Running:
    """One run of a job, to the end of its rows or until it is stopped."""

    def __init__(
        self,
        session: Session,
        job: Job,
        asking: Asking,
        stopping: Stopping,
        effort: BatchEffort,
        times: Callable[[dict[str, Any]], None] | None = None,
    ) -> None:
        """`times` hears of each row that is answered how long it took."""
        self._effort = effort
        self._session = session
        self._job = job
        self._asking = asking
        self._stopping = stopping
        self._times = times
        self._waiting: dict[int, _Waiting] = {}
        self._failure: Exception | None = None
        self.tally = Tally(job.log.rows, job.log.failed)

    def run(self, rows: Iterator[Row]) -> Iterator[Tally]:
        """Answer all `rows` that have no answer yet; the tally, at every token.

        Raises what concerns more than one row, and ends as a signal has it.
        """
        from ...engine.request import Outcome

        try:
            for event in stream(self._session, self._requests(rows), self._effort):
                if isinstance(event, Outcome):
                    self._take(event)
                else:
                    self.tally.tokens += 1
                    waiting = self._waiting[event.request]
                    waiting.first = waiting.first or monotonic()
                yield self.tally
                if self._stopping.asked:
                    self._stopping.end()
            if self._failure is not None:
                raise self._failure
        finally:
            self._job.log.sync()

    def _requests(self, rows: Iterator[Row]) -> Iterator[Request]:
        """What is still to be asked, one by one as the engine has room."""
        count = 0
        while True:
            try:
                asked = self._next(rows)
            except Exception as error:
                # The engine should not take it for one of its own: answer what was asked before.
                self._failure = error
                return
            if asked is None:
                return
            self._waiting[count] = _Waiting(asked)
            count += 1
            yield asked.request

    def _next(self, rows: Iterator[Row]) -> Asked | None:
        """The next row that has no answer and can have one; None at the end."""
        while (row := self._read(rows)) is not None:
            key, known = self._job.key(row.data), self._job.log.key_of(row.number)
            if known is not None and known != key:
                raise UsageError(
                    f"row {row.number} is another than it was when it was answered",
                    hint="--fresh begins again",
                )
            if known is not None:
                continue
            try:
                return self._asking.ask(row)
            except OutOfMemoryError:
                raise
            except LmtoolError as error:
                self._put(row, error_json(error))
        return None

    def _read(self, rows: Iterator[Row]) -> Row | None:
        """The next row. A signal may break off the wait for it."""
        if self._stopping.asked:
            return None
        self._stopping.at_once = True
        try:
            return next(rows, None)
        finally:
            self._stopping.at_once = False

    def _take(self, outcome: Outcome) -> None:
        waiting = self._waiting.pop(outcome.request)
        asked = waiting.asked
        if outcome.error is not None:
            self._put(asked.row, error_json(outcome.error))
        else:
            self.tally.fresh += 1
            self._put(asked.row, answer_json(self._session, asked, outcome.samples[0]))
            if self._times is not None:
                self._times(waiting.json(self.tally.since, len(outcome.samples[0])))

    def _put(self, row: Row, answer: dict[str, Any]) -> None:
        failed = "error" in answer
        answer["fields"] = self._asking.own(row)
        self._job.log.add(row.number, self._job.key(row.data), answer)
        self.tally.done += 1
        self.tally.failed += failed


def stream(
    session: Session, requests: Iterable[Request], effort: BatchEffort
) -> Iterator[Token | Outcome]:
    """What the engine says to requests, as many at once and as alike as `effort` has it."""
    return session.stream(
        requests,
        max_memory=effort.memory,
        rows=effort.parallel.value,
        deterministic=effort.deterministic.value,
    )


def answer_json(session: Session, asked: Asked, tokens: Sequence[Token]) -> dict[str, Any]:
    """The contract's object, without what differs from run to run."""
    from ...engine.request import Timings

    settings = asked.settings
    seed = settings.sampling.seed.value
    describe = Describer(
        prompt=asked.prompt,
        seed=seed,
        timings=Timings(),
        card=session.card,
        settings=settings.listed(),
        has_text=session.tokenizer is not None,
        token_text=token_text(session),
        logprobs=settings.answer.logprobs.value is not None,
    )
    text = "".join(token.text for token in tokens)
    finish = (tokens[-1].finish if tokens else None) or "length"
    found = describe(Answer(text, list(tokens), finish, seed))
    del found["timings"]
    found["model"] = model_json(session)
    return found


def error_json(error: LmtoolError) -> dict[str, Any]:
    """What a row has for an answer that has none."""
    hint = {} if error.hint is None else {"hint": error.hint}
    return {"error": {"code": int(code_of(error)), "message": error.message, **hint}}
