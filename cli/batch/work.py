"""One run of a batch: take the job up, run its rows, finish it; and say how it goes."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from ... import UsageError
from ..generation_talk import tell_caveats
from ..signals import stoppable
from ..sources import check_files, say_if_typing
from ..terminal import Terminal
from .asking import Asking
from .job import Counts, Files, Job, describe
from .log import open_log
from .options import BatchEffort
from .row_settings import RowSettings
from .rows import Input, Meter
from .running import Running
from .talk import open_timings, tell_done, watched
from .verifying import verify

if TYPE_CHECKING:
    from ...engine.session import Session


@dataclass(frozen=True)
class Order:
    """What a batch is to do.

    `template` is Jinja for the prompt, over a row's fields; with `by_rows` rows may have settings.
    """

    source: Input
    files: Files
    settings: RowSettings
    template: str | None = None
    by_rows: bool = True
    ordered: bool = True
    fresh: bool = False
    retry_errors: bool = False
    effort: BatchEffort = field(default_factory=BatchEffort)


def fulfil(order: Order, open_model: Callable[[], Session], terminal: Terminal) -> Counts:
    """Answer all rows that have no answer yet; how many there are in the end, and how many failed.

    Raises `UsageError` where what is there belongs to another job, or is another process's,
    `InputError` for input that can't be read, `LmtoolError` where the disk refuses.
    """
    source, files = order.source, order.files
    files.check(source.path)
    if order.effort.verify and not source.lasting:
        raise UsageError(
            "--verify reads the rows again, and stdin can be read only once",
            hint="give them as a file",
        )
    check_files([source.path], None)
    with open_log(files.partial, files.output) as log:
        scan = source.scan() if source.lasting else None
        session = open_model()
        chosen = order.settings.seeded(b"").completed(session.defaults)
        tell_caveats(terminal, session, order.settings.sampling, chosen.sampling)
        about = describe(session, chosen, order.template, order.by_rows)
        about["deterministic"] = order.effort.deterministic.value
        job = Job(files, log, about, scan)
        asking = Asking(session, order.settings, order.template, order.by_rows)
        with closing(asking):
            done = None if order.fresh else job.done()
            if done is None or (order.retry_errors and done.failed):
                done = _run(order, session, job, asking, terminal)
            else:
                if not source.lasting:
                    # What stdin holds this time can't be known but by reading it.
                    Job(files, log, about, source.scan()).done()
                tell_done(terminal, files.output, done)
            if order.effort.verify:
                asking.now = datetime.fromisoformat(job.began)
                verify(session, asking, source, files, order.effort, terminal)
        return done


def _run(order: Order, session: Session, job: Job, asking: Asking, terminal: Terminal) -> Counts:
    source, files = order.source, order.files
    asking.check()  # a job that can't be done isn't begun
    began = job.take_up(order.fresh, order.retry_errors, asking.now.isoformat())
    asking.now = datetime.fromisoformat(began)
    if not source.lasting:
        say_if_typing(terminal, "rows")
    meter = Meter()
    with (
        open_timings(files.timings) as times,
        watched(terminal, files.partial, job.rows) as show,
        stoppable("SIGTERM", "SIGHUP") as stopping,
    ):
        stopping.at_once = False
        running = Running(session, job, asking, stopping, order.effort, times)
        for tally in running.run(source.rows(meter)):
            show(tally)
    counts = job.finish(meter.scan, order.ordered)
    tell_done(terminal, files.output, counts, running.tally)
    return counts
