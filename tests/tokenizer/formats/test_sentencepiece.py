"""SentencePiece models, trained here, against sentencepiece itself."""

from __future__ import annotations

import io
import json
import struct
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import pytest
import sentencepiece
from hypothesis import given, settings
from hypothesis import strategies as st

from lmtool import ModelError
from lmtool.tokenizer.chat import ChatTemplate, Message
from lmtool.tokenizer.formats.protobuf import MalformedError, fields
from lmtool.tokenizer.tokenizer import Tokenizer
from reference.hard_texts import any_text, hard_texts
from reference.small_tokenizers import SAMPLES

LINES = [line for text in SAMPLES.values() for line in text.splitlines()] * 3
LINES += ["aaaa aaaaaaaa abababab 1111 2222 ▁▁ foo  bar é e\u0301 ①"] * 20
KEEPS = {"normalization_rule_name": "identity", "remove_extra_whitespaces": False}
SYMBOLS = ["<x>", "ab", "  ", "é", "▁foo", "aaa", "1"]
# Rules of several letters, one within another, with spaces, and to nothing.
RULES = {
    "foo": "bar",
    "fo": "F",
    "a b": "ab",
    "é": "e",
    "e\u0301": "E",
    "#": "",
    "_": "  ",
    "①": " 1",
}
MODELS: dict[str, dict[str, Any]] = {
    "nmt_nfkc": {},
    "nfkc_cf": {"normalization_rule_name": "nfkc_cf", "add_dummy_prefix": False},
    "llama": {**KEEPS, "byte_fallback": True, "allow_whitespace_only_pieces": True},
    "symbols": {"user_defined_symbols": SYMBOLS, "control_symbols": ["<ctl>"]},
    "kept symbols": {**KEEPS, "user_defined_symbols": SYMBOLS, "byte_fallback": True},
    "suffix": {"treat_whitespace_as_suffix": True},
    "whole lines": {"split_by_whitespace": False},
    "rules": {"normalization_rule_tsv": RULES},
}
NAMES = [f"{type} {name}" for type in ("bpe", "unigram") for name in MODELS]


@lru_cache
def trained(name: str) -> bytes:
    """A model file."""
    type, _, key = name.partition(" ")
    options = dict(MODELS[key])
    model = io.BytesIO()
    if "normalization_rule_tsv" in options:
        options["normalization_rule_tsv"] = write_rules(options["normalization_rule_tsv"])
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(LINES),
        model_writer=model,
        model_type=type,
        vocab_size=600,
        hard_vocab_limit=False,
        character_coverage=0.98,
        num_threads=1,
        minloglevel=2,
        **options,
    )
    return model.getvalue()


def write_rules(rules: dict[str, str]) -> str:
    with NamedTemporaryFile("w", suffix=".tsv", delete=False) as file:
        for text, other in rules.items():
            codes = (" ".join(f"{ord(letter):X}" for letter in part) for part in (text, other))
            file.write("\t".join(codes) + "\n")
    return file.name


_LOADED: dict[str, tuple[Tokenizer, Any]] = {}


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the models lie."""
    return tmp_path_factory.mktemp("spm")


def both(folder: Path, name: str) -> tuple[Tokenizer, Any]:
    if name not in _LOADED:
        path = folder / f"{name}.model"
        path.write_bytes(trained(name))
        theirs = sentencepiece.SentencePieceProcessor(model_proto=trained(name))
        _LOADED[name] = Tokenizer.load(path), theirs
    return _LOADED[name]


@pytest.mark.parametrize("name", NAMES)
def test_ids_are_sentencepiece_s(folder: Path, name: str) -> None:
    ours, theirs = both(folder, name)
    for text in hard_texts(60, longest=1500):
        assert ours.encode(text) == theirs.encode(text)
    assert ours.vocab_size == theirs.vocab_size()
    assert ours.special_ids == {
        id for id in range(theirs.vocab_size()) if theirs.is_control(id) or theirs.is_unknown(id)
    }
    assert [ours.piece(id) for id in range(ours.vocab_size)] == [
        theirs.id_to_piece(id) for id in range(ours.vocab_size)
    ]


@settings(max_examples=150, deadline=None)
@given(name=st.sampled_from(NAMES), text=any_text)
def test_any_text_gets_sentencepiece_s_ids(folder: Path, name: str, text: str) -> None:
    ours, theirs = both(folder, name)
    assert ours.encode(text) == theirs.encode(text)


@settings(max_examples=60, deadline=None)
@given(name=st.sampled_from(["bpe llama", "unigram llama"]), text=any_text)
def test_what_falls_back_to_bytes_comes_back(folder: Path, name: str, text: str) -> None:
    ours, _ = both(folder, name)
    assert ours.decode_bytes(ours.encode(text)) == text.replace("▁", " ").encode()


@settings(max_examples=60, deadline=None)
@given(name=st.sampled_from(NAMES), text=any_text)
def test_spans_are_sentencepiece_s(folder: Path, name: str, text: str) -> None:
    ours, theirs = both(folder, name)
    assert ours.encoder is not None
    found = theirs.encode_as_offset_mapping(text)
    spans = ours.encoder.spans(text, parse=False)
    assert [id for id, _, _ in spans] == found["ids"]
    for (id, *place), their_place in zip(spans, found["offsets"], strict=True):
        if not theirs.is_byte(id):  # of a letter's bytes, theirs gives all of it to the last one
            assert tuple(place) == tuple(their_place)


def write(folder: Path, name: str, model: str, **config: Any) -> Path:
    (folder / name).write_bytes(trained(model))
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder


def test_special_tokens_are_parsed_and_only_the_text_s_beginning_gets_a_space(
    tmp_path: Path,
) -> None:
    write(tmp_path, "tokenizer.model", "bpe llama", tokenizer_class="LlamaTokenizer")
    ours = Tokenizer.load(tmp_path)
    theirs = sentencepiece.SentencePieceProcessor(model_proto=trained("bpe llama"))
    # Of two values for a field a reader takes the last.
    unprefixed = trained("bpe llama") + field(3, 2, field(3, 0, b"\0"))
    bare = sentencepiece.SentencePieceProcessor(model_proto=unprefixed)
    expected = [1, *theirs.encode("a b"), 2, *bare.encode("the sea"), 2]
    assert ours.encode("a b</s>the sea</s>", special="parse") == expected
    configured = write(tmp_path, "tokenizer.model", "bpe llama", legacy=True)
    expected = [*theirs.encode("a b"), 2, *theirs.encode("the sea")]
    assert Tokenizer.load(configured).encode("a b</s>the sea", special="parse") == expected
    assert ours.encode("a</s>", bos="off") == theirs.encode("a</s>")
    assert [place.id for place in ours.specials_in("a</s> <s>")] == [2, 1]
    assert (ours.bos_id, ours.eos_ids) == (1, {2})


def test_llama_s_ids_are_transformers(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    names = {0: "<unk>", 1: "<s>", 2: "</s>", 600: "<|0|>", 601: "<|1|>"}
    added = {str(id): {"content": text, "special": True} for id, text in names.items()}
    write(
        tmp_path,
        "tokenizer.model",
        "bpe llama",
        tokenizer_class="LlamaTokenizer",
        added_tokens_decoder=added,
    )
    ours = Tokenizer.load(tmp_path)
    made = json.loads(ours.pipeline.to_str())["model"]
    merges = [tuple(merge) for merge in made["merges"]]
    theirs = transformers.LlamaTokenizer(vocab=made["vocab"], merges=merges)
    theirs.add_special_tokens({"additional_special_tokens": ["<|0|>", "<|1|>"]})
    for text in ("a", "Hello world", "a<s>b</s> c", "<s>a", "</s>", "x<|0|> y<|1|>", "é 日本\n\n"):
        ids = theirs.encode(text, add_special_tokens=False)
        assert ours.encode(text, special="parse", bos="off") == ids, text
    assert ours.decode(ours.encode("a  b")) == "a  b"


def test_xlm_r_and_t5_number_their_tokens_otherwise(tmp_path: Path) -> None:
    for name, kind in (
        ("sentencepiece.bpe.model", "XLMRobertaTokenizer"),
        ("spiece.model", "T5Tokenizer"),
    ):
        folder = tmp_path / kind
        folder.mkdir()
        write(folder, name, "unigram nmt_nfkc", tokenizer_class=kind)
        ours = Tokenizer.load(folder)
        theirs = sentencepiece.SentencePieceProcessor(model_proto=trained("unigram nmt_nfkc"))
        count = theirs.vocab_size()
        plain = theirs.encode("The old lighthouse ☃")
        if kind == "T5Tokenizer":
            assert ours.encode("The old lighthouse ☃") == plain
            assert ours.special_named("<extra_id_0>") == count + 99
            assert ours.encode("a<extra_id_99>", special="parse")[-1] == count
        else:
            moved = {0: 3, 1: 0, 2: 2}
            expected = [moved.get(id, id + 1) for id in plain]
            assert ours.encode("The old lighthouse ☃", bos="off") == expected
            assert ours.encode("a")[0] == ours.special_named("<s>") == 0
            assert ours.special_named("<mask>") == count + 1


def test_a_class_that_changes_text_or_ids_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "spiece.model", "unigram nmt_nfkc", tokenizer_class="AlbertTokenizer")
    with pytest.raises(ModelError, match="is of a AlbertTokenizer, which changes"):
        Tokenizer.load(tmp_path)


def field(number: int, kind: int, data: bytes) -> bytes:
    return bytes([number << 3 | kind]) + (bytes([len(data)]) if kind == 2 else b"") + data


def piece(text: str, score: float = 0.0, kind: int = 1) -> bytes:
    inner = field(1, 2, text.encode()) + field(2, 5, struct.pack("<f", score))
    return field(1, 2, inner + field(3, 0, bytes([kind])))


UNK = piece("<unk>", kind=2)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "it has no pieces"),
        (b"\n", "a number without an end"),
        (b"\n\xff\xff\xff\xff\xff\xff\xff\xff\x7f", "bytes announced at byte"),
        (b"\x07", "a field without a number"),
        (b"\x0b", "a field of the unknown type 3"),
        (b"\xff" * 40, "a number without an end"),
        (UNK + piece(""), "the piece 1 has no letters"),
        (UNK + piece("a") + piece("a"), "'a' is there twice"),
        (UNK + piece("a", float("nan")), "has the score nan"),
        (UNK + piece("a", kind=3), "can't be told from a letter"),
        (UNK + piece("ab", kind=9), "of the unknown kind 9"),
        (piece("a"), "has 0 pieces for what is unknown"),
        (UNK + field(1, 0, b"\1"), "a number where bytes belong"),
        (UNK + field(1, 2, field(1, 2, b"\xff")), "not UTF-8"),
        (UNK + field(2, 2, field(3, 0, b"\4")), "is a character model"),
        (UNK + field(2, 2, field(3, 0, b"\x4d")), "is a type 77 model"),
        (UNK + field(2, 2, b"\x98\x02\x01"), "no piece for the byte 0x00"),
        (UNK + field(3, 2, field(2, 2, b"abc")), "table of normalization rules is damaged"),
        (UNK + field(3, 2, field(2, 2, b"\xff\xff\xff\xff")), "rules is damaged"),
        (UNK + field(3, 2, field(2, 2, b"\x04\0\0\0abcdx\0")), "rules is damaged"),
    ],
)
def test_what_is_no_model_gets_one_line(tmp_path: Path, data: bytes, says: str) -> None:
    path = tmp_path / "tokenizer.model"
    path.write_bytes(data)
    with pytest.raises(ModelError, match=says) as caught:
        Tokenizer.load(path)
    assert "\n" not in caught.value.message
    assert str(path) in caught.value.message


@settings(max_examples=150, deadline=None)
@given(data=st.binary(max_size=60))
def test_random_bytes_are_fields_or_an_error(data: bytes) -> None:
    try:
        found = list(fields(memoryview(data)))
    except MalformedError:
        return
    assert sum(1 if isinstance(value, int) else len(value) for _, _, value in found) <= len(data)


@settings(max_examples=120, deadline=None)
@given(data=st.data())
def test_no_damage_escapes_as_another_error(folder: Path, data: st.DataObject) -> None:
    content = bytearray(trained(data.draw(st.sampled_from(["bpe llama", "unigram rules"]))))
    last = len(content) - 1
    where = st.integers(0, last) | st.integers(max(0, last - 300), last) | st.integers(0, 300)
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(where)] = data.draw(st.integers(0, 255))
    path = folder / "broken.model"
    path.write_bytes(content[: data.draw(st.integers(0, last + 1) | st.just(last + 1))])
    with suppress(ModelError):
        broken = Tokenizer.load(path)
        broken.decode(broken.encode("a b é\u0301 ① 日本", special="parse"))


def test_a_long_text_rounds_as_theirs_does(folder: Path) -> None:
    """Where ways come out alike rounding decides, and beyond 100,000 the sum begins anew."""
    ours, theirs = both(folder, "unigram nmt_nfkc")
    text = " ".join(["aaaaaaaa abababab 1111 foo"] * 3000) + "a" * 20_000
    assert ours.encode(text) == theirs.encode(text)


def test_what_a_message_spells_stays_text_in_a_chat(tmp_path: Path) -> None:
    write(tmp_path, "tokenizer.model", "bpe llama", tokenizer_class="LlamaTokenizer")
    ours = Tokenizer.load(tmp_path)
    source = "<s>{% for one in messages %}[{{ one.content }}]</s> {% endfor %}"
    template = ChatTemplate(source, ours, "x")
    try:
        prompt = template.encode([Message("user", "the sea")])
        assert list(prompt.ids) == ours.encode("<s>[the sea]</s> ", special="parse", bos="off")
        prompt = template.encode([Message("user", "a</s>b")])
        assert list(prompt.ids).count(2) == 1
        assert ours.decode(prompt.ids) == "[a</s>b] "
    finally:
        template.close()


def test_a_text_for_each_letter_takes_no_longer_than_one_for_all(folder: Path) -> None:
    """What is known of the rules must not be worked out anew for every letter that is new."""
    ours, theirs = both(folder, "bpe nmt_nfkc")
    letters = [chr(code) for code in range(0xA0, 0xD800, 11)]
    assert [ours.encode(letter) for letter in letters] == theirs.encode(letters)
