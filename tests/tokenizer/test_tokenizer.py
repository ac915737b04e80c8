"""`Tokenizer` against the library it stands on, and what it promises beyond it."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmtool import ModelError, UsageError
from lmtool.tokenizer.tokenizer import Tokenizer
from reference.small_tokenizers import SAMPLES, byte_fallback, byte_level, texts

any_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=60) | st.sampled_from(
    list(SAMPLES.values())
)


def save(folder: Path, tokenizer: Any, **config: Any) -> Tokenizer:
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return Tokenizer.load(folder)


def comes_back(kind: str, text: str) -> str:
    """What can come back: Llama 2's kind has one spelling for a space and for U+2581."""
    return text.replace("▁", " ") if kind == "byte_fallback" else text


@pytest.mark.parametrize("text", texts().values(), ids=texts())
def test_every_text_comes_back_byte_for_byte(kinds, text: str) -> None:
    for name in ("byte_level", "byte_fallback"):
        ours, back = kinds[name].ours, comes_back(name, text)
        ids = ours.encode(text)
        assert ours.decode_bytes(ids) == back.encode(), name
        assert ours.decode(ids) == back, name


@pytest.mark.parametrize("text", texts().values(), ids=texts())
def test_ids_and_text_are_the_library_s(pair, text: str) -> None:
    plain = pair.ours.encode(text, bos="off", special="parse")
    assert plain == pair.reference.encode(text, add_special_tokens=False).ids
    for skip in (True, False):
        decoded = pair.reference.decode(plain, skip_special_tokens=skip)
        assert pair.ours.decode(plain, skip_special=skip) == decoded


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_any_ids_decode_as_the_library_decodes_them(kinds, data: st.DataObject) -> None:
    pair = kinds[data.draw(st.sampled_from(sorted(kinds)))]
    ids = data.draw(st.lists(st.integers(0, pair.ours.vocab_size + 3), max_size=12))
    # The library takes an added token's letters for byte-level ones; we spell it as it is.
    ids = [id for id in ids if pair.ours.piece(id) != "<tool> é"]
    assert pair.ours.decode(ids) == pair.reference.decode(ids)
    assert pair.ours.decode(ids, skip_special=False) == pair.reference.decode(
        ids, skip_special_tokens=False
    )


@settings(max_examples=150, deadline=None)
@given(text=any_text)
def test_the_round_trip_keeps_every_byte(kinds, text: str) -> None:
    for name in ("byte_level", "byte_fallback"):
        ours = kinds[name].ours
        assert ours.decode_bytes(ours.encode(text)) == comes_back(name, text).encode()


def test_added_tokens_are_spelled_as_they_are(kinds) -> None:
    ours = kinds["byte_level"].ours
    text = "call <tool> é now"
    ids = ours.encode(text)
    assert "<tool> é" in [ours.piece(id) for id in ids]
    assert ours.decode(ids) == text


def test_special_tokens_in_text_are_text_unless_parsed(kinds) -> None:
    for name, special in (("byte_level", "<|endoftext|>"), ("byte_fallback", "</s>")):
        ours = kinds[name].ours
        id = ours.pipeline.token_to_id(special)
        text = f"a{special}b"
        assert id not in ours.encode(text)
        assert ours.decode(ours.encode(text)) == text
        assert id in ours.encode(text, special="parse")
        assert id not in ours.encode(text), "parsing once must not stick"


def test_bos_comes_once_and_eos_never(kinds) -> None:
    llama = kinds["byte_fallback"].ours
    assert llama.bos_id == 1
    assert llama.encode("a")[0] == 1
    assert llama.encode("a", bos="on") == llama.encode("a")
    assert 1 not in llama.encode("a", bos="off")
    assert llama.encode("<s>a", special="parse").count(1) == 1
    t5, bert = kinds["unigram"].ours, kinds["word_piece"].ours
    assert t5.encode("a b") == t5.encode("a b", bos="off")
    assert bert.encode("a b")[0] == 1
    assert 2 not in bert.encode("a b")


def test_bos_on_needs_such_a_token(kinds) -> None:
    with pytest.raises(UsageError, match="no begin-of-text token"):
        kinds["byte_level"].ours.encode("a", bos="on")


def test_the_config_decides_over_the_post_processor(tmp_path: Path) -> None:
    without = save(tmp_path, byte_fallback(), bos_token="<s>", add_bos_token=False)
    assert without.encode("a") == without.encode("a", bos="off")
    assert without.encode("a", bos="on")[0] == 1
    put = save(tmp_path, byte_level(), bos_token="<|endoftext|>", add_bos_token=True)
    assert put.encode("a")[0] == put.bos_id == 0


def test_roles_are_read_from_text_objects_and_the_special_tokens_map(tmp_path: Path) -> None:
    (tmp_path / "special_tokens_map.json").write_text('{"eos_token": {"content": "</s>"}}')
    ours = save(tmp_path, byte_fallback(), bos_token={"content": "<s>", "lstrip": False})
    assert (ours.bos_id, ours.eos_ids) == (1, {2})
    assert ours.special_ids == {0, 1, 2}
    assert ours.name == tmp_path.name
    gone = save(tmp_path, byte_fallback(), eos_token="<gone>")
    assert gone.eos_ids == {2}
    assert save(tmp_path, byte_fallback(), eos_token="<unk>").eos_ids == {0, 2}
    (tmp_path / "special_tokens_map.json").unlink()
    assert save(tmp_path, byte_fallback(), eos_token="<gone>").eos_ids == frozenset()


def test_a_chat_template_is_found_wherever_it_is_kept(tmp_path: Path) -> None:
    assert save(tmp_path, byte_level()).chat_template is None
    assert save(tmp_path, byte_level(), chat_template="{{ a }}").chat_template == "{{ a }}"
    several = [{"name": "tool", "template": "t"}, {"name": "default", "template": "d"}]
    assert save(tmp_path, byte_level(), chat_template=several).chat_template == "d"
    (tmp_path / "chat_template.jinja").write_text("{{ b }}\n")
    assert Tokenizer.load(tmp_path).chat_template == "{{ b }}\n"


def test_truncation_and_padding_of_training_times_are_off(tmp_path: Path) -> None:
    tokenizer = byte_level()
    tokenizer.enable_truncation(3)
    tokenizer.enable_padding(length=50)
    ours = save(tmp_path, tokenizer)
    assert ours.decode(ours.encode(SAMPLES["english"])) == SAMPLES["english"]


def test_pieces_and_texts_of_single_tokens(kinds) -> None:
    bytes_, llama, bert = (kinds[n].ours for n in ("byte_level", "byte_fallback", "word_piece"))
    the = bytes_.encode("a the", bos="off")
    assert "".join(map(bytes_.piece, the)) == "aĠthe"
    assert "".join(map(bytes_.token_text, the)) == "a the"
    assert "".join(map(llama.token_text, llama.encode("a the", bos="off"))) == " a the"
    assert llama.token_text(1) == "<s>"
    assert llama.token_text(llama.pipeline.token_to_id("<0x41>")) == "A"
    word = bert.encode("sleep", bos="off")
    assert "".join(map(bert.token_text, word)).strip() == "sleep"


def test_vocabularies_may_have_holes(tmp_path: Path) -> None:
    described = json.loads(byte_level().to_str())
    highest = max(described["model"]["vocab"], key=described["model"]["vocab"].get)
    described["model"]["vocab"][highest] = 5000
    (tmp_path / "tokenizer.json").write_text(json.dumps(described))
    ours = Tokenizer.load(tmp_path)
    assert ours.vocab_size == 5001
    assert ours.knows(5000)
    assert not any(map(ours.knows, (4999, 5001, -1, 1 << 40)))
    assert (ours.piece(4999), ours.token_text(4999), ours.decode([4999, 5001])) == ("", "", "")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "no such file or folder"),
        (b"", "is empty"),
        (b'{"model": {"type": "BPE", "vo', "is not JSON: Unterminated string"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "Git LFS pointer"),
        (b'{"a": 1}', "is not a tokenizer"),
        (b'{"model": {"type": "Magic"}}', "is not a tokenizer"),
        (b"[1, 2]", "is not a tokenizer"),
        (b"\xff\xfe\x00", "is not UTF-8"),
        (b"[" * 100_000, "is not"),
    ],
)
def test_a_damaged_file_gets_one_plain_line(
    tmp_path: Path, content: bytes | None, says: str
) -> None:
    path = tmp_path / "tokenizer.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ModelError, match=says) as caught:
        Tokenizer.load(path)
    assert "\n" not in caught.value.message
    assert str(path) in caught.value.message


def test_a_folder_without_tokenizer_json_says_what_it_has(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"has no tokenizer\.json or other tokenizer$"):
        Tokenizer.load(tmp_path)
    (tmp_path / "vocab.json").write_bytes(b"")
    with pytest.raises(ModelError, match=r"has vocab\.json, but no merges\.txt beside it"):
        Tokenizer.load(tmp_path)


@pytest.mark.parametrize("content", ["{", "[]", "version https://git-lfs.github.com/spec/v1"])
def test_a_damaged_config_is_named_too(tmp_path: Path, content: str) -> None:
    byte_level().save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "tokenizer_config.json").write_text(content)
    with pytest.raises(ModelError, match=r"tokenizer_config\.json"):
        Tokenizer.load(tmp_path)


@settings(max_examples=60, deadline=None)
@given(cut=st.integers(0, 4000), flip=st.integers(0, 255))
def test_no_damage_escapes_as_another_error(kinds, tmp_path_factory, cut: int, flip: int) -> None:
    data = bytearray(kinds["byte_level"].path.read_bytes())
    data[cut] ^= flip
    path = tmp_path_factory.getbasetemp() / "flipped.json"
    path.write_bytes(data if flip % 2 else data[: cut + 1])
    with suppress(ModelError):
        Tokenizer.load(path).encode("a b")


def test_ids_holding_a_text_are_those_whose_own_text_has_it(kinds) -> None:
    for name in ("byte_level", "byte_fallback"):
        ours = kinds[name].ours
        for wanted in ("\n", ":", '"', "*", "the"):
            texts = {id: ours.token_text(id) for id in range(ours.vocab_size) if ours.knows(id)}
            holding = {id for id, text in texts.items() if wanted in text}
            if name == "byte_fallback" and len(wanted) == 1:  # alone a raw byte is U+FFFD
                holding |= {id for id in texts if ours.piece(id) == f"<0x{ord(wanted[0]):02X}>"}
            assert ours.ids_holding([wanted]) == holding, (name, wanted)
            assert holding or wanted == "the"
        assert ours.ids_holding(["\n", ":"]) == ours.ids_holding(["\n"]) | ours.ids_holding([":"])
