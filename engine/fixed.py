"""Steps of one shape: what a token's numbers are never depends on what runs beside it.

A product's kernels are chosen by its shape, and each sums in an order of its own. So every step is
cut into tiles of the same number of tokens, each of which attends by itself to one block of its
text after the other; a tile that isn't full is filled up. All that is left is a token's place in
its tile, and `place_matters` looks whether that makes a difference on this machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from .cache.layout import KVCache
from .cache.paged import NOBODY, Plan
from .device import to_host
from .model.decoder import Decoder
from .model.experts import Experts
from .model.mlp import Mlp
from .step import Piece, Segment, Step

TILES = (32, 8, 1)
"""Tokens of a step, the first number that this machine computes alike in all places."""

GIVEN = 8
"""Tokens that an expert is given at a time."""

READ = 32
"""Blocks of a cache that are read at a time."""

TRIED = (1, 13)
"""How many places all tokens are moved by, to see whether that makes a difference."""


class Tiled:
    """A decoder that runs every step in tiles of `tile` tokens; it needs a cache of blocks."""

    def __init__(self, decoder: Decoder, tile: int, context: int) -> None:
        self.spec, self.dtype, self.device = decoder.spec, decoder.dtype, decoder.device
        self.tile = tile
        self._decoder = _evened(decoder)
        for rotary in decoder.rotaries.values():
            rotary.reach(context, self.dtype)  # a table that grew would be computed in other pieces

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


def find_tiled(decoder: Decoder, context: int) -> Tiled:
    """`decoder` in the largest tiles in which a token's place makes no difference here."""
    for tile in TILES[:-1]:
        tiled = Tiled(decoder, tile, context)
        if not place_matters(tiled):
            return tiled
    return Tiled(decoder, TILES[-1], context)


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
    even = copy(decoder)
    even.blocks = tuple(copy(block) for block in decoder.blocks)
    for block in even.blocks:
        if isinstance(block.feed, Experts):
            block.feed = copy(block.feed)
            block.feed.experts = tuple(map(EvenMlp, block.feed.experts))
    return even
