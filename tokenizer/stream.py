"""Ids to text as they come: whole characters only, and nothing that may still change."""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from typing import Protocol

from .tokenizer import Tokenizer

_CONTEXT = 4
"""Tokens of a prompt that are enough for the next token to know what it follows."""
_LONGEST_CHARACTER = 4
"""Bytes, hence tokens, that one character may take."""


class Stream(Protocol):
    """Ids in, one at a time, and text out as soon as it is certain."""

    def push(self, id: int) -> str:
        """The text that is certain now that `id` has come; often empty."""
        ...

    def finish(self) -> str:
        """What was held back, now that no more comes."""
        ...


class SpelledStream:
    """Text by what each id is spelled, in bytes, whatever stands before it."""

    def __init__(self, spellings: Sequence[bytes]) -> None:
        self._spellings = spellings
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, id: int) -> str:
        """See `Stream`."""
        return self._utf8.decode(self._spellings[id])

    def finish(self) -> str:
        """See `Stream`."""
        return self._utf8.decode(b"", final=True)


class TextStream:
    """Text of one sequence of ids, a token at a time.

    `"".join(pushes) + finish()` is what `decode` makes of all ids. `before` are ids that came
    before, a prompt's: they decide whether the first new word keeps its space, and give no text.

    >>> stream = TextStream(tokenizer)
    >>> [stream.push(id) for id in tokenizer.encode("日本")], stream.finish()
    (['', '日', '', '本'], '')
    """

    def __init__(
        self, tokenizer: Tokenizer, skip_special: bool = True, before: Sequence[int] = ()
    ) -> None:
        """Text of ids that come after `before`, special tokens left out or spelled."""
        self._tokenizer = tokenizer
        self._skipped = tokenizer.special_ids if skip_special else frozenset[int]()
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")
        self._window = [id for id in before[-8 * _CONTEXT :] if self._speaks(id)][-_CONTEXT:]
        self._shown = self._decode(self._window)
        self._held: list[int] = []

    def push(self, id: int) -> str:
        """The text that is certain now that `id` has come; often empty."""
        if not self._speaks(id):
            return ""
        if self._tokenizer.spelling == "bytes":
            return self._utf8.decode(self._tokenizer.token_bytes(id))
        self._held.append(id)
        # A run of raw bytes is decoded as one: whether it is UTF-8 shows at its end.
        if self._tokenizer.is_byte(id):
            return ""
        text = self._decode(self._window + self._held)
        if text.endswith("\ufffd") and len(self._held) < _LONGEST_CHARACTER:
            return ""
        new = text[len(self._shown) :]
        if new:
            self._window, self._held = self._held[-1:], []
            self._shown = self._decode(self._window)
        return new

    def finish(self) -> str:
        """What was held back, now that no more comes: bytes that are no UTF-8 as U+FFFD."""
        if self._tokenizer.spelling == "bytes":
            return self._utf8.decode(b"", final=True)
        new = self._decode(self._window + self._held)[len(self._shown) :]
        self._window, self._held = self._window + self._held, []
        self._shown += new
        return new

    def _speaks(self, id: int) -> bool:
        return id not in self._skipped and bool(self._tokenizer.piece(id))

    def _decode(self, ids: Sequence[int]) -> str:
        return self._tokenizer.decode(ids, skip_special=False) if ids else ""
