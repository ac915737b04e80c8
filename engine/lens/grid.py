"""The logit lens over a text: what each layer would answer after each token, from one prefill."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ..device import memory_errors
from ..model.decoder import Decoder
from .explain import TOP
from .explanation import View
from .reading import read
from .views import views


@dataclass(frozen=True, slots=True)
class Column:
    """What the stack would answer after the token at `place`, on the embedding and each layer.

    The `answer` of each view is `following`, the token that the text goes on with; where it ends,
    the one that the model does.
    """

    place: int
    following: int
    views: tuple[View, ...]


def lens_grid(
    decoder: Decoder, ids: Sequence[int], first: int = 0, *, top: int = TOP
) -> list[Column]:
    """The columns of `ids` from the place `first` on, with the `top` likeliest guesses in each.

    Of the residual stream nothing is kept but what stands in these. Raises `OutOfMemoryError`.
    """
    assert 0 <= first < len(ids), "a column has a token"
    with memory_errors("explaining"), torch.inference_mode():
        states = read(decoder, ids, first).states  # [n, M] each
        heights, count = len(states), len(ids) - first
        ends_with = int(decoder.logits(states[-1][-1:]).argmax())
        following = [*ids[first + 1 :], ends_with]
        stream = torch.stack(states, 1).flatten(0, 1)  # [n * (L + 1), M]
        repeated = [id for id in following for _ in range(heights)]
        seen = list(views(decoder, stream, repeated, top))
    return [
        Column(first + row, following[row], tuple(seen[row * heights : (row + 1) * heights]))
        for row in range(count)
    ]
