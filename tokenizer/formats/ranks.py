"""Byte-pair encoding by ranks, as tiktoken does it, for a model that merges by pairs.

tiktoken (src/lib.rs, byte_pair_merge) merges whichever neighbours together spell the token of the
lowest rank, the leftmost first, and takes a word that is a token as it is. The library's BPE ranks
pairs instead, so every pair that spells a token becomes a merge: all of one token's in a row.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ... import ModelError
from ..pieces import gpt2_alphabet
from .built import Special, add_specials, place_specials

if TYPE_CHECKING:
    from collections.abc import Iterable

    import tokenizers

LONGEST = 1024
"""Bytes of the longest token taken; the longest of any model known has 128."""


def spell(token: bytes) -> str:
    """A token's bytes in GPT-2's letters."""
    return token.decode("latin-1").translate(_LETTERS)


_LETTERS = {byte: letter for letter, byte in gpt2_alphabet().items()}


def merges_of(ranks: dict[bytes, int]) -> list[tuple[bytes, bytes]]:
    """Every pair of tokens that spells a third, by the rank of the third.

    Where two pairs of one token overlap in a text, the left pair comes first (see `cuts`).
    """
    merges: list[tuple[bytes, bytes]] = []
    for token in sorted((token for token in ranks if len(token) > 1), key=ranks.__getitem__):
        parted = ((token[:cut], token[cut:]) for cut in cuts(token))
        merges += [(left, right) for left, right in parted if left in ranks and right in ranks]
    return merges


def cuts(token: bytes | str) -> list[int]:
    """Where a token can be parted, in the order in which the pairs are to be tried.

    The pairs at `cut` and at `len - cut` overlap where the token repeats itself after `cut` bytes:
    `ab|a` and `a|ba` in ab-a-ba. Then the first comes first. Where it repeats itself after both,
    as `aa|a` and `a|aa` do, the longer left part does: that is how runs are merged from the left.
    """
    length = len(token)
    order = list(range(length - 1, 0, -1))
    for cut in range(1, (length + 1) // 2):
        if token[cut:] == token[:-cut] and token[length - cut :] != token[: cut - length]:
            here, there = length - 1 - cut, cut - 1
            order[here], order[there] = order[there], order[here]
    return order


def rank_pipeline(
    file: Path,
    ranks: dict[bytes, int],
    pattern: str,
    specials: Iterable[Special],
    normalizer: Any = None,
) -> tokenizers.Tokenizer:
    """A pipeline whose ids are those of tiktoken's Encoding with the same ranks and pattern.

    Raises `ModelError` where a byte has no token, a token is empty or overlong, or a special
    token's id or spelling is taken.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

    _check(file, ranks)
    vocabulary = {spell(token): rank for token, rank in ranks.items()}
    placed = place_specials(file, vocabulary, specials)
    merges = [(spell(left), spell(right)) for left, right in merges_of(ranks)]
    pipeline: Any = Tokenizer(models.BPE(vocabulary, merges, ignore_merges=True))
    try:
        split = pre_tokenizers.Split(Regex(pattern), behavior="isolated")
    except Exception as error:  # the binding raises a bare Exception
        raise ModelError(f"`{file}`: its pattern is no regular expression: {error}") from error
    to_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    pipeline.normalizer = normalizer
    pipeline.pre_tokenizer = pre_tokenizers.Sequence([split, to_bytes])
    pipeline.decoder = decoders.ByteLevel()
    for special in placed:
        # As a word of its own it would be looked up, and found, though it was only text.
        if [word for word, _ in pipeline.pre_tokenizer.pre_tokenize_str(special.text)] == [
            special.text
        ]:
            raise ModelError(
                f"`{file}`: the special token {special.text!r} can't be told from text"
            )
    add_specials(pipeline, placed)
    return pipeline


def _check(file: Path, ranks: dict[bytes, int]) -> None:
    lacking = next((byte for byte in range(256) if bytes([byte]) not in ranks), None)
    if lacking is not None:
        raise ModelError(f"`{file}` has no token for the byte 0x{lacking:02x}")
    for token, rank in ranks.items():
        if not 0 < len(token) <= LONGEST:
            what = f"{len(token)} bytes" if token else "no bytes"
            raise ModelError(f"`{file}`: the token {rank} has {what}")
    owners: dict[int, bytes] = {}
    for token, rank in ranks.items():
        if owners.setdefault(rank, token) != token:
            raise ModelError(f"`{file}`: two tokens have the rank {rank}")
