"""Every kind of vocabulary that can be learned: what comes back, and that transformers agrees."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st

from lmtool import UsageError
from lmtool.tokenizer.corpus import Corpus
from lmtool.tokenizer.recipe import PATTERNS, Recipe
from lmtool.tokenizer.save import save
from lmtool.tokenizer.tokenizer import Tokenizer
from lmtool.tokenizer.training.further import sized
from lmtool.tokenizer.training.train import Base, Training, train
from reference.small_tokenizers import ALL, KINDS, SAMPLES

RECIPES: dict[str, dict[str, Any]] = {
    "bytes": {},
    "digits": {"pattern": "digits"},
    "scripts": {"pattern": "scripts"},
    "normalized": {"normalization": "NFC"},
    "characters": {"kind": "characters"},
    "few characters": {"kind": "characters", "alphabet": 20, "bos": "<|endoftext|>"},
    "unigram": {"kind": "unigram", "vocab_size": 420},
}
NEW = "ein neuer Text mit neuen Wörtern, neuen Zahlen 12345 und neuem Sinn. " * 30


def learn(folder: Path, text: str, base: Base | None = None, **recipe: Any) -> Training:
    (folder / "text.txt").write_text(text, "utf-8", newline="")
    made = Recipe(**{"vocab_size": 500, **recipe})
    return train(Corpus((folder / "text.txt",)), made, base=base)


def saved(training: Training, folder: Path) -> Tokenizer:
    save(training, folder)
    return Tokenizer.load(folder)


def base_of(kind: str, folder: Path) -> Tokenizer:
    folder.mkdir()
    KINDS[kind]().save(str(folder / "tokenizer.json"))
    return Tokenizer.load(folder)


@pytest.mark.parametrize("name", RECIPES)
def test_every_text_comes_back_and_transformers_has_the_same_ids(name: str, tmp_path: Path) -> None:
    recipe = RECIPES[name]
    tokenizer = saved(learn(tmp_path, ALL, **recipe), tmp_path / "made")
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "made")
    for text in SAMPLES.values():
        ids = tokenizer.encode(text)
        assert theirs(text, split_special_tokens=True)["input_ids"] == ids
        if "normalization" not in recipe:
            assert tokenizer.decode(ids) == text.replace("▁", " " if "kind" in recipe else "▁")
            assert tokenizer.decode_bytes(ids).decode() == tokenizer.decode(ids)


@pytest.fixture(scope="module")
def of_each_kind(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("kinds")
    names = ("bytes", "scripts", "few characters", "unigram")
    return {name: learn(folder, ALL, **RECIPES[name]).tokenizer for name in names}


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=40) | st.text("a \u2581\n\r\t\x00\u3000\u0301が漢🏳️‍🌈", max_size=40))
def test_all_of_unicode_comes_back(of_each_kind: dict[str, Any], text: str) -> None:
    for name, tokenizer in of_each_kind.items():
        tokenizer.encode_special_tokens = True
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        kept = text if name in ("bytes", "scripts") else text.replace("\u2581", " ")
        assert tokenizer.decode(ids, skip_special_tokens=False) == kept


@pytest.mark.parametrize("name", ["characters", "unigram", "scripts"])
def test_the_order_of_files_changes_nothing(name: str, tmp_path: Path) -> None:
    made: list[str] = []
    for order in (1, -1):
        paths = [tmp_path / f"{number}.txt" for number in range(len(SAMPLES))][::order]
        for path, text in zip(paths, list(SAMPLES.values())[::order], strict=True):
            path.write_text(text, "utf-8", newline="")
        recipe = Recipe(**{"vocab_size": 500, **RECIPES[name]})
        made.append(train(Corpus(tuple(paths)), recipe).tokenizer.to_str())
    assert made[0] == made[1]


def test_digits_stand_alone(tmp_path: Path) -> None:
    tokenizer = learn(tmp_path, "a 12345 b 12345 " * 50, pattern="digits").tokenizer
    assert not [token for token in tokenizer.get_vocab() if len(token) > 1 and "12" in token]


def test_scripts_part_where_no_space_does(tmp_path: Path) -> None:
    from tokenizers import Regex, pre_tokenizers

    split = pre_tokenizers.Split(Regex(PATTERNS["scripts"]), "isolated").pre_tokenize_str
    text = "東京タワーへ行きましょう。Tokyo don't 12345, ประภาคาร"
    found = [word for word, _ in split(text)]
    assert found[:4] == ["東京", "タワー", "へ", "行きましょう"]
    assert found[-1] == "ประภาคาร"
    assert "".join(found) == text


@pytest.mark.parametrize("kind", ["characters", "unigram"])
@pytest.mark.parametrize(("text", "room"), [("昔々ある所に昔々", 9), ("a b c a b c", 1)])
def test_a_space_is_told_from_its_letter_whatever_the_text(
    kind: str, text: str, room: int, tmp_path: Path
) -> None:
    """No space to learn from, or no room for any other character."""
    smallest = Recipe(kind=kind).smallest
    training = learn(tmp_path, text, kind=kind, vocab_size=smallest + room - 1)
    tokenizer = saved(training, tmp_path / "made")
    for written in ("a b", "  昔 ", " ", "\n \n"):
        assert tokenizer.decode(tokenizer.encode(written)) == written


@pytest.mark.parametrize("kind", ["bytes", "characters", "unigram"])
def test_no_vocabulary_is_too_large_to_ask_for(kind: str, tmp_path: Path) -> None:
    assert learn(tmp_path, ALL, kind=kind, vocab_size=10**13).vocab_size < 3000


def test_rare_characters_are_bytes(tmp_path: Path) -> None:
    tokenizer = learn(tmp_path, "aaaa bbbb cccc あ", kind="characters", alphabet=4).tokenizer
    assert "あ" not in tokenizer.get_vocab()
    assert tokenizer.encode("あ").tokens == ["<0xE3>", "<0x81>", "<0x82>"]


@pytest.mark.parametrize("kind", ["byte_level", "byte_fallback", "unigram"])
def test_a_pipeline_learned_anew(kind: str, tmp_path: Path) -> None:
    base = base_of(kind, tmp_path / "base")
    recipe = sized(Recipe(), base, 450)
    assert sized(Recipe(), base, None).vocab_size == len(base.pipeline.get_vocab())
    (tmp_path / "new.txt").write_text(NEW, "utf-8")
    training = train(Corpus((tmp_path / "new.txt",)), recipe, base=Base(base))
    tokenizer = saved(training, tmp_path / "made")
    assert tokenizer.vocab_size <= 450
    assert set(base.added.values()) <= set(tokenizer.added.values())
    assert tokenizer.decode(tokenizer.encode(NEW)) == NEW
    # It knows the new words now, and puts the same special tokens around a text.
    assert len(tokenizer.encode(NEW)) < len(base.encode(NEW))
    assert [tokenizer.piece(id) for id in tokenizer.prefix] == [
        base.piece(id) for id in base.prefix
    ]
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "made")
    plain = theirs(NEW, add_special_tokens=False)["input_ids"]
    assert plain == tokenizer.encode(NEW, bos="off")


@pytest.mark.parametrize("kind", ["byte_level", "byte_fallback"])
def test_merges_go_on_and_ids_stay(kind: str, tmp_path: Path) -> None:
    base = base_of(kind, tmp_path / "base")
    size = len(base.pipeline.get_vocab()) + 40
    (tmp_path / "new.txt").write_text(NEW, "utf-8")
    training = train(
        Corpus((tmp_path / "new.txt",)), sized(Recipe(), base, size), base=Base(base, extend=True)
    )
    tokenizer = saved(training, tmp_path / "made")
    old = base.pipeline.get_vocab()
    assert {piece: tokenizer.pipeline.get_vocab()[piece] for piece in old} == old
    new = tokenizer.pipeline.get_vocab().keys() - old.keys()
    assert 0 < len(new) <= 40
    assert min(tokenizer.pipeline.get_vocab()[piece] for piece in new) == base.vocab_size
    merges = [json.loads(one.pipeline.to_str())["model"]["merges"] for one in (base, tokenizer)]
    assert merges[1][: len(merges[0])] == merges[0]
    assert len(tokenizer.encode(NEW)) < len(base.encode(NEW))
    for text in (NEW, *SAMPLES.values()):
        assert tokenizer.decode(tokenizer.encode(text)) == base.decode(base.encode(text))


def test_what_cannot_be_learned(tmp_path: Path) -> None:
    pieces = base_of("word_piece", tmp_path / "pieces")
    with pytest.raises(UsageError, match="a WordPiece tokenizer, which can't be learned"):
        sized(Recipe(), pieces, 400)
    unigram = base_of("unigram", tmp_path / "unigram")
    with pytest.raises(UsageError, match="no merges that could be continued"):
        Base(unigram, extend=True).course(Recipe())
    known = base_of("byte_level", tmp_path / "known")
    with pytest.raises(UsageError, match="leaves nothing to learn"):
        learn(tmp_path, NEW, Base(known, extend=True), vocab_size=300)
    with pytest.raises(UsageError, match=r"what comes from `known` needs 25[78] ids"):
        learn(tmp_path, NEW, Base(known), vocab_size=0)
    with pytest.raises(UsageError, match="leaves nothing to merge"):
        learn(tmp_path, NEW, Base(known), max_token_length=1)


@pytest.mark.parametrize(
    ("recipe", "said"),
    [
        ({"alphabet": 5}, "--alphabet is for --byte-fallback and --unigram"),
        ({"kind": "characters", "alphabet": 400}, "--alphabet 400 has no room"),
        (
            {"kind": "unigram", "vocab_size": 258},
            "the space and every special token needs an id, 259",
        ),
        ({"kind": "characters", "specials": ("<0x0A>",)}, "'<0x0A>' is the token of a byte"),
        ({"normalization": "NFX"}, "choose none, NFC, NFD, NFKC, NFKD"),
    ],
)
def test_recipes_that_cannot_be(recipe: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError) as raised:
        Recipe(**{"vocab_size": 500, **recipe}).check()
    assert said in f"{raised.value.message}; {raised.value.hint}"
