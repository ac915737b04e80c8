"""One run of a job: what has no answer yet is answered, and each answer put where it belongs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from time import monotonic, time
from typing import Any

from ... import UsageError
from ..signals import Stopping
from .answering import Answered, Answers
from .job import Job
from .rows import Row


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


class Running:
    """One run of a job, to the end of its rows or until it is stopped."""

    def __init__(
        self,
        job: Job,
        answers: Answers,
        stopping: Stopping,
        times: Callable[[dict[str, Any]], None] | None = None,
    ) -> None:
        """`times` hears of each row that is answered how long it took."""
        self._job = job
        self._answers = answers
        self._stopping = stopping
        self._times = times
        self._began = time()
        self.tally = Tally(job.log.rows, job.log.failed)

    def run(self, rows: Iterator[Row]) -> Iterator[Tally]:
        """Answer all `rows` that have no answer yet; the tally, at every token.

        Raises what concerns more than one row, and ends as a signal has it.
        """
        try:
            for event in self._answers(self._left(rows)):
                if isinstance(event, Answered):
                    self._put(event)
                else:
                    self.tally.tokens += event.tokens
                yield self.tally
                if self._stopping.asked:
                    self._stopping.end()
        finally:
            self._job.log.sync()

    def _left(self, rows: Iterator[Row]) -> Iterator[Row]:
        """The rows that have no answer, until somebody asks us to stop."""
        while not self._stopping.asked:
            with self._stopping.idle():
                row = next(rows, None)
            if row is None:
                return
            key, known = self._job.key(row.data), self._job.log.key_of(row.number)
            if known is None:
                yield row
            elif known != key:
                raise UsageError(
                    f"row {row.number} is another than it was when it was answered",
                    hint="--fresh begins again",
                )

    def _put(self, answered: Answered) -> None:
        row, answer, moments = answered.row, answered.answer, answered.moments
        self._job.log.add(row.number, self._job.key(row.data), answer)
        self.tally.done += 1
        self.tally.failed += "error" in answer
        self.tally.fresh += moments is not None
        if self._times is not None and moments is not None:
            since = {
                name: value and round(value - self._began, 4) if name.endswith("_s") else value
                for name, value in moments.items()
            }
            self._times({"row": row.number, **since})
