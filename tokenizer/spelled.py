"""What each id adds to a text, in bytes: what a grammar is matched against."""

from __future__ import annotations

import json
from typing import Any

from .tokenizer import Tokenizer


def token_spellings(tokenizer: Tokenizer, size: int) -> list[bytes]:
    """The bytes that each of `size` ids adds in the midst of a text.

    Nothing for ids that the vocabulary lacks and for `control_ids`, which stand for no text.
    """
    pieces = [tokenizer.piece(id) for id in range(size)]
    silent = control_ids(tokenizer)
    added = tokenizer.added
    spelled = [b""] * size
    others: list[int] = []
    for id, piece in enumerate(pieces):
        if not piece or id in silent:
            continue
        if id in added:
            spelled[id] = added[id].encode()
        elif tokenizer.spelling == "bytes":
            spelled[id] = tokenizer.token_bytes(id)
        elif tokenizer.is_byte(id):
            spelled[id] = bytes([int(piece[3:5], 16)])
        else:
            others.append(id)
    for id, text in zip(others, _after_a_word(tokenizer, others), strict=True):
        spelled[id] = text.encode()
    return spelled


def control_ids(tokenizer: Tokenizer) -> frozenset[int]:
    """Ids that stand for no text: special tokens, and those for what the vocabulary can't spell."""
    ids = set(tokenizer.special_ids)
    unknown = unknown_id(tokenizer)
    if unknown is not None:
        ids.add(unknown)
    ends = {id for id in (tokenizer.bos_id, *tokenizer.eos_ids) if id is not None}
    return frozenset(ids | (ends & tokenizer.added.keys()))


def unknown_id(tokenizer: Tokenizer) -> int | None:
    """The id that stands for whatever the model can't spell, if it has one."""
    model: Any = tokenizer.pipeline.model
    if type(model).__name__ == "Unigram":
        return json.loads(model.__getstate__()).get("unk_id")
    name = getattr(model, "unk_token", None)
    return None if name is None else tokenizer.pipeline.token_to_id(name)


def _after_a_word(tokenizer: Tokenizer, ids: list[int]) -> list[str]:
    """What the decoder makes of each id behind another one, since it treats the first apart."""
    if not ids:
        return []
    decode = tokenizer.pipeline.decode_batch
    first = ids[0]
    alone = tokenizer.pipeline.decode([first], skip_special_tokens=False)
    return [text[len(alone) :] for text in decode([[first, id] for id in ids], False)]
