"""The processes that share a model: joining them, sums and messages between them.

`torchrun` starts them and says by the environment which of how many each is. The first, rank 0,
leads: it alone talks to the terminal and decides what is computed. Nothing here is touched by a
process that runs alone.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from datetime import timedelta
from time import sleep
from typing import Any, TypeVar

import torch
import torch.distributed
from torch import Tensor

from .. import LmtoolError

PATIENCE = timedelta(days=30)
"""How long the others wait for work. One that is gone is noticed at once, by its closed sockets."""

REASON_S = 2.0
"""How long to wait for what a process that is gone may have left word of."""

GLANCE_S = 0.05
"""How often to look for word of others."""

HEAD = 8 + 4096
"""Bytes of a message that go in one piece, its length before them."""

BEGUN, END, LEFT, FAILED = (f"lmtool/{word}" for word in ("begun", "end", "left", "failed"))
T = TypeVar("T")

dist: Any = torch.distributed  # whose functions have no types


class OthersGoneError(Exception):
    """Another process is no more, so nothing can be computed."""


class Mesh:
    """All processes, each of which has an equal say in sums: one row of `size`, this one `rank`."""

    def __init__(self, store: Any, rank: int, size: int) -> None:
        self.rank, self.size = rank, size
        self._store = store
        self._joined = False

    @classmethod
    def find(cls) -> Mesh:
        """The others, met at the address that the environment names. They wait until `begin`."""
        try:
            store, rank, size = next(dist.rendezvous("env://", timeout=timedelta(minutes=5)))
        except (RuntimeError, ValueError) as error:
            raise LmtoolError(f"cannot meet the other processes: {_first_line(error)}") from error
        return cls(store, rank, size)

    def begin(self) -> None:
        """Join the others; the first says that there is work."""
        if self._joined:
            return
        if self.rank == 0:
            self._store.set(BEGUN, b"")
        with self._together():
            backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
            dist.init_process_group(
                backend, store=self._store, rank=self.rank, world_size=self.size, timeout=PATIENCE
            )
        self._joined = True

    def awaited(self) -> int | None:
        """Wait until there is work (None) or the first has ended without any (its exit code)."""
        while True:
            try:
                if self._store.check([BEGUN]):
                    return None
                if self._store.check([END]):
                    code = int(self._store.get(END))
                    self._store.add(LEFT, 1)
                    return code
            except RuntimeError:
                return 1  # whoever kept the store has gone
            sleep(GLANCE_S)

    def total(self, part: Tensor) -> Tensor:
        """The sum of all processes' tensors, the same to the bit in each."""
        # Halves are added as float32: a CPU's sums of them are slow, and rounded at each step.
        narrow = part.is_cpu and part.dtype != torch.float32
        whole = part.float() if narrow else part.contiguous()
        with self._together():
            dist.all_reduce(whole)
        return whole.to(part.dtype) if narrow else whole

    def gathered(self, part: Tensor, widths: list[int]) -> Tensor:
        """All processes' columns side by side, [O, sum(widths)], in the first; elsewhere `part`."""
        widest = max(widths)
        own = torch.nn.functional.pad(part, (0, widest - part.shape[1])).contiguous()
        parts = [torch.empty_like(own) for _ in widths] if self.rank == 0 else None
        with self._together():
            dist.gather(own, parts, dst=0)
        if parts is None:
            return part
        return torch.cat([x[:, :width] for x, width in zip(parts, widths, strict=True)], dim=-1)

    def tell(self, message: object) -> None:
        """Send something to all others. They call `heard`."""
        data = pickle.dumps(message)
        first = torch.zeros(HEAD, dtype=torch.uint8)
        first[:8] = _bytes(len(data).to_bytes(8, "little"))
        begin = data[: HEAD - 8]
        first[8 : 8 + len(begin)] = _bytes(begin)
        with self._together():
            dist.broadcast(first, 0)
            if len(data) > len(begin):
                dist.broadcast(_bytes(data[len(begin) :]), 0)

    def heard(self) -> Any:
        """What the first sends."""
        first = torch.empty(HEAD, dtype=torch.uint8)
        with self._together():
            dist.broadcast(first, 0)
            data = first.numpy().tobytes()
            length = int.from_bytes(data[:8], "little")
            data = data[8 : 8 + length]
            if len(data) < length:
                rest = torch.empty(length - len(data), dtype=torch.uint8)
                dist.broadcast(rest, 0)
                data += rest.numpy().tobytes()
        return pickle.loads(data)

    def agreed(self, act: Callable[[], T]) -> T:
        """What `act` gives, if it succeeds in all processes; all call this together.

        Else raises what it raised here or, of the first process, what it raised elsewhere.
        """
        answer: T | None = None
        error: LmtoolError | None = None
        try:
            answer = act()
        except LmtoolError as own:
            error = own
        told: list[tuple[type[LmtoolError], str, str | None] | None] = [None] * self.size
        with self._together():
            dist.all_gather_object(told, error and (type(error), error.message, error.hint))
        if error is not None:
            raise error
        for other in told:
            if other is not None:
                raise other[0](other[1], hint=other[2])
        assert answer is not None
        return answer

    def leave(self, code: int) -> None:
        """Say that this first process ends with an exit code; the others then end with it too."""
        with suppress(RuntimeError):
            self._store.set(END, str(code))
            if self._joined or os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True":
                return
            for _ in range(round(REASON_S / GLANCE_S)):  # the store ends with this process
                if self._store.add(LEFT, 0) == self.size - 1:
                    return
                sleep(GLANCE_S)

    def code(self) -> int:
        """What the first process ended with; 1 if it didn't say."""
        word = self._word(END)
        return 1 if word is None else int(word)

    def fail(self, error: LmtoolError) -> None:
        """Leave word of why this process ends."""
        with suppress(RuntimeError):
            self._store.set(FAILED, pickle.dumps((type(error), error.message, error.hint)))

    def reason(self) -> LmtoolError:
        """Why another process has gone."""
        word = self._word(FAILED)
        if word is None:
            return LmtoolError("another process of this model has ended, and didn't say why")
        kind, message, hint = pickle.loads(word)
        return kind(message, hint=hint)

    def _word(self, key: str) -> bytes | None:
        """What a process that is gone has left word of, which may be on its way still."""
        # Waiting by the store's own means ends in a warning on stderr.
        with suppress(RuntimeError):
            for _ in range(round(REASON_S / GLANCE_S)):
                if self._store.check([key]):
                    return self._store.get(key)
                sleep(GLANCE_S)
        return None

    @contextmanager
    def _together(self) -> Generator[None]:
        """What all processes take part in. Raises `OthersGoneError` where one doesn't."""
        try:
            yield
        except RuntimeError as error:
            if self.rank == 0:
                raise self.reason() from error
            raise OthersGoneError from error


def _bytes(data: bytes) -> Tensor:
    return torch.frombuffer(bytearray(data), dtype=torch.uint8)


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
