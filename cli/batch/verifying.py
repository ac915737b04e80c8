"""`--verify`: some rows of a finished batch run again, each alone, and compared."""

from __future__ import annotations

import json
from collections.abc import Iterator
from heapq import nsmallest
from typing import TYPE_CHECKING, Any

from ... import LmtoolError
from ..terminal import Terminal
from .asking import Asking
from .job import Files
from .options import BatchEffort
from .rows import Input, Meter, Row
from .running import answer_json, error_json, stream

if TYPE_CHECKING:
    from ...engine.session import Session

_NAMED = 8
"""Rows that came out otherwise, of which a message has the numbers."""


def verify(
    session: Session,
    asking: Asking,
    source: Input,
    files: Files,
    effort: BatchEffort,
    terminal: Terminal,
) -> None:
    """Run a sample of the rows alone. Raises `LmtoolError` where one comes out otherwise."""
    expected = _sample(files, effort.verify or 0)
    others = [
        row.number
        for row in source.rows(Meter())
        if row.number in expected and _alone(session, asking, row, effort) != expected[row.number]
    ]
    if others:
        named = ", ".join(map(str, others[:_NAMED])) + ", …" * (len(others) > _NAMED)
        raise LmtoolError(
            f"{len(others)} of {len(expected)} rows came out otherwise when run alone: {named}",
            hint="--deterministic makes a text the same whatever runs beside it",
        )
    terminal.note(f"verified: {len(expected):,} rows, run again alone, came out the same")


def _sample(files: Files, count: int) -> dict[int, dict[str, Any]]:
    """Answers by their rows: those of the lowest keys, which are as good as drawn by lot."""

    def answered() -> Iterator[tuple[str, int, bytes]]:
        with files.output.open("rb") as stream:
            for line in stream:
                found = json.loads(line)
                if "error" not in found:
                    yield found["key"], found["row"], line

    return {row: _bare(json.loads(line)) for _, row, line in nsmallest(count, answered())}


def _bare(answer: dict[str, Any]) -> dict[str, Any]:
    """An answer without what is the row's own."""
    return {name: one for name, one in answer.items() if name not in ("row", "key", "fields")}


def _alone(session: Session, asking: Asking, row: Row, effort: BatchEffort) -> dict[str, Any]:
    """What a row is answered when nothing runs beside it."""
    from ...engine.request import Outcome

    asked = asking.ask(row)
    for event in stream(session, [asked.request], effort):
        if isinstance(event, Outcome) and event.error is None:
            answer = answer_json(session, asked, event.samples[0])
            return json.loads(json.dumps(answer))
        if isinstance(event, Outcome) and event.error is not None:
            return error_json(event.error)
    raise AssertionError("every request has an outcome")
