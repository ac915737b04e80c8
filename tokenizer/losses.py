"""What a tokenizer's own parts say about whether every text comes back from its ids."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, cast

from .pieces import Spelling, decoder_steps, gpt2_alphabet, steps_of

if TYPE_CHECKING:
    import tokenizers

_WHOLE = {"ByteLevel", "Digits", "Punctuation", "Split"}
"""Pre-tokenizers that may keep all of a text; what their settings say is looked at too."""


def losses_of(pipeline: tokenizers.Tokenizer, spelling: Spelling) -> tuple[str, ...]:
    """Why `decode(encode(text))` may differ from `text`, each reason in words.

    None where every text comes back, special tokens in it being plain text. It is read off the
    parts of the pipeline: a reason says that some text is changed, not that many are.
    """
    parts = cast("Any", pipeline)
    found = [
        *_by_normalizer(parts, spelling),
        *_by_pre_tokenizer(parts, spelling),
        *_by_model(parts, spelling),
        *_by_decoder(pipeline, spelling),
        *(_by_first_space(pipeline) if spelling != "bytes" else ()),
        *_by_added(parts),
    ]
    return tuple(dict.fromkeys(found))


def _by_normalizer(parts: Any, spelling: Spelling) -> list[str]:
    """Steps that the decoder doesn't undo; spaces as ▁, and one put first, `_by_decoder` sees."""
    names: list[str] = []
    for step in steps_of(parts.normalizer, "normalizers"):
        marks = step["type"] == "Replace" and step["pattern"] == {"String": " "}
        undone = {
            "Prepend": spelling != "bytes" and step.get("prepend") == "▁",
            "Replace": spelling != "bytes" and marks and step["content"] == "▁",
            "ByteLevel": spelling == "bytes",
        }
        if not undone.get(step["type"]):
            names.append(step["type"])
    return [f"its normalizer ({name}) changes some text" for name in names]


def _by_pre_tokenizer(parts: Any, spelling: Spelling) -> list[str]:
    found: list[str] = []
    steps = steps_of(parts.pre_tokenizer, "pretokenizers")
    for step in steps:
        kind = step["type"]
        if kind == "Metaspace":
            continue
        if step.get("add_prefix_space") and spelling == "bytes":
            found.append("it puts a space before a text that begins without one")
        if kind not in _WHOLE or step.get("behavior") == "Removed":
            found.append(f"its pre-tokenizer ({kind}) drops spaces or other text")
    kinds = [step["type"] for step in (*steps, *steps_of(parts.normalizer, "normalizers"))]
    if spelling == "bytes" and "ByteLevel" not in kinds:
        found.append("it reads text as letters, but writes it as bytes")
    return found


def _by_model(parts: Any, spelling: Spelling) -> list[str]:
    model: dict[str, Any] = json.loads(parts.model.__getstate__())
    found: list[str] = []
    if model["type"] in ("WordLevel", "WordPiece"):
        found.append("words that it has no piece for become unknown")
    if model.get("continuing_subword_prefix") or model.get("end_of_word_suffix"):
        found.append("its pieces leave open where spaces stood")
    vocabulary = parts.get_vocab(with_added_tokens=False)
    if spelling == "bytes":
        missing = sum(letter not in vocabulary for letter in gpt2_alphabet())
        if missing:
            found.append(f"{missing} of the 256 bytes have no piece")
    elif model["type"] in ("BPE", "Unigram") and not model.get("byte_fallback"):
        found.append("letters that it has no piece for become unknown or nothing")
    elif model.get("byte_fallback"):
        missing = sum(f"<0x{byte:02X}>" not in vocabulary for byte in range(256))
        if missing:
            found.append(f"{missing} of the 256 bytes have no piece")
    return found


def _by_decoder(pipeline: tokenizers.Tokenizer, spelling: Spelling) -> list[str]:
    steps = decoder_steps(pipeline)
    kinds = [step["type"] for step in steps]
    if spelling == "bytes":
        return []
    if not kinds:
        return ["it has no decoder, so its pieces come parted by spaces"]
    found: list[str] = []
    replaces = any(step["type"] == "Replace" and step["content"] == " " for step in steps)
    if replaces or "Metaspace" in kinds:
        found.append("U+2581 (▁) comes back as a space")
    if any(step.get("cleanup") for step in steps):
        found.append("its decoder drops spaces before punctuation")
    if "CTC" in kinds:
        found.append("its decoder drops repeated letters")
    return found


def _by_first_space(pipeline: tokenizers.Tokenizer) -> list[str]:
    """Whether the space that is put before a text is the one that is taken away again."""
    parts = cast("Any", pipeline)
    put = any(step["type"] == "Prepend" for step in steps_of(parts.normalizer, "normalizers"))
    marking = steps_of(parts.pre_tokenizer, "pretokenizers")
    # Metaspace puts none where there is one already, and its decoder takes that one.
    unless = any(
        step["type"] == "Metaspace" and step.get("prepend_scheme") != "never" for step in marking
    )
    taken = any(
        (step["type"] == "Strip" and step["content"] == " " and step["start"])
        or (step["type"] == "Metaspace" and step.get("prepend_scheme") != "never")
        for step in decoder_steps(pipeline)
    )
    added = any(not one.special for one in parts.get_added_tokens_decoder().values())
    if put and added:
        return ["it puts a space after some added tokens"]
    if taken and (unless or not put):
        return ["a space at the beginning is lost"]
    return ["it puts a space first"] if (put or unless) and not taken else []


def _by_added(parts: Any) -> list[str]:
    tokens = [token for token in parts.get_added_tokens_decoder().values() if not token.special]
    if any(token.lstrip or token.rstrip for token in tokens):
        return ["some of its added tokens take the spaces around them"]
    return []
