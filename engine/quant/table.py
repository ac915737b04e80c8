"""What makes, reads and multiplies each kind of quantized weight."""

from __future__ import annotations

from typing import TypeAlias

from ..matrix import Matrix
from .int4 import Int4Weight, PlainInt4
from .int8 import Int8Weight, PlainInt8
from .kinds import Quant

QuantWeight: TypeAlias = Int8Weight | Int4Weight

KINDS: dict[Quant, type[Int8Weight] | type[Int4Weight]] = {"int8": Int8Weight, "int4": Int4Weight}


def join(weights: list[QuantWeight]) -> QuantWeight:
    """Weights of one kind with the same input, one below the other."""
    first = weights[0]
    if len(weights) == 1:
        return first
    if isinstance(first, Int8Weight):
        return Int8Weight.joined([w for w in weights if isinstance(w, Int8Weight)])
    return Int4Weight.joined([w for w in weights if isinstance(w, Int4Weight)])


def holds(matrix: Matrix, weight: QuantWeight) -> bool:
    """Whether a matrix is made of the very codes of `weight`, not of a copy."""
    return isinstance(matrix, PlainInt8 | PlainInt4) and matrix.weight is weight
