"""UTF-8 to text in blocks, and what to do about bytes that aren't UTF-8."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Literal

from .. import InputError
from .opening import read_bytes, source_name

Errors = Literal["strict", "replace", "skip"]
"""What becomes of bytes that aren't UTF-8: an error, U+FFFD each, or nothing."""

_CODEC_ERRORS = {"strict": "strict", "replace": "replace", "skip": "ignore"}


_BEGINNINGS = {
    b"\x1f\x8b": ".gz",
    b"\xfd7zXZ\0": ".xz",
    b"\x28\xb5\x2f\xfd": ".zst",
    b"PAR1": ".parquet",
}


@dataclass
class Faults:
    """What a file holds that isn't UTF-8: letters put in its place, or bytes left out.

    `offset` (bytes from 0) and `line` (from 1) say where the first one stands.
    """

    count: int = 0
    offset: int = 0
    line: int = 0


def read_text(
    path: Path,
    on_read: Callable[[int], None] = lambda count: None,
    errors: Errors = "strict",
    faults: Faults | None = None,
) -> Iterator[str]:
    """A file's text in blocks.

    Raises `InputError` naming the place of a byte that isn't UTF-8, if `errors` is "strict";
    otherwise `faults` hears of such bytes.
    """
    return decode(read_bytes(path, on_read), path, errors, faults)


def decode(
    blocks: Iterable[bytes],
    path: Path,
    errors: Errors = "strict",
    faults: Faults | None = None,
    start: tuple[int, int] = (0, 1),
) -> Iterator[str]:
    """The text of UTF-8 that comes in `blocks` from `path`, as `read_text` gives it.

    The blocks begin at the offset and line that `start` names.
    """
    offset, line = start
    held = b""
    for block in chain(blocks, (b"",)):
        data = held + block if held else block
        try:
            text, used = codecs.utf_8_decode(data, "strict", not block)
        except UnicodeDecodeError as error:
            bad_line = line + data.count(b"\n", 0, error.start)
            if errors == "strict":
                raise not_utf8(path, offset + error.start, bad_line, error) from error
            text, used = codecs.utf_8_decode(data, _CODEC_ERRORS[errors], not block)
            if faults is not None:
                if not faults.count:
                    faults.offset, faults.line = offset + error.start, bad_line
                faults.count += _count_faults(data[:used], text, errors)
        held = data[used:]
        offset += used
        line += text.count("\n")
        if text:
            yield text


def _count_faults(data: bytes, text: str, errors: Errors) -> int:
    if errors == "skip":
        return len(data) - len(text.encode())
    return text.count("\ufffd") - data.count("\ufffd".encode())


def not_utf8(source: Path, offset: int, line: int, error: UnicodeDecodeError) -> InputError:
    """The error for a byte that isn't UTF-8: its offset from 0 and its line from 1 in `source`."""
    byte = error.object[error.start]
    hint = "convert it first, for instance with `iconv -f latin1 -t utf-8`"
    for beginning, suffix in _BEGINNINGS.items():
        if offset == error.start and error.object.startswith(beginning):
            hint = f"it begins as {suffix} files do: name it so, or unpack it first"
    return InputError(
        f"{source_name(source)} is not UTF-8: byte 0x{byte:02x} at offset {offset}, line {line}",
        hint=hint,
    )
