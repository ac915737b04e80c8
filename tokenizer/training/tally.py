"""How often each word occurs in blocks of text, as one process counts it."""

from __future__ import annotations

from collections import Counter

from .blocks import BORDER
from .splitting import Splitter


class Tally:
    """Counts of the words of the blocks added."""

    def __init__(self, splitter: Splitter) -> None:
        self._splitter = splitter
        self._words: Counter[str] = Counter()

    def add(self, block: bytes) -> None:
        """Count the words of a block."""
        for document in block.split(BORDER):
            self._words.update(self._splitter.split(document.decode()))

    def sorted_words(self) -> list[tuple[bytes, int]]:
        """All words in UTF-8 with their counts, in the order of their bytes."""
        return sorted((self._splitter.raw(word), count) for word, count in self._words.items())
