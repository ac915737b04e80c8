"""The kinds of quantized weights by name, and which weight is held in which. No torch."""

from __future__ import annotations

from typing import Literal, get_args

Quant = Literal["int8", "int4"]
QUANTS: tuple[Quant, ...] = get_args(Quant)

BITS: dict[Quant, int] = {"int8": 8, "int4": 4}

GROUP = 32
"""Inputs that share a scale and a zero in int4."""

EMBEDDING, HEAD = "embed.weight", "head.weight"


def kind_of(name: str, quant: Quant) -> Quant:
    """The kind in which a model quantized to `quant` holds the matrix that we call `name`.

    A token's row of the embedding and the logits meet every answer: four bits there cost as much
    perplexity as in all layers together (measured on the default model), so they get eight.
    """
    return "int8" if name in (EMBEDDING, HEAD) else quant
