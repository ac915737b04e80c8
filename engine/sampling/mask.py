"""Sets of ids as packed bits: bit i of word w says whether id 32 w + i is in."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

WORD = 32
"""Ids in a word of a mask, int32."""


def words_for(count: int) -> int:
    """How many words `count` ids take."""
    return (count + WORD - 1) // WORD


def packed(ids: Iterable[int], words: int) -> Tensor:
    """The mask [words] that has just `ids`."""
    bits = [0] * words
    for id in ids:
        bits[id // WORD] |= 1 << id % WORD
    return torch.tensor([word - (word >> 31 << 32) for word in bits], dtype=torch.int32)


def only(logits: Tensor, masks: Sequence[Tensor | None]) -> Tensor:
    """Logits [R, V] with everything that its row's mask lacks at -inf; None lets a row be."""
    rows = [row for row, mask in enumerate(masks) if mask is not None]
    if not rows:
        return logits
    bits = torch.stack([mask for mask in masks if mask is not None]).to(logits.device)
    held = logits if len(rows) == len(masks) else logits[rows]
    held = held.masked_fill(_missing(bits, logits.shape[-1]), float("-inf"))
    if held.shape == logits.shape:
        return held
    return logits.index_copy(0, torch.tensor(rows, device=logits.device), held)


def _missing(bits: Tensor, size: int) -> Tensor:
    """Whether each of `size` ids is not in the masks [R, W]: [R, size]."""
    table = _OUT.to(bits.device)
    # A look-up per byte: eight ids at once, instead of a shift for each.
    rows = table.index_select(0, bits.view(torch.uint8).flatten().int())
    return rows.view(len(bits), -1)[:, :size]


_OUT = (torch.arange(256)[:, None] >> torch.arange(8) & 1) == 0
"""Which of eight ids a byte lacks, [256, 8]."""
