"""A trigram model over the same tokens: what counting alone reaches on these texts.

Interpolated Kneser-Ney smoothing (Kneser and Ney 1995; Chen and Goodman 1998), with one discount
for each order, estimated from how many n-grams were seen once and twice.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.int64]
Floats = NDArray[np.float64]


class _Order:
    """Counts of one order, looked up by integer keys `context * vocab + token`."""

    def __init__(self, keys: Array, counts: Array, vocab: int) -> None:
        self.vocab = vocab
        self.keys, self.counts = keys, counts
        once, twice = int((counts == 1).sum()), int((counts == 2).sum())
        self.discount = once / max(1, once + 2 * twice)
        self.contexts, first = np.unique(keys // vocab, return_index=True)
        self.totals = np.add.reduceat(counts, first)
        self.kinds = np.diff(np.append(first, len(keys)))

    def blend(self, contexts: Array, tokens: Array, lower: Floats) -> Floats:
        """P(token | context), the lower order's guess `lower` filling what was discounted."""
        count = _look_up(self.keys, self.counts, contexts * self.vocab + tokens)
        total = _look_up(self.contexts, self.totals, contexts)
        kinds = _look_up(self.contexts, self.kinds, contexts)
        known = np.maximum(total, 1)
        blended = (np.maximum(count - self.discount, 0) + self.discount * kinds * lower) / known
        return np.where(total > 0, blended, lower)


class Trigram:
    """P(token | the two before), learned from one long array of ids."""

    def __init__(self, ids: Array, vocab: int) -> None:
        """Counts ids [N] of a vocabulary of `vocab`."""
        self.vocab = vocab
        triples = (ids[:-2] * vocab + ids[1:-1]) * vocab + ids[2:]
        keys, counts = np.unique(triples, return_counts=True)
        self.three = _Order(keys, counts, vocab)
        # Lower orders count in how many contexts an n-gram was seen, not how often.
        keys, counts = np.unique(keys % vocab**2, return_counts=True)
        self.two = _Order(keys, counts, vocab)
        keys, counts = np.unique(keys % vocab, return_counts=True)
        self.one = _Order(keys, counts, vocab)

    def bits(self, ids: Array) -> float:
        """Bits for ids[1:], each predicted from those before it."""
        padded = np.concatenate([ids[:1], ids])
        before, last, token = padded[:-2], padded[1:-1], padded[2:]
        chance = np.full(len(token), 1.0 / self.vocab)
        chance = self.one.blend(np.zeros_like(token), token, chance)
        chance = self.two.blend(last, token, chance)
        chance = self.three.blend(before * self.vocab + last, token, chance)
        return float(-np.log2(chance).sum())


def _look_up(keys: Array, values: Array, wanted: Array) -> Array:
    """values[where keys == wanted], and 0 where there is none; `keys` are sorted."""
    place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[place] == wanted, values[place], 0)
