"""Where a model's parts get their weights from."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor


class Source(Protocol):
    """Weights by our own names, each asked for with the shape the spec demands.

    Whoever implements it (files, random numbers, shapes alone) raises where it can't comply.
    """

    def take(self, name: str, *shape: int, exact: bool = False) -> Tensor:
        """The weight called `name`, in the model's dtype or, if `exact`, as it is stored."""
        ...


class Scope:
    """A part's view of a source: names are prefixed with the part's own."""

    def __init__(self, source: Source, prefix: str) -> None:
        self._source = source
        self._prefix = prefix

    def take(self, name: str, *shape: int, exact: bool = False) -> Tensor:
        """The weight called `prefix.name`."""
        return self._source.take(f"{self._prefix}.{name}", *shape, exact=exact)
