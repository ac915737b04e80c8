"""Go on from a tokenizer that is there already: its ids and merges stay, new ones follow."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from ... import ModelError
from ..pieces import BYTE_PIECE, gpt2_alphabet, steps_of
from .starts import TokenizerStart

if TYPE_CHECKING:
    import tokenizers

    from .merging import Merges


def start_of(pipeline: tokenizers.Tokenizer) -> TokenizerStart:
    """Words as `pipeline`'s model cuts them; all its ids are taken, added tokens among them.

    Nothing is merged across what the model has no token for, be it the unknown token or bytes that
    stand for it. Raises `ModelError` if the model isn't byte pair encoding.
    """
    model = _model(pipeline)
    taken: dict[str, int] = pipeline.get_vocab(with_added_tokens=True)
    unknown = [number for token, number in taken.items() if _is_unknown(token, model)]
    prefix = model["continuing_subword_prefix"] or ""
    return TokenizerStart(_encoder(pipeline), taken, prefix, unknown)


def extended_model(pipeline: tokenizers.Tokenizer, merges: Merges) -> tokenizers.models.BPE:
    """The pipeline's model with `merges` learned from its `start_of`, ready to take its place.

    Added tokens get an entry of the same id in the model too, so that its ids have no gaps.
    """
    from tokenizers import models

    model = _model(pipeline)
    old: list[tuple[str, str]] = [(left, right) for left, right in model["merges"]]
    seen = set(old)
    kept = ("dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk")
    kept += ("byte_fallback", "ignore_merges")
    return models.BPE(
        vocab=merges.ids,
        merges=[*old, *(pair for pair in merges.pairs if pair not in seen)],
        **{name: model[name] for name in kept if model.get(name) is not None},
    )


def _model(pipeline: tokenizers.Tokenizer) -> dict[str, Any]:
    """The model as tokenizer.json has it."""
    model: dict[str, Any] = json.loads(cast("Any", pipeline).model.__getstate__())
    if model.get("type") != "BPE":
        raise ModelError(
            f"a tokenizer of the kind {model.get('type')} can't be extended: only BPE has merges"
        )
    return model


def _is_unknown(token: str, model: dict[str, Any]) -> bool:
    fallback = model["byte_fallback"] and BYTE_PIECE.fullmatch(token) is not None
    return fallback or token == model["unk_token"]


def _encoder(pipeline: tokenizers.Tokenizer) -> Callable[[list[bytes]], list[list[int]]]:
    """What cuts words, as UTF-8, by the model alone."""
    from tokenizers import Tokenizer

    bare: Any = Tokenizer(pipeline.model)
    parts: Any = pipeline
    steps = steps_of(parts.pre_tokenizer, "pretokenizers") + steps_of(
        parts.normalizer, "normalizers"
    )
    if any(step["type"] == "ByteLevel" for step in steps):
        table = {byte: letter for letter, byte in gpt2_alphabet().items()}

        def spell(word: bytes) -> str:
            return word.decode("latin-1").translate(table)

    else:

        def spell(word: bytes) -> str:
            return word.decode()

    def encode(words: list[bytes]) -> list[list[int]]:
        texts = [spell(word) for word in words]
        return [one.ids for one in bare.encode_batch_fast(texts, add_special_tokens=False)]

    return encode
