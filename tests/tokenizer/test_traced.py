"""Which tokens a character is made of, against their bytes."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lmtool.tokenizer.stream import SpelledStream, Stream, TextStream
from lmtool.tokenizer.tokenizer import Tokenizer
from lmtool.tokenizer.traced import TracedStream
from reference.small_tokenizers import SAMPLES, byte_fallback, byte_level

thorough = settings(max_examples=200, deadline=None, derandomize=True)
texts = st.text(st.sampled_from("ab e灯台é🦊 \n\u0301"), max_size=12) | st.sampled_from(
    list(SAMPLES.values())
)


@pytest.fixture(scope="module", params=[byte_level, byte_fallback], ids=lambda kind: kind.__name__)
def tokenizer(request, tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    folder = tmp_path_factory.mktemp("traced")
    request.param().save(str(folder / "tokenizer.json"))
    return Tokenizer.load(folder)


def traced(stream: Stream, ids: list[int], values: list[float]) -> tuple[str, list[float]]:
    """All the text of `ids`, and its characters' values."""
    tracer = TracedStream(stream)
    text, sure = "", list[float]()
    for part, own in [
        *(tracer.push(id, value) for id, value in zip(ids, values, strict=True)),
        tracer.finish(),
    ]:
        assert len(part) == len(own)
        text, sure = text + part, sure + own
    return text, sure


def by_bytes(tokenizer: Tokenizer, ids: list[int], values: list[float], text: str) -> list[float]:
    """The lowest value of the tokens that have a byte of each character, or begin it with none."""
    ends = [len(tokenizer.decode_bytes(ids[: count + 1])) for count in range(len(ids))]
    begins = [0, *ends][: len(ids)]
    out: list[float] = []
    begin = 0
    for letter in text:
        end = begin + len(letter.encode())
        out.append(
            min(
                value
                for id, first, last, value in zip(ids, begins, ends, values, strict=True)
                if id not in tokenizer.special_ids
                if (first < end and last > begin) or first == last == begin
            )
        )
        begin = end
    return out


@thorough
@given(texts, st.randoms(use_true_random=False))
@example("灯台 🦊", None)
def test_a_character_takes_the_lowest_of_its_tokens(
    tokenizer: Tokenizer, text: str, random
) -> None:
    ids = tokenizer.encode(text)
    values = [random.random() if random else -float(place) for place in range(len(ids))]
    got, sure = traced(TextStream(tokenizer), ids, values)
    assert got == tokenizer.decode(ids)
    if "\ufffd" not in got:
        assert sure == by_bytes(tokenizer, ids, values, got)
    if tokenizer.spelling == "bytes":
        spelled = SpelledStream([tokenizer.token_bytes(id) for id in range(tokenizer.vocab_size)])
        assert traced(spelled, ids, values) == (got, sure)


@thorough
@given(st.data())
def test_any_tokens_give_a_value_to_each_character(tokenizer: Tokenizer, data) -> None:
    """Also those whose bytes are no UTF-8, and special ones."""
    ids = data.draw(st.lists(st.integers(0, tokenizer.vocab_size - 1), max_size=12))
    values = [float(place) for place in range(len(ids))]
    text, sure = traced(TextStream(tokenizer), ids, values)
    assert text == tokenizer.decode(ids)
    assert sure == sorted(sure)
    assert set(sure) <= set(values)


def test_by_hand(tokenizer: Tokenizer) -> None:
    """Three tokens make a character, and the letter behind it has one of its own."""
    pieces = [f"<0x{byte:02X}>" for byte in "灯".encode()] + ["e"]
    if tokenizer.spelling == "bytes":
        alone = {tokenizer.token_bytes(id): id for id in range(tokenizer.vocab_size)}
        ids = [alone[bytes([byte])] for byte in "灯e".encode()]
    else:
        ids = [tokenizer.pipeline.token_to_id(piece) for piece in pieces]
    got = traced(TextStream(tokenizer), ids, [-3.0, -5.0, -4.0, -1.0])
    assert got == ("灯e", [-5.0, -1.0])
