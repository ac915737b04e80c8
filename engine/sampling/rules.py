"""What may be chosen: each rule narrows or reshapes the logits, [R, V] in and out, float32.

A knob has one value a row, [R, 1]; a neutral value leaves a row as it is.
"""

from __future__ import annotations

import torch
from torch import Tensor

NEVER = float("-inf")


def temperature(logits: Tensor, knob: Tensor) -> Tensor:
    """Sharpen below 1, flatten above; 0 is greedy and has its own path."""
    # Quotients stay finite: infinities would make NaN of what must be the likeliest, or barred.
    return logits / knob.clamp(1e-30, 1e30)


def top_k(logits: Tensor, knob: Tensor) -> Tensor:
    """Keep the k likeliest (Fan et al. 2018, arXiv:1805.04833); equals of the last stay; 0: off."""
    largest = min(int(knob.max()), logits.shape[-1])
    if largest < 1:
        return logits
    best = logits.topk(largest, dim=-1).values
    last = best.gather(-1, (knob.long().clamp(1, largest) - 1))
    return logits.masked_fill((logits < last) & (knob > 0), NEVER)


def top_p(logits: Tensor, knob: Tensor) -> Tensor:
    """Keep the smallest set of likeliest tokens that holds probability p; 1: off.

    Nucleus sampling, Holtzman et al. 2020, arXiv:1904.09751.
    """
    if bool((knob >= 1).all()):
        return logits
    # Stable, or which of several equals stay would hang on the device and the number of rows.
    ordered, places = logits.sort(dim=-1, descending=True, stable=True)
    probabilities = torch.softmax(ordered, dim=-1)
    before = probabilities.cumsum(-1) - probabilities
    # The likeliest token has nothing before it, so it stays whatever p is.
    surplus = (before >= knob) & (knob < 1) & (before > 0)
    return logits.masked_fill(surplus.scatter(-1, places, surplus), NEVER)


def min_p(logits: Tensor, knob: Tensor) -> Tensor:
    """Keep tokens at least p times as likely as the likeliest; 0: off.

    Nguyen et al. 2024, arXiv:2407.01082.
    """
    floor = logits.amax(-1, keepdim=True) + knob.log()
    return logits.masked_fill(logits < floor, NEVER)
