"""SentencePiece's BPE: the pair that spells the piece of the best score is merged first.

After bpe_model.cc of sentencepiece.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from heapq import heapify, heappop, heappush

from .spm_model import MATCHED, Kind, Model


class Bpe:
    """Words to pieces, each piece as its id and its length in letters."""

    def __init__(self, model: Model) -> None:
        pieces = list(enumerate(model.pieces))
        self._ids = {piece.text: id for id, piece in pieces if piece.kind in MATCHED}
        self._scores = {id: piece.score for id, piece in pieces}
        self._unused = {id for id, piece in pieces if piece.kind == Kind.UNUSED}
        self._unknown = model.unk_id
        symbols = [piece.text for _, piece in pieces if piece.kind == Kind.USER_DEFINED]
        symbols.sort(key=len, reverse=True)
        self._symbols = re.compile("|".join(map(re.escape, symbols))) if symbols else None

    def segment(self, word: str) -> tuple[list[int], list[int]]:
        """The ids and lengths of a word's pieces; a letter without a piece is unknown."""
        symbols, frozen = self._letters(word)
        if len(symbols) == 1:
            return [self._ids.get(word, self._unknown)], [len(word)]
        merged: dict[str, tuple[str, str]] = {}
        self._merge(symbols, frozen, merged)
        ids: list[int] = []
        lengths: list[int] = []
        for symbol in filter(None, symbols):
            for piece in self._resegment(symbol, merged):
                ids.append(self._ids.get(piece, self._unknown))
                lengths.append(len(piece))
        return ids, lengths

    def _letters(self, word: str) -> tuple[list[str], set[int]]:
        """Single letters, and the user-defined symbols, which nothing merges with."""
        if self._symbols is None:
            return list(word), set()
        symbols: list[str] = []
        frozen: set[int] = set()
        place = 0
        for found in self._symbols.finditer(word):
            symbols.extend(word[place : found.start()])
            frozen.add(len(symbols))
            symbols.append(found[0])
            place = found.end()
        symbols.extend(word[place:])
        return symbols, frozen

    def _merge(
        self, symbols: list[str], frozen: set[int], merged: dict[str, tuple[str, str]]
    ) -> None:
        """Merge in place: what was merged into the symbol to its left becomes empty."""
        count = len(symbols)
        before, after = list(range(-1, count - 1)), [*range(1, count), -1]
        agenda: list[tuple[float, int, int, int]] = []
        ids, scores, unused = self._ids, self._scores, self._unused

        def pair(left: int, right: int) -> tuple[float, int, int, int] | None:
            if left in frozen or right in frozen:
                return None
            both = symbols[left] + symbols[right]
            id = ids.get(both)
            if id is None:
                return None
            if id in unused:
                merged[both] = symbols[left], symbols[right]
            return -scores[id], left, right, len(both)

        for left in range(count - 1):
            if (one := pair(left, left + 1)) is not None:
                agenda.append(one)
        heapify(agenda)
        while agenda:
            _, left, right, length = heappop(agenda)
            a, b = symbols[left], symbols[right]
            if not a or not b or len(a) + len(b) != length:
                continue
            symbols[left], symbols[right] = a + b, ""
            following = after[left] = after[right]
            if following >= 0:
                before[following] = left
                if (one := pair(left, following)) is not None:
                    heappush(agenda, one)
            if before[left] >= 0 and (one := pair(before[left], left)) is not None:
                heappush(agenda, one)

    def _resegment(self, piece: str, merged: dict[str, tuple[str, str]]) -> Sequence[str]:
        """A piece that may not be used, as the pieces it was merged from."""
        if self._ids.get(piece) not in self._unused:
            return (piece,)
        parts: list[str] = []
        waiting = [piece]
        while waiting:
            one = waiting.pop()
            if self._ids.get(one) in self._unused and one in merged:
                left, right = merged[one]
                waiting += [right, left]
            else:
                parts.append(one)
        return parts
