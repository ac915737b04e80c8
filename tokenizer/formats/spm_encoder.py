"""Text to ids as SentencePiece has them, special tokens and spans included."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from .built import Special
from .spm_bpe import Bpe
from .spm_model import MATCHED, SPACE, UNIGRAM, Kind, Model
from .spm_normalizer import Normalizer
from .spm_unigram import Found, Unigram

_LONG = 64
"""Letters from which on a word isn't kept: it will hardly come again."""
_KEPT = 1 << 16
"""Words that are kept with their pieces."""
_WORDS = re.compile(f"{SPACE}+[^{SPACE}]*|[^{SPACE}]+")


class Run(NamedTuple):
    """Ids that stand for a stretch of a text, and the lengths of their pieces in letters."""

    ids: list[int]
    lengths: list[int]


@dataclass(frozen=True)
class Layout:
    """What a checkpoint makes of a model's ids, and how its special tokens part a text."""

    specials: Sequence[Special] = ()
    number: Callable[[int], int] = int
    """From SentencePiece's id to the checkpoint's."""
    each_prefixed: bool = False
    """Whether the text after a special token gets a space put before it, as the first one does."""


class SentencePieceEncoder:
    """SentencePiece's own ids, which the library's pipeline doesn't give for every text."""

    def __init__(self, file: Path, model: Model, layout: Layout) -> None:
        symbols = [piece.text for piece in model.pieces if piece.kind == Kind.USER_DEFINED]
        self._normalizer = Normalizer(file, model, symbols)
        self._layout = layout
        self._unknown = model.unk_id
        self._unigram = Unigram(model) if model.type == UNIGRAM else None
        self._bpe = None if self._unigram is not None else Bpe(model)
        # Words can be looked at alone where no piece holds the end of one and the next one's space.
        crossing = re.compile(f"[^{SPACE}]{SPACE}")
        matched = (piece.text for piece in model.pieces if piece.kind in MATCHED)
        self._parts = not any(map(crossing.search, matched))
        self._found: dict[str, Found] = {}
        self._runs: dict[str, Run] = {}
        self._bytes: list[int] = []
        if model.byte_fallback:
            ids = {piece.text: id for id, piece in enumerate(model.pieces)}
            self._bytes = [ids[f"<0x{byte:02X}>"] for byte in range(256)]
        self._match(layout.specials)

    def with_specials(self, specials: Sequence[Special]) -> SentencePieceEncoder:
        """See `Encoder`."""
        other = copy(self)
        other._match(specials)
        return other

    def _match(self, specials: Sequence[Special]) -> None:
        always = [one for one in specials if not one.special]
        self._always, self._all = _Matcher(always), _Matcher(specials)

    def encode_batch(self, texts: list[str], parse: bool) -> list[list[int]]:
        """See `Encoder`."""
        return [self._encode(text, parse) for text in texts]

    def spans(self, text: str, parse: bool) -> list[tuple[int, int, int]]:
        """See `Encoder`. A letter that is spelled by bytes is what each of them stands for."""
        spans: list[tuple[int, int, int]] = []
        matcher = self._all if parse else self._always
        number = self._layout.number
        for start, end, special in matcher.split(text):
            if special is not None:
                spans.append((special.id, start, end))
                continue
            letters, places = self._normalizer.align(text[start:end], self._prefixed(start))
            run, place = self._segment(letters), 0
            for id, length in zip(run.ids, run.lengths, strict=True):
                since, until = start + places[place], start + places[place + length]
                if id == self._unknown and self._bytes:
                    spans += self._spelled(letters[place : place + length], since, until)
                elif id == self._unknown and spans and spans[-1][0] == number(id) and place:
                    spans[-1] = spans[-1][0], spans[-1][1], until
                else:
                    spans.append((number(id), since, until))
                place += length
        return spans

    def _spelled(self, letter: str, since: int, until: int) -> Iterator[tuple[int, int, int]]:
        number = self._layout.number
        for byte in letter.encode():
            yield number(self._bytes[byte]), since, until

    def _encode(self, text: str, parse: bool) -> list[int]:
        ids: list[int] = []
        number = self._layout.number
        for start, end, special in (self._all if parse else self._always).split(text):
            if special is not None:
                ids.append(special.id)
                continue
            letters = self._normalizer.normalize(text[start:end], self._prefixed(start))
            found = self._segment(letters)
            plain = found.ids
            if self._unknown in plain:
                plain = self._without_unknown(letters, found)
            ids.extend(plain if number is int else map(number, plain))
        return ids

    def _prefixed(self, start: int) -> bool:
        return start == 0 or self._layout.each_prefixed

    def _without_unknown(self, letters: str, found: Run) -> list[int]:
        """Unknown letters as their bytes; or, in a model without those, a run of them as one."""
        ids: list[int] = []
        place, before = 0, False
        for id, length in zip(found.ids, found.lengths, strict=True):
            unknown = id == self._unknown
            if unknown and self._bytes:
                ids += [self._bytes[byte] for byte in letters[place : place + length].encode()]
            elif not (unknown and before):
                ids.append(id)
            before = unknown
            place += length
        return ids

    def _segment(self, letters: str) -> Run:
        """Normalized text to pieces: word by word where the vocabulary allows it."""
        if not letters:
            return Run([], [])
        words = _WORDS.findall(letters) if self._parts else [letters]
        return self._by_unigram(words) if self._unigram is not None else self._by_bpe(words)

    def _by_bpe(self, words: list[str]) -> Run:
        assert self._bpe is not None
        ids: list[int] = []
        lengths: list[int] = []
        runs = self._runs
        for word in words:
            run = runs.get(word)
            if run is None:
                run = Run(*self._bpe.segment(word))
                if len(word) < _LONG:
                    if len(runs) == _KEPT:
                        runs.clear()
                    runs[word] = run
            ids += run.ids
            lengths += run.lengths
        return Run(ids, lengths)

    def _by_unigram(self, words: list[str]) -> Run:
        unigram = self._unigram
        assert unigram is not None
        ids: list[int] = []
        lengths: list[int] = []
        sum = 0.0
        for word in words:
            found = self._found.get(word)
            if found is None and len(word) < _LONG:
                if len(self._found) == _KEPT:
                    self._found.clear()
                found = self._found[word] = unigram.find(word)
            sum = unigram.begin(sum)
            if found is not None and unigram.sure(found, sum):
                ids += found.ids
                lengths += found.lengths
                sum = unigram.add(sum, found.scores)
            else:
                some, their_lengths, sum = unigram.find_exactly(word, sum)
                ids += some
                lengths += their_lengths
        return Run(ids, lengths)


class _Matcher:
    """Finds special tokens in a text, the longest first, with the spaces that are theirs."""

    def __init__(self, specials: Sequence[Special]) -> None:
        self._by_text = {one.text: one for one in specials}
        spelled = map(re.escape, sorted(self._by_text, key=len, reverse=True))
        self._pattern = re.compile("|".join(spelled)) if specials else None

    def split(self, text: str) -> Iterator[tuple[int, int, Special | None]]:
        """Stretches of a text, each from and up to, and the token that one is."""
        place = search = 0
        while self._pattern is not None and (found := self._pattern.search(text, search)):
            start, end = found.span()
            special = self._by_text[found[0]]
            if special.single_word and not _stands_alone(text, start, end):
                search = start + 1
                continue
            while special.lstrip and start > place and text[start - 1].isspace():
                start -= 1
            while special.rstrip and end < len(text) and text[end].isspace():
                end += 1
            if start > place:
                yield place, start, None
            yield start, end, special
            place = search = end
        if place < len(text):
            yield place, len(text), None


def _stands_alone(text: str, start: int, end: int) -> bool:
    before, after = text[start - 1 : start], text[end : end + 1]
    return not (re.match(r"\w", before) or re.match(r"\w", after))
