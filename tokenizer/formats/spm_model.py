"""SentencePiece's model file: pieces with their scores and kinds, and how a text is normalized.

Field numbers and defaults are those of sentencepiece_model.proto.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import Any

from ... import ModelError
from . import protobuf
from .protobuf import BYTES, FIXED32, VARINT, MalformedError

SPACE = "▁"
"""U+2581, SentencePiece's letter for a space."""
MOST_PIECES = 1 << 22


class Kind(IntEnum):
    """What a piece is."""

    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


MATCHED = (Kind.NORMAL, Kind.USER_DEFINED, Kind.UNUSED)
"""Kinds that stand for text as it is spelled."""


@dataclass(frozen=True)
class Piece:
    """An entry of the vocabulary."""

    text: str
    score: float
    kind: Kind


@dataclass
class Model:
    """A model file's contents."""

    pieces: list[Piece] = field(default_factory=list[Piece])
    type: int = 1
    byte_fallback: bool = False
    whitespace_as_suffix: bool = False
    unk_id: int = 0
    bos_id: int = 1
    eos_id: int = 2
    pad_id: int = -1
    normalization: str = ""
    charsmap: bytes = b""
    add_dummy_prefix: bool = True
    remove_extra_whitespaces: bool = True
    escape_whitespaces: bool = True


UNIGRAM, BPE = 1, 2
_TYPES = {3: "word", 4: "character"}


def read_model(file: Path, data: bytes) -> Model:
    """The model in `data`, the contents of `file`.

    Raises `ModelError` for what is no such model, for one that SentencePiece itself would refuse,
    and for a kind of model other than BPE and unigram.
    """
    model = Model()
    try:
        _read(model, memoryview(data))
    except MalformedError as error:
        raise ModelError(f"`{file}` is not a SentencePiece model: {error}") from error
    if not model.pieces:
        raise ModelError(f"`{file}` is not a SentencePiece model: it has no pieces")
    if model.type not in (UNIGRAM, BPE):
        name = _TYPES.get(model.type, f"type {model.type}")
        raise ModelError(
            f"`{file}` is a {name} model of SentencePiece; lmtool reads BPE and unigram"
        )
    _check_pieces(file, model)
    return model


def _check_pieces(file: Path, model: Model) -> None:
    seen: set[str] = set()
    for id, piece in enumerate(model.pieces):
        if not piece.text:
            raise ModelError(f"`{file}`: the piece {id} has no letters")
        if piece.text in seen:
            raise ModelError(f"`{file}`: the piece {piece.text!r} is there twice")
        if not math.isfinite(piece.score):
            raise ModelError(f"`{file}`: the piece {piece.text!r} has the score {piece.score}")
        if piece.kind not in MATCHED and len(piece.text) == 1:
            # To SentencePiece such a letter in a text is the token itself.
            raise ModelError(f"`{file}`: the token {piece.text!r} can't be told from a letter")
        seen.add(piece.text)
    unknown = [id for id, piece in enumerate(model.pieces) if piece.kind == Kind.UNKNOWN]
    if len(unknown) != 1:
        raise ModelError(f"`{file}` has {len(unknown)} pieces for what is unknown, not one")
    model.unk_id = unknown[0]
    if model.byte_fallback:
        lacking = [byte for byte in range(256) if f"<0x{byte:02X}>" not in seen]
        if lacking:
            raise ModelError(f"`{file}` has no piece for the byte 0x{lacking[0]:02x}")


def _read(model: Model, data: memoryview) -> None:
    for number, kind, value in protobuf.fields(data):
        if number == 1:
            if len(model.pieces) == MOST_PIECES:
                raise MalformedError(f"more than {MOST_PIECES:,} pieces")
            model.pieces.append(_piece(protobuf.message(value)))
        elif number in _SPECS:
            names = _SPECS[number]
            for inner, _, part in protobuf.fields(protobuf.message(value)):
                if inner in names:
                    name, read = names[inner]
                    setattr(model, name, read(part))
        elif kind not in (BYTES, VARINT, FIXED32):
            raise MalformedError(f"a field {number} of type {kind}")


def _piece(data: memoryview) -> Piece:
    text, score, kind = "", 0.0, int(Kind.NORMAL)
    for number, _, value in protobuf.fields(data):
        if number == 1:
            text = protobuf.text(value)
        elif number == 2:
            score = protobuf.float32(value)
        elif number == 3:
            kind = protobuf.number(value)
    if kind not in Kind._value2member_map_:
        raise MalformedError(f"the piece {text[:40]!r} is of the unknown kind {kind}")
    return Piece(text, score, Kind(kind))


def _flag(value: int | memoryview) -> bool:
    return protobuf.number(value) != 0


def _bytes(value: int | memoryview) -> bytes:
    return bytes(protobuf.message(value))


_Fields = dict[int, tuple[str, Callable[[Any], Any]]]
_TRAINER: _Fields = {
    3: ("type", protobuf.number),
    24: ("whitespace_as_suffix", _flag),
    35: ("byte_fallback", _flag),
    41: ("bos_id", protobuf.number),
    42: ("eos_id", protobuf.number),
    43: ("pad_id", protobuf.number),
}
_NORMALIZER: _Fields = {
    1: ("normalization", protobuf.text),
    2: ("charsmap", _bytes),
    3: ("add_dummy_prefix", _flag),
    4: ("remove_extra_whitespaces", _flag),
    5: ("escape_whitespaces", _flag),
}
_SPECS = {2: _TRAINER, 3: _NORMALIZER}
