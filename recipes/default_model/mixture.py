"""Batches drawn from the sources by their shares, each source shuffled anew in every epoch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from corpus import SOURCES, Source

Ids = NDArray[np.uint16]


class Stream:
    """Windows of one source without replacement, epoch after epoch.

    Documents are laid end to end in a new order each epoch. A window begins at each document's
    first token, where a prompt will begin too, and from there every `length` tokens; short
    documents that a window already covers get none of their own.
    """

    def __init__(self, source: Source, folder: Path, seed: int) -> None:
        """Opens the arrays that `corpus.py` wrote into `folder`."""
        self.ids: Ids = np.load(folder / f"{source.file}.ids.npy")
        self.starts = np.load(folder / f"{source.file}.starts.npy")
        self.seed = seed
        self.epoch, self.index, self.length = 0, 0, 0
        self._laid_out: Ids = self.ids[:0]
        self._windows: list[int] = []

    def next(self, length: int) -> Ids:
        """The next window, `length` + 1 ids: inputs and, moved by one, targets."""
        if length != self.length or self.index == len(self._windows):
            self._lay_out(self.epoch + 1, length)
        start = self._windows[self.index]
        self.index += 1
        return self._laid_out[start : start + length + 1]

    def state(self) -> dict[str, int]:
        """Where the stream stands."""
        return {"epoch": self.epoch, "index": self.index, "length": self.length}

    def load_state(self, state: dict[str, int]) -> None:
        """Goes on where another stream stood."""
        if state["length"]:
            self._lay_out(state["epoch"], state["length"])
        self.index = state["index"]

    def _lay_out(self, epoch: int, length: int) -> None:
        random = np.random.default_rng((self.seed, epoch))
        order = random.permutation(len(self.starts) - 1)
        documents = [self.ids[self.starts[i] : self.starts[i + 1]] for i in order]
        windows, covered, begin = [], 0, 0
        for document in documents:
            end = begin + len(document)
            start = begin
            # A remainder below a quarter of a window isn't worth one that is mostly other text.
            while covered < end and (start == begin or end - start > length // 4):
                windows.append(start)
                start = covered = start + length
            begin = end
        # The last windows may run over the end: the first documents follow again.
        self._laid_out = np.concatenate([*documents, *documents])[: begin + length + 1]
        random.shuffle(windows)
        self.epoch, self.index, self.length = epoch, 0, length
        self._windows = windows


class Mixture:
    """All sources, drawn from by their shares."""

    def __init__(self, folder: Path, seed: int) -> None:
        """Opens every source in `folder`; equal seeds give equal batches."""
        self.streams = [Stream(source, folder, seed + n) for n, source in enumerate(SOURCES)]
        self.random = np.random.default_rng(seed)

    def batch(self, rows: int, length: int, final: bool) -> Tensor:
        """A batch [rows, length + 1] of int64 ids; `final` selects the shares of the decay."""
        shares = np.array([s.final_share if final else s.share for s in SOURCES])
        drawn = self.random.choice(len(SOURCES), size=rows, p=shares / shares.sum())
        windows = [self.streams[n].next(length) for n in drawn]
        return torch.from_numpy(np.stack(windows).astype(np.int64))

    def state(self) -> dict[str, Any]:
        """Everything that the next batches depend on."""
        streams = [stream.state() for stream in self.streams]
        return {"streams": streams, "random": self.random.bit_generator.state}

    def load_state(self, state: dict[str, Any]) -> None:
        """Goes on where another mixture stood."""
        for stream, saved in zip(self.streams, state["streams"], strict=True):
            stream.load_state(saved)
        self.random.bit_generator.state = state["random"]
