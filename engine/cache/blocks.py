"""Who has which block of a cache: counted, named by their contents, and found again by name."""

from __future__ import annotations

import heapq
from collections.abc import Hashable, Iterable, Sequence
from hashlib import blake2b

from ..request import Request

BLOCK = 64
"""Tokens of a block. A text's last one is half empty on average, and only whole ones are shared;
smaller ones cost more calls, measured at 32: attention took twice as long."""


def blocks_of(length: int, block: int) -> int:
    """How many blocks so many tokens take."""
    return -(-length // block)


def needed(request: Request, context: int, block: int) -> int:
    """The most blocks that a request takes if it runs alone.

    While its samples come one after the other, one of them keeps the prompt for those to come.
    """
    length = len(request.ids)
    longest = context if request.max_new is None else min(context, length + request.max_new)
    more = blocks_of(length, block) if request.samples > 1 else 0
    return blocks_of(max(length, longest), block) + more


def names_of(
    ids: Sequence[int], known: Sequence[bytes], root: Hashable, block: int, extent: int
) -> Iterable[bytes]:
    """The names of a text's whole blocks, those after the `known` first ones.

    A block is named by a hash of all tokens up to its end, since keys and values depend on them
    all, and of whatever else they depend on, `root`. What was said after the first `extent` tokens
    isn't shared with who has it in a prompt: it was computed otherwise, down to the last bit.
    """
    name = known[-1] if known else repr(root).encode()
    for begin in range(len(known) * block, len(ids) - block + 1, block):
        own = ",".join(map(str, ids[begin : begin + block]))
        if begin + block > extent:
            own += f" after {extent}"
        name = blake2b(name + b" " + own.encode(), digest_size=16).digest()
        yield name


class Blocks:
    """Blocks 0 to `count`, handed out from the lowest on and counted by their holders.

    One that has a name keeps its contents when nobody holds it any more, until its room is needed:
    whoever was left longest goes first.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._free = list(range(count))  # a heap
        self._holders = [0] * count
        self._names: dict[int, bytes] = {}
        self._named: dict[bytes, int] = {}
        self._left: dict[int, None] = {}  # named and without a holder, in the order of leaving

    @property
    def vacant(self) -> int:
        """How many can be had."""
        return len(self._free) + len(self._left)

    @property
    def held(self) -> int:
        """How many somebody holds."""
        return self.count - self.vacant

    def take(self) -> int | None:
        """A block for one holder, with nothing in it that counts; None if all are held."""
        if self._free:
            block = heapq.heappop(self._free)
        elif self._left:
            block = next(iter(self._left))
            del self._left[block], self._named[self._names.pop(block)]
        else:
            return None
        self._holders[block] = 1
        return block

    def share(self, block: int) -> None:
        """One holder more."""
        self._left.pop(block, None)
        self._holders[block] += 1

    def shared(self, block: int) -> bool:
        """Whether a block has several holders, so that none of them may write to it."""
        return self._holders[block] > 1

    def leave(self, block: int) -> None:
        """One holder less."""
        assert self._holders[block] > 0, "nobody holds it"
        self._holders[block] -= 1
        if self._holders[block]:
            return
        if block in self._names:
            self._left[block] = None
        else:
            heapq.heappush(self._free, block)

    def name(self, block: int, name: bytes) -> None:
        """Let a block be found by its name, unless another is."""
        if name not in self._named and block not in self._names:
            self._named[name], self._names[block] = block, name

    def find(self, name: bytes) -> int | None:
        """The block of that name."""
        return self._named.get(name)

    def vacant_without(self, blocks: Iterable[int]) -> int:
        """How many could be had if somebody held these, too."""
        return self.vacant - sum(block in self._left for block in blocks)
