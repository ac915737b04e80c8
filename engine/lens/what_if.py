"""What a model would say if it had all its parts, or had seen it all: beside one that hasn't."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ..device import memory_errors
from ..model.decoder import Decoder
from .explain import TOP
from .explanation import View
from .moves import Answer, Move
from .reading import prefills, read
from .views import views


@dataclass(frozen=True, slots=True)
class Contrast:
    """What the whole model says at a place, and where what it lacks moves that.

    `move` watches the explained token, then the likeliest of both models.
    """

    whole: View
    move: Move


def contrast(
    whole: Decoder,
    lacking: Decoder,
    ids: Sequence[int],
    positions: Sequence[int],
    answers: Sequence[int],
    top: int = TOP,
) -> list[Contrast]:
    """Both models' predictions after the first `positions` of `ids`, one each.

    `answers` are the tokens that are explained there. Raises `OutOfMemoryError`.
    """
    with memory_errors("comparing"), torch.inference_mode():
        found: list[Contrast] = []
        for group in prefills(whole.spec, positions):
            places = [position - 1 for position in group]
            text, first = ids[: max(group)], min(places)
            rows = [place - first for place in places]
            states = [read(decoder, text, first).states[-1][rows] for decoder in (whole, lacking)]
            explained = answers[len(found) : len(found) + len(group)]
            seen = views(whole, states[0], explained, top)
            for view, answer, *ends in zip(seen, explained, *states, strict=True):
                p, q = (
                    Answer(decoder.logits(end[None])[0])
                    for decoder, end in zip((whole, lacking), ends, strict=True)
                )
                likely = [guess.id for guess in (*p.best(top), *q.best(top))]
                watched = tuple(dict.fromkeys((answer, *likely)))
                found.append(Contrast(view, p.towards(q, watched, top)))
        return found
