"""Small tokenizers whose parts change text, or nearly: what properties are tried on."""

from __future__ import annotations

import json
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

from .small_tokenizers import ALL, byte_fallback, byte_level, word_piece


def normalized() -> Tokenizer:
    """Qwen's kind: byte-level behind NFC."""
    tokenizer = byte_level()
    tokenizer.normalizer = normalizers.NFC()
    return tokenizer


def lower_case() -> Tokenizer:
    """Byte-level behind steps that change how many letters there are."""
    tokenizer = byte_level()
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    return tokenizer


def padded() -> Tokenizer:
    """RoBERTa's kind: byte-level with a space put first."""
    tokenizer = byte_level()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    return tokenizer


def greedy_added() -> Tokenizer:
    """Byte-level with an added token that takes the spaces before it."""
    tokenizer = byte_level()
    tokenizer.add_tokens([AddedToken("<take>", lstrip=True, normalized=False)])
    return tokenizer


def dropping() -> Tokenizer:
    """Byte-level behind a pre-tokenizer that drops spaces."""
    tokenizer = byte_level()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    return tokenizer


def without_bytes() -> Tokenizer:
    """Byte-level that never saw most bytes."""
    vocabulary = {letter: id for id, letter in enumerate("abcdefghĠ")}
    tokenizer = Tokenizer(models.BPE(vocabulary, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def gemma() -> Tokenizer:
    """Gemma's kind: byte fallback, spaces as ▁, none put first."""
    tokenizer = byte_fallback()
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    return tokenizer


def metaspace_fallback() -> Tokenizer:
    """Byte fallback whose pre-tokenizer puts a space first unless one is there."""
    tokenizer = byte_fallback()
    tokenizer.normalizer = None
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    return tokenizer


# --- whose models make a special token out of its letters


def merged_special() -> Tokenizer:
    """Byte fallback with merges that end in a special token, as converted SentencePieces have."""
    return _changed(byte_fallback(), _with_merges)


def merged_bytes() -> Tokenizer:
    """Byte-level with such merges, and a text for a word."""
    tokenizer = byte_level()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    return _changed(tokenizer, _with_merges)


def whole_words() -> Tokenizer:
    """Llama 3's kind: words that are tokens aren't merged; here they lie between spaces."""
    tokenizer = byte_level()
    split = pre_tokenizers.Split(Regex(" ?[^ ]+| +"), "isolated")
    bytes_of = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, bytes_of])
    return _changed(tokenizer, lambda model: model.update(ignore_merges=True))


def word_level() -> Tokenizer:
    """Words between spaces, and no smaller pieces."""
    words = ["[UNK]", "[SEP]", *dict.fromkeys(ALL.split())]
    vocabulary = {word: id for id, word in enumerate(words)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.add_special_tokens(["[UNK]", "[SEP]"])
    return tokenizer


def between_spaces() -> Tokenizer:
    """WordPiece whose words hold punctuation."""
    tokenizer = word_piece()
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.normalizer = None
    return tokenizer


def _with_merges(model: dict[str, Any]) -> None:
    special = next(piece for piece in ("</s>", "<|endoftext|>") if piece in model["vocab"])
    for letter in special:
        model["vocab"].setdefault(letter, len(model["vocab"]))
    for end in range(2, len(special) + 1):
        model["merges"].append([special[: end - 1], special[end - 1]])
        model["vocab"].setdefault(special[:end], len(model["vocab"]))


def _changed(tokenizer: Tokenizer, change: Any) -> Tokenizer:
    state = json.loads(tokenizer.to_str())
    change(state["model"])
    return Tokenizer.from_str(json.dumps(state))


SPELLING = {
    "merged_special": merged_special,
    "merged_bytes": merged_bytes,
    "whole_words": whole_words,
    "word_level": word_level,
    "between_spaces": between_spaces,
}
ODD = {
    "normalized": normalized,
    "lower_case": lower_case,
    "padded": padded,
    "greedy_added": greedy_added,
    "dropping": dropping,
    "without_bytes": without_bytes,
    "gemma": gemma,
    "metaspace_fallback": metaspace_fallback,
    **SPELLING,
}
