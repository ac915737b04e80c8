"""`TextStream`: a text in bits is the text as a whole."""

from __future__ import annotations

from hypothesis import example, given, settings
from hypothesis import strategies as st

from lmtool.tokenizer.stream import TextStream
from reference.small_tokenizers import KINDS, SAMPLES


def streamed(tokenizer, ids: list[int], **options) -> list[str]:
    stream = TextStream(tokenizer, **options)
    return [*(stream.push(id) for id in ids), stream.finish()]


@settings(max_examples=400, deadline=None)
@given(data=st.data(), kind=st.sampled_from(sorted(KINDS)), skip=st.booleans())
def test_the_bits_are_what_decode_makes_of_all(kinds, data, kind: str, skip: bool) -> None:
    ours = kinds[kind].ours
    # Few ids, so that runs of bytes and of special tokens are likely.
    some = st.integers(0, 12) | st.integers(0, ours.vocab_size + 2)
    if kind == "byte_fallback":
        some |= st.sampled_from([3 + byte for byte in "あé".encode()])
    ids = data.draw(st.lists(some, max_size=16))
    bits = streamed(ours, ids, skip_special=skip)
    assert "".join(bits) == ours.decode(ids, skip_special=skip)


@settings(max_examples=100, deadline=None)
@given(
    text=st.sampled_from(list(SAMPLES.values())) | st.text(max_size=40),
    kind=st.sampled_from(sorted(KINDS)),
)
@example(text="👩‍👩‍👧‍👦", kind="byte_fallback")
def test_no_bit_holds_half_a_character(kinds, text: str, kind: str) -> None:
    text = text.encode("utf-8", "replace").decode().replace("\ufffd", "")
    ours = kinds[kind].ours
    bits = streamed(ours, ours.encode(text))
    assert "".join(bits) == ours.decode(ours.encode(text))
    assert not any("\ufffd" in bit for bit in bits)


def test_what_is_incomplete_at_the_end_shows_as_replaced(kinds) -> None:
    for kind in ("byte_level", "byte_fallback"):
        ours = kinds[kind].ours
        cut = ours.encode("日", bos="off")[:-1]
        bits = streamed(ours, cut)
        assert "".join(bits[:-1]).strip() == ""
        assert bits[-1].endswith("\ufffd")


def test_after_a_prompt_the_first_word_keeps_its_space(kinds) -> None:
    for kind, pair in kinds.items():
        ours = pair.ours
        before = ours.encode("the old")
        ids = ours.encode("the old keeper", bos="off")[len(before) - len(ours.prefix) :]
        bits = streamed(ours, ids, before=before)
        assert "".join(bits) == " keeper", kind


def test_each_word_comes_with_its_token(kinds) -> None:
    for kind in ("byte_level", "byte_fallback", "unigram"):
        ours = kinds[kind].ours
        bits = streamed(ours, ours.encode("the old keeper", bos="off"))
        assert bits[-1] == ""
        assert all(bits[1:-1]), f"{kind} holds back what is certain: {bits}"


def test_finish_may_be_followed_by_more(kinds) -> None:
    for pair in kinds.values():
        stream = TextStream(pair.ours)
        ids = pair.ours.encode("the old keeper", bos="off")
        text = "".join(map(stream.push, ids[:2])) + stream.finish()
        text += "".join(map(stream.push, ids[2:])) + stream.finish()
        assert text == pair.ours.decode(ids)
