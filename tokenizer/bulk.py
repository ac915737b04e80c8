"""Texts of any size to ids: read in blocks, cut where that changes nothing, encoded in batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from .cut import cut_text
from .tokenizer import Bos, Special, Tokenizer

BATCH = 1 << 18
"""Characters encoded at a time; the library spreads a batch over the processor's cores."""


@dataclass(frozen=True)
class Encoded:
    """A stretch of text and its ids, of which the first `added` were put before the text."""

    text: str
    ids: list[int]
    added: int = 0


def encode_blocks(
    tokenizer: Tokenizer, blocks: Iterable[str], bos: Bos, special: Special
) -> Iterator[Encoded]:
    """One text that comes in blocks, as stretches whose ids, joined, are those of the whole.

    Memory stays bounded where the tokenizer lets a text be cut (byte-level vocabularies do);
    otherwise the whole text is read first. An empty text is one empty stretch.
    """
    held, first = "", True
    for block in blocks:
        held += block
        if len(held) < BATCH or not tokenizer.cutter.can_cut:
            continue
        *ready, rest = cut_text(held, tokenizer.cutter)
        if ready:
            text = held[: len(held) - len(rest)]
            plain = [id for ids in tokenizer.encode_plain(ready, special) for id in ids]
            yield _begin(tokenizer, text, plain, bos if first else "off")
            held, first = rest, False
    if held or first:
        plain = tokenizer.encode_plain([held], special)[0]
        yield _begin(tokenizer, held, plain, bos if first else "off")


def encode_text(tokenizer: Tokenizer, text: str, bos: Bos, special: Special) -> Encoded:
    """One text that is there as a whole."""
    return encode_texts(tokenizer, [text], bos, special)[0]


def encode_texts(
    tokenizer: Tokenizer, texts: Sequence[str], bos: Bos, special: Special
) -> list[Encoded]:
    """Texts that are there as a whole, each by itself."""
    encoded = tokenizer.encode_plain(texts, special)
    return [_begin(tokenizer, *one, bos) for one in zip(texts, encoded, strict=True)]


def first_difference(tokenizer: Tokenizer, encoded: Encoded) -> int | None:
    """The byte offset at which the ids' bytes part from the text, None if they are the same."""
    wanted = encoded.text.encode()
    got = tokenizer.decode_bytes(encoded.ids[encoded.added :], skip_special=False)
    if got == wanted:
        return None
    shorter = min(len(got), len(wanted))
    return next((at for at in range(shorter) if got[at] != wanted[at]), shorter)


def _begin(tokenizer: Tokenizer, text: str, plain: list[int], bos: Bos) -> Encoded:
    ids = tokenizer.put_bos(plain, bos)
    return Encoded(text, ids, len(ids) - len(plain))
