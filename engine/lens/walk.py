"""A layer taken apart at a few positions: what it adds to the residual stream, in which order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from torch import Tensor

from ..model.block import Block
from ..model.norm import Norm
from .frozen import Frozen

Place = Literal["attention", "mlp"]


@dataclass(frozen=True)
class Added:
    """What one part of a layer added: `term` [n, M], in float64.

    `norm` and `scale` are what the part's own answer went through before it was added, `fed`
    [n, M] is what the part was given.
    """

    place: Place
    term: Tensor
    fed: Tensor
    norm: Frozen | None
    scale: float

    def back(self, direction: Tensor) -> Tensor:
        """A direction of the stream [n, M] -> the one that measures the part's own answer."""
        direction = direction * self.scale
        return direction if self.norm is None else self.norm.back(direction)

    def carried(self, answers: Tensor, row: int) -> Tensor:
        """Pieces [K, M] of the part's answer at a row -> what was added of each."""
        return (answers if self.norm is None else self.norm.row(row)(answers)) * self.scale


Turn: TypeAlias = Added | Frozen
"""What happens to the stream next: something is added, or all of it is normalized."""


def walk(block: Block, x: Tensor, mixed: Tensor) -> list[Turn]:
    """What a layer does to its input x [n, M], whose attention mixed values [n, H * D].

    It says in which order what `Block` computes at once; a test holds them together.
    """
    wiring, turns = block.spec.wiring, list[Turn]()
    if wiring == "after":
        attended = _added(block, "attention", x, mixed, None)
        turns.append(attended)
        x = _through(block.mixer_post_norm, x + attended.term.to(x.dtype), turns)
        recalled = _added(block, "mlp", x, x, None)
        turns.append(recalled)
        _through(block.feed_post_norm, x + recalled.term.to(x.dtype), turns)
        return turns
    fed = x if block.mixer_norm is None else block.mixer_norm(x)
    if block.spec.carry_normed:
        _through(block.mixer_norm, x, turns)
    attended = _added(block, "attention", fed, mixed, block.mixer_post_norm)
    turns.append(attended)
    if wiring in ("parallel", "twin"):
        fed = fed if block.feed_norm is None else block.feed_norm(x)
    else:
        x = (fed if block.spec.carry_normed else x) + attended.term.to(x.dtype)
        fed = x if block.feed_norm is None else block.feed_norm(x)
        if block.spec.carry_normed:
            _through(block.feed_norm, x, turns)
    turns.append(_added(block, "mlp", fed, fed, block.feed_post_norm))
    return turns


def _added(block: Block, place: Place, fed: Tensor, x: Tensor, norm: Norm | None) -> Added:
    answer = block.mixer.out(x) if place == "attention" else block.feed(x)
    frozen = None if norm is None else Frozen.at(norm, answer)
    term = answer if norm is None else norm(answer)
    scale = 1.0 if block.spec.wiring == "after" else block.spec.residual_scale
    return Added(place, (term * scale).double(), fed, frozen, scale)


def _through(norm: Norm | None, x: Tensor, turns: list[Turn]) -> Tensor:
    """x behind a norm that the stream itself goes through, which is a turn of its own."""
    if norm is None:
        return x
    turns.append(Frozen.at(norm, x))
    return norm(x)
