"""What would say again at length what the text has said before: barred, or ever less likely.

As in penalties: logits [R, V] and the rows' turns in, logits out.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

from torch import Tensor

from .draw import Draw
from .penalties import added
from .rules import NEVER

MOST = 1e30
"""A penalty that nothing survives, yet far from what float32 can hold."""


def dry(logits: Tensor, draws: Sequence[Draw]) -> Tensor:
    """Subtract multiplier * base ** (n - allowed length) from what would go on repeating n tokens.

    n is the length of the longest end of the text that stands earlier in it with that token next,
    counted back to the last sequence breaker; less than the allowed length is free, and so are
    breakers themselves. "Don't repeat yourself", by p-e-w: text-generation-webui, pull request
    5677; as llama.cpp has it.
    """
    amounts: list[dict[int, float]] = []
    for draw in draws:
        own, allowed = draw.sampling, draw.sampling.dry_allowed_length
        lengths = repeated(draw.text, own.dry_breakers) if own.dry_multiplier else {}
        amounts.append(
            {
                id: -_dry_penalty(own.dry_multiplier, own.dry_base, length - allowed)
                for id, length in lengths.items()
                if length >= allowed
            }
        )
    return added(logits, amounts)


def _dry_penalty(multiplier: float, base: float, exponent: int) -> float:
    if exponent * math.log(base) > math.log(MOST):
        return MOST
    return min(multiplier * base**exponent, MOST)


def repeated(text: Sequence[int], breakers: Collection[int] = ()) -> dict[int, int]:
    """Ids that follow an earlier place where the text reads as at its end, and for how many ids.

    The longest such place counts; no `breakers` are read over, nor given back. Takes time in
    proportion to the text, by the Z-algorithm (Gusfield 1997) from its end.

    >>> repeated([7, 1, 2, 3, 9, 2, 3, 8, 1, 2, 3])
    {8: 2, 9: 3}
    """
    if not text:
        return {}
    end, matches = len(text) - 1, dict[int, int]()
    left = right = 0  # the match, in distances from the end, that reaches back furthest
    for place in _places_before(text, end):
        back = end - place
        length = min(right - back, matches[back - left]) if back < right else 1
        while length <= place and text[place - length] == text[end - length]:
            length += 1
        matches[back] = length
        if back + length > right:
            left, right = back, back + length
    longest = max(matches.values(), default=0)
    unbroken = next((n for n in range(longest) if text[end - n] in breakers), longest)
    found: dict[int, int] = {}
    for back, length in matches.items():
        following, length = text[end - back + 1], min(length, unbroken)
        if length and following not in breakers:
            found[following] = max(length, found.get(following, 0))
    return found


def no_repeat_ngram(logits: Tensor, draws: Sequence[Draw]) -> Tensor:
    """Bar what would complete `no_repeat_ngram` tokens that stand in the text already.

    Paulus et al. 2017, arXiv:1705.04304. Where nothing else is left, it stands back.
    """
    barred = [
        dict.fromkeys(completing(draw.text, draw.sampling.no_repeat_ngram), NEVER) for draw in draws
    ]
    if not any(barred):
        return logits
    after = added(logits, barred)
    return after.where((after > NEVER).any(-1, keepdim=True), logits)


def completing(text: Sequence[int], size: int) -> set[int]:
    """The ids that would make the end of the text an n-gram that it has already; 0: none.

    >>> completing([1, 2, 3, 1, 2, 4, 1, 2], 3)
    {3, 4}
    """
    if size < 2 or len(text) < size:
        return set(text) if size == 1 else set()
    end = len(text) - 1
    begin = tuple(text[-size + 1 :])
    return {
        text[place + 1]
        for place in _places_before(text, end)
        if place >= size - 2 and tuple(text[place - size + 2 : place + 1]) == begin
    }


def _places_before(text: Sequence[int], end: int) -> list[int]:
    """Where the id at `end` stands before it, the last place first."""
    wanted, places, place = text[end], list[int](), -1
    while True:
        try:
            place = text.index(wanted, place + 1, end)  # scans at C's speed
        except ValueError:
            return places[::-1]
        places.append(place)
