"""Protocol Buffers' wire format, as far as SentencePiece's models need it: no schema, no copies."""

from __future__ import annotations

import struct
from collections.abc import Iterator

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5


class MalformedError(Exception):
    """Bytes that are no message; the text says where."""


def fields(data: memoryview) -> Iterator[tuple[int, int, int | memoryview]]:
    """Each field of a message in order: its number, its wire type, its value.

    A varint comes as a number from 0 to 2**64 - 1, anything else as its bytes in `data`. Raises
    `MalformedError` for what isn't a message; a length is believed only where that many bytes are.
    """
    place, end = 0, len(data)
    while place < end:
        key, place = _varint(data, place)
        number, kind = key >> 3, key & 7
        if number == 0:
            raise MalformedError(f"a field without a number at byte {place}")
        if kind == VARINT:
            value, place = _varint(data, place)
            yield number, kind, value
            continue
        if kind == BYTES:
            length, place = _varint(data, place)
        elif kind in (FIXED32, FIXED64):
            length = 4 if kind == FIXED32 else 8
        else:
            raise MalformedError(f"a field of the unknown type {kind} at byte {place}")
        if length > end - place:
            raise MalformedError(
                f"{length} bytes announced at byte {place}, {end - place} are there"
            )
        yield number, kind, data[place : place + length]
        place += length


def text(value: int | memoryview) -> str:
    """A field's text. Raises `MalformedError` where it isn't UTF-8."""
    try:
        return bytes(message(value)).decode("utf-8")
    except UnicodeDecodeError as error:
        raise MalformedError("text that is not UTF-8") from error


def message(value: int | memoryview) -> memoryview:
    """A field's bytes. Raises `MalformedError` for a number."""
    if isinstance(value, int):
        raise MalformedError("a number where bytes belong")
    return value


def number(value: int | memoryview) -> int:
    """A field's signed 32-bit number. Raises `MalformedError` for bytes."""
    if not isinstance(value, int):
        raise MalformedError("bytes where a number belongs")
    value &= 0xFFFFFFFF
    return value - (1 << 32) if value >> 31 else value


def float32(value: int | memoryview) -> float:
    """A field's 32-bit float. Raises `MalformedError` for anything else."""
    data = message(value)
    if len(data) != 4:
        raise MalformedError("bytes where a float belongs")
    return struct.unpack("<f", data)[0]


def _varint(data: memoryview, place: int) -> tuple[int, int]:
    value = shift = 0
    while place < len(data) and shift < 70:
        byte = data[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFFFFFFFFFFFFFF, place
        shift += 7
    raise MalformedError(f"a number without an end at byte {place}")
