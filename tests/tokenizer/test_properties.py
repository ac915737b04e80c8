"""What holds of a tokenizer for every text of Unicode and every list of ids."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lmtool.tokenizer.bulk import encode_blocks, encode_text
from lmtool.tokenizer.offsets import spans_of
from lmtool.tokenizer.stream import ByteStream, TextStream
from lmtool.tokenizer.tokenizer import Tokenizer
from reference.odd_tokenizers import ODD
from reference.small_tokenizers import KINDS

TRICKY = [
    *(" ", "  ", "\n", "\r\n", "\t", "\0", "\ufeff", "\u00a0", "\u3000", "▁", "Ġ", "\ufffd"),
    *(
        "a",
        "The",
        " old",
        "é",
        "e\u0301",
        "ﬁ",
        "İ",
        "ß",
        "日本",
        "👩‍👩‍👧",
        "<0x41>",
        "##s",
        "1,234",
    ),
    *("<|endoftext|>", "<s>", "</s>", "<unk>", "[UNK]", "<tool> é", " <take>", "<take>", ".", "'s"),
]
UNICODE = st.text(st.characters(exclude_categories=["Cs"]), max_size=24)
TEXT = UNICODE | st.lists(st.sampled_from(TRICKY) | UNICODE, max_size=8).map("".join)
EVERY = sorted({*KINDS, *ODD})


@pytest.fixture(scope="module")
def every(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tokenizer]:
    """Tokenizers of every kind, and of those that change text."""
    made: dict[str, Tokenizer] = {}
    for name, make in (KINDS | ODD).items():
        path = tmp_path_factory.mktemp(name) / "tokenizer.json"
        make().save(str(path))
        made[name] = Tokenizer.load(path)
    return made


def back(tokenizer: Tokenizer, text: str) -> bytes:
    return tokenizer.decode_bytes(tokenizer.encode(text, bos="off"), skip_special=False)


# --- what comes back


def test_who_promises_every_byte(every) -> None:
    whole = {"byte_level", "merged_bytes", "whole_words"}
    assert {name for name in EVERY if every[name].lossless} == whole
    assert every["gemma"].losses == ("U+2581 (▁) comes back as a space",)
    assert every["normalized"].losses == ("its normalizer (NFC) changes some text",)


@settings(max_examples=150, deadline=None)
@given(text=TEXT)
def test_what_is_promised_comes_back(every, text: str) -> None:
    for name in EVERY:
        losses = every[name].losses
        if not losses:
            assert back(every[name], text) == text.encode(), name
            assert every[name].decode(every[name].encode(text)) == text
        elif losses == ("U+2581 (▁) comes back as a space",):
            assert back(every[name], text) == text.replace("▁", " ").encode(), name


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("normalized", "e\u0301"),
        ("lower_case", "A"),
        ("padded", "a"),
        ("greedy_added", "a  <take>"),
        ("dropping", "a b"),
        ("without_bytes", "z"),
        ("gemma", "▁"),
        ("byte_fallback", "▁"),
        ("metaspace_fallback", " a"),
        ("unigram", "日"),
        ("word_piece", "A  b"),
    ],
)
def test_every_loss_has_an_example(every, name: str, text: str) -> None:
    assert every[name].losses
    assert back(every[name], text) != text.encode()


# --- special tokens


@pytest.mark.parametrize("name", EVERY)
def test_a_special_token_that_a_text_spells_is_text(every, name: str) -> None:
    tokenizer = every[name]
    for special in (tokenizer.added[id] for id in tokenizer.special_ids):
        for text in (special, f"a {special} b", f"a{special}b", special * 2, special.upper()):
            assert specials_among(tokenizer, tokenizer.encode(text, bos="off")) == set(), text


@settings(max_examples=100, deadline=None)
@given(data=st.data(), name=st.sampled_from(EVERY))
def test_text_never_yields_special_tokens(every, data: st.DataObject, name: str) -> None:
    tokenizer = every[name]
    spelled = st.sampled_from(["", *(tokenizer.added[id] for id in tokenizer.special_ids)])
    text = "".join(data.draw(st.lists(spelled | TEXT, max_size=4)))
    assert specials_among(tokenizer, tokenizer.encode(text, bos="off")) == set()


def specials_among(tokenizer: Tokenizer, ids: list[int]) -> set[int]:
    """But for what stands for letters without a piece."""
    unknown = {tokenizer.special_named("<unk>"), tokenizer.special_named("[UNK]")}
    return set(ids) & tokenizer.special_ids - unknown


@settings(max_examples=60, deadline=None)
@given(text=TEXT, name=st.sampled_from(EVERY), special=st.sampled_from(["text", "parse"]))
def test_a_begin_of_text_token_is_put_once(every, text: str, name: str, special) -> None:
    tokenizer = every[name]
    ids = tokenizer.encode(text, special=special)
    prefix = list(tokenizer.prefix)
    assert ids[: len(prefix)] == prefix
    assert tokenizer.put_bos(ids, "auto") == ids
    plain = tokenizer.encode(text, special=special, bos="off")
    assert ids in (plain, prefix + plain)


# --- ids in bits


@st.composite
def id_lists(draw: st.DrawFn, tokenizer: Tokenizer) -> list[int]:
    some = st.integers(0, min(12, tokenizer.vocab_size)) | st.integers(0, tokenizer.vocab_size + 2)
    if tokenizer.spelling == "fallback":
        some |= st.sampled_from([3 + byte for byte in "あé ".encode()])
    parts = st.lists(some, max_size=10) | TEXT.map(lambda text: tokenizer.encode(text))
    return [id for part in draw(st.lists(parts, max_size=3)) for id in part]


@settings(max_examples=300, deadline=None)
@given(data=st.data(), name=st.sampled_from(EVERY), skip=st.booleans())
def test_bits_of_ids_are_the_whole(every, data: st.DataObject, name: str, skip: bool) -> None:
    tokenizer = every[name]
    ids = data.draw(id_lists(tokenizer))
    whole = tokenizer.decode(ids, skip_special=skip)
    text = TextStream(tokenizer, skip_special=skip)
    assert "".join([*map(text.push, ids), text.finish()]) == whole
    data_of_all = tokenizer.decode_bytes(ids, skip_special=skip)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(ids)), max_size=4)))
    stream = ByteStream(tokenizer, skip)
    parts = [ids[start:end] for start, end in zip([0, *cuts], [*cuts, len(ids)], strict=True)]
    assert b"".join(map(stream.push, parts)) == data_of_all
    if "\ufffd" not in whole:
        assert data_of_all == whole.encode()


@settings(max_examples=100, deadline=None)
@given(text=TEXT, name=st.sampled_from(EVERY), cuts=st.lists(st.integers(0, 200), max_size=4))
def test_blocks_of_text_are_the_whole(every, text: str, name: str, cuts: list[int]) -> None:
    places = sorted(min(cut, len(text)) for cut in cuts)
    blocks = [text[start:end] for start, end in zip([0, *places], [*places, None], strict=True)]
    stretches = list(encode_blocks(every[name], blocks, "auto", "text"))
    assert [id for one in stretches for id in one.ids] == every[name].encode(text)
    assert "".join(one.text for one in stretches) == text


# --- offsets


@settings(max_examples=200, deadline=None)
@given(text=TEXT, name=st.sampled_from(EVERY), special=st.sampled_from(["text", "parse"]))
@example(text="e\u0301 é", name="normalized", special="text")
def test_offsets_lie_in_the_text_and_in_its_order(every, text: str, name: str, special) -> None:
    tokenizer = every[name]
    encoded = encode_text(tokenizer, text, "auto", special)
    letters = spans_of(tokenizer, encoded, special, "characters")
    spans = spans_of(tokenizer, encoded, special)
    assert len(letters) == len(spans) == len(encoded.ids)
    assert spans[: encoded.added] == [(0, 0)] * encoded.added
    data = text.encode()
    for (start, end), (first, last) in zip(spans, letters, strict=True):
        assert 0 <= start <= end <= len(data)
        # The span in characters is that in bytes, widened to whole characters.
        around = text[first:last].encode()
        before = len(text[:first].encode())
        assert before <= start <= end <= before + len(around)
    plain = letters[encoded.added :]
    assert [start for start, _ in plain] == sorted(start for start, _ in plain)


@settings(max_examples=150, deadline=None)
@given(text=TEXT, name=st.sampled_from(["byte_level", "gemma", "byte_fallback", "unigram"]))
def test_offsets_point_at_what_the_token_spells(every, text: str, name: str) -> None:
    tokenizer = every[name]
    encoded = encode_text(tokenizer, text, "off", "text")
    data = text.encode()
    for id, (start, end) in zip(encoded.ids, spans_of(tokenizer, encoded, "text"), strict=True):
        spanned = data[start:end]
        if tokenizer.spelling == "bytes":
            assert spanned == tokenizer.token_bytes(id)
        elif tokenizer.is_byte(id):
            assert int(tokenizer.piece(id)[3:5], 16) in spanned
        elif id not in tokenizer.special_ids:
            spelled = tokenizer.piece(id).replace("▁", " ")
            # A space that was put before a word has no letter of its own.
            assert spanned.decode().replace("▁", " ") in (spelled, spelled.removeprefix(" "))


@settings(max_examples=100, deadline=None)
@given(text=TEXT)
def test_offsets_before_normalization_point_at_what_became_the_token(every, text: str) -> None:
    tokenizer = every["normalized"]
    encoded = encode_text(tokenizer, text, "off", "text")
    letters = spans_of(tokenizer, encoded, "text", "characters")
    for id, (start, end) in zip(encoded.ids, letters, strict=True):
        whole = unicodedata.normalize("NFC", text[start:end]).encode()
        if id not in tokenizer.added and unicodedata.is_normalized("NFC", text):
            assert tokenizer.token_bytes(id) in whole
