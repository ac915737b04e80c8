"""Predictions explained: one prefill, then the layers taken apart from the last to the first.

Nothing is kept but the residual stream before each layer, [T, M], and the keys and values that any
prefill caches. What attention looked at is computed again, a stretch of queries at a time.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ..device import memory_errors
from ..model.decoder import Decoder
from .explanation import Explanation
from .reading import prefills, read
from .unravelling import Unravelling

TOP = 5
"""Guesses shown of each view."""
NEURONS = 10
"""Neurons shown of a prediction."""


def explain(
    decoder: Decoder,
    ids: Sequence[int],
    positions: Sequence[int],
    answers: Sequence[int | None] | None = None,
    *,
    top: int = TOP,
    neurons: int = NEURONS,
) -> list[Explanation]:
    """Why the model answers what it does after the first `positions` of `ids`, one each.

    `answers` are the tokens to explain, where None is the likeliest; `top` guesses are told of
    each view, and `neurons` of each prediction. Raises `OutOfMemoryError`.
    """
    wanted = [None] * len(positions) if answers is None else list(answers)
    assert len(wanted) == len(positions), "an answer, or None, for each position"
    assert all(0 < position <= len(ids) for position in positions), "a prediction has a prompt"
    with memory_errors("explaining"), torch.inference_mode():
        found: list[Explanation] = []
        for group in prefills(decoder.spec, positions):
            reading = read(decoder, ids[: max(group)])
            of_group = wanted[len(found) : len(found) + len(group)]
            found += Unravelling(decoder, reading, group, of_group).told(top, neurons)
        return found
