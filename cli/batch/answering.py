"""Has the engine answer rows: each becomes an answer, or an error of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from time import time
from typing import TYPE_CHECKING, Any

from ... import LmtoolError, OutOfMemoryError
from ..answers import Answer, Describer
from ..exits import code_of
from ..requesting import token_text
from .asking import Asked, Asking
from .options import BatchEffort
from .rows import Row

if TYPE_CHECKING:
    from ...engine.request import Outcome, Request, Token
    from ...engine.session import Session


@dataclass(frozen=True)
class Answered:
    """A row with the object that answers it, and, if the engine did, the moments of --timings."""

    row: Row
    answer: dict[str, Any]
    moments: dict[str, Any] | None = None


@dataclass(frozen=True)
class Decoded:
    """So many tokens more are decoded."""

    tokens: int = 1


Answers = Callable[[Iterator[Row]], Iterator[Answered | Decoded]]
"""Answers rows, in the order in which that comes about, and takes them as there is room for them.

It says of tokens as they come. It raises what concerns more than one row, and what the rows raise
once those before are answered.
"""


@dataclass
class _Waiting:
    """A row that the engine is asked about, since when, and when its first token came."""

    asked: Asked
    taken: float = field(default_factory=time)
    first: float | None = None

    def moments(self, tokens: int) -> dict[str, Any]:
        """When what happened, in seconds of the clock, and how long the texts are."""
        return {
            "taken_s": self.taken,
            "first_token_s": self.first,
            "done_s": time(),
            "prompt_tokens": len(self.asked.prompt.ids),
            "completion_tokens": tokens,
        }


class Answering:
    """Answers rows by this process's engine, as many at once and as alike as `effort` has it."""

    def __init__(
        self, session: Session, asking: Asking, effort: BatchEffort, memory: int | None = None
    ) -> None:
        """`memory` in bytes for keys and values is another than `effort` has."""
        self._session = session
        self._asking = asking
        self._effort = effort
        self._memory = memory or effort.memory

    def answers(self, rows: Iterator[Row]) -> Iterator[Answered | Decoded]:
        """See `Answers`."""
        from ...engine.request import Outcome

        waiting: dict[int, _Waiting] = {}
        refused: list[Answered] = []
        events = self._session.stream(
            self._requests(rows, waiting, refused),
            max_memory=self._memory,
            rows=self._effort.parallel.value,
            deterministic=self._effort.deterministic.value or None,
        )
        for event in events:
            yield from _emptied(refused)
            if isinstance(event, Outcome):
                yield self._answered(waiting.pop(event.request), event)
            else:
                asked = waiting[event.request]
                asked.first = asked.first or time()
                yield Decoded()
        yield from _emptied(refused)

    def _requests(
        self, rows: Iterator[Row], waiting: dict[int, _Waiting], refused: list[Answered]
    ) -> Iterator[Request]:
        """What there is to ask, one by one as the engine has room."""
        count = 0
        for row in rows:
            try:
                asked = self._asking.ask(row)
            except OutOfMemoryError:
                raise
            except LmtoolError as error:
                refused.append(refusal(self._asking, row, error))
                continue
            waiting[count] = _Waiting(asked)
            count += 1
            yield asked.request

    def _answered(self, waiting: _Waiting, outcome: Outcome) -> Answered:
        row = waiting.asked.row
        if outcome.error is not None:
            return refusal(self._asking, row, outcome.error)
        tokens = outcome.samples[0]
        answer = _answer_json(self._session, waiting.asked, tokens)
        answer["fields"] = self._asking.own(row)
        return Answered(row, answer, waiting.moments(len(tokens)))


def refusal(asking: Asking, row: Row, error: LmtoolError) -> Answered:
    """A row that can't be answered, and why."""
    return Answered(row, {"error": error_json(error), "fields": asking.own(row)})


def _emptied(waiting: list[Answered]) -> Iterator[Answered]:
    while waiting:
        yield waiting.pop(0)


def _answer_json(session: Session, asked: Asked, tokens: Sequence[Token]) -> dict[str, Any]:
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


def model_json(session: Session) -> dict[str, Any]:
    """The contract's "model", without the path: the same wherever the checkpoint lies."""
    return {name: value for name, value in asdict(session.card).items() if name != "path"}


def error_json(error: LmtoolError) -> dict[str, Any]:
    """An error as an object: the code that a command would exit with, and what is wrong."""
    hint = {} if error.hint is None else {"hint": error.hint}
    return {"code": int(code_of(error)), "message": error.message, **hint}
