"""What a vocabulary entry stands for, by the tokenizer's decoder: bytes, marked pieces, or text."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Literal, cast

if TYPE_CHECKING:
    import tokenizers

Spelling = Literal["bytes", "fallback", "text"]
"""How pieces are spelled: "bytes" (GPT-2's letters for bytes), "fallback" (text, and <0xE3> for
bytes that have no piece), "text" (whatever the decoder makes of them)."""

METASPACE = "▁"
"""SentencePiece's letter for a space."""

BYTE_PIECE = re.compile(r"<0x([0-9A-Fa-f]{2})>")


def gpt2_alphabet() -> dict[str, int]:
    """GPT-2's letter for each byte (encoder.py, bytes_to_unicode), the other way round.

    Visible Latin-1 letters stand for themselves, the other bytes for the letters from U+0100 on:
    `Ġ` is a space, `Ċ` a line break.
    """
    visible = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(256) if byte not in visible]
    letters = {chr(byte): byte for byte in visible}
    return letters | {chr(0x100 + place): byte for place, byte in enumerate(hidden)}


def spelling_of(pipeline: tokenizers.Tokenizer) -> Spelling:
    """How the pipeline's decoder reads pieces."""
    kinds = {step["type"] for step in decoder_steps(pipeline)}
    if "ByteLevel" in kinds and kinds <= {"ByteLevel", "Fuse"}:
        return "bytes"
    return "fallback" if "ByteFallback" in kinds else "text"


def decoder_steps(pipeline: tokenizers.Tokenizer) -> list[dict[str, Any]]:
    """The decoder's steps as tokenizer.json has them, a sequence taken apart."""
    return steps_of(cast("Any", pipeline).decoder, "decoders")


def steps_of(part: Any, inside: str) -> list[dict[str, Any]]:
    """A part of the pipeline as JSON objects; `inside` names the parts of a sequence of them."""
    if part is None:
        return []
    state: dict[str, Any] = json.loads(part.__getstate__())
    if state.get("type") == "Sequence":
        return cast("list[dict[str, Any]]", state[inside])
    return [state]
