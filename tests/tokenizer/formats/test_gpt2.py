"""vocab.json with merges.txt, and vocab.txt, against transformers' own tokenizers."""

from __future__ import annotations

import json
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmtool import ModelError
from lmtool.tokenizer.tokenizer import Tokenizer
from reference.hard_texts import hard_texts
from reference.small_tokenizers import word_piece


@pytest.fixture
def folder(gpt2_folder: Path, tmp_path: Path) -> Path:
    """GPT-2's two files, to be changed."""
    return Path(shutil.copytree(gpt2_folder, tmp_path / "gpt2"))


def change_vocabulary(folder: Path, change: Any) -> None:
    path = folder / "vocab.json"
    vocabulary = json.loads(path.read_bytes())
    change(vocabulary)
    path.write_text(json.dumps(vocabulary))


def with_specials(folder: Path, *names: str) -> None:
    def add(vocabulary: dict[str, int]) -> None:
        for name in names:
            vocabulary.setdefault(name, len(vocabulary))

    change_vocabulary(folder, add)


def configure(folder: Path, **config: Any) -> None:
    (folder / "tokenizer_config.json").write_text(json.dumps(config))


def with_ends_of_words(folder: Path) -> None:
    """CLIP's files have every letter twice, as it is and as the end of a word."""

    def double(vocabulary: dict[str, int]) -> None:
        for piece in list(vocabulary):
            vocabulary.setdefault(f"{piece}</w>", len(vocabulary))

    change_vocabulary(folder, double)
    path = folder / "merges.txt"
    lines = path.read_text("utf-8").splitlines()
    path.write_text("\n".join([*lines, *(f"{line}</w>" for line in lines[1:20])]), "utf-8")


def same(folder: Path, kind: str, names: list[str]) -> None:
    """Our ids, texts and special tokens are those of a class of transformers."""
    transformers = pytest.importorskip("transformers")
    theirs = getattr(transformers, kind).from_pretrained(folder)
    ours = Tokenizer.load(folder)
    for text in hard_texts(40, longest=1000):
        ids = theirs.encode(text, add_special_tokens=False, split_special_tokens=True)
        assert ours.encode(text, bos="off") == ids
        decoded = theirs.decode(ids, clean_up_tokenization_spaces=False)
        assert ours.decode(ids, skip_special=False) == decoded
    for spaced in ("{}", "a{} {}", "a {} b", " {} "):
        text = "".join(spaced.replace("{}", name) for name in names)
        ids = theirs.encode(text, add_special_tokens=False)
        assert ours.encode(text, bos="off", special="parse") == ids
        assert ours.pipeline.encode(text).ids == theirs.encode(text)
    assert ours.special_ids == set(theirs.all_special_ids)


def test_gpt_2(folder: Path) -> None:
    same(folder, "GPT2Tokenizer", ["<|endoftext|>"])
    for name in ("vocab.json", "merges.txt"):
        ours = Tokenizer.load(folder / name)
        assert ours.encode("a b") == Tokenizer.load(folder).encode("a b")
    assert ours.eos_ids == {0}
    (folder / "vocab.json").rename(folder / "encoder.json")
    (folder / "merges.txt").rename(folder / "vocab.bpe")
    assert Tokenizer.load(folder).encode("a b") == ours.encode("a b")
    configure(folder, add_prefix_space=True, add_bos_token=True)
    assert Tokenizer.load(folder).encode("a") == [0, *ours.encode(" a")]


def test_tokens_that_the_config_adds(folder: Path) -> None:
    token = {"content": "<tool>", "lstrip": True, "special": False, "normalized": False}
    highest = max(json.loads((folder / "vocab.json").read_bytes()).values())
    configure(
        folder,
        pad_token="[PAD]",
        added_tokens_decoder={str(highest + 1): token},
        additional_special_tokens=["<|one|>"],
    )
    ours = Tokenizer.load(folder)
    assert ours.added[highest + 1] == "<tool>"
    assert ours.special_ids == {0, highest + 2, highest + 3}
    same(folder, "GPT2Tokenizer", ["[PAD]", "<tool>", "<|one|>"])


def test_roberta(folder: Path) -> None:
    names = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    with_specials(folder, *names)
    mask = {"__type": "AddedToken", "content": "<mask>", "lstrip": True, "special": True}
    configure(folder, tokenizer_class="RobertaTokenizer", mask_token=mask)
    same(folder, "RobertaTokenizer", names)
    ours = Tokenizer.load(folder)
    assert ours.encode("a")[0] == ours.special_named("<s>")


def test_qwen_2(folder: Path) -> None:
    with_specials(folder, "<|im_start|>")
    configure(folder, additional_special_tokens=["<|im_start|>"])
    (folder / "config.json").write_text('{"model_type": "qwen2"}')
    same(folder, "Qwen2Tokenizer", ["<|endoftext|>", "<|im_start|>"])


def test_clip(folder: Path) -> None:
    with_specials(folder, "<|startoftext|>")
    with_ends_of_words(folder)
    configure(folder, tokenizer_class="CLIPTokenizer")
    same(folder, "CLIPTokenizer", ["<|startoftext|>", "<|endoftext|>"])


def test_a_class_that_splits_otherwise_is_refused(folder: Path) -> None:
    for kind in ("CTRLTokenizer", "HerbertTokenizerFast", "Magic"):
        configure(folder, tokenizer_class=kind)
        with pytest.raises(ModelError, match=f"is of a {kind.removesuffix('Fast')}"):
            Tokenizer.load(folder)


def remove_letters(vocabulary: dict[str, int]) -> None:
    for piece in list(vocabulary)[100:]:
        del vocabulary[piece]


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("merges.txt", "#version: 0.2\nxyz q", "line 2: the vocabulary has no 'xyz'"),
        ("merges.txt", "a b c", "line 1 is not two pieces"),
        ("merges.txt", "a", "line 1 is not two pieces"),
        ("merges.txt", "à ¤\nà ¤", "has the merge 'à ¤' twice"),
        ("merges.txt", b"\xff", "is not UTF-8"),
        ("vocab.json", "", "is empty"),
        ("vocab.json", '{"a": 1', "is not JSON"),
        ("vocab.json", "[]", "is no vocabulary"),
        ("vocab.json", '{"a": "b"}', "is no vocabulary"),
        ("vocab.json", '{"a": -1}', "is no vocabulary"),
        ("vocab.json", '{"a": 99999999999}', "is no vocabulary"),
        ("vocab.json", '{"a": 1, "b": 1}', "have the same id 1"),
        ("vocab.json", '{"a": 1, "a": 2}', "has 'a' twice"),
        ("vocab.json", '{"a": ' + "9" * 6000 + "}", "is not JSON that can be read"),
        ("tokenizer_config.json", '{"added_tokens_decoder": []}', "is not an object"),
        ("added_tokens.json", '{"<x>": 3}', "has the id 3, which is that of"),
        ("added_tokens.json", '{"<x>": true}', "is no token's id"),
        ("config.json", "[", "is not JSON"),
    ],
)
def test_damaged_files_get_one_line(folder: Path, name: str, content: Any, says: str) -> None:
    data = content if isinstance(content, bytes) else content.encode()
    (folder / name).write_bytes(data)
    with pytest.raises(ModelError, match=says) as caught:
        Tokenizer.load(folder)
    assert "\n" not in caught.value.message
    assert name in caught.value.message or name == "added_tokens.json"


def test_a_vocabulary_of_another_kind_is_refused(folder: Path) -> None:
    change_vocabulary(folder, remove_letters)
    (folder / "merges.txt").write_text("")
    with pytest.raises(ModelError, match="no byte-level vocabulary"):
        Tokenizer.load(folder)
    (folder / "merges.txt").unlink()
    with pytest.raises(ModelError, match=r"no merges\.txt beside it"):
        Tokenizer.load(folder / "vocab.json")
    (folder / "merges.txt").write_text("")
    (folder / "vocab.json").unlink()
    with pytest.raises(ModelError, match=r"no `.*vocab\.json`"):
        Tokenizer.load(folder / "merges.txt")


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_no_damage_escapes_as_another_error(data: st.DataObject, gpt2_folder, tmp_path_factory):
    folder = tmp_path_factory.getbasetemp() / "broken"
    folder.mkdir(exist_ok=True)
    for name in ("vocab.json", "merges.txt"):
        content = bytearray((gpt2_folder / name).read_bytes())
        for _ in range(data.draw(st.integers(0, 2))):
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
        (folder / name).write_bytes(content)
    with suppress(ModelError):
        Tokenizer.load(folder).encode("a b")


@pytest.fixture
def bert(tmp_path: Path) -> Path:
    """BERT's vocab.txt."""
    pieces = word_piece().get_vocab()
    pieces |= {name: len(pieces) + place for place, name in enumerate(("[PAD]", "[MASK]"))}
    lines = [
        piece.lower() if piece[0] != "[" else piece for piece in sorted(pieces, key=pieces.get)
    ]
    (tmp_path / "vocab.txt").write_text("\n".join(dict.fromkeys(lines)) + "\n")
    return tmp_path


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"tokenizer_class": "BertTokenizer", "do_lower_case": False},
        {"strip_accents": False, "tokenize_chinese_chars": False},
        {"tokenizer_class": "DistilBertTokenizer", "strip_accents": True, "do_lower_case": False},
    ],
    ids=str,
)
def test_bert(bert: Path, config: dict[str, Any]) -> None:
    configure(bert, **config)
    same(bert, "BertTokenizer", ["[CLS]", "[SEP]", "[UNK]", "[PAD]", "[MASK]"])
    assert Tokenizer.load(bert / "vocab.txt").encode("the")[0] == 1


@pytest.mark.parametrize(
    ("content", "config", "says"),
    [
        ("", {}, "is empty"),
        ("a\nb\n", {}, r"has no '\[UNK\]'"),
        ("[UNK]\na\na\n", {}, "line 3 is that of line 2: 'a'"),
        ("[UNK]\nUpper\n", {}, "words with capitals"),
        ("[UNK]\na\n", {"do_lower_case": 1}, "neither true nor false"),
        ("[UNK]\na\n", {"tokenizer_class": "EsmTokenizer"}, "is of a EsmTokenizer"),
        ("[UNK]\n\xff", {}, "is not UTF-8"),
    ],
)
def test_a_damaged_vocab_txt(tmp_path: Path, content: str, config: Any, says: str) -> None:
    (tmp_path / "vocab.txt").write_bytes(content.encode("latin-1"))
    configure(tmp_path, **config)
    with pytest.raises(ModelError, match=says) as caught:
        Tokenizer.load(tmp_path)
    assert "\n" not in caught.value.message
