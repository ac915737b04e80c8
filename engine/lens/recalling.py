"""What an MLP recalled: its neurons' answers, measured by what they do to one logit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from ..device import to_host
from ..model.block import Block
from ..model.experts import Experts
from ..model.mlp import Mlp
from .explanation import Expert


@dataclass(frozen=True)
class Recalled:
    """The strongest neurons of an MLP at one position.

    `numbers`, their `activations`, what each added to the logit, `logits`, all [K]; and the vectors
    [K, M] that they answered with. `expert` is whose they are; `weight` what it counts.
    """

    expert: int | str | None
    numbers: Tensor
    activations: Tensor
    logits: Tensor
    vectors: Tensor


def recall(
    block: Block, fed: Tensor, direction: Tensor, most: int
) -> tuple[list[Recalled], list[Expert]]:
    """The neurons of a layer's MLP that did most, and its experts, at one position.

    The MLP was given `fed` [M], and `direction` [M] measures what it answered.
    """
    feed, x = block.feed, fed[None]
    if isinstance(feed, Mlp):
        return [_neurons(feed, x, direction, 1.0, None, most)], []
    recalled, experts = list[Recalled](), list[Expert]()
    for number, mlp, weight in _chosen(feed, x):
        name = "shared" if number is None else number
        recalled.append(_neurons(mlp, x, direction, weight, name, most))
        logit = weight * float(mlp(x)[0].double() @ direction)
        experts.append(Expert(number, weight, logit))
    return recalled, experts


def _chosen(feed: Experts, x: Tensor) -> Iterator[tuple[int | None, Mlp, float]]:
    """The experts that x [1, M] is sent to, with their weights, the heaviest first."""
    chosen, weights = feed.router(x, feed.spec.active)
    pairs = zip(to_host(weights[0]), to_host(chosen[0]), strict=True)
    for weight, number in sorted(pairs, reverse=True):
        yield number, feed.experts[number], weight
    if feed.shared is not None:
        gate = feed.shared_gate
        yield None, feed.shared, 1.0 if gate is None else float(F.sigmoid(gate(x)))


def _neurons(
    mlp: Mlp, x: Tensor, direction: Tensor, weight: float, expert: int | str | None, most: int
) -> Recalled:
    activations = mlp.neurons(x)[0].double() * weight  # [F]
    down = mlp.down.matrix.dense()  # [M, F]
    logits = activations * (direction.float() @ down.float()).double()
    best = logits.abs().topk(min(most, len(logits))).indices
    vectors = down[:, best].T.double() * activations[best, None]
    return Recalled(expert, best, activations[best], logits[best], vectors)
