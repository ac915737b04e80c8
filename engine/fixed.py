"""What a token's numbers are never depends on what runs beside it, down to the last bit.

In a cache of blocks each token attends alike in any company. What is left are the products, whose
kernels are chosen by their shape, and each may sum in an order of its own; and functions of single
numbers, some of which compute the last few of a tensor, or of a thread's part, in another way. Most
products compute a row in the same order whatever the number of rows: `Whole` runs steps as they are
where this machine is found to do so, and a model has functions that don't mind. Else `Tiled` cuts
every step into tiles of the same number of tokens, each of which attends by itself, and fills up a
tile that isn't full. All that is left is a token's place in its tile, and `place_matters` looks
whether that makes a difference.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from copy import copy

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from .cache.layout import KVCache
from .cache.paged import NOBODY, Plan
from .device import to_host
from .model.decoder import Decoder
from .model.experts import Experts
from .model.mlp import Mlp, relu2
from .spec import (
    Activation,
    AttentionSpec,
    LayerSpec,
    MlpSpec,
    ModelSpec,
)
from .step import Piece, Segment, Step

LEAST = (1, 32)
"""Tokens that a step is filled up to, the first number from which this machine computes a token
alike in steps of any size."""

SIZES = (1, 2, 5, 16, 33, 100, 333)
"""Steps that are tried for that, against one of `LARGEST` tokens."""

LARGEST = 512

FEW = 16
"""Tokens up to which steps are tried at this many places of the largest."""

ASKED = 200
"""Tokens whose logits are asked for in these."""

TILES = (32, 8, 1)
"""Tokens of a tile, the first number that this machine computes alike in all places."""

GIVEN = 8
"""Tokens that an expert is given at a time."""

READ = 32
"""Blocks of a cache that are read at a time."""

TRIED = (1, 13)
"""How many places all tokens are moved by, to see whether that makes a difference."""


class Whole:
    """A decoder whose steps have `least` tokens at least; it needs a cache of blocks."""

    def __init__(self, decoder: Decoder, least: int) -> None:
        self.spec, self.dtype, self.device = decoder.spec, decoder.dtype, decoder.device
        self.least = least
        self._decoder = _with_even_functions(decoder)

    def __call__(self, step: Step, cache: KVCache) -> Tensor:
        """See `Runner`."""
        return self.logits(self.hidden_wanted(step, cache))

    def logits(self, hidden: Tensor) -> Tensor:
        """Logits of some tokens' residual streams [O, M]: float32 [O, V]."""
        more = max(0, self.least - len(hidden)) if len(hidden) else 0
        with torch.inference_mode():
            return self._decoder.logits(F.pad(hidden, (0, 0, 0, more)))[: len(hidden)]

    def hidden_wanted(self, step: Step, cache: KVCache) -> Tensor:
        """The residual stream after the last layer, of the wanted tokens, [O, M]."""
        count = len(step.extents) if step.wanted is None else len(step.wanted)
        more = max(self.least - len(step.extents), self.least - count if count else 0)
        with torch.inference_mode():
            if more <= 0:
                return self._decoder.hidden_wanted(step, cache)
            return self._decoder.hidden_wanted(_filled(step, more), cache)[:count]


def _filled(step: Step, more: int) -> Step:
    """The same with so many tokens more that nobody asked for, wanted if any are."""
    ids, positions = (F.pad(x, (0, more)) for x in (step.ids, step.positions))
    count = len(step.extents)
    nobodys = Segment(count, -1, 1, (1,) * more, (NOBODY,) * more)
    wanted, answered = step.wanted, step.answered
    if wanted is not None and len(wanted):
        own = torch.arange(count, count + more, device=wanted.device)
        wanted = torch.cat((wanted, own))
    extents, segments = (*step.extents, *[1] * more), (*step.segments, nobodys)
    answered = None if answered is None else _filled(answered, more)
    return Step(ids, positions, extents, segments, wanted, answered)


class Tiled:
    """A decoder that runs every step in tiles of `tile` tokens; it needs a cache of blocks."""

    def __init__(self, decoder: Decoder, tile: int) -> None:
        self.spec, self.dtype, self.device = decoder.spec, decoder.dtype, decoder.device
        self.tile = tile
        self._decoder = _evened(decoder)

    def __call__(self, step: Step, cache: KVCache) -> Tensor:
        """See `Runner`."""
        logits: list[Tensor] = []
        count = len(step.extents)
        wanted: Sequence[int] = range(count) if step.wanted is None else to_host(step.wanted)
        rows = [row for one in step.segments for row in one.members for _ in range(one.width)]
        for begin in range(0, len(rows), self.tile):
            some = slice(begin, begin + self.tile)
            places = [place - begin for place in wanted if begin <= place < begin + self.tile]
            logits.append(self._run(step, rows[some], some, places, cache))
        return torch.cat(logits)

    def _run(
        self, step: Step, rows: list[int], some: slice, places: list[int], cache: KVCache
    ) -> Tensor:
        """The logits at some places of one tile."""
        more = self.tile - len(rows)
        ids, positions = (F.pad(x[some], (0, more)) for x in (step.ids, step.positions))
        lengths = tuple(place + 1 for place in to_host(positions))
        segment = Segment(0, -1, 1, lengths, (*rows, *[NOBODY] * more))
        extents = (*step.extents[some], *[1] * more)
        # Logits are wanted of all or of none: their product has one shape, too.
        asked = torch.empty(0, dtype=torch.int64, device=self.device) if not places else None
        tile = Step(ids, positions, extents, (segment,), asked)
        logits = self._decoder(tile, cache)
        return logits if asked is not None else logits[places]


class EvenMlp(Mlp):
    """An expert that always works on as many tokens."""

    def __init__(self, whole: Mlp) -> None:
        self.__dict__.update(whole.__dict__)

    def __call__(self, x: Tensor) -> Tensor:
        """[T, M] -> [T, M]."""
        parts = torch.split(F.pad(x, (0, 0, 0, -len(x) % GIVEN)), GIVEN)
        return torch.cat([super(EvenMlp, self).__call__(part) for part in parts])[: len(x)]


def find_exact(decoder: Decoder) -> Whole | Tiled:
    """`decoder` as it computes a token alike in any company, the fastest way that does here."""
    return find_whole(decoder) or find_tiled(decoder)


def find_whole(decoder: Decoder) -> Whole | None:
    """`decoder` in steps as they are, if a token is computed alike in any here."""
    if not _minds_nothing(decoder.spec):
        return None
    sample = _sample_of(decoder)
    for least in LEAST:
        if not size_matters(Whole(sample, least)):
            return Whole(decoder, least)
    return None


def size_matters(whole: Whole) -> bool:
    """Whether any numbers change with the size of a step, tried out on random tokens.

    It goes by the bits: -0 isn't 0.
    """
    hidden, logits = _in_a_step(whole, 0, LARGEST)
    for size in SIZES:
        places = range(0, LARGEST, LARGEST // FEW) if size <= FEW else (0, LARGEST - size)
        for begin in places:
            got, ends = _in_a_step(whole, begin, size)
            if not torch.equal(got, hidden[begin : begin + size]):
                return True
            if not begin and not torch.equal(ends, logits[: len(ends)]):
                return True
    return False


def _in_a_step(whole: Whole, begin: int, size: int) -> tuple[Tensor, Tensor]:
    """As bits what becomes of the second token of random texts [size, M], and some logits of it.

    These are some of `LARGEST` texts, from `begin` on.
    """
    random = torch.Generator().manual_seed(LARGEST)
    texts = torch.randint(whole.spec.vocab, (2, LARGEST), generator=random)[:, begin : begin + size]
    cache = Plan(size).make(whole.spec, whole.dtype, whole.device)
    hidden = torch.empty(0)
    for place, ids in enumerate(texts):
        pieces = [Piece(row, place, [id], 0) for row, id in enumerate(to_host(ids))]
        for row in range(size):
            cache.reserve(row, place + 1, place)
        step = Step.of(pieces, whole.device, cache.block)
        hidden = whole.hidden_wanted(step, cache)
    logits = whole.logits(hidden[:ASKED])
    kind = torch.int32 if hidden.dtype == torch.float32 else torch.int16
    return hidden.view(kind), logits.view(torch.int32)


def _silu(x: Tensor) -> Tensor:
    """x * sigmoid(x)."""
    wide = x.float()
    below = wide.neg().exp_().add_(1)
    return torch.div(wide, below, out=below).to(x.dtype)


def _gelu_tanh(x: Tensor) -> Tensor:
    """GELU by a tangent."""
    wide = x.float()
    inner = (wide + wide.pow(3) * 0.044715) * math.sqrt(2 / math.pi)
    return (inner.tanh_().add_(1) * wide * 0.5).to(x.dtype)


EVEN: dict[Activation, Callable[[Tensor], Tensor]] = {
    "silu": _silu,
    "gelu": F.gelu,
    "gelu_tanh": _gelu_tanh,
    "relu": F.relu,
    "relu2": relu2,
    "linear": lambda x: x,
}
"""Activations of which no number depends on how many there are. Of torch's own silu and sigmoid,
the last ones of a tensor do; of its exp and tanh none did, tried on sizes up to 4 million."""


def _minds_nothing(spec: ModelSpec) -> bool:
    """Whether all but a model's products is computed alike in steps of any size.

    Experts are given few tokens or many; sinks and routers have sigmoids; where ropes stretch,
    a token's turn is computed with those of others.
    """
    return not spec.stretches() and all(
        isinstance(layer.feed, MlpSpec)
        and layer.feed.activation in EVEN
        and layer.feed.clamp is None
        and not (isinstance(layer.mixer, AttentionSpec) and layer.mixer.sinks)
        for layer in spec.layers
    )


def _with_even_functions(decoder: Decoder) -> Decoder:
    """The same decoder, with activations of `EVEN`."""
    even = _with_own_feeds(decoder)
    for block in even.blocks:
        if isinstance(block.feed, Mlp):
            block.feed.act = EVEN.get(block.feed.spec.activation, block.feed.act)
    return even


def _sample_of(decoder: Decoder) -> Decoder:
    """The same with one layer of each kind, which has all products that there are."""
    kinds: dict[LayerSpec, int] = {}
    for number, layer in enumerate(decoder.spec.layers):
        kinds.setdefault(layer, number)
    sample = copy(decoder)
    sample.blocks = tuple(decoder.blocks[number] for number in kinds.values())
    return sample


def find_tiled(decoder: Decoder) -> Tiled:
    """`decoder` in the largest tiles in which a token's place makes no difference here."""
    for tile in TILES[:-1]:
        tiled = Tiled(decoder, tile)
        if not place_matters(tiled):
            return tiled
    return Tiled(decoder, TILES[-1])


def place_matters(tiled: Tiled) -> bool:
    """Whether any logits change with a token's place among others, tried out on random ones.

    It goes by the bits: -0 isn't 0.
    """
    wanted = _tried(tiled, 0)
    return not all(torch.equal(wanted, _tried(tiled, moved)) for moved in TRIED)


def _tried(tiled: Tiled, moved: int) -> Tensor:
    """Logits of a tile of random texts, each `moved` by some places, as bits, [tile, V]."""
    tile = tiled.tile
    texts = torch.randint(
        tiled.spec.vocab, (tile, 2), generator=torch.Generator().manual_seed(tile)
    )
    order = [(place + moved) % tile for place in range(tile)]
    plan = Plan(tile, READ)
    cache = plan.make(tiled.spec, tiled.dtype, tiled.device)
    for row in range(tile):
        cache.reserve(row, texts.shape[1])
    logits = torch.empty(0)
    for place, ids in enumerate(texts.T):
        pieces = [Piece(row, place, to_host(ids[row : row + 1]), place + 1) for row in order]
        logits = tiled(Step.of(pieces, tiled.device, cache.block), cache)
    return logits[torch.tensor(order).argsort()].view(torch.int32)


def _evened(decoder: Decoder) -> Decoder:
    """The same decoder, whose experts are given as many tokens each time."""
    even = _with_own_feeds(decoder)
    for block in even.blocks:
        if isinstance(block.feed, Experts):
            block.feed.experts = tuple(map(EvenMlp, block.feed.experts))
    return even


def _with_own_feeds(decoder: Decoder) -> Decoder:
    """The same decoder, whose feeds can be changed without the first one's."""
    own = copy(decoder)
    own.blocks = tuple(copy(block) for block in decoder.blocks)
    for block in own.blocks:
        block.feed = copy(block.feed)
    return own
