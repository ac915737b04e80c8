"""Runs the rows of a job through the engine, and puts each answer where it belongs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
    tokens: int = 0
    """Tokens that were decoded by this run, and `answered` the rows."""
    answered: int = 0
    since: float = field(default_factory=monotonic)

    @property
    def tokens_per_s(self) -> float:
        """Tokens a second of this run."""
        return self.tokens / max(1e-9, monotonic() - self.since)


class Running:
    """One run of a job, to the end of its rows or until it is stopped."""

    def __init__(self, session: Session, job: Job, asking: Asking, stopping: Stopping) -> None:
        self._session = session
        self._job = job
        self._asking = asking
        self._stopping = stopping
        self._waiting: dict[int, Asked] = {}
        self._failure: Exception | None = None
        self.rows = 0
        """Rows that were read."""
        self.tally = Tally(job.log.rows, job.log.failed)

    def run(self, rows: Iterator[Row]) -> Iterator[Tally]:
        """Answer all `rows` that have no answer yet; the tally, at every token.

        Raises what concerns more than one row, and ends as a signal has it.
        """
        from ...engine.request import Outcome

        log = self._job.log
        try:
            for event in self._session.stream(self._requests(rows)):
                if isinstance(event, Outcome):
                    self._take(event)
                else:
                    self.tally.tokens += 1
                yield self.tally
                if self._stopping.asked:
                    self._stopping.end()
            if self._failure is not None:
                raise self._failure
            if log.last > self.rows:
                raise UsageError(
                    f"there were {log.last:,} rows or more before, and now {self.rows:,}",
                    hint="--fresh begins again",
                )
        finally:
            log.sync()

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
            self._waiting[count] = asked
            count += 1
            yield asked.request

    def _next(self, rows: Iterator[Row]) -> Asked | None:
        """The next row that has no answer and can have one; None at the end."""
        while (row := self._read(rows)) is not None:
            self.rows = row.number
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
        asked = self._waiting.pop(outcome.request)
        if outcome.error is not None:
            self._put(asked.row, error_json(outcome.error))
        else:
            self.tally.answered += 1
            self._put(asked.row, self._describe(asked, outcome.samples[0]))

    def _describe(self, asked: Asked, tokens: Sequence[Token]) -> dict[str, Any]:
        """The contract's object, without what differs from run to run."""
        from ...engine.request import Timings

        settings, session = asked.settings, self._session
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

    def _put(self, row: Row, answer: dict[str, Any]) -> None:
        failed = "error" in answer
        answer["fields"] = self._asking.own(row)
        self._job.log.add(row.number, self._job.key(row.data), answer)
        self.tally.done += 1
        self.tally.failed += failed


def error_json(error: LmtoolError) -> dict[str, Any]:
    """What a row has for an answer that has none."""
    hint = {} if error.hint is None else {"hint": error.hint}
    return {"error": {"code": int(code_of(error)), "message": error.message, **hint}}
