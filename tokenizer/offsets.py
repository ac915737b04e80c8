"""Where in a text each of its ids lies, in bytes of UTF-8 and in characters."""

from __future__ import annotations

from itertools import accumulate
from typing import Literal

from .bulk import Encoded
from .tokenizer import Special, Tokenizer

Unit = Literal["bytes", "characters"]
"""What offsets count from the text's beginning."""
Span = tuple[int, int]
"""From which byte or character on, and up to which."""


def spans_of(
    tokenizer: Tokenizer, encoded: Encoded, special: Special, unit: Unit = "bytes"
) -> list[Span]:
    """Where the text of each id lies in the stretch.

    What was put before the text, such as a begin-of-text token, spans nothing. An id for a part of
    a character spans in bytes just that part where the vocabulary is byte-level, else the whole
    character; in characters always the whole.
    """
    none = [(0, 0)] * encoded.added
    ids = encoded.ids[encoded.added :]
    if tokenizer.spelling == "bytes":
        parts = [tokenizer.token_bytes(id) for id in ids]
        if b"".join(parts) == encoded.text.encode():
            ends = list(accumulate(map(len, parts)))
            spans = list(zip([0, *ends], ends, strict=False))
            return none + (spans if unit == "bytes" else _whole_characters(encoded.text, spans))
    # Normalized or padded text: the library kept count of characters.
    found = tokenizer.character_spans(encoded.text, special)
    for at, (id, (start, end)) in enumerate(zip(ids[:-1], list(found), strict=False)):
        # A space put before a word has no letter of its own; the library gives it the word's first.
        if tokenizer.piece(id) == "▁" and found[at + 1][0] == start < end:
            found[at] = (start, start)
    return none + (found if unit == "characters" else _in_bytes(encoded.text, found))


def _in_bytes(text: str, spans: list[Span]) -> list[Span]:
    at = [0, *accumulate(len(letter.encode()) for letter in text)]
    return [(at[start], at[end]) for start, end in spans]


def _whole_characters(text: str, spans: list[Span]) -> list[Span]:
    """The characters that spans of bytes touch."""
    letter_of = [at for at, letter in enumerate(text) for _ in letter.encode()]
    return [(letter_of[start], letter_of[end - 1] + 1) if start < end else (0, 0)
            for start, end in spans]  # fmt: skip
