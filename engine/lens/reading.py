"""A prompt read once, and the residual stream of every layer kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..cache.static import StaticCache
from ..loop import CHUNK
from ..model.decoder import Decoder
from ..model.passing import Pass
from ..spec import ModelSpec
from ..step import Piece, Step
from .gathering import Chunk


@dataclass(frozen=True)
class Reading:
    """The residual stream before each layer and after the last one, [T, M] each.

    Without the positions before the first that was to be kept.
    """

    states: list[Tensor]
    chunks: list[Chunk]

    @property
    def shared(self) -> Pass:
        """The last step's, whose cache has all keys."""
        return self.chunks[-1].shared


def prefills(spec: ModelSpec, positions: Sequence[int]) -> list[Sequence[int]]:
    """Which predictions, each after so many tokens, can share a prefill: all that there are.

    But where each length of text has turns of its own, none can.
    """
    if spec.stretches():
        return [[position] for position in positions]
    return [positions] if positions else []


def read(decoder: Decoder, ids: Sequence[int], first: int = 0) -> Reading:
    """Prefill `ids`, and keep the stream from the position `first` on."""
    length, hidden = len(ids), decoder.spec.hidden
    # As much slack as text: even a layer with a window keeps every key.
    cache = StaticCache(decoder.spec, 1, length, length, decoder.dtype, decoder.device)
    states = [
        torch.empty(length - first, hidden, dtype=decoder.dtype, device=decoder.device)
        for _ in range(len(decoder.blocks) + 1)
    ]
    chunks: list[Chunk] = []
    for begin in range(0, length, CHUNK):
        end = min(begin + CHUNK, length)
        cache.reserve(0, end)
        step = Step.of([Piece(0, begin, ids[begin:end], length)], decoder.device)
        x, shared = decoder.begin(step, cache)
        kept, new = slice(max(begin - first, 0), max(end - first, 0)), max(first - begin, 0)
        states[0][kept] = x[new:]
        for block, state in zip(decoder.blocks, states[1:], strict=True):
            x = block(x, shared)
            state[kept] = x[new:]
        chunks.append(Chunk(begin, end, shared))
    return Reading(states, chunks)
