"""Words that two tokenizers part most differently, by what the difference costs in a text."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import islice
from typing import TYPE_CHECKING, Any

from .scripts import UNSPACED

if TYPE_CHECKING:
    from .subject import Subject

MOST_WORDS = 200_000
"""Distinct words kept; beyond, the rarest are forgotten."""
LONGEST_WORD = 40
KEPT = 20
"""Words listed for each side of a pair."""
# The same words as the pattern for all letters finds, six times as fast.
_ASCII = re.compile(r"[A-Za-z0-9]+(?:'[A-Za-z]+)?")


@dataclass(frozen=True)
class Parted:
    """A word of the text: how often it came, and its pieces by either tokenizer."""

    word: str
    count: int
    first: tuple[bytes, ...]
    second: tuple[bytes, ...]

    @property
    def cost(self) -> int:
        """Tokens that the second tokenizer needs more, over all of the word's occurrences."""
        return self.count * (len(self.second) - len(self.first))


@dataclass(frozen=True)
class Contrast:
    """The words that decide between the first tokenizer and the one at `second`."""

    second: int
    dearer: tuple[Parted, ...]
    """Words that cost the second one more, most tokens first."""
    cheaper: tuple[Parted, ...]
    """Words that cost the second one less, most tokens first."""


class WordCounts:
    """The words of a text and how often they came, in bounded memory.

    A word is a run of letters, marks and digits. In scripts without spaces it is a run of one
    script, which may be a whole phrase. Words of more than `LONGEST_WORD` letters are left out.
    """

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()

    @cached_property
    def _pattern(self) -> Any:
        import regex

        alone = "".join(rf"\p{{Script={name}}}" for name in sorted(UNSPACED))
        inside = rf"[[\p{{L}}\p{{M}}\p{{Nd}}]--[{alone}]]"
        word = rf"{inside}+(?:['’]\p{{L}}+)?"  # noqa: RUF001  both apostrophes
        return regex.compile(rf"(?V1){word}|{_unspaced().pattern}")

    def add(self, text: str) -> None:
        """Count the words of `text`."""
        pattern = _ASCII if text.isascii() else self._pattern
        self._counts.update(pattern.findall(text))
        if len(self._counts) > MOST_WORDS:
            self._counts = Counter(dict(self._counts.most_common(MOST_WORDS // 2)))

    def most(self) -> Iterator[tuple[str, int]]:
        """Words with their counts, the most frequent first."""
        found = sorted(self._counts.items(), key=lambda item: (-item[1], item[0]))
        return ((word, count) for word, count in found if len(word) <= LONGEST_WORD)


def find_contrasts(subjects: Sequence[Subject], words: WordCounts) -> tuple[Contrast, ...]:
    """The first of `subjects` against each of the others."""
    if len(subjects) < 2:
        return ()
    counted = list(words.most())
    texts = [word for word, _ in counted]
    parted = [_ids_of_words(subject, texts) for subject in subjects]
    return tuple(
        _contrast(place, (subjects[0], subjects[place]), (parted[0], parted[place]), counted)
        for place in range(1, len(subjects))
    )


def _contrast(
    place: int,
    pair: tuple[Subject, Subject],
    ids: tuple[list[list[int]], list[list[int]]],
    counted: Sequence[tuple[str, int]],
) -> Contrast:
    def comparable(at: int) -> bool:
        # A word that is lost to one of them, or a part of it, costs it nothing.
        return all(
            found[at] and all(one.spellings[id] for id in found[at])
            for one, found in zip(pair, ids, strict=True)
        )

    def cost(at: int) -> int:
        return counted[at][1] * (len(ids[1][at]) - len(ids[0][at]))

    def parted(at: int) -> Parted:
        word, count = counted[at]
        first, second = (
            tuple(one.spellings[id] for id in found[at])
            for one, found in zip(pair, ids, strict=True)
        )
        return Parted(word, count, first, second)

    places = sorted(range(len(counted)), key=lambda at: (-abs(cost(at)), counted[at][0]))
    dearer = islice((at for at in places if cost(at) > 0 and comparable(at)), KEPT)
    cheaper = islice((at for at in places if cost(at) < 0 and comparable(at)), KEPT)
    return Contrast(place, tuple(map(parted, dearer)), tuple(map(parted, cheaper)))


def _ids_of_words(subject: Subject, words: list[str]) -> list[list[int]]:
    """The ids of each word as it stands in the midst of a text."""
    tokenizer = subject.tokenizer
    probe = tokenizer.encode_plain(["a"])[0]
    # Some put a space before any text by themselves.
    space = "" if probe and subject.spellings[probe[0]].startswith(b" ") else " "
    alone = _unspaced()
    return tokenizer.encode_plain([word if alone.match(word) else space + word for word in words])


@cache
def _unspaced() -> Any:
    """Matches words of scripts that put no space before one."""
    import regex

    return regex.compile("|".join(rf"\p{{Script={name}}}+" for name in sorted(UNSPACED)))
