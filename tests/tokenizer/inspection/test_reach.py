"""Tokens that never come: planted ones are found, and what is said of every token is true."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tokenizers
from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers

from lmtool.tokenizer.inspection.halves import possible, split_whole
from lmtool.tokenizer.inspection.reach import Reach, find_reach
from lmtool.tokenizer.pieces import gpt2_alphabet
from lmtool.tokenizer.recipe import PATTERNS
from lmtool.tokenizer.tokenizer import Tokenizer
from reference.small_tokenizers import KINDS, texts

LETTER = {byte: letter for letter, byte in gpt2_alphabet().items()}


def spell(data: bytes | str) -> str:
    return "".join(LETTER[byte] for byte in (data.encode() if isinstance(data, str) else data))


def made(
    tmp_path: Path,
    merges: list[tuple[bytes | str, bytes | str]],
    more: list[bytes | str] | None = None,
    pattern: str = PATTERNS["gpt4"],
    normalizer: Any = None,
    added: tuple[AddedToken, ...] = (),
    **settings: Any,
) -> tuple[Tokenizer, dict[str, int]]:
    """A byte-level tokenizer with these merges, and pieces that no merge makes."""
    pairs = [(spell(left), spell(right)) for left, right in merges]
    pieces = [*(LETTER[byte] for byte in range(256)), *(a + b for a, b in pairs)]
    pieces += [spell(piece) for piece in more or ()]
    vocabulary = {piece: id for id, piece in enumerate(dict.fromkeys(pieces))}
    pipeline: Any = tokenizers.Tokenizer(models.BPE(vocabulary, pairs, **settings))
    if normalizer is not None:
        pipeline.normalizer = normalizer
    pipeline.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pattern), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    pipeline.decoder = decoders.ByteLevel()
    pipeline.add_tokens(list(added))
    path = tmp_path / "tokenizer.json"
    pipeline.save(str(path))
    return Tokenizer.load(path), vocabulary


def never(tokenizer: Tokenizer, reach: Reach) -> dict[str, tuple[str, bool]]:
    """What is said to never come, by its text, lone bytes that UTF-8 lacks left out."""
    return {
        tokenizer.token_bytes(one.id).decode("latin-1"): (one.reason, one.sure)
        for one in reach.never
        if not (one.reason == "bytes" and len(tokenizer.token_bytes(one.id)) == 1)
    }


def test_bytes_that_utf8_lacks_never_come(tmp_path: Path) -> None:
    tokenizer, vocabulary = made(tmp_path, [], [b"\xed\xa0", b"a\x80", b"\xff\xff"])
    reach = find_reach(tokenizer)
    lone = {vocabulary[LETTER[byte]] for byte in (0xC0, 0xC1, *range(0xF5, 0x100))}
    planted = {vocabulary[spell(data)] for data in (b"\xed\xa0", b"a\x80", b"\xff\xff")}
    assert {one.id for one in reach.never if one.reason == "bytes"} == lone | planted
    assert all(one.sure for one in reach.never)


def test_merges_that_shadow_a_token(tmp_path: Path) -> None:
    # "ab" goes first, so "bc" is only made where no "a" is before it, and "abc" never.
    tokenizer, _ = made(tmp_path, [("a", "b"), ("b", "c"), ("a", "bc"), ("x", "y")], ["zz"])
    assert never(tokenizer, find_reach(tokenizer)) == {
        "abc": ("merges", True),
        "zz": ("merges", True),
    }


def test_a_word_that_is_looked_up_whole_is_reached_without_merges(tmp_path: Path) -> None:
    more: list[bytes | str] = ["zz", "z z", "123"]
    tokenizer, vocabulary = made(tmp_path, [], more, ignore_merges=True)
    reach = find_reach(tokenizer)
    assert never(tokenizer, reach) == {"z z": ("border", True)}
    assert vocabulary["zz"] not in reach.beside


def test_what_the_pattern_always_parts(tmp_path: Path) -> None:
    parted = ["a b", "1234", "a1", "a.", "\n a"]
    within = [" a", "123", "ab", ".\n", "..", "'s", "?!\n\n", "  ", "\n\n"]
    merges: list[tuple[bytes | str, bytes | str]] = []
    for text in [*parted, *within]:
        merges += [(text[:end], text[end]) for end in range(1, len(text))]
    tokenizer, _ = made(tmp_path, list(dict.fromkeys(merges)))
    found = never(tokenizer, find_reach(tokenizer))
    assert found.keys() >= set(parted)
    assert found.keys() & set(within) == set()
    assert {found[text] for text in ["a b", "1234", "a1", "a."]} == {("border", True)}


def test_an_unknown_pattern_proves_nothing(tmp_path: Path) -> None:
    tokenizer, _ = made(tmp_path, [("a", "b")], pattern=r"a|b|[^ab]+")
    assert never(tokenizer, find_reach(tokenizer)) == {"ab": ("border", False)}


@pytest.mark.parametrize(
    ("normalizer", "text"),
    [
        (normalizers.NFC(), "e\u0301"),
        (normalizers.Lowercase(), "AB"),
        (normalizers.NFKC(), "ﬁ"),
        (normalizers.Replace("q", "k"), "qq"),
    ],
)
def test_what_the_normalizer_never_leaves(tmp_path: Path, normalizer: Any, text: str) -> None:
    data = text.encode()
    merges = [(data[:end], data[end : end + 1]) for end in range(1, len(data))]
    tokenizer, vocabulary = made(tmp_path, list(merges), normalizer=normalizer)
    reach = find_reach(tokenizer)
    assert {one.id: one for one in reach.never}[vocabulary[spell(text)]].reason == "normalizer"
    assert all(one.sure for one in reach.never if one.reason == "normalizer")


def test_an_added_token_is_matched_first(tmp_path: Path) -> None:
    added = AddedToken("bc", normalized=False)
    merges: list[tuple[bytes | str, bytes | str]] = [("b", "c"), ("a", "bc"), ("b", "x")]
    tokenizer, _ = made(tmp_path, merges, added=(added,))
    # "bc" is the added token itself, so it isn't one that never comes.
    assert never(tokenizer, find_reach(tokenizer)) == {"abc": ("added", True)}


def test_half_characters_are_reached_beside_others(tmp_path: Path) -> None:
    tokenizer, vocabulary = made(tmp_path, [(b"\xe3", b"\x81"), ("a", b"\xe3"), (b"\x82", "b")])
    reach = find_reach(tokenizer)
    for data in (b"\xe3\x81", b"a\xe3", b"\x82b", b"\x9f", b"\xf0"):
        id = vocabulary[spell(data)]
        assert id in reach.halves
        assert id in tokenizer.encode(reach.beside[id])
    assert never(tokenizer, reach) == {}


@pytest.fixture(scope="module")
def reached(kinds: Any) -> dict[str, Reach]:
    return {kind: find_reach(kinds[kind].ours) for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS)
def test_every_token_is_accounted_for_and_its_text_gives_it(
    kind: str, kinds: Any, reached: dict[str, Reach]
) -> None:
    tokenizer, reach = kinds[kind].ours, reached[kind]
    known = sum(tokenizer.knows(id) for id in range(tokenizer.vocab_size))
    left_out = len(tokenizer.added.keys() | tokenizer.special_ids)
    accounted = reach.alone + len(reach.beside) + len(reach.never)
    assert known - left_out - 1 <= accounted <= known - left_out  # a model's unknown is left out
    for id, text in reach.beside.items():
        assert id in tokenizer.encode(text, bos="off")


@pytest.mark.parametrize("kind", KINDS)
def test_what_surely_never_comes_is_in_no_text_at_hand(
    kind: str, kinds: Any, reached: dict[str, Reach]
) -> None:
    tokenizer = kinds[kind].ours
    sure = {one.id for one in reached[kind].never if one.sure}
    for text in texts().values():
        assert sure.isdisjoint(tokenizer.encode(text))


def test_byte_pieces_come_for_letters_without_a_piece(
    kinds: Any, reached: dict[str, Reach]
) -> None:
    tokenizer = kinds["byte_fallback"].ours
    said = {tokenizer.piece(one.id): one for one in reached["byte_fallback"].never}
    assert "<0xE3>" not in said
    assert "<0x80>" not in said
    assert said["<0xFF>"].sure
    assert said["<0x61>"].reason == "letter"


def test_parts_of_characters() -> None:
    assert split_whole(b"\x81\x82ab\xe3") == (b"\x81\x82", b"ab", b"\xe3")
    assert split_whole("aé".encode()) == (b"", "aé".encode(), b"")
    assert split_whole(b"a\x81b") is None
    assert possible(b"\xf0\x9f\x91")
    assert possible(b"\x81\x82\x83")
    assert not possible(b"\xe0\x80")
    assert not possible(b"\x80\x80\x80\x80")
