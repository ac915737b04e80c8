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

    def speaks(self, id: int) -> bool:
        """Whether `id` stands for text at all."""
        ...

    @property
    def pending(self) -> bool:
        """Whether bytes or tokens have come that aren't text yet."""
        ...

    def ends(self) -> list[int]:
        """Of the last text that came, how many characters were certain after each of its tokens.

        Earlier tokens that left none certain may be missing.
        """
        ...


class SpelledStream:
    """Text by what each id is spelled, in bytes, whatever stands before it."""

    def __init__(self, spellings: Sequence[bytes]) -> None:
        self._spellings = spellings
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")
        self._last = 0

    def push(self, id: int) -> str:
        """See `Stream`."""
        text = self._utf8.decode(self._spellings[id])
        self._last = len(text)
        return text

    def finish(self) -> str:
        """See `Stream`."""
        text = self._utf8.decode(b"", final=True)
        self._last = len(text)
        return text

    def speaks(self, id: int) -> bool:
        """See `Stream`."""
        return bool(self._spellings[id])

    @property
    def pending(self) -> bool:
        """See `Stream`."""
        return bool(self._utf8.getstate()[0])

    def ends(self) -> list[int]:
        """See `Stream`."""
        return [self._last]


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
        self._window = [id for id in before[-8 * _CONTEXT :] if self.speaks(id)][-_CONTEXT:]
        self._shown = self._decode(self._window)
        self._held: list[int] = []
        self._last = ""
        self._source: tuple[list[int], str, list[int]] = ([], "", [])
        """What the last text was decoded from: a window, its text, and the tokens after it."""

    def push(self, id: int) -> str:
        """The text that is certain now that `id` has come; often empty."""
        if not self.speaks(id):
            return ""
        if self._tokenizer.spelling == "bytes":
            self._last = self._utf8.decode(self._tokenizer.token_bytes(id))
            return self._last
        self._held.append(id)
        # A run of raw bytes is decoded as one: whether it is UTF-8 shows at its end.
        if self._tokenizer.is_byte(id):
            return ""
        text = self._decode(self._window + self._held)
        if text.endswith("\ufffd") and len(self._held) < _LONGEST_CHARACTER:
            return ""
        new = text[len(self._shown) :]
        if new:
            self._last, self._source = new, (self._window, self._shown, self._held)
            self._window, self._held = self._held[-1:], []
            self._shown = self._decode(self._window)
        return new

    def finish(self) -> str:
        """What was held back, now that no more comes: bytes that are no UTF-8 as U+FFFD."""
        if self._tokenizer.spelling == "bytes":
            self._last = self._utf8.decode(b"", final=True)
            return self._last
        new = self._decode(self._window + self._held)[len(self._shown) :]
        self._last, self._source = new, (self._window, self._shown, self._held)
        self._window, self._held = self._window + self._held, []
        self._shown += new
        return new

    @property
    def pending(self) -> bool:
        """See `Stream`."""
        return bool(self._held or self._utf8.getstate()[0])

    def ends(self) -> list[int]:
        """See `Stream`."""
        window, shown, ids = self._source
        ends: list[int] = []
        for count in range(1, len(ids)):
            text = self._decode(window + ids[:count])[len(shown) :]
            ends.append(max(_common(text, self._last), ends[-1] if ends else 0))
        return [*ends, len(self._last)]

    def speaks(self, id: int) -> bool:
        """See `Stream`."""
        return id not in self._skipped and bool(self._tokenizer.piece(id))

    def _decode(self, ids: Sequence[int]) -> str:
        return self._tokenizer.decode(ids, skip_special=False) if ids else ""


def _common(one: str, other: str) -> int:
    """How many characters two texts have in common at their beginnings."""
    pairs = zip(one, other, strict=False)
    return next((at for at, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))


class ByteStream:
    """The bytes of one sequence of ids, some at a time: all that `decode_bytes` makes of them.

    Nothing is held back: half a character comes out as the bytes it is.
    """

    def __init__(self, tokenizer: Tokenizer, skip_special: bool = True) -> None:
        """Special tokens are left out, or else spelled."""
        self._tokenizer = tokenizer
        self._skipped = tokenizer.special_ids if skip_special else frozenset[int]()
        self._before: int | None = None

    def push(self, ids: Sequence[int]) -> bytes:
        """The bytes that `ids` add."""
        tokenizer, before = self._tokenizer, self._before
        if tokenizer.spelling != "bytes":
            spoken = (id for id in reversed(ids) if id not in self._skipped and tokenizer.knows(id))
            self._before = next(spoken, before)
        return tokenizer.decode_bytes(ids, skip_special=bool(self._skipped), before=before)
