"""What all layers of one forward pass share."""

from __future__ import annotations

from torch import Tensor

from ..cache.layout import KeyValue, KVCache
from ..spec import AlibiSpec, Mixer, RopeSpec
from ..step import Segment, Step
from .attend import Sight, sight
from .rope import Turn


class Pass:
    """The step, the cache, and what needs computing only once.

    That is each rope's angles, and who sees whom for each kind of attention. After a layer's keys
    and values are cached, it goes on with the tokens of the step `onward`: all, or in the last
    layer those whose logits are wanted.
    """

    def __init__(self, step: Step, cache: KVCache, turns: dict[RopeSpec, Turn]) -> None:
        self.step = self.onward = step
        self.cache = cache
        self.turns = turns
        self._sights: dict[tuple[Segment | int, int | None, AlibiSpec | None], Sight] = {}

    def last(self) -> Pass:
        """The same for the last layer."""
        if self.step.answered is None:
            return self
        last = Pass(self.step, self.cache, self.turns)
        last.onward = self.step.answered
        return last

    def kept(self, x: Tensor) -> Tensor:
        """Of one row for each token of the step, [T, ...], those that go on."""
        return x if self.onward is self.step else x[self.step.wanted]

    def sight(self, spec: Mixer, segment: Segment, kv: KeyValue) -> Sight:
        """Who sees whom in a segment, computed by the first layer of its kind."""
        # Whoever is framed sees what all tokens of such a block do.
        which = segment if kv.frame is None else kv.k.shape[2]
        key = (which, spec.window, spec.alibi)
        if key not in self._sights:
            queries = self.onward.positions[segment.start : segment.stop]
            queries = queries.view(segment.rows, segment.width)
            self._sights[key] = sight(spec, segment, kv, queries)
        return self._sights[key]
