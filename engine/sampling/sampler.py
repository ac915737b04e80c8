"""Choose the next token of each row: greedy, or a draw after the rules in their order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import blake2b

import torch
from torch import Tensor

from ... import ModelError
from ..device import to_host
from ..request import Sampling
from . import penalties, rules
from .mask import only

Rule = Callable[[Tensor, Tensor], Tensor]

RULES: tuple[tuple[str, Rule, float], ...] = (
    ("temperature", rules.temperature, 1.0),
    ("top_k", rules.top_k, 0),
    ("top_p", rules.top_p, 1.0),
    ("min_p", rules.min_p, 0.0),
)
"""A field of `Sampling`, the rule it turns, and the value at which the rule does nothing; in the
order in which they apply, which is that of transformers."""


@dataclass(frozen=True, slots=True)
class Draw:
    """Whose turn it is: a row's sampling settings, its sample's number, the token's position.

    `recent` are the ids that `Sampling.repetition` makes less likely, `barred` those that can't be
    chosen, and `mask`, packed [W], the only ones that can.
    """

    sampling: Sampling
    sample: int
    position: int
    recent: Sequence[int] = ()
    barred: frozenset[int] = frozenset()
    mask: Tensor | None = None


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
    logits = _penalized(logits, draws)
    ids = to_host(logits.argmax(-1))
    rows = [row for row, draw in enumerate(draws) if draw.sampling.temperature > 0]
    if rows:
        drawn = _draw(narrowed(logits[rows], [draws[row].sampling for row in rows]), draws, rows)
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


def _penalized(logits: Tensor, draws: Sequence[Draw]) -> Tensor:
    if all(draw.sampling.repetition == 1 or not draw.recent for draw in draws):
        return logits
    rows = [
        penalties.repetition(row, draw.recent, draw.sampling.repetition) if draw.recent else row
        for row, draw in zip(logits, draws, strict=True)
    ]
    return torch.stack(rows)


def narrowed(logits: Tensor, settings: Sequence[Sampling]) -> Tensor:
    """Logits after every rule that any row turns on, [R, V]."""
    for name, rule, neutral in RULES:
        values = [getattr(sampling, name) for sampling in settings]
        if any(value != neutral for value in values):
            knob = torch.tensor(values, dtype=torch.float32, device=logits.device)[:, None]
            logits = rule(logits, knob)
    return logits


def uniform(seed: int, sample: int, position: int) -> float:
    """A random number in [0, 1) that only its three arguments decide.

    A hash is a counter-based generator (Salmon et al. 2011) that needs no state: a sample's draws
    are the same alone, in a batch, after a restart, and on every machine.
    """
    digest = blake2b(f"{seed} {sample} {position}".encode(), digest_size=8).digest()
    return (int.from_bytes(digest, "little") >> 11) / 2**53


def _draw(logits: Tensor, draws: Sequence[Draw], rows: Sequence[int]) -> list[int]:
    numbers = [uniform(draws[r].sampling.seed, draws[r].sample, draws[r].position) for r in rows]
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
