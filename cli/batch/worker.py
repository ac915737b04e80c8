"""One of the processes of a cluster that answer rows, each with a model of its own."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from importlib import import_module
from typing import TYPE_CHECKING, Any

from ... import LmtoolError, OutOfMemoryError
from ..opening import open_draft, open_session
from ..settings import Setting
from .answering import Answered, Answering, error_json
from .asking import Asking
from .job import changed
from .order import Order, describe
from .rows import Row

if TYPE_CHECKING:
    from ...engine.session import Session

Table = Any
"""A `pyarrow.Table`, which has no types to check by."""


@dataclass(frozen=True)
class Post:
    """What a worker is told: the order, what it is about, and what its part of a machine is.

    `folder` is that in which the order's paths begin, `began` the job's time as text. A worker has
    so many `threads`, and so many are `beside` it on one machine, itself among them.
    """

    order: Order
    about: dict[str, Any]
    began: str
    folder: str
    threads: int
    beside: int


class Worker:
    """Answers tables of rows, by a model of its own. For `Dataset.map_batches`.

    Rows come and go as JSON, one a line of a table's only column. What keeps it from answering at
    all goes the same way, since an exception would come with Ray's stack and without its kind.
    """

    def __init__(self, post: Post) -> None:
        self._failure: LmtoolError | None = None
        try:
            self._answering = _answering(post)
        except (LmtoolError, OSError, MemoryError) as error:
            self._failure = _told_as(error)

    def __call__(self, table: Table) -> Iterator[Table]:
        """Each answer as soon as it is there."""
        try:
            if self._failure is not None:
                raise self._failure
            for event in self._answering.answers(map(_row, unpacked(table))):
                if isinstance(event, Answered):
                    yield packed([_told(event)])
        except (LmtoolError, OSError, MemoryError) as error:
            yield packed([{"failure": error_json(_told_as(error))}])


def _told_as(error: LmtoolError | OSError | MemoryError) -> LmtoolError:
    """An error that keeps a worker from answering, with where that is."""
    if isinstance(error, LmtoolError):
        return error
    if isinstance(error, MemoryError):
        return OutOfMemoryError(f"out of memory on {platform.node()}")
    where = f" `{error.filename}`" if error.filename else ""
    return LmtoolError(f"a worker on {platform.node()}: {error.strerror or error}{where}")


def _answering(post: Post) -> Answering:
    if os.path.isdir(post.folder):  # paths that are whole don't need it
        os.chdir(post.folder)
    order = post.order
    model = replace(order.model, threads=Setting(post.threads))
    session = open_session(model)
    open_draft(session, model, order.guess)
    _check_same(post.about, session, order)
    asking = Asking(session, order.settings, order.template, order.by_rows)
    asking.now = datetime.fromisoformat(post.began)
    return Answering(session, asking, order.effort, _memory(post))


def _memory(post: Post) -> int | None:
    """A part of the memory that is free, where that is for several workers to share."""
    from ...engine.device import find_device, spare_memory

    if post.order.effort.memory is not None or post.beside == 1:
        return None
    spare = spare_memory(find_device(post.order.model.device.value))
    return None if spare is None else spare // post.beside


def _check_same(about: dict[str, Any], session: Session, order: Order) -> None:
    """Raise `LmtoolError` where this machine has another model, or another lmtool, than asked."""
    difference = changed(describe(session, order), about)
    if difference is not None:
        raise LmtoolError(
            f"a worker on {platform.node()} has {difference}",
            hint="all machines need the same lmtool and the same files under the same paths",
        )


def asked(row: Row) -> dict[str, Any]:
    """A row that can be read, as it is sent to a worker."""
    return {"row": row.number, "line": row.line, "fields": row.fields}


def _row(sent: dict[str, Any]) -> Row:
    return Row.of(sent["row"], sent["line"], sent["fields"])


def _told(answered: Answered) -> dict[str, Any]:
    return {"row": answered.row.number, "answer": answered.answer, "moments": answered.moments}


def packed(objects: Iterable[Any]) -> Table:
    """A table of JSON objects."""
    pyarrow: Any = import_module("pyarrow")
    return pyarrow.table({"json": [json.dumps(one, ensure_ascii=False) for one in objects]})


def unpacked(table: Table) -> Iterator[Any]:
    """The objects of a table."""
    return map(json.loads, table.column("json").to_pylist())
