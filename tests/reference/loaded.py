"""A checkpoint in our engine, fed in any pieces."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from lmtool.engine.cache.static import StaticCache
from lmtool.engine.loop import Loop
from lmtool.engine.model.decoder import Decoder
from lmtool.engine.request import Request, Timings
from lmtool.engine.step import Piece, Step
from lmtool.engine.weights.checkpoint import open_checkpoint
from lmtool.engine.weights.load import load_decoder

CPU = torch.device("cpu")
LONG = 600
"""Room for any text of the tests, and slack for any piece."""


@dataclass
class Loaded:
    """A decoder and the folder it came from."""

    folder: Path
    decoder: Decoder

    @classmethod
    def open(cls, folder: Path, dtype: torch.dtype | None = None) -> Loaded:
        """Load a checkpoint folder on the CPU."""
        return cls(folder, load_decoder(open_checkpoint(folder), dtype, CPU)[0])

    def cache(self, rows: int = 1, slack: int = LONG) -> StaticCache:
        return StaticCache(self.decoder.spec, rows, LONG, slack, self.decoder.dtype, CPU)

    def logprobs(
        self,
        ids: list[int],
        widths: list[int],
        cache: StaticCache,
        begin: int = 0,
        extent: int | None = None,
    ) -> Tensor:
        """Log-probabilities after each id, fed from position `begin` in such widths, [T, V]."""
        logits: list[Tensor] = []
        fed = 0
        for width in widths:
            piece = Piece(0, begin + fed, ids[fed : fed + width], extent or len(ids), logits="all")
            fed += width
            cache.reserve(0, begin + fed)
            logits.append(self.decoder(Step.of([piece], CPU), cache))
        return torch.cat(logits).log_softmax(-1)

    def greedy(self, ids: list[int], count: int, samples: int = 1) -> list[list[int]]:
        loop = Loop(self.decoder, [Request(tuple(ids), count, samples=samples)], LONG, Timings())
        out: list[list[int]] = [[] for _ in range(samples)]
        for emission in loop.run():
            out[emission.sequence.sample].append(emission.id)
        return out
