# ruff: noqa: RUF001  letters that look alike are the point here
"""Where Python, the `regex` module and tokenizers' Oniguruma agree on letters, and where not."""

from __future__ import annotations

from itertools import pairwise

import pytest
import regex
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Regex, pre_tokenizers

from lmtool.tokenizer.recipe import PATTERNS, Recipe, empty_tokenizer
from lmtool.tokenizer.training.letters import DISPUTED
from lmtool.tokenizer.training.splitting import KNOWN, Splitter, in_ascii

ALL_LETTERS = "".join(chr(n) for n in range(0x110000) if not 0xD800 <= n < 0xE000)
AGREED = DISPUTED.sub("", ALL_LETTERS)
CLASSES = [rf"\p{{{name}}}" for name in ("L", "N", "Lu", "Ll", "Lt", "Lm", "Lo", "M")] + [r"\s"]


@pytest.mark.parametrize("kind", CLASSES)
def test_undisputed_letters_have_one_class(kind: str) -> None:
    runs = pre_tokenizers.Split(Regex(f"[{kind}]+"), "isolated").pre_tokenize_str(AGREED)
    inside = regex.compile(f"[{kind}]+")
    outside = regex.compile(f"[^{kind}]+")
    sides = [bool(inside.fullmatch(run)) for run, _ in runs]
    assert all(side or outside.fullmatch(run) for side, (run, _) in zip(sides, runs, strict=True))
    # Two runs of one side would be a letter that belongs to the other by Oniguruma alone.
    assert all(one != other for one, other in pairwise(sides))
    assert len(runs) > 1


def test_most_letters_are_undisputed() -> None:
    for text in ("Straße", "日本語、한국어", "ภาษาไทย", "தமிழ்", "አማርኛ", "😀👩🏽‍🚀🇯🇵", "𝔉", "𠀀"):
        assert not DISPUTED.search(text)
    assert DISPUTED.search("\u0295\U0001e4d0\ua7f1")
    assert len(AGREED) > 270_000


def exact(pattern: str, text: str) -> list[str]:
    split = pre_tokenizers.Split(Regex(pattern), "isolated")
    return [word for word, _ in split.pre_tokenize_str(text)]


@pytest.mark.parametrize("name", [name for name in PATTERNS if PATTERNS[name] in KNOWN])
def test_letters_that_fold_are_split_alike_around_an_apostrophe(name: str) -> None:
    folds = [
        letter
        for letter in AGREED
        if set(letter.casefold() + letter.lower() + letter.upper()) & set("stremvld'STREMVLD")
    ]
    assert {"\u017f", "\ufb05", "ß"} <= set(folds)
    splitter = Splitter(empty_tokenizer(Recipe(pattern=name)))
    for letter in folds:
        text = (
            f"a'{letter} '{letter}e 1'r{letter} x'{letter}{letter} 'l{letter}l A{letter}'D{letter}"
        )
        assert splitter.split(text) == exact(PATTERNS[name], text), ascii(letter)


@settings(max_examples=200, deadline=None)
@given(
    text=st.text(st.characters(max_codepoint=127), max_size=40)
    | st.text("aB 1'sSrEelLvdDmMtT!_/\n\r\t", max_size=40),
    pattern=st.sampled_from(sorted(KNOWN)),
)
def test_ascii_text_is_split_alike(text: str, pattern: str) -> None:
    assert Splitter(empty_tokenizer(Recipe(pattern=pattern))).split(text) == exact(pattern, text)
    assert r"\p" not in in_ascii(pattern)


MIXED = st.lists(
    st.sampled_from(
        ["a", "é", "あ", "。", " ", "  ", "\n", "1", "!", "'", "/", "_", "中", "\u3000"]
    ),
    min_size=2,
    max_size=60,
).map("".join)


@settings(max_examples=300, deadline=None)
@given(text=MIXED | st.text(max_size=40), pattern=st.sampled_from(sorted(KNOWN)))
def test_a_cut_changes_no_word(text: str, pattern: str) -> None:
    splitter = Splitter(empty_tokenizer(Recipe(pattern=pattern)))
    place = splitter.place_to_cut(text)
    if place is not None:
        assert 0 < place < len(text)
        assert splitter.split(text[:place]) + splitter.split(text[place:]) == splitter.split(text)


def test_there_is_a_place_to_cut_in_text_without_spaces() -> None:
    splitter = Splitter(empty_tokenizer(Recipe()))
    assert splitter.place_to_cut("そうです。そうだ") == 4
    assert splitter.place_to_cut("a,b" * 3) is not None
    assert splitter.place_to_cut("a" * 5000) is None
    assert splitter.place_to_cut("a b" + "c" * 9000) == 1
