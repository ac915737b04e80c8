"""Choose the next token of each row: greedy, or a draw after the rules in their order."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ... import InputError, ModelError
from ..device import to_host
from . import penalties, repeats, rules
from .draw import COIN, TOKEN, Draw
from .mask import only

Penalty = Callable[[Tensor, Sequence[Draw]], Tensor]
Rule = Callable[[Tensor, Tensor], Tensor]

PENALTIES: tuple[Penalty, ...] = (
    penalties.bias,
    penalties.repetition,
    penalties.presence,
    penalties.frequency,
    repeats.dry,
    repeats.no_repeat_ngram,
)
"""What changes logits before anything is chosen, greedily or not, in the order in which it does."""

RULES: tuple[tuple[str, Rule, float], ...] = (
    ("top_nsigma", rules.top_nsigma, 0.0),
    ("temperature", rules.temperature, 1.0),
    ("top_k", rules.top_k, 0),
    ("top_p", rules.top_p, 1.0),
    ("min_p", rules.min_p, 0.0),
    ("typical", rules.typical, 1.0),
    ("xtc_threshold", rules.xtc, 1.0),
)
"""What then narrows a draw: a field of `Sampling`, the rule it turns, and the value at which the
rule does nothing; in the order in which they apply, which is that of transformers for those that
it has. docs/sampling.md tells how others order them."""


def checked(logits: Tensor) -> Tensor:
    """The same logits. Raises `ModelError` if they turn out not to be numbers."""
    if not bool(logits.sum().isfinite()):
        raise ModelError(
            "the model's logits are not numbers (NaN or infinite): its weights are damaged, "
            "or too large for its dtype",
            hint="try --dtype float32; if that doesn't help, download the weights again",
        )
    return logits


def choose(logits: Tensor, draws: Sequence[Draw]) -> list[int]:
    """The next token id of each row of `logits` [R, V], float32.

    Temperature 0 takes the likeliest, the lowest id among equals. Otherwise the row's own random
    number picks from the cumulated probabilities, so a choice depends on nothing but the row.
    """
    logits = _without_barred(only(logits, [draw.mask for draw in draws]), draws)
    logits = adjusted(logits, draws)
    ids = to_host(logits.argmax(-1))
    rows = [row for row, draw in enumerate(draws) if draw.sampling.temperature > 0]
    if rows:
        own = [draws[row] for row in rows]
        drawn = _draw(narrowed(logits[rows], own), own)
        for row, id in zip(rows, drawn, strict=True):
            ids[row] = id
    return ids


def _without_barred(logits: Tensor, draws: Sequence[Draw]) -> Tensor:
    vocab = logits.shape[-1]
    # Configs name ends that are no tokens of theirs: -1, or an id past the vocabulary.
    barred = {
        row: sorted(id for id in draw.barred if 0 <= id < vocab)
        for row, draw in enumerate(draws)
        if draw.barred
    }
    if not any(barred.values()):
        return logits
    logits = logits.clone()
    for row, ids in barred.items():
        logits[row, ids] = float("-inf")
    return logits


def adjusted(logits: Tensor, draws: Sequence[Draw]) -> Tensor:
    """Logits after everything that acts on greedy choices too, [R, V].

    Raises `InputError` where nothing is left that could be chosen.
    """
    if not any(draw.sampling.adjusts for draw in draws):
        return logits
    for penalty in PENALTIES:
        logits = penalty(logits, draws)
    if not bool((logits > rules.NEVER).any(-1).all()):
        raise InputError(
            "no token is left to choose: every one of them is banned",
            hint="--logit-bias bans too many"
            if all(draw.mask is None for draw in draws)
            else "--logit-bias bans all that the constraint lets through",
        )
    return logits


def narrowed(logits: Tensor, draws: Sequence[Draw]) -> Tensor:
    """Logits after every rule that any row turns on, [R, V]."""
    for name, rule, neutral in RULES:
        values = [_knob(name, draw) for draw in draws]
        if any(value != neutral for value in values):
            knob = torch.tensor(values, dtype=torch.float32, device=logits.device)[:, None]
            logits = rule(logits, knob)
    return logits


def _knob(name: str, draw: Draw) -> float:
    """A row's setting of a rule; XTC's is off where its coin falls so."""
    if name != "xtc_threshold":
        return getattr(draw.sampling, name)
    chance, threshold = draw.sampling.xtc_probability, draw.sampling.xtc_threshold
    return threshold if chance > 0 and draw.uniform(COIN) < chance else 1.0


def _draw(logits: Tensor, draws: Sequence[Draw]) -> list[int]:
    numbers = [draw.uniform(TOKEN) for draw in draws]
    if logits.device.type == "mps":
        logits = logits.cpu()  # which has the float64 that MPS lacks
    # Few are left of a large vocabulary, mostly; the others would add nothing to the sums.
    left = (logits > rules.NEVER).any(0).nonzero().squeeze(-1)
    if len(left) < logits.shape[-1]:
        logits = logits[:, left]
    # float64: over a large vocabulary a float32 running sum loses the tail.
    heights = torch.softmax(logits.double(), dim=-1).cumsum(-1)
    targets = torch.tensor(numbers, dtype=torch.float64, device=logits.device)[:, None]
    targets = targets * heights[:, -1:]
    return to_host(left[torch.searchsorted(heights, targets, right=True).squeeze(-1)])
