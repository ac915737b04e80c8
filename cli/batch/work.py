"""One run of a batch: take the job up, run its rows, finish it; and say how it goes."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import closing, contextmanager
from datetime import datetime
from typing import TYPE_CHECKING

from ... import UsageError
from ..generation_talk import tell_caveats
from ..signals import Stopping, stoppable
from ..sources import check_files, say_if_typing
from ..terminal import Terminal
from .answering import Answering, Answers
from .asking import Asking
from .job import Counts, Job
from .log import open_log
from .order import Order, describe
from .rows import Meter
from .running import Running
from .talk import open_timings, tell_done, watched
from .verifying import verify

if TYPE_CHECKING:
    from ...engine.session import Session


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
        about = describe(session, order)
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
                answering = Answering(session, asking, order.effort)
                verify(answering, source, files, order.effort.verify, terminal)
        return done


def _run(order: Order, session: Session, job: Job, asking: Asking, terminal: Terminal) -> Counts:
    source, files = order.source, order.files
    asking.check()  # a job that can't be done isn't begun
    meter = Meter()
    with (
        stoppable("SIGTERM", "SIGHUP") as stopping,
        _answering(order, session, job, asking, stopping, terminal) as answers,
    ):
        began = job.take_up(order.fresh, order.retry_errors, asking.now.isoformat())
        asking.now = datetime.fromisoformat(began)
        if not source.lasting:
            say_if_typing(terminal, "rows")
        with (
            open_timings(files.timings) as times,
            watched(terminal, files.partial, job.rows) as show,
        ):
            stopping.at_once = False
            running = Running(job, answers, stopping, times)
            for tally in running.run(source.rows(meter)):
                show(tally)
    counts = job.finish(meter.scan, order.ordered)
    tell_done(terminal, files.output, counts, running.tally)
    return counts


@contextmanager
def _answering(
    order: Order,
    session: Session,
    job: Job,
    asking: Asking,
    stopping: Stopping,
    terminal: Terminal,
) -> Generator[Answers]:
    """Who answers: this process, or a cluster."""
    address = order.cluster.ray
    if address is None:
        yield Answering(session, asking, order.effort).answers
        return
    from .cluster import Cluster, connected

    with connected(address, terminal):
        yield Cluster(order, job.about, asking, stopping).answers
