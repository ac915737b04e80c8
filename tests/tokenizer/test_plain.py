"""Special tokens that a text spells are text, whatever the model has for pieces."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
import tokenizers
from hypothesis import example, given
from hypothesis import strategies as st
from tokenizers import models, pre_tokenizers

from lmtool.tokenizer.chat import ChatTemplate, Message
from lmtool.tokenizer.fast import FastEncoder
from lmtool.tokenizer.plain import plain_pipeline
from lmtool.tokenizer.tokenizer import Tokenizer
from reference.odd_tokenizers import SPELLING, merged_special
from reference.small_tokenizers import SAMPLES, unigram

SPECIALS = ["<u>", "<e>", "ab"]
NAMELESS = ["\ue000" * 2, "\ue001" * 2, "\ue002" * 2]
"""What they are called in a model that can't spell them."""
LETTERS = "<>uea/b"
TEXT = st.lists(st.sampled_from([*SPECIALS, *LETTERS, " ", "ua", "e>", "☃"])).map("".join)


def bpe(*specials: str, **options: Any) -> Any:
    """Every two pieces that make a third are a merge, as transformers converts SentencePieces."""
    pieces = [*specials, *LETTERS, "ua", "e>", "<e", "<ua", "<u"]
    merges = [(one, two) for one in pieces for two in pieces if one + two in pieces]
    merges.sort(key=lambda pair: pieces.index("".join(pair)))
    ids = {piece: id for id, piece in enumerate(pieces)}
    return models.BPE(ids, merges, unk_token=specials[0], **options)


def whole_words(*specials: str) -> Any:
    return bpe(*specials, ignore_merges=True)


def word_piece(*specials: str) -> Any:
    pieces = [*specials, *LETTERS, *("##" + letter for letter in LETTERS), "##e>", "ua"]
    return models.WordPiece({piece: id for id, piece in enumerate(pieces)}, unk_token=specials[0])


def word_level(*specials: str) -> Any:
    pieces = [*specials, *LETTERS, "ua"]
    return models.WordLevel({piece: id for id, piece in enumerate(pieces)}, unk_token=specials[0])


def unigram_model(*specials: str) -> Any:
    pieces = [*((piece, 0.0) for piece in specials), *((letter, -3.0) for letter in LETTERS)]
    return models.Unigram([*pieces, ("e>", -4.0), ("<ua", -5.0)], 0)


def between_spaces(model: Any) -> Any:
    pipeline = tokenizers.Tokenizer(model)
    pipeline.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return pipeline


def with_specials(model: Any) -> Any:
    pipeline = between_spaces(model)
    pipeline.add_special_tokens(SPECIALS)
    return pipeline


@pytest.mark.parametrize("make", [bpe, whole_words, word_piece, word_level, unigram_model])
@given(text=TEXT)
@example(text="<u> <e> ab <u>a<e>ab ☃<u>")
def test_ids_are_those_of_a_model_that_cannot_spell_them(make: Any, text: str) -> None:
    plain = plain_pipeline(with_specials(make(*SPECIALS)))
    wanted = between_spaces(make(*NAMELESS)).encode(text)
    found = plain.encode(text)
    assert (found.ids, found.offsets) == (wanted.ids, wanted.offsets)


def test_a_model_that_makes_none_of_them_is_the_same_object() -> None:
    pipeline = with_specials(models.BPE({piece: at for at, piece in enumerate(SPECIALS)}, []))
    before = json.loads(pipeline.to_str())["model"]
    assert json.loads(plain_pipeline(pipeline).to_str())["model"] == before


def test_letters_and_bytes_stay_since_nothing_else_spells_them() -> None:
    vocabulary = {"!": 0, "a": 1, **{f"<0x{byte:02X}>": byte + 2 for byte in range(256)}}
    pipeline = tokenizers.Tokenizer(models.BPE(vocabulary, [], byte_fallback=True))
    pipeline.add_special_tokens(["!", "<0xC3>"])
    assert plain_pipeline(pipeline).encode("a!é").ids == [1, 0, 0xC3 + 2, 0xA9 + 2]


def test_added_tokens_keep_their_ids() -> None:
    pipeline = with_specials(unigram_model(*SPECIALS))
    pipeline.add_special_tokens(["<later>"])
    pipeline.add_tokens(["tool", "<e>tool"])
    plain = plain_pipeline(pipeline)
    assert plain.get_added_tokens_decoder() == pipeline.get_added_tokens_decoder()
    tool = pipeline.token_to_id("tool")
    assert [id for id in plain.encode("u tool <e> <later>").ids if id >= tool - 1] == [tool]


def test_a_unigram_model_reads_them_as_sentencepiece_does() -> None:
    file = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([line for text in SAMPLES.values() for line in text.splitlines()]),
        model_writer=file,
        model_type="unigram",
        vocab_size=320,
        character_coverage=0.98,
        control_symbols=["<ctl>"],
        normalization_rule_name="identity",
        hard_vocab_limit=False,
        num_threads=1,
        minloglevel=2,
    )
    theirs: Any = sentencepiece.SentencePieceProcessor(model_proto=file.getvalue())
    pieces = [theirs.id_to_piece(id) for id in range(theirs.vocab_size())]
    entries = [(piece, theirs.get_score(id)) for id, piece in enumerate(pieces)]
    pipeline = tokenizers.Tokenizer(models.Unigram(entries, theirs.unk_id()))
    pipeline.pre_tokenizer = pre_tokenizers.Metaspace()
    specials = ["<unk>", "<s>", "</s>", "<ctl>"]
    pipeline.add_special_tokens(specials)
    plain = plain_pipeline(pipeline)
    for special in specials:
        for text in (special, f"the old {special} lighthouse", f"the{special}old"):
            assert plain.encode(text).ids == theirs.encode(text), text


# --- every way of encoding

WAYS = {"unigram": unigram, **SPELLING}


@pytest.fixture(scope="module", params=WAYS)
def tokenizer(request: pytest.FixtureRequest, tmp_path_factory: Any) -> Tokenizer:
    path: Path = tmp_path_factory.mktemp("spelling") / "tokenizer.json"
    WAYS[request.param]().save(str(path))
    return Tokenizer.load(path)


@pytest.fixture
def spelled(tokenizer: Tokenizer) -> str:
    """A text with every special token, by itself and within words."""
    tokens = [tokenizer.added[id] for id in sorted(tokenizer.special_ids)]
    return " ".join(text for token in tokens for text in (token, f"a{token}b", token + token))


def test_spans_are_those_of_the_ids(tokenizer: Tokenizer, spelled: str) -> None:
    pieces = tokenizer.plain.encode(spelled, add_special_tokens=False)
    assert tokenizer.encode(spelled, bos="off") == pieces.ids
    assert tokenizer.character_spans(spelled) == pieces.offsets


def test_corpora_get_the_same_ids(tokenizer: Tokenizer, spelled: str) -> None:
    texts = [spelled, *spelled.split(" ")]
    wanted = [tokenizer.encode(text, bos="off") for text in texts]
    assert [ids.tolist() for ids in FastEncoder(tokenizer, "text").encode(texts)] == wanted


def test_the_fast_library_gets_them_as_text(tmp_path: Path) -> None:
    pytest.importorskip("gigatoken")
    merged_special().save(str(tmp_path / "tokenizer.json"))
    fast = FastEncoder(Tokenizer.load(tmp_path / "tokenizer.json"), "text")
    assert fast.name == "gigatoken", fast.reason


def test_talks_get_the_same_ids(tokenizer: Tokenizer, spelled: str) -> None:
    template = ChatTemplate("{{ messages[0].content }}", tokenizer, "bare")
    for text in (spelled, *spelled.split(" ")):
        prompt = template.encode([Message("user", text)], bos="off")
        assert (list(prompt.ids), prompt.specials) == (tokenizer.encode(text, bos="off"), ())
    template.close()


def test_parsed_they_are_tokens(tokenizer: Tokenizer, spelled: str) -> None:
    found = tokenizer.encode(spelled, bos="off", special="parse")
    assert tokenizer.special_ids <= set(found)
    assert {place.id for place in tokenizer.specials_in(spelled)} == tokenizer.special_ids
