"""`--ray`: the rows of a job are answered by Ray Data's actors, each with a model of its own.

This process has the job: it reads rows, writes answers, and asks again for those that got lost
with a worker. So all that holds for one machine, stopping and going on above all, holds here.
"""

from __future__ import annotations

import os
import re
import signal
import socket
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from ... import InputError, LmtoolError, ModelError, OutOfMemoryError, UsageError
from ..chatter import hushed
from ..exits import code_of
from ..signals import Stopping
from ..terminal import Terminal
from .answering import Answered, Decoded, refusal
from .asking import Asking
from .order import Order
from .rows import Row
from .worker import Post, Worker, asked, packed, unpacked

WINDOW = 256 << 20
"""Bytes of rows that are handed out at once. Workers begin anew with each window."""

TURNS = 16
"""How often a worker's rows side by side are all replaced while it has one table. At the end of a
table its last ones run with nobody beside them; and a table is begun again if its worker dies."""

ANSWER_S = 10.0
"""Seconds that a cluster may take to be reached."""

RETRIES = 5
"""How often a table is tried again whose worker has died."""

PATIENCE = 3
"""How often all that is left is handed out again without an answer."""


@dataclass(frozen=True)
class Share:
    """How a cluster is shared out: so many workers, with so many processors and GPUs each.

    `beside` of them may come to be on one machine.
    """

    workers: int
    cpus: int
    gpus: int
    beside: int


def share_out(
    machines: Sequence[tuple[int, int]], workers: int | None, threads: int | None, device: str
) -> Share:
    """Share out `machines`, given by their processors and GPUs.

    A worker has a GPU, if there is any and `device` allows it, else a whole machine, unless
    `workers` or `threads` say otherwise. Raises `UsageError` where so many don't fit.
    """
    gpus = int(device not in ("cpu", "mps") and any(gpus for _, gpus in machines))
    usable = [(cpus, own) for cpus, own in machines if cpus and (own or not gpus)]

    def places(each: int) -> list[int]:
        return [min(cpus // each, own) if gpus else cpus // each for cpus, own in usable]

    smallest = min((cpus // (own if gpus else 1) for cpus, own in usable), default=0)
    sizes = [threads] if threads else range(max(1, smallest), 0, -1)
    for each in sizes:
        there = sum(places(each))
        if there and there >= (workers or 1):
            wanted = workers or (there if threads or gpus else min(there, len(usable)))
            return Share(wanted, each, gpus, 1 if gpus else min(wanted, max(places(each))))
    most = sum(places(sizes[-1]))
    kind = "GPUs" if gpus else "processors"
    raise UsageError(
        f"the cluster has {kind} for {most} workers, and {workers or 1} are asked for",
        hint="fewer --workers, or fewer threads (-t) each",
    )


def _ray() -> Any:
    """Ray, whose types say little; its import takes a second."""
    try:
        import ray

        return ray
    except ImportError:
        raise UsageError(
            "--ray needs Ray, which isn't installed", hint="pip install 'lmtool[ray]'"
        ) from None


@contextmanager
def connected(address: str, terminal: Terminal) -> Generator[None]:
    """Be a driver of the cluster at `address` while the block runs; `local` makes one for it.

    Raises `LmtoolError` where there is none, or Ray isn't installed.
    """
    # Or Ray tells its makers how it is used.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    ray = _ray()
    about: dict[str, Any] = {"include_dashboard": False} if address == "local" else {}
    about["log_to_driver"] = terminal.verbosity > 0
    try:
        _reach(address)
        with _own_signals():
            ray.init(address, logging_level="ERROR", **about)
    except (RuntimeError, ValueError, OSError) as error:
        reason = getattr(error, "strerror", None) or _last_line(error)
        raise LmtoolError(
            f"no Ray cluster at `{address}`: {reason}",
            hint="`ray start --head` begins one, --ray local one for this job alone",
        ) from error
    with hushed(terminal):
        try:
            yield
        finally:
            ray.shutdown()


def _reach(address: str) -> None:
    """Raise `OSError` where nobody listens: Ray itself would try for minutes, and then abort."""
    if address.startswith("ray://"):
        raise UsageError(
            "--ray can't go through Ray Client (ray://)",
            hint="start lmtool on a machine of the cluster, with --ray auto",
        )
    found = import_module("ray._private.services").canonicalize_bootstrap_address(address)
    if found is not None:
        host, port = found.rsplit(":", 1)
        socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWER_S).close()


@contextmanager
def _own_signals() -> Generator[None]:
    """Keep our handlers of signals where a library would put its own."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Cluster:
    """Answers rows by the workers of the cluster that this process is connected to."""

    def __init__(
        self, order: Order, about: dict[str, Any], asking: Asking, stopping: Stopping
    ) -> None:
        """`about` is what the job depends on, which workers compare with what they have."""
        ray = _ray()
        machines = [
            (int(node["Resources"].get("CPU", 0)), int(node["Resources"].get("GPU", 0)))
            for node in ray.nodes()
            if node["Alive"]
        ]
        model = order.model
        threads = model.threads.value
        self._share = share_out(machines, order.cluster.workers, threads, model.device.value)
        self._order = order
        self._about = about
        self._asking = asking
        self._stopping = stopping

    def answers(self, rows: Iterator[Row]) -> Iterator[Answered | Decoded]:
        """See `Answers`."""
        failure: list[Exception] = []
        rows = _until(rows, failure)
        while window := list(_window(rows)):
            for row in window:
                if row.fault is not None:
                    yield refusal(self._asking, row, row.fault)
            yield from self._all({row.number: row for row in window if row.fault is None})
        if failure:
            raise failure[0]

    def _all(self, left: dict[int, Row]) -> Iterator[Answered | Decoded]:
        """Answers to all of `left`: what got lost with its worker is asked again."""
        gone: type[Exception] = _ray().exceptions.RayError
        idle = 0
        while left:
            before, lost = len(left), ""
            try:
                for told in self._handed_out(list(left.values())):
                    if "failure" in told:
                        raise _error(told["failure"])
                    row = left.pop(told["row"], None)
                    if row is not None:
                        moments = told["moments"]
                        yield Decoded(moments["completion_tokens"] if moments else 0)
                        yield Answered(row, told["answer"], moments)
            except gone as error:
                lost = f": {_last_line(error)}"
            idle = idle + 1 if len(left) == before else 0
            if idle == PATIENCE:
                raise LmtoolError(
                    f"the cluster doesn't answer {len(left):,} rows{lost}",
                    hint="the same command goes on; Ray's own logs say more",
                )

    def _handed_out(self, rows: Sequence[Row]) -> Iterator[dict[str, Any]]:
        """What workers say of `rows`."""
        data: Any = import_module("ray.data")
        share, effort = self._share, self._order.effort
        size = min(TURNS * effort.parallel.value, max(1, len(rows) // (2 * share.workers)))
        tables = [
            packed(asked(row) for row in rows[at : at + size]) for at in range(0, len(rows), size)
        ]
        post = Post(
            order=self._order,
            about=self._about,
            began=self._asking.now.isoformat(),
            folder=os.getcwd(),
            threads=share.cpus,
            beside=share.beside,
        )
        found = data.from_arrow(tables).map_batches(
            Worker,
            fn_constructor_args=(post,),
            batch_size=None,
            batch_format="pyarrow",
            compute=data.ActorPoolStrategy(
                size=min(share.workers, len(tables)), max_tasks_in_flight_per_actor=1
            ),
            num_cpus=share.cpus,
            num_gpus=share.gpus,
            max_task_retries=RETRIES,
        )
        _set_context(found.context)
        batches: Iterator[Any] = iter(
            found.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0)
        )
        while True:
            with self._stopping.idle():
                table = next(batches, None)
            if table is None:
                return
            yield from unpacked(table)


def _set_context(context: Any) -> None:
    """Have each answer as soon as it is there, however long it takes, and nothing shown of it."""
    context.target_max_block_size = 1
    context.execution_no_progress_timeout_s = -1
    context.enable_progress_bars = False
    context.print_on_execution_start = False


def _window(rows: Iterator[Row]) -> Iterator[Row]:
    """As many rows as are handed out at once."""
    room = WINDOW
    for row in rows:
        yield row
        room -= len(row.data)
        if room <= 0:
            return


def _until(rows: Iterator[Row], failure: list[Exception]) -> Iterator[Row]:
    """The rows until they fail, and what failed."""
    try:
        yield from rows
    except Exception as error:
        failure.append(error)


def _last_line(error: Exception) -> str:
    """What an error of Ray's comes to, behind its stack, without colours."""
    lines = re.sub(r"\x1b\[[\d;]*m", "", str(error)).strip().splitlines()
    return lines[-1].strip() if lines else type(error).__name__


_KINDS: dict[int, Callable[[str, str | None], LmtoolError]] = {
    int(code_of(kind(""))): kind
    for kind in (LmtoolError, UsageError, ModelError, InputError, OutOfMemoryError)
}


def _error(told: dict[str, Any]) -> LmtoolError:
    """An error that a worker tells of."""
    return _KINDS[told["code"]](told["message"], told.get("hint"))
