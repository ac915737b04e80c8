"""Texts in blocks and pieces give the ids of the whole."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmtool.tokenizer import bulk
from lmtool.tokenizer.bulk import Encoded, encode_blocks, encode_text, first_difference
from lmtool.tokenizer.corpus import Corpus
from lmtool.tokenizer.cut import Cutter, cut_text
from lmtool.tokenizer.offsets import spans_of
from lmtool.tokenizer.recipe import PATTERNS, Recipe
from lmtool.tokenizer.training.train import train
from reference.small_tokenizers import ALL, KINDS, SAMPLES

MIXED = st.lists(
    st.sampled_from(
        ["ab", " ", "\n", "  \n", "'s", "1234", "…", "あ", "。", "」", "\t", "_", "!?", "\u0301"]
    ),
    max_size=60,
).map("".join)


@pytest.fixture(scope="module")
def patterned(tmp_path_factory) -> dict:
    path = tmp_path_factory.mktemp("all") / "all.txt"
    path.write_bytes(ALL.encode())
    trained = {
        name: train(Corpus((path,)), Recipe(vocab_size=500, pattern=name)) for name in PATTERNS
    }
    return {name: training.tokenizer for name, training in trained.items()}


@settings(max_examples=200, deadline=None)
@given(text=MIXED, longest=st.integers(2, 9), pattern=st.sampled_from(sorted(PATTERNS)))
def test_cuts_change_no_id(patterned, text: str, longest: int, pattern: str) -> None:
    tokenizer = patterned[pattern]
    pieces = list(cut_text(text, Cutter(tokenizer), longest))
    assert "".join(pieces) == text
    ids = [id for piece in pieces for id in tokenizer.encode(piece, add_special_tokens=False).ids]
    assert ids == tokenizer.encode(text, add_special_tokens=False).ids


def test_long_text_is_cut_where_the_kind_allows(kinds) -> None:
    text = SAMPLES["english"] * 20
    counts = {
        name: len(list(cut_text(text, pair.ours.cutter, 100))) for name, pair in kinds.items()
    }
    assert counts["byte_level"] > 20
    japanese = "\n".join(["　" + SAMPLES["japanese"].strip() * 3] * 20)
    assert len(list(cut_text(japanese, kinds["byte_level"].ours.cutter, 100))) > 10
    assert counts["byte_fallback"] == counts["unigram"] == 1


@settings(max_examples=100, deadline=None)
@given(
    text=MIXED,
    size=st.integers(1, 30),
    bos=st.sampled_from(["auto", "off"]),
    kind=st.sampled_from(sorted(KINDS)),
)
def test_blocks_give_the_ids_of_the_whole(kinds, text: str, size: int, bos, kind: str) -> None:
    ours = kinds[kind].ours
    blocks = [text[at : at + size] for at in range(0, len(text), size)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bulk, "BATCH", 8)
        patch.setattr(bulk, "cut_text", lambda text, cutter: cut_text(text, cutter, 5))
        stretches = list(encode_blocks(ours, blocks, bos, "text"))
    assert "".join(stretch.text for stretch in stretches) == text
    assert [id for s in stretches for id in s.ids] == ours.encode(text, bos=bos)


def test_spans_are_bytes_of_the_text(kinds) -> None:
    for text in SAMPLES.values():
        for name in ("byte_level", "byte_fallback"):
            ours = kinds[name].ours
            encoded = encode_text(ours, text, "auto", "text")
            spans = spans_of(ours, encoded, "text")
            assert len(spans) == len(encoded.ids)
            data = text.encode()
            covered = b"".join(data[start:end] for start, end in spans)
            if name == "byte_level":
                assert covered == data
            else:
                assert spans[0] == (0, 0), "a begin-of-text token spans nothing"
                assert spans == sorted(spans)


def test_spans_of_normalized_text_point_into_the_original(kinds) -> None:
    ours = kinds["word_piece"].ours
    text = "ÉÉÉ the"
    spans = spans_of(ours, encode_text(ours, text, "off", "text"), "text")
    assert text.encode()[spans[-1][0] :] == b"the"


def test_the_first_byte_that_differs_is_found(kinds) -> None:
    ours = kinds["byte_level"].ours
    encoded = encode_text(ours, "abc", "auto", "text")
    assert first_difference(ours, encoded) is None
    assert first_difference(ours, Encoded("abd", encoded.ids)) == 2
    assert first_difference(ours, Encoded("ab", encoded.ids)) == 2
    bert = kinds["word_piece"].ours
    assert first_difference(bert, encode_text(bert, "The old", "auto", "text")) == 0
