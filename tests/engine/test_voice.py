"""How a text ends, and what is shown of it: every case of `finish`, and where two meet."""

from __future__ import annotations

from collections.abc import Sequence as Many
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmtool.engine.loop import Emission
from lmtool.engine.request import Finish, Request, Stop
from lmtool.engine.sequence import Sequence
from lmtool.engine.voice import Voice
from lmtool.tokenizer.stream import TextStream
from lmtool.tokenizer.tokenizer import Tokenizer
from reference.small_tokenizers import byte_fallback, byte_level, unigram

EOS = 0
Said = tuple[str, "Finish | None", int]
"""The text, how it ended, and after how many tokens."""


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    folder = tmp_path_factory.mktemp("voice")
    byte_level().save(str(folder / "tokenizer.json"))
    return Tokenizer.load(folder)


def voiced(
    tokenizer: Tokenizer, ids: Many[int], stop: Stop, max_new: int | None = 50, context: int = 100
) -> tuple[Said, Voice]:
    """What becomes of a text whose model chooses `ids`."""
    sequence = Sequence(Request((5,), max_new, stop=stop))
    voice = Voice(TextStream(tokenizer, before=(5,)), sequence.request)
    text = ""
    for id in ids:
        sequence.accept(id, context)
        token = voice.say(Emission(sequence, id, None, ()))
        text += token.text
        assert token.finish == sequence.finish
        if token.finish is not None:
            break
    return (text, sequence.finish, len(sequence.generated)), voice


def said(
    tokenizer: Tokenizer, ids: Many[int], stop: Stop, max_new: int | None = 50, context: int = 100
) -> Said:
    return voiced(tokenizer, ids, stop, max_new, context)[0]


def letters(tokenizer: Tokenizer, text: str) -> list[int]:
    """A token a byte of `text`."""
    alone = {tokenizer.token_bytes(id): id for id in range(tokenizer.vocab_size)}
    return [alone[bytes([byte])] for byte in text.encode()]


STOP = Stop(eos=frozenset({EOS}), texts=("aab", "灯台"))


@pytest.mark.parametrize(
    ("text", "max_new", "wanted"),
    [
        ("xaaab!", 50, ("xa", "stop", 5)),
        ("xaab", 4, ("x", "stop", 4)),  # completed by the last token that was allowed
        ("xaac", 3, ("xaa", "length", 3)),  # held back, and never completed
        ("x灯台", 7, ("x", "stop", 7)),
        ("x灯台", 6, ("x灯\ufffd", "length", 6)),  # ends inside a character of a stop text
        ("x灯火", 7, ("x灯火", "length", 7)),
    ],
)
def test_stop_texts_and_length(tokenizer: Tokenizer, text: str, max_new: int, wanted: Said) -> None:
    assert said(tokenizer, letters(tokenizer, text), STOP, max_new) == wanted
    kept = said(tokenizer, letters(tokenizer, text), replace(STOP, keep=True), max_new)
    ending = {"aab": "aab", "台": "灯台"}
    added = next((s for end, s in ending.items() if text.rstrip("!").endswith(end)), "")
    assert kept == (wanted[0] + (added if wanted[1] == "stop" else ""), *wanted[1:])


@pytest.mark.parametrize(
    ("stop", "max_new", "context", "wanted"),
    [
        (STOP, 3, 100, ("aa", "eos", 3)),  # the model's own end is no end by length
        (STOP, None, 4, ("aa", "eos", 3)),  # nor by the context
        (replace(STOP, ids=frozenset({EOS})), 50, 100, ("aa", "stop", 3)),
        (replace(STOP, eos=frozenset()), 3, 100, ("aa", "length", 3)),
        (replace(STOP, eos=frozenset()), None, 4, ("aa", "context", 3)),
        (replace(STOP, eos=frozenset()), 3, 4, ("aa", "length", 3)),
        (replace(STOP, eos=frozenset()), None, 5, ("", "stop", 4)),
    ],
)
def test_ends_that_meet(
    tokenizer: Tokenizer, stop: Stop, max_new: int | None, context: int, wanted: Said
) -> None:
    """The model says `aa`, its own end, and `b`: special tokens are no part of the text."""
    ids = [*letters(tokenizer, "aa"), EOS, *letters(tokenizer, "b")]
    assert said(tokenizer, ids, stop, max_new, context) == wanted


def test_a_special_token_named_as_a_stop_is_printed_where_it_is_to_be_kept(
    tokenizer: Tokenizer,
) -> None:
    stop = Stop(ids=frozenset({EOS}), spelled=((EOS, "<|endoftext|>"),))
    ids = [*letters(tokenizer, "ab"), EOS]
    assert said(tokenizer, ids, stop) == ("ab", "stop", 3)
    assert said(tokenizer, ids, replace(stop, keep=True)) == ("ab<|endoftext|>", "stop", 3)


def test_before_min_tokens_a_stop_text_is_text(tokenizer: Tokenizer) -> None:
    ids = letters(tokenizer, "aabxaab")
    assert said(tokenizer, ids, replace(STOP, min_tokens=3)) == ("aabx", "stop", 7)
    assert said(tokenizer, ids, replace(STOP, min_tokens=2)) == ("aabx", "stop", 7)
    assert said(tokenizer, ids, STOP) == ("", "stop", 3)


@pytest.mark.parametrize(
    ("text", "shown", "rest"),
    [("xaa", "x", "aa"), ("xyz", "xyz", ""), ("x灯", "x", "灯")],
)
def test_what_is_held_back_is_there_for_whoever_breaks_off(
    tokenizer: Tokenizer, text: str, shown: str, rest: str
) -> None:
    came, voice = voiced(tokenizer, letters(tokenizer, text), STOP)
    assert (came[0], voice.rest()) == (shown, (rest, ()))
    half = letters(tokenizer, text + "台")[:-1]
    came, voice = voiced(tokenizer, half, STOP)
    assert came[0] + voice.rest()[0] == text + "\ufffd"


thorough = settings(max_examples=150, deadline=None, derandomize=True)


@pytest.mark.parametrize(
    "kind", [byte_level, byte_fallback, unigram], ids=lambda kind: kind.__name__
)
def test_whatever_is_chosen_the_text_ends_where_its_first_stop_is_complete(
    tmp_path_factory: pytest.TempPathFactory, kind
) -> None:
    folder = tmp_path_factory.mktemp("voice")
    kind().save(str(folder / "tokenizer.json"))
    tokenizer = Tokenizer.load(folder)

    @thorough
    @given(st.lists(st.integers(1, tokenizer.vocab_size - 1), min_size=1, max_size=12), st.data())
    def check(ids: list[int], data: st.DataObject) -> None:
        whole = said(tokenizer, ids, Stop(), len(ids))
        assert whole[1:] == ("length", len(ids))
        begin = data.draw(st.integers(0, max(0, len(whole[0]) - 1)))
        stop = whole[0][begin : begin + data.draw(st.integers(1, 4))]
        text, finish, _ = said(tokenizer, ids, Stop(texts=(stop,)), len(ids))
        if stop:
            assert (text, finish) == (whole[0][: whole[0].index(stop)], "stop")

    check()
