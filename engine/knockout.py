"""What can be knocked out of a model, part by part, by the numbers that people give. No torch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Literal, TypeAlias

from .. import UsageError
from .spec import ExpertsSpec, ModelSpec

PartKind = Literal["layer", "attention", "mlp", "head", "expert", "neuron"]
"""A layer is its attention and its MLP."""
Expert: TypeAlias = "int | Literal['shared']"
"""An expert's number, or the one that every token passes."""
Pick: TypeAlias = "range | Literal['*', 'shared']"
"""Some of what is numbered from 0; `*`: all of it."""


@dataclass(frozen=True, slots=True)
class Part:
    """One part; `number` is a head's or a neuron's, `expert` whose the neuron is in a mixture.

    >>> str(Part("head", 5, 1)), str(Part("neuron", 3, 17, expert="shared"))
    ('head:5.1', 'neuron:3.shared.17')
    """

    kind: PartKind
    layer: int
    number: int | None = None
    expert: Expert | None = None

    def __str__(self) -> str:
        """As the command line has it."""
        numbers = (self.layer, self.expert, self.number)
        return f"{self.kind}:{'.'.join(str(one) for one in numbers if one is not None)}"


def find_parts(kind: PartKind, picks: Sequence[Pick], spec: ModelSpec) -> list[Part]:
    """The parts of a model that are meant: `picks` of layers, then of what is within a layer.

    Heads and experts have one number within theirs; neurons have one, or in a mixture that of the
    expert and their own. All layers are those that have such parts. Raises `UsageError` for what
    the model doesn't have.
    """
    layers = _picked(picks[0], len(spec.layers), "layer", "the model")
    if kind in ("expert", "neuron"):
        mixture = kind == "expert" or len(picks) == 3
        fitting = [n for n in layers if isinstance(spec.layers[n].feed, ExpertsSpec) == mixture]
        if not fitting and mixture and picks[0] == "*":
            raise UsageError("the model has no experts")
        if not fitting or (picks[0] != "*" and len(fitting) < len(layers)):
            raise _unlike(next(n for n in layers if n not in fitting), mixture)
        return [part for n in fitting for part in _within_feed(kind, n, picks[1:], spec)]
    if kind == "head":
        counts = {layer: spec.layers[layer].mixer.heads for layer in layers}
        return [
            Part("head", layer, number)
            for layer, count in counts.items()
            for number in _picked(picks[1], count, "head", f"layer {layer}")
        ]
    return [Part(kind, layer) for layer in layers]


def digest(parts: Iterable[Part], unseen: Iterable[range], before: str = "") -> str:
    """What tells a model that lacks something from one that lacks anything else.

    `before` is the digest of what was gone already, and stays what it is where nothing more is.
    """
    places = {str(place) for stretch in unseen for place in stretch}
    named = " ".join(sorted({str(part) for part in parts} | places))
    return blake2b(f"{before} {named}".encode(), digest_size=16).hexdigest() if named else before


def every(kind: PartKind, spec: ModelSpec) -> list[Part]:
    """All parts of a kind, but for neurons those outside mixtures."""
    return find_parts(kind, ("*",) if kind in ("layer", "attention", "mlp") else ("*", "*"), spec)


def _within_feed(
    kind: PartKind, layer: int, picks: Sequence[Pick], spec: ModelSpec
) -> Iterator[Part]:
    """Experts, or neurons, of a layer."""
    feed = spec.layers[layer].feed
    if not isinstance(feed, ExpertsSpec):
        for number in _picked(picks[0], feed.width, "neuron", f"layer {layer}"):
            yield Part("neuron", layer, number)
        return
    for expert in _experts(picks[0], feed, layer):
        if kind == "expert":
            yield Part("expert", layer, expert=expert)
            continue
        width = _width(feed, expert)
        for number in _picked(picks[1], width, "neuron", f"expert {expert} of layer {layer}"):
            yield Part("neuron", layer, number, expert)


def _experts(pick: Pick, feed: ExpertsSpec, layer: int) -> list[Expert]:
    if pick == "shared":
        if feed.shared is None:
            raise UsageError(f"layer {layer} has no shared expert")
        return ["shared"]
    found: list[Expert] = [*_picked(pick, feed.count, "expert", f"layer {layer}")]
    return [*found, "shared"] if pick == "*" and feed.shared is not None else found


def _width(feed: ExpertsSpec, expert: Expert) -> int:
    return feed.shared.width if expert == "shared" and feed.shared else feed.expert.width


def _picked(pick: Pick, count: int, what: str, whose: str) -> range:
    """The numbers that are meant, of `count`. Raises `UsageError` where one isn't there."""
    if pick == "*":
        return range(count)
    if pick == "shared":
        raise UsageError(f"`shared` is an expert, not a {what}")
    if pick.stop > count:
        missing = max(count, pick.start)
        raise UsageError(f"no {what} {missing}: {whose} has {count}, numbered 0 to {count - 1}")
    return pick


def _unlike(layer: int, mixture: bool) -> UsageError:
    if mixture:
        return UsageError(f"layer {layer} has no experts")
    return UsageError(
        f"layer {layer} is a mixture of experts, whose neurons are numbered one by one",
        hint=f"neuron:{layer}.EXPERT.NEURON",
    )
