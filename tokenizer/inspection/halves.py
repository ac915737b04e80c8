"""Tokens that begin or end within a character, and texts that give them."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from itertools import product

from ..tokenizer import Tokenizer

TRIED = 1 << 19
"""Texts that are tried at most."""
_MOST = 4096
_SOME = 32
"""Letters that are tried beside others."""
_CONTINUED = range(0x80, 0xC0)
_LEADS = {2: range(0xC2, 0xE0), 3: range(0xE0, 0xF0), 4: range(0xF0, 0xF5)}


def is_whole(data: bytes) -> bool:
    """Whether `data` is UTF-8."""
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def possible(data: bytes) -> bool:
    """Whether `data` is a part of any UTF-8."""
    return is_whole(data) or next(_letters(data), None) is not None


def split_whole(data: bytes) -> tuple[bytes, bytes, bytes] | None:
    """The end of a character, whole ones, and the beginning of another; None: no UTF-8 has it."""
    first = next((at for at, byte in enumerate(data) if byte & 0xC0 != 0x80), len(data))
    last = len(data)
    for back in range(1, min(4, len(data) - first + 1)):
        byte = data[-back]
        if byte & 0xC0 != 0x80:
            last -= back if byte >= 0xC0 and not is_whole(data[-back:]) else 0
            break
    tail, middle, head = data[:first], data[first:last], data[last:]
    return (tail, middle, head) if len(tail) <= 3 and is_whole(middle) else None


class HalfCharacters:
    """Looks for texts that give tokens which are no whole characters."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer

    def find(self, tokens: dict[int, bytes]) -> dict[int, str]:
        """A text for each of the tokens for which one is found."""
        found: dict[int, str] = {}
        waiting = {id: _around(data) for id, data in tokens.items()}
        tried = 0
        while waiting and tried < TRIED:
            texts = {id: text for id, more in waiting.items() if (text := next(more, None))}
            waiting = {id: waiting[id] for id in texts}
            tried += len(texts)
            encoded = self._tokenizer.encode_plain(list(texts.values()))
            for (id, text), ids in zip(texts.items(), encoded, strict=True):
                if id in ids:
                    found[id] = text
                    del waiting[id]
        return found


def _around(data: bytes) -> Iterator[str]:
    """Texts that have `data` in them, which isn't whole: the commonest letters first."""
    first: list[str] = []
    for letter in _letters(data):
        if len(first) < _SOME:
            first.append(letter)
        yield letter
    # What stands beside the letter decides which merges come first.
    for letter in first:
        for neighbour in ("a", " ", *first):
            yield letter + neighbour
            yield neighbour + letter


def _letters(data: bytes) -> Iterator[str]:
    """`data`, which isn't whole, with what is missing before and after it."""
    parts = split_whole(data)
    if parts is None:
        return
    tail, middle, head = parts
    befores = _befores(tail) if tail else [b""]
    afters = _afters(head) if head else [b""]
    for turn in range(min(_MOST, len(befores) * len(afters))):
        # Both sides change with every turn.
        before = befores[turn % len(befores)]
        after = afters[(turn + turn // len(befores)) % len(afters)]
        yield (before + data + after).decode()
    if not middle and not head and len(tail) <= 2:
        # They may stand in the midst of a letter, too.
        for lead in (b"\xf0\x9f", b"\xe3", b"\xe4", b"\xe1", b"\xf0", b"\xf1", b"\xe0"):
            if len(lead + tail) < _length(lead[0]):
                yield from ((lead + tail + after).decode() for after in _afters(lead + tail))


def _length(lead: int) -> int:
    """How many bytes a character has that begins with `lead`."""
    return next((size for size, leads in _LEADS.items() if lead in leads), 0)


@cache
def _befores(tail: bytes) -> list[bytes]:
    """What makes letters of `tail` when it is put before it, letters that are in use first."""
    found: list[bytes] = []
    for size in (2, 3, 4):
        missing = size - len(tail)
        if missing >= 1:
            rest = _continued(missing - 1) if missing < 3 else [(0x9F, 0x90, 0xA0), _CONTINUED]
            found += map(bytes, product(_LEADS[size], *rest))
    return _in_use_first((before + tail, before) for before in found)


@cache
def _afters(head: bytes) -> list[bytes]:
    """What makes letters of `head` when it is put behind it, letters that are in use first."""
    rest = map(bytes, product(*_continued(_length(head[0]) - len(head))))
    return _in_use_first((head + after, after) for after in rest)


def _continued(count: int) -> list[Sequence[int]]:
    """The bytes that may follow one after another, some of them where there are many."""
    few: Sequence[int] = (0x9F, 0x90, 0xA0, 0x9D, 0x80)
    return [_CONTINUED] * count if count < 3 else [few, _CONTINUED, range(0x80, 0xC0, 3)]


def _in_use_first(letters: Iterable[tuple[bytes, bytes]]) -> list[bytes]:
    """The second of each pair whose first is a letter, at most `_MOST` of them."""
    used: list[bytes] = []
    others: list[bytes] = []
    for letter, part in letters:
        if is_whole(letter):
            unused = unicodedata.category(letter.decode()) in ("Cn", "Co")
            (others if unused else used).append(part)
    return [*used, *others][:_MOST]
