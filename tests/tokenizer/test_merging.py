"""The merge loop against its slow twin, on words made to be awkward, whichever way it takes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from zlib import crc32

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lmtool import OutOfMemoryError
from lmtool.tokenizer.pieces import gpt2_alphabet
from lmtool.tokenizer.training import merging, occurrences, survey, symbols
from lmtool.tokenizer.training.merging import Merges, learn_merges
from lmtool.tokenizer.training.starts import ByteStart, CharacterStart, TokenizerStart
from reference.naive_bpe import NaiveBpe, learn_naively, spell
from reference.small_tokenizers import ALL

Words = dict[str, int]

# Few letters make ties and overlaps; one count for all makes more.
counts = st.sampled_from([1, 1, 2, 3, 7, 2**31, 2**40])
small_words = st.dictionaries(
    st.text("ab", min_size=1, max_size=9) | st.text("abcdé", min_size=1, max_size=6),
    counts,
    min_size=1,
    max_size=25,
)
LETTERS = sorted(gpt2_alphabet())

# Sizes below which one way is taken and above which another: as they are, and so small that a
# handful of words goes through every one.
WAYS: dict[str, dict[str, int]] = {
    "as it is": {},
    "numpy": {"FEW": 0},
    "tables": {"FEW": 0, "_TABLE": 1, "_CHUNK": 2, "BLOCK": 5},
    "phases": {"_WANTED": 2, "_RANGE": 2, "BLOCK": 7, "_BATCH": 3},
    "crowds": {"_PLACES": 8, "_BUCKETS": 1 << 4, "FEW": 1, "_TABLE": 3},
}


@contextmanager
def way(name: str) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for constant, value in WAYS[name].items():
            for module in (merging, occurrences, survey, symbols):
                if hasattr(module, constant):
                    patch.setattr(module, constant, value)
        yield


def encoded(words: Words) -> list[tuple[bytes, int]]:
    return sorted((word.encode(), count) for word, count in words.items())


def twin_of(words: Words, size: int, least: int, longest: int | None) -> NaiveBpe:
    twin = NaiveBpe("", ["<|x|>", *LETTERS], [])
    known = [([twin.vocabulary.index(x) for x in spell(w)], n) for w, n in words.items()]
    learn_naively(twin, known, size, least, longest)
    return twin


def spelled(twin: NaiveBpe, first: int = 0) -> list[tuple[str, str]]:
    return [(twin.vocabulary[a], twin.vocabulary[b]) for a, b in twin.merges[first:]]


def same(ours: Merges, twin: NaiveBpe) -> None:
    assert ours.pairs == spelled(twin)
    assert ours.ids == {letter: number for number, letter in enumerate(twin.vocabulary)}


@pytest.mark.parametrize("name", WAYS)
@settings(max_examples=40, deadline=None)
@given(
    words=small_words,
    size=st.sampled_from([258, 262, 300]),
    least=st.sampled_from([0, 1, 2, 5]),
    longest=st.sampled_from([None, 2, 3, 4]),
)
@example(words={"aaa": 1, "aaaa": 1, "aaaaa": 1}, size=300, least=0, longest=None)
@example(words={"abab": 1, "ababab": 1, "abba": 1}, size=300, least=0, longest=None)
def test_merges_are_those_of_the_definition(
    name: str, words: Words, size: int, least: int, longest: int | None
) -> None:
    with way(name):
        ours = learn_merges(
            encoded(words),
            ByteStart({"<|x|>": 0}),
            limit=size,
            min_frequency=least,
            max_length=longest,
        )
    twin = twin_of(words, size, least, longest)
    same(ours, twin)
    assert ours.tokens == sum(count * len(twin.encode_word(word)) for word, count in words.items())


@pytest.mark.parametrize("name", WAYS)
def test_a_special_token_that_is_spelled_like_a_word_is_that_word(name: str) -> None:
    words = {"abc": 9, "xab": 4, "abab": 2, "ab": 3, "abx": 2}
    with way(name):
        ours = learn_merges(encoded(words), ByteStart({"ab": 0}), limit=270)
    twin = NaiveBpe("", ["ab", *LETTERS], [])
    learn_naively(twin, [([twin.vocabulary.index(x) for x in w], n) for w, n in words.items()], 270)
    same(ours, twin)
    assert ours.ids["ab"] == 0
    assert ("a", "b") in ours.pairs


@pytest.mark.parametrize("name", WAYS)
def test_real_words(name: str) -> None:
    words = Counter(ALL.split())
    with way(name):
        ours = learn_merges(encoded(words), ByteStart({"<|x|>": 0}), limit=400, min_frequency=2)
    same(ours, twin_of(words, 400, 2, None))


def test_stopping_leaves_the_merges_so_far() -> None:
    words = encoded(Counter(ALL.split()))
    whole = learn_merges(words, ByteStart({}), limit=400)
    calls = iter([False] * 21)
    part = learn_merges(words, ByteStart({}), limit=400, stopped=lambda: next(calls, True))
    assert part.stopped
    assert not whole.stopped
    assert 5 < len(part.pairs) < 25
    assert part.pairs == whole.pairs[: len(part.pairs)]
    assert list(part.ids) == list(whole.ids)[: len(part.ids)]


def test_progress_is_told() -> None:
    told: list[int] = []
    learn_merges(encoded(Counter(ALL.split())), ByteStart({}), limit=400, on_merge=told.append)
    assert told == sorted(told)
    assert told[0] == 0
    assert len(told) > 2


@settings(max_examples=40, deadline=None)
@given(words=small_words, more=small_words, least=st.sampled_from([0, 2]))
def test_going_on_keeps_the_old_and_adds_what_the_definition_adds(
    words: Words, more: Words, least: int
) -> None:
    old = twin_of(words, 264, 2, None)
    start = TokenizerStart(
        lambda texts: [old.encode_word(text.decode()) for text in texts],
        {letter: number for number, letter in enumerate(old.vocabulary)},
    )
    ours = learn_merges(encoded(more), start, limit=280, min_frequency=least)
    known = [(old.encode_word(word), count) for word, count in more.items()]
    before = len(old.merges)
    learn_naively(old, known, 280, least)
    assert ours.pairs == spelled(old, before)
    assert ours.ids == {letter: number for number, letter in enumerate(old.vocabulary)}


@settings(max_examples=40, deadline=None)
@given(words=small_words)
def test_characters_are_symbols_of_their_own(words: Words) -> None:
    letters = sorted({letter for word in words for letter in word})
    twin = NaiveBpe("", ["<unk>", *letters], [])
    known = [([twin.vocabulary.index(x) for x in word], n) for word, n in words.items()]
    learn_naively(twin, known, 16)
    same(learn_merges(encoded(words), CharacterStart({"<unk>": 0}, None), limit=16), twin)


def test_rare_characters_are_no_symbols_and_nothing_is_merged_across_them() -> None:
    words = {"aéa": 3, "bb": 9}
    learned = learn_merges(encoded(words), CharacterStart({}, 3, initial="q"), limit=99)
    assert list(learned.ids) == ["a", "b", "q", "bb"]
    assert learned.pairs == [("b", "b")]


def test_the_rarest_words_make_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(symbols, "_AROUND", 0)
    monkeypatch.setattr(symbols, "_BATCH", 10)
    words = {f"word{number:04}": 1 + number % 7 for number in range(1000)}
    # 9 slots of 8 bytes a word, of two thirds of the memory: about 500 words.
    ours = learn_merges(encoded(words), ByteStart({}), limit=300, max_memory=9 * 8 * 500 * 3 // 2)
    often = sorted(words, key=lambda word: (words[word], crc32(word.encode())), reverse=True)
    kept = {word: words[word] for word in often[: ours.words]}
    assert 430 < ours.words <= 500
    assert ours.dropped_words == 1000 - len(kept)
    assert ours.dropped == sum(words.values()) - sum(kept.values())
    again = learn_merges(encoded(kept), ByteStart({}), limit=300)
    assert (ours.ids, ours.pairs, ours.counts) == (again.ids, again.pairs, again.counts)
    with pytest.raises(OutOfMemoryError, match="don't fit into the memory allowed"):
        learn_merges([(b"a" * 4000, 3)], ByteStart({}), limit=300, max_memory=4000)


def test_a_long_word_takes_no_longer_than_its_length() -> None:
    word = (b"ab" * 40 + b"c") * 2000
    ours = learn_merges([(word, 1), (b"a" * 100_000, 1)], ByteStart({}), limit=290)
    assert ours.tokens < 20_000


def test_counts_are_those_of_a_very_large_text() -> None:
    ours = learn_merges([(b"ab", 2**45), (b"cd", 2**45 + 1)], ByteStart({}), limit=258)
    assert ours.pairs == [("c", "d"), ("a", "b")]
    assert ours.counts == [2**45 + 1, 2**45]
    assert ours.tokens == 2**46 + 1
