"""Tokens as they are shown to people: each with its part of the text, and what isn't seen marked.

For the strip in a terminal (`--show`) and for the page (`--html`).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from typing import Literal, NamedTuple

from ..tokenizer.bulk import Encoded
from ..tokenizer.offsets import spans_of
from ..tokenizer.tokenizer import Special, Tokenizer

Kind = Literal["text", "space", "tab", "newline", "mark"]
Part = tuple[Kind, str]
"""A part of what is shown: of which kind, and its letters. A mark stands for what isn't seen."""


class Cell(NamedTuple):
    """One token: its id, its bytes in the text, where they are, whether it is a special token.

    One that was put before the text has no place in it: its bytes are as it is spelled.
    """

    id: int
    data: bytes
    start: int
    end: int
    special: bool


def cells_of(
    tokenizer: Tokenizer, encoded: Encoded, special: Special, passed: int = 0
) -> Iterator[Cell]:
    """The tokens of a stretch before which there were `passed` bytes of text."""
    data = encoded.text.encode()
    spans = spans_of(tokenizer, encoded, special, "bytes")
    for id, (start, end) in zip(encoded.ids, spans, strict=True):
        if tokenizer.is_byte(id):
            shown = bytes([int(tokenizer.piece(id)[3:5], 16)])
        elif start == end:
            shown = tokenizer.token_text(id).encode()
        else:
            shown = data[start:end]
        yield Cell(id, shown, passed + start, passed + end, id in tokenizer.special_ids)


_PLAIN = re.compile(r"[!-~]+")
_CONTROLS = (
    *("NUL", "SOH", "STX", "ETX", "EOT", "ENQ", "ACK", "BEL", "BS", "HT", "LF", "VT", "FF", "CR"),
    *("SO", "SI", "DLE", "DC1", "DC2", "DC3", "DC4", "NAK", "SYN", "ETB", "CAN", "EM", "SUB"),
    *("ESC", "FS", "GS", "RS", "US"),
)
_SPLIT = re.compile(r"(\r?\n|[ \t])")


def parts_of(data: bytes) -> list[Part]:
    """What is shown for a token's bytes: text, and marks for what can't be seen.

    Bytes of no whole character are ⟨E3⟩, control characters are ⟨ESC⟩, and characters
    without a width ⟨U+200D⟩. A mark that joins the letter before it gets a ring.
    """
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return list(_with_halves(data))
    if _PLAIN.fullmatch(text):
        return [("text", text)]
    return list(_parts(text))


def _with_halves(data: bytes) -> Iterator[Part]:
    rest = data
    while rest:
        try:
            yield from _parts(rest.decode())
            return
        except UnicodeDecodeError as error:
            yield from _parts(rest[: error.start].decode())
            for byte in rest[error.start : error.end]:
                yield "mark", f"⟨{byte:02X}⟩"
            rest = rest[error.end :]


def _parts(text: str) -> Iterator[Part]:
    run = ""
    for letter in _SPLIT.split(text):
        if letter in ("\n", "\r\n", " ", "\t"):
            if run:
                yield "text", run
                run = ""
            yield _white(letter)
            continue
        for one in letter:
            mark = _mark(one)
            if mark is None:
                ring = not run and unicodedata.category(one)[0] == "M"
                run += f"◌{one}" if ring else one
                continue
            if run:
                yield "text", run
                run = ""
            yield "mark", mark
    if run:
        yield "text", run


def _white(letter: str) -> Part:
    if letter == " ":
        return "space", "·"
    if letter == "\t":
        return "tab", "→"
    return "newline", "⟨CR⟩↵" if letter == "\r\n" else "↵"


def _mark(letter: str) -> str | None:
    """What is shown in place of a character that isn't seen; None for one that is."""
    if letter.isprintable():
        return None
    number = ord(letter)
    if number < 0x20:
        return f"⟨{_CONTROLS[number]}⟩"
    return f"⟨U+{number:04X}⟩"
