"""Gradients of a batch, computed by one process for each core.

Threads inside each matrix product would meet at a barrier thousands of times a step, and where
other programs run too, each meeting waits for the core that was taken away. Here each core works
alone through small pieces of the batch, drawn from one queue: a slow one just draws fewer. It also
keeps a piece's activations in the cache.
"""

from __future__ import annotations

import queue
from collections.abc import Iterator
from typing import Any

import torch
import torch.multiprocessing as mp
from torch import Tensor

from model import Decoder

PIECE_TOKENS = 1024  # on a processor
GPU_PIECE_TOKENS = 32768
PATIENCE = 600.0  # seconds; a worker that needs longer has died


class LocalGradients:
    """The plain way: one piece after another in this process, as a GPU wants it."""

    def __init__(self, model: Decoder) -> None:
        """Compiles `model` when first used."""
        self.model, self.compiled = model, torch.compile(model, dynamic=False)

    def compute(self, batch: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The mean loss of ids [B, T + 1], and its float32 gradients by name."""
        sums = {n: torch.zeros_like(w, dtype=torch.float32) for n, w in _named(self.model)}
        pieces = list(_pieces(batch, GPU_PIECE_TOKENS))
        losses = [_accumulate(self.compiled, self.model, piece, sums) for piece in pieces]
        return torch.stack(losses).mean(), {n: g / len(pieces) for n, g in sums.items()}

    def close(self) -> None:
        """Nothing is held."""


class WorkerGradients:
    """One process for each core; weights and sums of gradients lie in shared memory."""

    def __init__(self, model: Decoder, count: int) -> None:
        """Starts `count` processes on the weights of `model`, which they see change."""
        self.model = model.share_memory()
        context = mp.get_context("spawn")
        self.jobs, self.losses = context.Queue(), context.Queue()
        self.sums = [_shared_zeros(model) for _ in range(count)]
        self.workers = [
            context.Process(target=_work, args=(model, sums, self.jobs, self.losses), daemon=True)
            for sums in self.sums
        ]
        for worker in self.workers:
            worker.start()

    def compute(self, batch: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The mean loss of ids [B, T + 1], and its float32 gradients by name."""
        pieces = list(_pieces(batch, PIECE_TOKENS))
        for piece in pieces:
            self.jobs.put(piece.numpy())
        losses = torch.tensor([self.losses.get(timeout=PATIENCE) for _ in pieces])
        gradients = {}
        for name in self.sums[0]:
            gradients[name] = sum(sums[name] for sums in self.sums) / len(pieces)
            for sums in self.sums:
                sums[name].zero_()
        return losses.mean(), gradients

    def close(self) -> None:
        """Ends the processes: another model may want the cores."""
        for worker in self.workers:
            worker.terminate()
            worker.join()


def _work(model: Decoder, sums: dict[str, Tensor], jobs: Any, losses: Any) -> None:
    torch.set_num_threads(1)
    compiled = torch.compile(model, dynamic=False)
    parent = mp.parent_process()
    assert parent is not None
    while parent.is_alive():
        try:
            piece = torch.from_numpy(jobs.get(timeout=5))
        except queue.Empty:
            continue
        losses.put(_accumulate(compiled, model, piece, sums).item())


def _accumulate(compiled: Any, model: Decoder, piece: Tensor, sums: dict[str, Tensor]) -> Tensor:
    """Adds the gradients of one piece to `sums` -> its loss."""
    loss = compiled(piece)
    loss.backward()
    for name, weight in _named(model):
        assert weight.grad is not None, name
        sums[name].add_(weight.grad)
        weight.grad = None
    return loss.detach()


def _pieces(batch: Tensor, tokens: int) -> Iterator[Tensor]:
    yield from batch.split(max(1, tokens // (batch.shape[1] - 1)))


def _named(model: Decoder) -> Iterator[tuple[str, Tensor]]:
    yield from model.named_parameters()


def _shared_zeros(model: Decoder) -> dict[str, Tensor]:
    zeros = {n: torch.zeros(w.shape, dtype=torch.float32) for n, w in _named(model)}
    return {name: zero.share_memory_() for name, zero in zeros.items()}
