"""A sampler in plain Python, one row and one token at a time, written from the definitions.

Slow, in float64, and with nothing of the engine's: what the engine chooses is measured against it.
Logits are lists with -inf for what can't be chosen.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

NEVER = -math.inf
Logits = list[float]
Ids = Sequence[int]


def probabilities(logits: Sequence[float]) -> list[float]:
    highest = max(logits)
    weights = [math.exp(value - highest) for value in logits]
    return [weight / math.fsum(weights) for weight in weights]


def only(logits: Sequence[float], kept: Callable[[int], bool]) -> Logits:
    return [value if kept(id) else NEVER for id, value in enumerate(logits)]


# What acts on greedy choices too. `prompt` and `said` are the text before and since.


def bias(logits: Logits, pairs: Sequence[tuple[int, float]]) -> Logits:
    return [value + dict(pairs).get(id, 0.0) for id, value in enumerate(logits)]


def repetition(logits: Logits, text: Ids, penalty: float, last: int) -> Logits:
    recent = text if last < 0 else text[max(0, len(text) - last) :]
    divided = [value / penalty if value > 0 else value * penalty for value in logits]
    return [divided[id] if id in recent else value for id, value in enumerate(logits)]


def presence(logits: Logits, said: Ids, penalty: float) -> Logits:
    return [value - penalty * (said.count(id) > 0) for id, value in enumerate(logits)]


def frequency(logits: Logits, said: Ids, penalty: float) -> Logits:
    return [value - penalty * said.count(id) for id, value in enumerate(logits)]


def repeats(text: Ids, id: int, breakers: Any) -> int:
    """The most tokens at the text's end that stand earlier, too, with `id` behind them."""
    longest = 0
    for place in range(len(text)):
        if text[place] != id or id in breakers:
            continue
        for length in range(1, place + 1):
            earlier, end = text[place - length : place], text[len(text) - length :]
            if earlier == end and not set(end) & set(breakers):
                longest = max(longest, length)
    return longest


def dry(logits: Logits, text: Ids, multiplier: float, base: float, allowed: int, breakers: Any):
    after: Logits = []
    for id, value in enumerate(logits):
        length = repeats(text, id, breakers)
        penalty = multiplier * base ** (length - allowed) if 0 < length >= allowed else 0.0
        after.append(value - penalty)
    return after


def no_repeat_ngram(logits: Logits, text: Ids, size: int) -> Logits:
    ngrams = {tuple(text[place : place + size]) for place in range(len(text) - size + 1)}
    begin = tuple(text[len(text) - size + 1 :])
    after = only(logits, lambda id: (*begin, id) not in ngrams)
    return after if max(after) > NEVER else logits


def adjusted(logits: Logits, own: Any, prompt: Ids, said: Ids) -> Logits:
    """Everything that acts on greedy choices; `own` has the fields of the engine's `Sampling`."""
    text = [*prompt, *said]
    after = bias(logits, own.logit_bias)
    after = repetition(after, text, own.repetition, own.repeat_last)
    after = presence(after, said, own.presence)
    after = frequency(after, said, own.frequency)
    if own.dry_multiplier:
        knobs = own.dry_multiplier, own.dry_base, own.dry_allowed_length, own.dry_breakers
        after = dry(after, text, *knobs)
    return no_repeat_ngram(after, text, own.no_repeat_ngram) if own.no_repeat_ngram else after


# What narrows a draw.


def top_nsigma(logits: Logits, n: float) -> Logits:
    """Only logits within reach have a deviation: 1000 below the highest is not the model's word."""
    highest = max(logits)
    possible = [value for value in logits if value >= highest - 1000]
    mean = math.fsum(possible) / len(possible)
    sigma = math.sqrt(math.fsum((value - mean) ** 2 for value in possible) / len(possible))
    return only(logits, lambda id: logits[id] >= highest - n * sigma)


def temperature(logits: Logits, value: float) -> Logits:
    return [logit / value for logit in logits]


def top_k(logits: Logits, k: int) -> Logits:
    last = sorted(logits, reverse=True)[min(k, len(logits)) - 1]
    return only(logits, lambda id: logits[id] >= last)


def until(order: Sequence[int], chances: Sequence[float], mass: float) -> set[int]:
    """The first of `order` that together are as likely as `mass`."""
    kept: list[int] = []
    for id in order:
        kept.append(id)
        if math.fsum(chances[one] for one in kept) >= mass:
            break
    return set(kept)


def top_p(logits: Logits, p: float) -> Logits:
    order = sorted(range(len(logits)), key=lambda id: (-logits[id], id))
    kept = until(order, probabilities(logits), p)
    return only(logits, kept.__contains__)


def min_p(logits: Logits, p: float) -> Logits:
    chances = probabilities(logits)
    return only(logits, lambda id: chances[id] >= p * max(chances))


def typical(logits: Logits, p: float) -> Logits:
    chances = probabilities(logits)
    entropy = -math.fsum(chance * math.log(chance) for chance in chances if chance)
    strange = [abs(-math.log(chance) - entropy) if chance else math.inf for chance in chances]
    kept = until(sorted(range(len(logits)), key=strange.__getitem__), chances, p)
    return only(logits, kept.__contains__)


def xtc(logits: Logits, threshold: float) -> Logits:
    chances = probabilities(logits)
    choices = [id for id, chance in enumerate(chances) if chance >= threshold]
    possible = [(chances[id], id) for id in choices if logits[id] > NEVER]
    removed = {id for _, id in sorted(possible)[1:]}
    return only(logits, lambda id: id not in removed)


def narrowed(logits: Logits, own: Any, coin: float = 1.0) -> Logits:
    """What is left for a draw; XTC acts if `coin` is below its probability."""
    after = top_nsigma(logits, own.top_nsigma) if own.top_nsigma else logits
    after = temperature(after, own.temperature)
    after = top_k(after, own.top_k) if own.top_k else after
    after = top_p(after, own.top_p) if own.top_p < 1 else after
    after = min_p(after, own.min_p)
    after = typical(after, own.typical) if own.typical < 1 else after
    return xtc(after, own.xtc_threshold) if coin < own.xtc_probability else after


def choose(logits: Logits, own: Any, prompt: Ids, said: Ids, number: float, coin: float) -> int:
    """The next token: the likeliest, or where `number` in [0, 1) falls among what is left."""
    after = adjusted(logits, own, prompt, said)
    if own.temperature == 0:
        return after.index(max(after))
    chances = probabilities(narrowed(after, own, coin))
    for id in range(len(chances)):
        if math.fsum(chances[: id + 1]) > number:
            return id
    raise AssertionError("probabilities make up 1")
