"""Rank files and tekken.json against tiktoken with the same ranks."""

from __future__ import annotations

import base64
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import tiktoken
from hypothesis import given, settings
from hypothesis import strategies as st
from tiktoken_ext import openai_public

from lmtool import ModelError
from lmtool.tokenizer.formats.encodings import BY_NAME
from lmtool.tokenizer.formats.ranks import merges_of
from lmtool.tokenizer.tokenizer import Tokenizer
from reference.hard_texts import any_text, hard_texts

from .conftest import rank_lines

NAMES = ("r50k_base", "p50k_edit", "cl100k_base", "o200k_base", "o200k_harmony")
# What Meta's and Alibaba's own code pass to tiktoken.
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN = LLAMA3.replace("{1,3}", "")


def published(name: str, ranks: dict[bytes, int], monkeypatch: pytest.MonkeyPatch) -> Any:
    """tiktoken's own encoding of that name, but with small ranks."""
    monkeypatch.setattr(openai_public, "load_tiktoken_bpe", lambda *_, **__: ranks)
    described = getattr(openai_public, name)()
    described.pop("explicit_n_vocab", None)
    return tiktoken.Encoding(**described)


def write(folder: Path, name: str, ranks: dict[bytes, int], **config: Any) -> Path:
    path = folder / name
    path.write_bytes(rank_lines(ranks))
    if config:
        (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return path


@pytest.mark.parametrize("name", NAMES)
def test_ids_are_tiktoken_s(
    tmp_path: Path, ranks: dict[bytes, int], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    theirs = published(name, ranks, monkeypatch)
    ours = Tokenizer.load(write(tmp_path, f"{name}.tiktoken", ranks))
    for text in hard_texts(100, longest=1500):
        ids = ours.encode(text)
        assert ids == theirs.encode_ordinary(text)
        assert ours.decode_bytes(ids) == text.encode()
    spelled = "".join(f"a{token} b {token}" for token in sorted(theirs.special_tokens_set))
    if name != "o200k_harmony":  # which has two names for one id
        assert ours.encode(spelled, special="parse") == theirs.encode(
            spelled, allowed_special="all"
        )
        assert set(ours.added.values()) == theirs.special_tokens_set
    assert ours.encode(spelled) == theirs.encode_ordinary(spelled)
    assert ours.vocab_size == theirs.n_vocab
    assert name in ours.format


@settings(max_examples=150, deadline=None)
@given(text=any_text)
def test_any_text_gets_tiktoken_s_ids(text: str, ranks, tmp_path_factory) -> None:
    folder = tmp_path_factory.getbasetemp()
    path = folder / "cl100k-base.tiktoken"
    if not path.exists():
        write(folder, path.name, ranks)
        with pytest.MonkeyPatch.context() as patch:
            _PAIR[:] = [Tokenizer.load(path), published("cl100k_base", ranks, patch)]
    ours, theirs = _PAIR
    assert ours.encode(text) == theirs.encode_ordinary(text)


_PAIR: list[Any] = []


@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_ranks_that_no_training_gave(data: st.DataObject, tmp_path_factory) -> None:
    """Tokens that overlap themselves, and tokens that no merge reaches."""
    words = st.lists(st.sampled_from([b"a", b"b"]), min_size=2, max_size=6).map(b"".join)
    tokens = data.draw(st.lists(words, unique=True, max_size=12))
    tokens.sort(key=len)
    found = {bytes([byte]): byte for byte in range(256)}
    found |= {token: 256 + place for place, token in enumerate(tokens)}
    theirs = tiktoken.Encoding("x", pat_str=LLAMA3, mergeable_ranks=found, special_tokens={})
    path = tmp_path_factory.getbasetemp() / "llama3.tiktoken"
    ours = Tokenizer.load(write(path.parent, path.name, found))
    for text in data.draw(st.lists(st.text("ab", min_size=1, max_size=30), max_size=20)):
        assert ours.encode(text, bos="off") == theirs.encode_ordinary(text)


def test_a_pair_that_overlaps_another_of_its_token_comes_in_the_order_of_the_text() -> None:
    found = {token: rank for rank, token in enumerate([b"a", b"b", b"ab", b"ba", b"aba"])}
    assert merges_of(found)[-2:] == [(b"ab", b"a"), (b"a", b"ba")]
    found = {token: rank for rank, token in enumerate([b"a", b"aa", b"aaa"])}
    assert merges_of(found) == [(b"a", b"a"), (b"aa", b"a"), (b"a", b"aa")]


def test_llama_3_is_known_by_the_checkpoint_beside_it(
    tmp_path: Path, ranks: dict[bytes, int]
) -> None:
    write(tmp_path, "tokenizer.model", ranks)
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    ours = Tokenizer.load(tmp_path)
    theirs = tiktoken.Encoding("x", pat_str=LLAMA3, mergeable_ranks=ranks, special_tokens={})
    count = len(ranks)
    for text in hard_texts(40, longest=1000):
        assert ours.encode(text) == [count, *theirs.encode_ordinary(text)]
    assert ours.vocab_size == count + 256
    assert ours.special_named("<|eot_id|>") == count + 9
    assert (ours.bos_id, ours.eos_ids) == (count, {count + 1})


def test_qwen_s_text_is_composed_first(tmp_path: Path, ranks: dict[bytes, int]) -> None:
    ours = Tokenizer.load(write(tmp_path, "qwen.tiktoken", ranks))
    theirs = tiktoken.Encoding("x", pat_str=QWEN, mergeable_ranks=ranks, special_tokens={})
    assert ours.encode("e\u0301 12 a  \n b") == theirs.encode_ordinary("é 12 a  \n b")
    assert ours.special_named("<|extra_204|>") == len(ranks) + 207


def test_a_config_gives_the_pattern_and_the_special_tokens(
    tmp_path: Path, ranks: dict[bytes, int]
) -> None:
    tokens = {"900": {"content": "<|end|>", "special": True}, "901": {"content": "<x>"}}
    path = write(tmp_path, "mine.model", ranks, pattern=QWEN, added_tokens_decoder=tokens)
    ours = Tokenizer.load(path)
    theirs = tiktoken.Encoding(
        "x", pat_str=QWEN, mergeable_ranks=ranks, special_tokens={"<|end|>": 900, "<x>": 901}
    )
    text = "a<|end|> b<x>"
    assert ours.encode(text, special="parse") == theirs.encode(text, allowed_special="all")
    assert ours.special_ids == {900}
    path = write(tmp_path, "mine.tiktoken", ranks, encoding="o200k_base")
    assert "o200k_base" in Tokenizer.load(path).format


def tekken(ranks: dict[bytes, int], **more: Any) -> dict[str, Any]:
    vocab = [
        {"rank": rank, "token_bytes": base64.b64encode(token).decode(), "token_str": None}
        for token, rank in ranks.items()
    ]
    config = {
        "pattern": BY_NAME["o200k_base"].pattern,
        "num_vocab_tokens": len(vocab),
        "default_vocab_size": len(vocab) + 10,
        "default_num_special_tokens": 30,
        "version": "v3",
    }
    return {"config": config | more.pop("config", {}), "vocab": vocab} | more


def test_tekken_s_special_tokens_come_first(tmp_path: Path, ranks: dict[bytes, int]) -> None:
    path = tmp_path / "tekken.json"
    path.write_text(json.dumps(tekken(ranks)))
    kept = {token: rank for token, rank in ranks.items() if rank < len(ranks) - 20}
    pattern = BY_NAME["o200k_base"].pattern
    theirs = tiktoken.Encoding("x", pat_str=pattern, mergeable_ranks=kept, special_tokens={})
    for ours in (Tokenizer.load(path), Tokenizer.load(tmp_path)):
        for text in hard_texts(40, longest=1000):
            ids = [id + 30 for id in theirs.encode_ordinary(text)]
            assert ours.encode(text) == [1, *ids]
        assert ours.encode("a[INST]", special="parse", bos="off")[-1] == 3
        assert ours.piece(29) == "<SPECIAL_29>"
        assert (ours.bos_id, ours.eos_ids, ours.vocab_size) == (1, {2}, len(ranks) + 10)
    listed = [{"rank": 0, "token_str": "<a>"}, {"rank": 1, "token_str": "<b>"}]
    path.write_text(json.dumps(tekken(ranks, special_tokens=listed, config={"version": "v11"})))
    assert Tokenizer.load(path).special_named("<b>") == 1


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda made: made["vocab"].pop(3), "the token 3 has the rank 4"),
        (lambda made: made["vocab"][3].update(token_bytes="?"), "the token 3 has no bytes"),
        (lambda made: made["vocab"][3].update(token_bytes="IQ=="), "are the same"),
        (lambda made: made["config"].update(default_vocab_size=10**12), "default_vocab_size is"),
        (lambda made: made["config"].update(default_vocab_size=None), "default_vocab_size is"),
        (lambda made: made["config"].update(default_vocab_size=99999), "tokens where"),
        (lambda made: made["config"].update(pattern="("), "no regular expression"),
        (lambda made: made["config"].update(version="v13"), "no special_tokens"),
        (lambda made: made.update(special_tokens=[{"rank": 1}]), "special token 0"),
        (lambda made: made.update(special_tokens=[3] * 99), "special token 0"),
    ],
)
def test_a_damaged_tekken_gets_one_line(tmp_path: Path, ranks, change, says: str) -> None:
    made = tekken(ranks)
    change(made)
    path = tmp_path / "tekken.json"
    path.write_text(json.dumps(made))
    with pytest.raises(ModelError, match=says) as caught:
        Tokenizer.load(path)
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "has no tokens"),
        (b"IQ== 0\n", "no token for the byte 0x00"),
        (b"IQ== 0\n!!! 1\n", "line 2 is not a token in base64"),
        (b"IQ== 0\nIg==\n", "line 2 is not a token in base64"),
        (b"IQ== 0\nIQ== 1\n", "line 2: this token was there before"),
        (b"IQ== 99999999999\n", "no token has the rank"),
        (b"IQ== " + b"9" * 6000, "is not a token in base64"),
        (b"\xff\xfe\x00", "line 1 is not a token in base64"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
    ],
)
def test_a_damaged_rank_file_gets_one_line(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "cl100k_base.tiktoken"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=says) as caught:
        Tokenizer.load(path)
    assert "\n" not in caught.value.message


def test_what_splits_a_text_is_asked_for_and_never_guessed(
    tmp_path: Path, ranks: dict[bytes, int]
) -> None:
    path = write(tmp_path, "mine.tiktoken", ranks)
    with pytest.raises(ModelError, match="not how a text is split") as caught:
        Tokenizer.load(path)
    assert caught.value.hint is not None
    assert "tokenizer_config.json" in caught.value.hint
    write(tmp_path, "other.tiktoken", ranks)
    with pytest.raises(ModelError, match=r"several tokenizers are there: mine\.tiktoken, other"):
        Tokenizer.load(tmp_path)
    for bad in ({"900": {"content": "a"}}, {"0": {"content": "<x>"}}, {"x": {}}, {"9": {}}, 3):
        write(tmp_path, "mine.tiktoken", ranks, pattern=QWEN, added_tokens_decoder=bad)
        with pytest.raises(ModelError):
            Tokenizer.load(path)


@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_no_damage_escapes_as_another_error(data: st.DataObject, ranks, tmp_path_factory) -> None:
    content = bytearray(rank_lines(ranks))
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(content) - 1))
        content[place] ^= data.draw(st.integers(1, 255))
    path = tmp_path_factory.getbasetemp() / "o200k_base.tiktoken"
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    with suppress(ModelError):
        Tokenizer.load(path).encode("a b")
