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


def top_nsigma(logits: Tensor, knob: Tensor) -> Tensor:
    """Keep logits at most n standard deviations below the highest; 0: off.

    Top-n-sigma, Tang et al. 2024, arXiv:2411.07641. Which tokens stay doesn't depend on the
    temperature, so it comes first, while logits are of moderate size. What is barred, or as good as
    that, is no part of the deviation: a single token far down would make it include everything.
    """
    highest = logits.amax(-1, keepdim=True)
    possible = logits >= highest - OUT_OF_REACH
    count = possible.sum(-1, keepdim=True)
    own = (logits - highest).masked_fill(~possible, 0).double()
    away = (own - own.sum(-1, keepdim=True) / count).masked_fill(~possible, 0)
    sigma = (away.square().sum(-1, keepdim=True) / count).sqrt()
    floor = highest - (knob * sigma).to(logits.dtype)
    return logits.masked_fill((logits < floor) & (knob > 0), NEVER)


OUT_OF_REACH = 1000.0
"""Logits this far below the highest are what penalties leave, not what a model says."""


def typical(logits: Tensor, knob: Tensor) -> Tensor:
    """Keep those whose surprise is nearest to the expected, until they hold probability p; 1: off.

    Locally typical sampling, Meister et al. 2022, arXiv:2202.00666. Equals of the last stay.
    """
    if bool((knob >= 1).all()):
        return logits
    logs = torch.log_softmax(logits, dim=-1)
    probabilities = logs.exp()
    entropy = -(probabilities * logs).nan_to_num(0).sum(-1, keepdim=True)
    strangeness = (-logs - entropy).abs()
    leaders = min(logits.shape[-1], max(LEADERS, logits.shape[-1] // 64))
    nearest, places = strangeness.topk(leaders, dim=-1, largest=False)
    held = probabilities.gather(-1, places).cumsum(-1)
    if leaders < logits.shape[-1] and bool(((held[:, -1:] < knob) & (knob < 1)).any()):
        nearest, places = strangeness.sort(dim=-1)
        held = probabilities.gather(-1, places).cumsum(-1)
    # Up to and with the first that makes up the mass.
    last = (held < knob).sum(-1, keepdim=True).clamp(max=nearest.shape[-1] - 1)
    bound = nearest.gather(-1, last)
    return logits.masked_fill((strangeness > bound) & (knob < 1), NEVER)


def xtc(logits: Tensor, knob: Tensor) -> Tensor:
    """Of tokens as likely as the threshold or more keep the least likely alone; above 0.5: off.

    "Exclude top choices", by p-e-w: text-generation-webui, pull request 6335, where it comes after
    temperature and truncation as it does here; llama.cpp, pull request 9742. The coin that decides
    whether it acts at all is tossed by the sampler: on a row where it doesn't, the knob is off.
    """
    probabilities = torch.softmax(logits, dim=-1)
    choices = (probabilities >= knob) & (knob <= 0.5) & (logits > NEVER)
    # Of equally unlikely ones the first, or which stays would hang on the device.
    least = probabilities.masked_fill(~choices, 2).argmin(-1, keepdim=True)
    return logits.masked_fill(choices.scatter(-1, least, False), NEVER)
