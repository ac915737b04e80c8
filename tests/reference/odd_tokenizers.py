"""Small tokenizers whose parts change text, or nearly: what properties are tried on."""

from __future__ import annotations

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers

from .small_tokenizers import byte_fallback, byte_level


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


ODD = {
    "normalized": normalized,
    "lower_case": lower_case,
    "padded": padded,
    "greedy_added": greedy_added,
    "dropping": dropping,
    "without_bytes": without_bytes,
    "gemma": gemma,
    "metaspace_fallback": metaspace_fallback,
}
