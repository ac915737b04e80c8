"""Samples of files, and what is measured by them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers

from lmtool.tokenizer.corpus import Part
from lmtool.tokenizer.plain import plain_pipeline
from lmtool.tokenizer.training import samples
from lmtool.tokenizer.training.samples import Sample, Samples, measure

# Parts of documents: their text, and whether the document ends.
parts = st.lists(st.tuples(st.text("abc あ", max_size=30), st.booleans()), max_size=30)


def sample_of(parts: list[tuple[str, bool]], room: int) -> Sample:
    sample = Sample(room)
    for text, ends in parts:
        sample.add(text, ends)
    return sample


def documents(parts: list[tuple[str, bool]]) -> list[str]:
    border = "\n"
    return "".join(text + border * ends for text, ends in parts).split(border)


@given(parts=parts, room=st.integers(1, 100), width=st.integers(1, 7))
def test_a_sample_is_the_same_whatever_the_parts(
    parts: list[tuple[str, bool]], room: int, width: int
) -> None:
    """One call a document, or some letters at a time."""
    once = sample_of([(text, True) for text in documents(parts)], room)
    finely: list[tuple[str, bool]] = []
    for text in documents(parts):
        finely += [(text[at : at + width], False) for at in range(0, len(text), width)]
        finely.append(("", True))
    twice = sample_of(finely, room)
    assert (once.texts(), once.whole) == (twice.texts(), twice.whole)


@given(parts=parts, room=st.integers(1, 100))
def test_a_sample_is_bounded_and_comes_from_the_documents(
    parts: list[tuple[str, bool]], room: int
) -> None:
    sample = sample_of(parts, room)
    there = [text for text in documents(parts) if text]
    found = sample.texts()
    assert sum(map(len, found)) <= room
    if sample.whole:
        assert found == there
    assert all(any(text in one for one in there) for text in found)


def test_a_sample_is_spread_over_the_whole_file() -> None:
    sample = Sample(40_000)
    for number in range(1000):
        sample.add(f"{number:03} " * 25, ends=number % 10 == 9)
    assert not sample.whole
    seen = {int(word) // 100 for text in sample.texts() for word in text.split() if len(word) == 3}
    assert seen == set(range(10))


def test_many_files_share_the_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samples, "ROOM", 1000)
    monkeypatch.setattr(samples, "FILES", 10)
    paths = [Path(f"{number:02}") for number in range(20)]
    several = Samples(list(reversed(paths)))
    for place in range(20):
        several.add(Part(place, "a" * 500, ends=True))
    # The first by name: they are the last ones here.
    assert sorted(several.files) == list(range(10, 20))
    kept = [len("".join(sample.texts())) for sample in several.files.values()]
    assert 500 < sum(kept) <= 1000


def test_special_tokens_in_the_text_are_measured_as_text() -> None:
    vocabulary = {letter: number for number, letter in enumerate("<|>s")}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.add_special_tokens(["<|s|>"])
    measured = measure(sample_of([("<|s|>", True)], 100), plain_pipeline(tokenizer))
    assert measured is not None
    assert (measured.bytes, measured.tokens, measured.whole) == (5, 5, True)
    assert len(tokenizer.encode("<|s|>").ids) == 1, "as it was before"


def test_nothing_is_measured_where_there_is_no_text() -> None:
    tokenizer = Tokenizer(models.BPE())
    assert measure(Sample(), tokenizer) is None
