"""Processes that count: each takes a block when it is free, and gives its sorted words at the end.

They are forked where that is safe (Linux, and no thread of a library is running, which could hold a
lock) and started afresh elsewhere. They end with the process that started them, however it ends.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import sys
import threading
import warnings
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from ... import LmtoolError, OutOfMemoryError
from .runs import Batch, pack_batch, unpack_batch
from .splitting import Splitter
from .tally import Tally

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess

_FREE, _BATCH, _DONE, _ERROR = b"f", b"b", b"d", b"e"
"""First bytes of a worker's messages: ready for a block, words, all told, an exception."""

_UNGUARDED = 86
"""How a process ends that was started afresh, and came to train instead of counting."""

_END = b""
"""Sent instead of a block when there are no more: then words are asked for."""


class Workers:
    """Processes that count words."""

    def __init__(self, splitter: Splitter, count: int, room: int | None) -> None:
        """`count` of them, with `room` bytes for the tables of each."""
        context: Any = multiprocessing.get_context("fork" if _can_fork() else "spawn")
        self._processes: list[BaseProcess] = []
        self._pipes: list[Connection] = []
        self._free: list[Connection] = []
        for _ in range(count):
            ours, theirs = context.Pipe()
            self._pipes.append(ours)
            inherited = self._pipes if context.get_start_method() == "fork" else []
            process = context.Process(
                target=_work, args=(theirs, splitter, room, inherited), daemon=True
            )
            with _without_ctrl_c():
                process.start()
            self._processes.append(process)
            theirs.close()

    def end(self) -> None:
        """End them, whatever they are doing."""
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.join()
        for pipe in self._pipes:
            pipe.close()

    def add(self, block: bytes) -> None:
        """Hand a block to whoever is free. Raises what a worker raised before."""
        while not self._free:
            for pipe in cast("list[Connection]", wait(self._pipes)):
                self._receive(pipe)
                self._free.append(pipe)
        self._send(self._free.pop(), block)

    def sources(self) -> list[Iterator[Batch]]:
        """Each worker's words in order, to be read in any order; no block may follow."""
        for pipe in self._pipes:
            if pipe not in self._free:
                self._receive(pipe)
            self._send(pipe, _END)
        return [self._batches(pipe) for pipe in self._pipes]

    def _batches(self, pipe: Connection) -> Iterator[Batch]:
        while (message := self._receive(pipe))[:1] == _BATCH:
            yield unpack_batch(message[1:])

    def _send(self, pipe: Connection, block: bytes) -> None:
        try:
            pipe.send_bytes(block)
        except OSError:
            # It is gone; what it said last tells why.
            self._receive(pipe)
            raise self._lost(pipe) from None

    def _receive(self, pipe: Connection) -> bytes:
        try:
            message = pipe.recv_bytes()
        except (EOFError, OSError):
            raise self._lost(pipe) from None
        if message[:1] == _ERROR:
            raise _unpacked_error(message[1:])
        return message

    def _lost(self, pipe: Connection) -> LmtoolError:
        process = self._processes[self._pipes.index(pipe)]
        process.join(10)
        code = process.exitcode
        if code == -9:  # SIGKILL, which Windows doesn't know
            return OutOfMemoryError(
                "the system killed a process that counted words, as it does when memory runs out",
                hint="lower --max-memory or --threads",
            )
        if code == _UNGUARDED:
            return LmtoolError(
                "the program that trains is run again by each process that it starts",
                hint='put what it does under `if __name__ == "__main__":`, or take one thread',
            )
        how = f"by signal {-code}" if code is not None and code < 0 else f"with code {code}"
        return LmtoolError(f"a process that counted words ended {how}")


def end_if_imported() -> None:
    """End a process that only imports its parent's program, which would train there once more.

    Its parent says so. A process that is started afresh runs all that isn't under
    `if __name__ == "__main__":` before it comes to work.
    """
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        os._exit(_UNGUARDED)


@contextmanager
def _without_ctrl_c() -> Generator[None]:
    """Processes started here never hear of Ctrl-C: it is the parent who says when they end."""
    # From 3.12 on Python warns of forking beside any thread.
    warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _can_fork() -> bool:
    """Whether all threads are Python's own: these hold no lock while another one forks."""
    if sys.platform != "linux":
        return False
    try:
        return len(list(Path("/proc/self/task").iterdir())) == threading.active_count()
    except OSError:
        return False


def _work(
    pipe: Connection, splitter: Splitter, room: int | None, inherited: list[Connection]
) -> None:
    """What a worker does from its start to its end."""
    os.environ["OPENBLAS_NUM_THREADS"] = "1"  # or numpy starts a thread a core
    gc.disable()  # there are no circles, but much to look through
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.set_wakeup_fd(-1)
    # Held open here, these would hide from it that the parent is gone.
    for other in inherited:
        other.close()
    try:
        _serve(pipe, Tally(splitter, room, patience=3))
    except (EOFError, ConnectionError):
        pass
    except BaseException as error:
        with suppress(OSError):
            pipe.send_bytes(_ERROR + _packed_error(error))
    # What the parent has left unwritten in its streams isn't ours to write.
    os._exit(0)


def _serve(pipe: Connection, tally: Tally) -> None:
    pipe.send_bytes(_FREE)
    while (block := pipe.recv_bytes()) != _END:
        tally.add(block)
        pipe.send_bytes(_FREE)
    for batch in tally.batches():
        pipe.send_bytes(_BATCH + pack_batch(batch))
    pipe.send_bytes(_DONE)


def _packed_error(error: BaseException) -> bytes:
    import pickle
    import traceback

    if isinstance(error, MemoryError):
        error = OutOfMemoryError(
            "memory ran out while words were counted", hint="lower --max-memory or --threads"
        )
    if isinstance(error, LmtoolError):
        return pickle.dumps((type(error), error.message, error.hint))
    trace = "".join(traceback.format_exception(error))
    return pickle.dumps((RuntimeError, f"in a process that counted words:\n{trace}", None))


def _unpacked_error(data: bytes) -> BaseException:
    import pickle

    kind, message, hint = pickle.loads(data)
    return kind(message, hint) if issubclass(kind, LmtoolError) else kind(message)
