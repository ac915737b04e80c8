"""One-token steps that are recorded once and replayed, free of Python: compiled, or as a graph.

A record has fixed shapes: one row, one token, so many slots of cache. What changes from token to
token is in tensors: the id, its position, and from that which slots it sees. Every other step
runs as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from shutil import which
from typing import Any, Protocol

import torch
from torch import Tensor

from .. import UsageError
from .cache.layout import KeyValue, KVCache
from .cache.static import StaticCache
from .launch import launched
from .model.decoder import Decoder
from .spec import ExpertsSpec, ModelSpec
from .step import Segment, Step

FEWEST = 256
"""Slots of the smallest record; each next one has twice as many."""

Slots = list[tuple[Tensor, Tensor]]
"""Keys and values of one row in each layer, [1, G, S, D]."""
Token = Callable[[Tensor, Tensor, Slots], Tensor]
"""An id [1] at a position [1] over a row's slots -> logits [1, V]."""

INDUCTOR: dict[str, Any] = {
    # Weights become constants, which Inductor packs for its own matrix-vector kernels; measured
    # against each other at compile time, they beat the libraries' at one row.
    "freezing": True,
    "max_autotune": True,
    "max_autotune_gemm_backends": "CPP,ATEN",
    "cpp_wrapper": True,
}


class Runner(Protocol):
    """What runs a step: a decoder, or one whose decode steps are replayed."""

    spec: ModelSpec
    dtype: torch.dtype
    device: torch.device

    def __call__(self, step: Step, cache: KVCache) -> Tensor:
        """Logits after each wanted token, float32 [O, V]."""
        ...


class OneRow:
    """A cache of one row whose lengths are tensors, as a record needs them."""

    def __init__(self, slots: Slots, position: Tensor) -> None:
        self._slots = slots
        self._position = position

    def reserve(self, row: int, length: int, first: int = 0) -> bool:
        """A record's slots are fixed."""
        raise NotImplementedError

    def write(self, layer: int, k: Tensor, v: Tensor, step: Step) -> None:
        """Store the token's keys and values, [1, G, D] each."""
        for kept, new in zip(self._slots[layer], (k, v), strict=True):
            kept.index_copy_(2, self._position % kept.shape[2], new.transpose(0, 1)[None])

    def read(self, layer: int, segment: Segment) -> KeyValue:
        """Every slot, with the latest position up to the token's own that falls on it."""
        k, v = self._slots[layer]
        places = torch.arange(k.shape[2], device=k.device)
        last = self._position[:, None]
        return KeyValue(k, v, last - (last - places) % k.shape[2])

    def fork(self, source: int, target: int, length: int) -> None:
        """There is one row."""
        raise NotImplementedError


class Replayed:
    """A decoder whose single tokens run some faster way; everything else runs as it is."""

    def __init__(self, decoder: Decoder) -> None:
        self.spec, self.dtype, self.device = decoder.spec, decoder.dtype, decoder.device
        self._decoder = decoder

    def __call__(self, step: Step, cache: KVCache) -> Tensor:
        """See `Runner`."""
        if len(step.extents) != 1 or not isinstance(cache, StaticCache):
            return self._decoder(step, cache)
        if cache.dtype != self.dtype:
            return self._decoder(step, cache)
        held = max(FEWEST, 1 << (step.longest - 1).bit_length())
        for rotary in self._decoder.rotaries.values():
            rotary.reach(held, self.dtype)  # a record must find its table as it is
        with torch.no_grad():  # weights count as constants only outside inference mode
            return self.token(step.ids, step.positions, cache.row(step.segments[0].row, held))

    def token(self, id: Tensor, position: Tensor, slots: Slots) -> Tensor:
        """An id [1] at a position [1] over a row's slots -> logits [1, V]."""
        held = max(k.shape[2] for k, _ in slots)
        step = Step(id, position, (1,), (Segment(0, 0, 1, (held,)),), None)
        return self._decoder.logits(self._decoder.hidden(step, OneRow(slots, position)))


class Compiled(Replayed):
    """Single tokens are compiled by torch.compile: tens of seconds once, then no Python.

    Inductor's settings are the process's: they are read whenever a new shape is met.
    """

    def __init__(self, decoder: Decoder) -> None:
        super().__init__(decoder)
        if decoder.device.type == "cpu":
            from torch._inductor import config as inductor  # takes a second

            for name, value in INDUCTOR.items():
                setattr(inductor, name, value)
        compile = torch.compile  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
        self._compiled: Token = compile(super().token, dynamic=False)

    def token(self, id: Tensor, position: Tensor, slots: Slots) -> Tensor:
        """See `Replayed`."""
        return self._compiled(id, position, slots)


class Graphed(Replayed):
    """Single tokens are CUDA graphs, one for each number of slots, replayed in one launch."""

    def __init__(self, decoder: Decoder) -> None:
        super().__init__(decoder)
        self._graphs: dict[int, _Graph] = {}
        self._home = 0

    def token(self, id: Tensor, position: Tensor, slots: Slots) -> Tensor:
        """See `Replayed`."""
        if slots[0][0].data_ptr() != self._home:  # a graph replays on the memory it was made on
            self._graphs.clear()
            self._home = slots[0][0].data_ptr()
        held = max(k.shape[2] for k, _ in slots)
        if held not in self._graphs:
            self._graphs[held] = _Graph(super().token, id, position, slots)
        return self._graphs[held].replay(id, position)


class _Graph:
    """One recorded token and the memory that its input and output live in."""

    def __init__(self, run: Token, id: Tensor, position: Tensor, slots: Slots) -> None:
        self._id, self._position = id.clone(), position.clone()
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):  # libraries set themselves up outside the record
            run(self._id, self._position, slots)
        torch.cuda.current_stream().wait_stream(side)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._logits = run(self._id, self._position, slots)

    def replay(self, id: Tensor, position: Tensor) -> Tensor:
        """The logits, in memory that the next replay overwrites."""
        self._id.copy_(id)
        self._position.copy_(position)
        self._graph.replay()
        return self._logits


def find_runner(decoder: Decoder, compiled: bool) -> Runner:
    """The fastest way to run `decoder` here; compiling is waited for only if asked for."""
    if compiled:
        return Compiled(decoder)
    if decoder.device.type == "cuda" and replayable(decoder.spec) and launched() is None:
        return Graphed(decoder)
    return decoder


def check_compiler(spec: ModelSpec, device: torch.device, quant: object | None) -> None:
    """Raise `UsageError` where a model can't be compiled."""
    if quant is not None:
        raise UsageError("--compile doesn't work with quantized weights", hint="leave one out")
    if not replayable(spec):
        raise UsageError(
            "--compile doesn't work for mixtures of experts and ropes that stretch",
            hint="leave it out: the model runs as well without",
        )
    if device.type == "cpu" and not any(map(which, ("g++", "clang++"))):
        raise UsageError(
            "--compile needs a C++ compiler, and there is neither g++ nor clang++",
            hint="install one, or leave --compile out",
        )


def replayable(spec: ModelSpec) -> bool:
    """Whether a token's computation is the same for every token.

    Experts are chosen by value, and some ropes change with the length of the text.
    """
    return not spec.stretches() and not any(isinstance(y.feed, ExpertsSpec) for y in spec.layers)
