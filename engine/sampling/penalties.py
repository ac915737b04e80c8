"""What the text already holds, or whoever asks, makes some tokens more or less likely.

Each takes logits [R, V] and the rows' turns, and gives them back with only the rows changed that
have its setting on. Work on the host grows with the text, never with the vocabulary.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from .draw import Draw


def bias(logits: Tensor, draws: Sequence[Draw]) -> Tensor:
    """Add what `logit_bias` gives each of its ids; -inf bars one for good.

    OpenAI's API reference, `logit_bias`.
    """
    return added(logits, [dict(draw.sampling.logit_bias) for draw in draws])


def repetition(logits: Tensor, draws: Sequence[Draw]) -> Tensor:
    """Make recent tokens less likely, however often they stand there.

    Positive logits are divided by the penalty and negative ones multiplied, so that above 1 either
    way is down (CTRL, Keskar et al. 2019, arXiv:1909.05858).
    """
    knobs = [draw.sampling.repetition for draw in draws]
    penalties = [
        dict.fromkeys(draw.recent, knob) if knob != 1 else {}
        for draw, knob in zip(draws, knobs, strict=True)
    ]
    if not any(penalties):
        return logits
    places, penalty = _places(logits, penalties)
    own = logits[places]
    return logits.index_put(places, torch.where(own > 0, own / penalty, own * penalty))


def presence(logits: Tensor, draws: Sequence[Draw]) -> Tensor:
    """Subtract the penalty once from each token that was generated before.

    OpenAI's API reference, "Frequency and presence penalties": the prompt doesn't count.
    """
    knobs = [draw.sampling.presence for draw in draws]
    amounts = [
        dict.fromkeys(draw.said, -knob) if knob else {}
        for draw, knob in zip(draws, knobs, strict=True)
    ]
    return added(logits, amounts)


def frequency(logits: Tensor, draws: Sequence[Draw]) -> Tensor:
    """Subtract the penalty from a token as often as it was generated before.

    OpenAI's API reference, "Frequency and presence penalties": the prompt doesn't count.
    """
    knobs = [draw.sampling.frequency for draw in draws]
    amounts = [
        {id: -knob * count for id, count in Counter(draw.said).items()} if knob else {}
        for draw, knob in zip(draws, knobs, strict=True)
    ]
    return added(logits, amounts)


def added(logits: Tensor, amounts: Sequence[Mapping[int, float]]) -> Tensor:
    """Logits [R, V] with each row's `amounts` added to its ids."""
    if not any(amounts):
        return logits
    places, values = _places(logits, amounts)
    return logits.index_put(places, values, accumulate=True)


def _places(
    logits: Tensor, amounts: Sequence[Mapping[int, float]]
) -> tuple[tuple[Tensor, Tensor], Tensor]:
    """Where the amounts of all rows go, as rows and ids, and the amounts, [N] each."""
    device = logits.device
    rows = torch.tensor([row for row, own in enumerate(amounts) for _ in own], device=device)
    ids = torch.tensor([id for own in amounts for id in own], device=device)
    values = [value for own in amounts for value in own.values()]
    return (rows, ids), torch.tensor(values, dtype=logits.dtype, device=device)
