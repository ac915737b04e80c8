"""Tokens whose weights look as if no training had touched them ("glitch tokens").

Rows of ids that no text ever gives were only pushed about together. Rows of other tokens that lie
where those lie were hardly trained either: Land and Bartolo 2024, "Fishing for Magikarp",
arXiv:2405.05417.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .quant.kinds import EMBEDDING, HEAD
from .weights.checkpoint import open_checkpoint
from .weights.load import WeightReader, stored_dtype

ROWS = 8192
"""Rows that are looked at together."""


def rows_like_unused(
    folder: Path, unused: Sequence[int], ids: Sequence[int], count: int
) -> dict[str, Any] | None:
    """Those of `ids` whose rows of the head are most like the rows of `unused` ids.

    To `unused` come the rows beyond the highest of both. Likeness is the cosine to their mean,
    the mean of all rows taken off both: 1 is alike. None where there is nothing to compare with,
    and for quantized weights. Raises `ModelError` for a checkpoint that can't be loaded.
    """
    checkpoint = open_checkpoint(folder)
    if checkpoint.quantization is not None:
        return None
    spec = checkpoint.spec
    reader = WeightReader(checkpoint, stored_dtype(checkpoint), torch.device("cpu"))
    weight = reader.take(EMBEDDING if spec.tied else HEAD, spec.vocab, spec.hidden)
    highest = max([-1, *unused, *ids])
    known = [id for id in unused if id < spec.vocab]
    beyond = range(highest + 1, spec.vocab)
    asked = [id for id in ids if id < spec.vocab]
    if not (known or beyond) or not asked:
        return None
    centre = torch.stack([part.sum(0) for part in _parts(weight)]).sum(0) / spec.vocab
    lone = weight[torch.tensor([*known, *beyond])].float().mean(0) - centre
    near = torch.cat(
        [torch.cosine_similarity(part - centre, lone[None], dim=1) for part in _parts(weight)]
    )
    norms = torch.cat([part.square().sum(1).sqrt() for part in _parts(weight)])
    order = sorted(asked, key=lambda id: -float(near[id]))[:count]
    return {
        "weights": "embedding" if spec.tied else "head",
        "compared_with": len(known) + len(beyond),
        "median_norm": round(float(norms.median()), 4),
        "first": [
            {"id": id, "cosine": round(float(near[id]), 4), "norm": round(float(norms[id]), 4)}
            for id in order
        ],
    }


def _parts(weight: Tensor) -> Iterator[Tensor]:
    """The rows in float32, some at a time."""
    return (weight[row : row + ROWS].float() for row in range(0, len(weight), ROWS))
