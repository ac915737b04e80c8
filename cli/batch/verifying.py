"""`--verify`: some rows of a finished batch run again, each alone, and compared."""

from __future__ import annotations

import json
from collections.abc import Iterator
from heapq import nsmallest
from typing import Any

from ... import LmtoolError
from ..terminal import Terminal
from .answering import Answered, Answering
from .job import Files
from .rows import Input, Meter, Row

_NAMED = 8
"""Rows that came out otherwise, of which a message has the numbers."""


def verify(
    answering: Answering, source: Input, files: Files, count: int, terminal: Terminal
) -> None:
    """Run a sample of `count` rows alone. Raises `LmtoolError` where one comes out otherwise."""
    expected = _sample(files, count)
    others = [
        row.number
        for row in source.rows(Meter())
        if row.number in expected and _alone(answering, row) != expected[row.number]
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


def _alone(answering: Answering, row: Row) -> dict[str, Any]:
    """What a row is answered when nothing runs beside it."""
    (found,) = (one for one in answering.answers(iter([row])) if isinstance(one, Answered))
    return _bare(json.loads(json.dumps(found.answer)))
