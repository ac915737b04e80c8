"""SentencePiece's unigram model: the pieces whose scores add up to the most.

After unigram_model.cc of sentencepiece, EncodeOptimized. It adds in 32-bit floats from the text's
beginning, and where two ways come out (nearly) the same, as in `aaaa`, rounding decides. So we do
the same, but only where it matters.
"""

from __future__ import annotations

from array import array
from typing import NamedTuple

from .spm_model import MATCHED, Kind, Model

_UNKNOWN_PENALTY = 10.0
_FLT_MAX = 3.4028234663852886e38
_RESET = 100000.0
"""A sum beyond which SentencePiece begins anew from 0."""
_ROUNDING = 2.0**-23
"""Twice the share of a sum by which one addition of 32-bit floats can be off."""


class Found(NamedTuple):
    """A word's pieces, wherever it stands."""

    ids: list[int]
    lengths: list[int]
    scores: list[float]
    margin: float
    """By how much each of the decisions was taken, at least."""
    reach: float
    """The largest sum that came up."""


class Unigram:
    """Words to pieces, each piece as its id and its length in letters."""

    def __init__(self, model: Model) -> None:
        normal = [piece.score for piece in model.pieces if piece.kind == Kind.NORMAL]
        lowest = min(normal, default=_FLT_MAX)
        self._round = array("f", [0.0])
        self._unknown_score = self._rounded(lowest - _UNKNOWN_PENALTY)
        self._unknown = model.unk_id
        self._pieces: dict[str, tuple[int, float]] = {}
        lengths: dict[str, set[int]] = {}
        for id, piece in enumerate(model.pieces):
            if piece.kind not in MATCHED or piece.kind == Kind.UNUSED:
                continue
            score = piece.score
            if piece.kind == Kind.USER_DEFINED:
                # Chosen nearly always: all else costs.
                score = self._rounded(0.1 * (len(piece.text.encode()) - 1))
            self._pieces[piece.text] = id, score
            lengths.setdefault(piece.text[:2], set()).add(len(piece.text))
        self._lengths = {head: tuple(sorted(found)) for head, found in lengths.items()}

    def _rounded(self, value: float) -> float:
        self._round[0] = value
        return self._round[0]

    def sure(self, found: Found, start: float) -> bool:
        """Whether rounding can't change `found` for a word behind others of the sum `start`."""
        steps, most = sum(found.lengths) + 1, abs(start) + found.reach
        return most < _RESET - 1.0 and found.margin > 2 * steps * _ROUNDING * most

    @staticmethod
    def begin(sum: float) -> float:
        """What a word's sums go on from, behind others of a sum."""
        return 0.0 if abs(sum) > _RESET else sum

    def add(self, start: float, scores: list[float]) -> float:
        """The sum behind pieces with these scores, as 32-bit floats add up."""
        rounded = self._round
        for score in scores:
            rounded[0] = start + score
            start = rounded[0]
        return start

    def find(self, word: str) -> Found:
        """A word's best pieces, and how far they are from the second best."""
        size = len(word)
        best = [0.0] + [-_FLT_MAX] * size
        second = [-_FLT_MAX] * (size + 1)
        came = [-1] * (size + 1)
        id_at = [self._unknown] * (size + 1)
        for start in range(size):
            here = best[start]
            for end, id, score in self._ways(word, start):
                sum = here + score
                if came[end] < 0 or sum > best[end]:
                    second[end] = best[end] if came[end] >= 0 else -_FLT_MAX
                    best[end], came[end], id_at[end] = sum, start, id
                elif sum > second[end]:
                    second[end] = sum
        ids, lengths = _trace(came, id_at)
        margin, end = _FLT_MAX, size
        while end > 0:
            margin = min(margin, best[end] - second[end])
            end = came[end]
        scores: list[float] = []
        place = 0
        for id, length in zip(ids, lengths, strict=True):
            piece = word[place : place + length]
            scores.append(self._unknown_score if id == self._unknown else self._pieces[piece][1])
            place += length
        return Found(ids, lengths, scores, margin, max(map(abs, best)))

    def find_exactly(self, word: str, start_sum: float) -> tuple[list[int], list[int], float]:
        """Pieces of a word behind others of a sum, as 32-bit floats decide; and the new sum."""
        size = len(word)
        best = array("f", [0.0]) * (size + 1)
        best[0] = start_sum
        came = array("q", [-1]) * (size + 1)
        id_at = array("i", [self._unknown]) * (size + 1)
        rounded, reached = self._round, 0
        for start in range(size):
            here = best[start]
            if abs(here) > _RESET:
                for place in range(start, reached + 1):
                    if place == start or came[place] >= 0:
                        best[place] -= here
                here = 0.0
            for end, id, score in self._ways(word, start):
                reached = max(reached, end)
                rounded[0] = here + score
                sum = rounded[0]
                if came[end] < 0 or sum > best[end]:
                    best[end], came[end], id_at[end] = sum, start, id
        ids, lengths = _trace(came, id_at)
        return ids, lengths, best[size]

    def _ways(self, word: str, start: int) -> list[tuple[int, int, float]]:
        """What may stand at a place: where it ends, its id and score. The shortest first."""
        pieces = self._pieces
        found: list[tuple[int, int, float]] = []
        one = pieces.get(word[start])
        if one is not None:
            found.append((start + 1, *one))
        size = len(word)
        for length in self._lengths.get(word[start : start + 2], ()):
            if length > 1 and start + length <= size:
                piece = pieces.get(word[start : start + length])
                if piece is not None:
                    found.append((start + length, *piece))
        if one is None:
            found.append((start + 1, self._unknown, self._unknown_score))
        return found


def _trace(
    came: list[int] | array[int], id_at: list[int] | array[int]
) -> tuple[list[int], list[int]]:
    ids: list[int] = []
    lengths: list[int] = []
    end = len(came) - 1
    while end > 0:
        ids.append(id_at[end])
        lengths.append(end - came[end])
        end = came[end]
    return ids[::-1], lengths[::-1]
