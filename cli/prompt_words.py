"""A prompt as its tokens, and as the words that these make: what an explanation is shown over."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from .token_cells import parts_of

if TYPE_CHECKING:
    from ..tokenizer.tokenizer import Tokenizer


@dataclass(frozen=True)
class Word:
    """Tokens `begin` to `end` of a prompt, which make one word, and how it is shown."""

    begin: int
    end: int
    shown: str


class Spelling:
    """How tokens are shown: what can't be seen is marked, `·` for a space as in `tokenize --show`.

    Without a tokenizer a token is its id.
    """

    def __init__(self, tokenizer: Tokenizer | None) -> None:
        self._tokenizer = tokenizer

    def data(self, id: int) -> bytes:
        """What a token stands for within a text."""
        tokenizer = self._tokenizer
        if tokenizer is None:
            return f"#{id}".encode()
        if tokenizer.is_byte(id):
            return bytes([int(tokenizer.piece(id)[3:5], 16)])
        if tokenizer.spelling == "bytes" and id not in tokenizer.added:
            return tokenizer.token_bytes(id)
        return tokenizer.token_text(id).encode()

    def text(self, id: int) -> str:
        """A token's text, as JSON has it; with U+FFFD for bytes that are no whole character."""
        return self.data(id).decode("utf-8", "replace")

    def shown(self, *ids: int) -> str:
        """How tokens are shown that stand side by side."""
        parts = parts_of(b"".join(map(self.data, ids)))
        return "".join(text for _, text in parts) or "⟨⟩"

    def words(self, ids: Sequence[int]) -> list[Word]:
        """The words of a prompt, in their order; each token is in one of them."""
        begins = [*self._begins(ids), len(ids)]
        return [Word(begin, end, self.shown(*ids[begin:end])) for begin, end in pairwise(begins)]

    def _begins(self, ids: Sequence[int]) -> Iterator[int]:
        """The places of the tokens that begin a word: the first, and those not glued to others."""
        before = b""
        for place, id in enumerate(ids):
            data = self.data(id)
            if not place or self._alone(id) or self._alone(ids[place - 1]) or parted(before, data):
                yield place
                before = b""
            before += data

    def _alone(self, id: int) -> bool:
        return self._tokenizer is None or id in self._tokenizer.added


def parted(before: bytes, data: bytes) -> bool:
    """Whether a word ends between some bytes of a text and those that follow.

    Letters, marks and digits make a word, where the script parts its words by spaces; halves of a
    character are never parted.
    """
    try:
        last = before.decode()[-1:]
    except UnicodeDecodeError:
        return False
    first = data.decode("utf-8", "replace")[:1]
    if first == "\ufffd":  # the beginning of a character: which one isn't known yet
        return True
    return not (_in_word(last) and _in_word(first))


def _in_word(letter: str) -> bool:
    if not letter:
        return False
    if unicodedata.category(letter)[0] == "M":
        return True
    return letter.isalnum() and unicodedata.east_asian_width(letter) not in "WF"
