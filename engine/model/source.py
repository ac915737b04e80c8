"""Where a model's parts get their weights from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from ..matrix import Matrix, Plain


class Source(Protocol):
    """Weights by our own names, each asked for with the shape the spec demands.

    Whoever implements it (files, random numbers, shapes alone) raises where it can't comply.
    """

    dtype: torch.dtype
    """What the model computes in."""

    def take(self, name: str, *shape: int, exact: bool = False) -> Tensor:
        """The weight called `name`, in the model's dtype or, if `exact`, as it is stored."""
        ...

    def matrix(
        self,
        names: Sequence[str],
        outputs: Sequence[int],
        inputs: int,
        taken: Tensor | None = None,
    ) -> Matrix:
        """The weights `names`, [outputs, inputs] each, one below the other.

        `taken` is the weight itself if it was taken already, so that it needn't be held twice.
        """
        ...


class Scope:
    """A part's view of a source: names are prefixed with the part's own."""

    def __init__(self, source: Source, prefix: str) -> None:
        self.dtype = source.dtype
        self._source = source
        self._prefix = prefix

    def take(self, name: str, *shape: int, exact: bool = False) -> Tensor:
        """The weight called `prefix.name`."""
        return self._source.take(f"{self._prefix}.{name}", *shape, exact=exact)

    def matrix(
        self,
        names: Sequence[str],
        outputs: Sequence[int],
        inputs: int,
        taken: Tensor | None = None,
    ) -> Matrix:
        """The weights called `prefix.name`."""
        full = [f"{self._prefix}.{name}" for name in names]
        return self._source.matrix(full, outputs, inputs, taken)


class PlainSource:
    """A source, but for `take`: its matrices are held just as they are taken, in float32."""

    dtype = torch.float32

    def take(self, name: str, *shape: int, exact: bool = False) -> Tensor:
        """See `Source`."""
        raise NotImplementedError

    def matrix(
        self,
        names: Sequence[str],
        outputs: Sequence[int],
        inputs: int,
        taken: Tensor | None = None,
    ) -> Matrix:
        """See `Source`."""
        pairs = zip(names, outputs, strict=True)
        return Plain(torch.cat([self.take(name, width, inputs) for name, width in pairs]))
