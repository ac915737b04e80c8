"""What the text already holds makes its own tokens less likely."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def repetition(logits: Tensor, recent: Sequence[int], penalty: float) -> Tensor:
    """One row's logits [V] with the tokens in `recent` penalized, however often they stand there.

    Positive logits are divided by `penalty` and negative ones multiplied, so that above 1 either
    way is down (CTRL, Keskar et al. 2019, arXiv:1909.05858).
    """
    ids = torch.tensor(sorted(set(recent)), device=logits.device)
    own = logits[ids]
    return logits.index_copy(0, ids, torch.where(own > 0, own / penalty, own * penalty))
