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
    probabilities = torch.softmax(logits, dim=-1)
    leaders = min(logits.shape[-1], max(LEADERS, logits.shape[-1] // 64))
    best, places = logits.topk(leaders, dim=-1)
    own = probabilities.gather(-1, places)
    inside = (own.cumsum(-1) - own < knob) | (knob >= 1)
    if bool(inside[:, -1].any()) and leaders < logits.shape[-1]:
        return _top_p_of_all(logits, probabilities, knob)
    return _keep_best(logits, best, inside, knob)


LEADERS = 256
"""Likeliest tokens among which a nucleus is sought before all are sorted."""


def _top_p_of_all(logits: Tensor, probabilities: Tensor, knob: Tensor) -> Tensor:
    """The same for nuclei that are wide, by sorting everything."""
    best, places = logits.sort(dim=-1, descending=True)
    own = probabilities.gather(-1, places)
    return _keep_best(logits, best, own.cumsum(-1) - own < knob, knob)


def _keep_best(logits: Tensor, best: Tensor, inside: Tensor, knob: Tensor) -> Tensor:
    """Keep as many as are `inside` of the `best` [R, K]; of the last one's equals the first ones.

    Or which of several equals stay would hang on the device and the number of rows.
    """
    # The likeliest token has nothing before it, so it stays whatever p is.
    count = inside.sum(-1, keepdim=True).clamp(min=1)
    last = best.gather(-1, count - 1)
    equal = logits == last
    room = count - (logits > last).sum(-1, keepdim=True)
    if bool((equal.sum(-1, keepdim=True) > room).any()):
        equal &= equal.cumsum(-1) <= room
    return logits.masked_fill(~((logits > last) | equal | (knob >= 1)), NEVER)


def min_p(logits: Tensor, knob: Tensor) -> Tensor:
    """Keep tokens at least p times as likely as the likeliest; 0: off.

    Nguyen et al. 2024, arXiv:2407.01082.
    """
    floor = logits.amax(-1, keepdim=True) + knob.log()
    return logits.masked_fill(logits < floor, NEVER)
