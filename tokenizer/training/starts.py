"""What merging starts from: bytes, characters, or the tokens of a tokenizer that is there already.

A `Start` says which symbols words are made of at first, and which ids are taken.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ..pieces import gpt2_alphabet
from .symbols import BORDER, Text

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]


@dataclass
class Vocabulary:
    """How each id is spelled in the vocabulary's own letters, and back.

    `prefix` is what a symbol inside a word begins with and loses when it is joined to the one
    before (continuing_subword_prefix, "##" in WordPiece's fashion).
    """

    ids: dict[str, int]
    prefix: str = ""
    spellings: dict[int, str] = field(default_factory=dict[int, str])
    next_id: int = 0

    def __post_init__(self) -> None:
        """Turn the look-up round, and find the lowest id above all that are taken."""
        self.spellings = {number: spelled for spelled, number in self.ids.items()}
        self.next_id = max(self.spellings, default=-1) + 1

    def add(self, spelled: str) -> int:
        """The id of `spelled`, a new one if it has none."""
        if (number := self.ids.get(spelled)) is None:
            number = self.ids[spelled] = self.next_id
            self.spellings[number] = spelled
            self.next_id += 1
        return number

    def span(self, spelled: str) -> int:
        """How many slots a symbol takes: its letters without the prefix, for they add up."""
        return len(spelled.removeprefix(self.prefix)) or 1

    def joined(self, left: int, right: int) -> str:
        """What two symbols spell together."""
        return self.spellings[left] + self.spellings[right].removeprefix(self.prefix)


class Start(Protocol):
    """Where merging starts from."""

    def first_symbols(self, words: list[bytes]) -> tuple[Array, Array, Array]:
        """Of all the words' symbols: ids, BORDER for none; slots; and symbols a word."""
        ...

    def settle(self, text: Text) -> Vocabulary:
        """Once all words are laid out: give the symbols their ids, if they still lack them."""
        ...


class ByteStart:
    """Every byte is a symbol, spelled with GPT-2's letter for it; ids go by these letters."""

    def __init__(self, taken: Mapping[str, int]) -> None:
        """Start from the ids `taken`; the bytes get the next ones."""
        self._vocabulary = Vocabulary(dict(taken))
        self._ids = np.zeros(256, np.int32)
        for letter, byte in sorted(gpt2_alphabet().items()):
            self._ids[byte] = self._vocabulary.add(letter)

    def first_symbols(self, words: list[bytes]) -> tuple[Array, Array, Array]:
        """Of all the words' symbols: ids, slots (one each), and symbols a word."""
        ids = self._ids[np.frombuffer(b"".join(words), np.uint8)]
        return ids, np.ones(len(ids), np.int64), np.array([len(word) for word in words], np.int64)

    def settle(self, text: Text) -> Vocabulary:
        """The vocabulary of bytes."""
        return self._vocabulary


class CharacterStart:
    """Every character is a symbol; the rarest are none where there are more than `limit`.

    `initial` always are symbols. Ids go by code point, after those `taken`. Among characters that
    are equally rare, the higher code points go first.
    """

    def __init__(self, taken: Mapping[str, int], limit: int | None, initial: str = "") -> None:
        """Start from the ids `taken`."""
        self._taken = taken
        self._limit = limit
        self._initial = initial

    def first_symbols(self, words: list[bytes]) -> tuple[Array, Array, Array]:
        """Of all the words' symbols: code points for now, slots (one each), and symbols a word."""
        texts = [word.decode() for word in words]
        points = np.frombuffer("".join(texts).encode("utf-32-le"), np.uint32).astype(np.int32)
        sizes = np.array([len(text) for text in texts], np.int64)
        return points, np.ones(len(points), np.int64), sizes

    def settle(self, text: Text) -> Vocabulary:
        """Choose the alphabet, and give its characters their ids."""
        totals = np.zeros(0x110000, np.float64)
        for start, stop in text.blocks:
            places = text.starts(start, stop)
            found = text.slots[places]
            totals += np.bincount(found, text.weights[places], len(totals))
        vocabulary = Vocabulary(dict(self._taken))
        ids = np.full(len(totals), BORDER, np.int32)
        for point in self._alphabet(totals):
            ids[point] = vocabulary.add(chr(point))
        text.renamed(ids)
        return vocabulary

    def _alphabet(self, totals: Array) -> list[int]:
        totals[[ord(letter) for letter in self._initial]] = np.inf
        found = np.flatnonzero(totals)
        if self._limit is not None and len(found) > self._limit:
            best = np.lexsort((found, -totals[found]))[: self._limit]
            found = found[best]
        return sorted(found.tolist())


class TokenizerStart:
    """The tokens into which a tokenizer cuts each word; its ids stay, and new ones follow them."""

    def __init__(
        self,
        encode: Callable[[list[bytes]], list[list[int]]],
        taken: Mapping[str, int],
        prefix: str = "",
        unknown: Sequence[int] = (),
    ) -> None:
        """Words go through `encode`; ids that are `unknown` or not `taken` are no symbols."""
        self._encode = encode
        self._vocabulary = Vocabulary(dict(taken), prefix)
        size = self._vocabulary.next_id
        self._ids = np.full(size, BORDER, np.int32)
        self._spans = np.ones(size, np.int64)
        for spelled, number in taken.items():
            self._ids[number] = number
            self._spans[number] = self._vocabulary.span(spelled)
        self._ids[list(unknown)] = BORDER

    def first_symbols(self, words: list[bytes]) -> tuple[Array, Array, Array]:
        """Of all the words' symbols: ids, slots, and symbols a word."""
        encoded = self._encode(words)
        sizes = np.array([len(ids) for ids in encoded], np.int64)
        flat = np.fromiter((one for ids in encoded for one in ids), np.int64, int(sizes.sum()))
        return self._ids[flat], np.where(self._ids[flat] < 0, 1, self._spans[flat]), sizes

    def settle(self, text: Text) -> Vocabulary:
        """The tokenizer's own vocabulary."""
        return self._vocabulary
